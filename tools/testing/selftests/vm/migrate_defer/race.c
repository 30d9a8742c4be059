// SPDX-License-Identifier: GPL-2.0
/*
 * A mark that is set while a mover is at work: when madvise() returns, every page is mapped and
 * stays where it is.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "movers.h"

#define REGION_SIZE	(2 * MIB)
#define SECONDS		15
#define PATIENCE	60	/* seconds, until the race is conclusive */
#define EPOCHS		400
#define ENOUGH		40	/* epochs before which pages moved: the mover was at work */
#define CONCLUSIVE	4	/* and so many there have to be */
#define TRIES		60	/* to mark while pages are on their way */
#define PROOF		8	/* and so often it has to be so */

FIXTURE(race)
{
	struct ground ground;
	struct region region;
	pid_t mover;
};

FIXTURE_VARIANT(race)
{
	const struct mover *mover;
	size_t folio;
};

FIXTURE_VARIANT_ADD(race, numa_balancing_shmem_4k)
{
	.mover = &numa_balancing, .folio = 4096,
};

FIXTURE_VARIANT_ADD(race, numa_balancing_shmem_2m)
{
	.mover = &numa_balancing, .folio = 2 * MIB,
};

/* Many pages are on their way at once, for as long as it takes to copy them all. */
FIXTURE_VARIANT_ADD(race, damon_shmem_4k)
{
	.mover = &damon, .folio = 4096,
};

/* Uses the region now here, now there, so that NUMA balancing has it follow. */
static void wander(struct ground *g, struct region *r)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		task_pin(0, g->cpu);
		numa_balancing.push(g, &r, 1);
		for (int cpu = 0; cpu < cpu_count(); cpu++)
			if (node_of_cpu(cpu) != node_of_cpu(g->cpu) && !task_pin(0, cpu))
				break;
		numa_balancing.push(g, &r, 1);
	}
}

static bool damon_tried(void *arg)
{
	(void)arg;
	return damon_stat("nr_tried") > 0;
}

/* Has DAMON move the region from node to node, whenever it may. */
static void damon_wander(struct ground *g, struct region *r)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (damon_setup("paddr", "migrate_cold"))
		_exit(1);
	for (int to = g->other;; to = to == g->node ? g->other : g->node) {
		uint64_t start = UINT64_MAX, end = 0;

		region_touch(r);
		if (pagemap_read(r->addr, r->size, r->before))
			_exit(1);
		for (size_t i = 0; i < region_pages(r); i++) {
			uint64_t at = pagemap_pfn(r->before[i]) * page_size();

			start = at && at < start ? at : start;
			end = at + page_size() > end ? at + page_size() : end;
		}
		if (damon_range(start, end) || damon_target(to) || damon_on())
			_exit(1);
		poll_until(damon_tried, NULL, 1);
		damon_off();
	}
}

FIXTURE_SETUP(race)
{
	const char *why;
	pid_t pid;

	settings_restore();
	why = ground_init(&self->ground) ?: variant->mover->missing(&self->ground) ?:
	      region_missing(MEM_SHMEM, variant->folio);
	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(region_map(&self->region, MEM_SHMEM, variant->folio, REGION_SIZE), 0);
	ASSERT_EQ(region_populate(&self->region, -1), 0);
	if (variant->mover == &numa_balancing)
		ASSERT_EQ(numa_scan_fast(), 0);
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid && variant->mover == &numa_balancing)
		wander(&self->ground, &self->region);
	else if (!pid)
		damon_wander(&self->ground, &self->region);
	self->mover = pid;	/* which the child shares */
	/* What this process itself maps is not scanned: the mover comes from the other side. */
	ASSERT_EQ(mprotect(self->region.addr, self->region.size, PROT_READ), 0);
}

/* After the test has gone, and so that nothing of it stays behind, even if it was killed */
FIXTURE_TEARDOWN_PARENT(race)
{
	load_gone(self->mover);
	damon_off();
	settings_restore();
}

/*
 * Many times: mark, look where the pages are, look again a little later, unmark.  While marked
 * no page is away, not even at the first look, and none moves; in between they do move.
 */
TEST_F_TIMEOUT(race, marked_at_once, 600)
{
	size_t away = 0, moved_marked = 0, moved_between = 0, pages = region_pages(&self->region);
	struct region *r = &self->region;
	double end = now() + SECONDS, patience = now() + PATIENCE;
	int epoch = 0, active = 0;

	/* Not region_snapshot(), which takes an absent page for a mistake of the test. */
	ASSERT_EQ(pagemap_read(r->addr, r->size, r->before), 0);
	while (now() < (active < CONCLUSIVE ? patience : end) &&
	       (epoch < EPOCHS || active < ENOUGH)) {
		uint64_t *last = calloc(pages, sizeof(*last));
		size_t moved = 0;

		ASSERT_NE(last, NULL);
		memcpy(last, r->before, pages * sizeof(*last));
		ASSERT_EQ(region_mark(r), 0);
		ASSERT_EQ(pagemap_read(r->addr, r->size, r->before), 0);
		for (size_t i = 0; i < pages; i++) {
			away += !(r->before[i] & PM_PRESENT);
			moved += pagemap_pfn(last[i]) != pagemap_pfn(r->before[i]);
		}
		moved_between += moved;
		active += !!moved;
		free(last);
		for (int look = 0; look < 4; look++) {
			struct diff diff = region_compare(r);

			moved_marked += diff.moved;
			away += diff.absent;
		}
		ASSERT_EQ(region_unmark(r), 0);
		epoch++;
		usleep(epoch % 8 * 1000);
		region_touch(r);
	}
	TH_LOG("%d epochs: %zu pages moved between %d of them",
	       epoch, moved_between, active);
	TH_LOG("of the marked, %zu moved, %zu were away", moved_marked, away);
	if (active < CONCLUSIVE)
		TH_LOG("INCONCLUSIVE: the mover hardly moved anything");
	EXPECT_GE(active, CONCLUSIVE);
	EXPECT_EQ(moved_marked, 0);
	EXPECT_EQ(away, 0);
	EXPECT_EQ(region_corrupt(r), 0);
}

/* ------------------------------------------------------------------ pages that are on their way */

FIXTURE(moving)
{
	struct ground ground;
};

FIXTURE_VARIANT(moving)
{
	bool downwards;
};

FIXTURE_VARIANT_ADD(moving, upwards) { .downwards = false };

/*
 * The mover goes from the end of the region to its start, the mark from the start to the end:
 * pages that it has found in place already are next.
 */
FIXTURE_VARIANT_ADD(moving, downwards) { .downwards = true };

FIXTURE_SETUP(moving)
{
	const char *why;

	settings_restore();
	why = ground_init(&self->ground) ?: damon.missing(&self->ground) ?:
	      region_missing(MEM_ANON, 4096);
	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN_PARENT(moving)
{
	damon_off();
	settings_restore();
}

/**
 * struct sighting - what a process has seen of its region
 * @start:	lowest physical address
 * @end:	highest one
 * @away:	pages that were away just before it was marked
 * @left:	and just after
 */
struct sighting {
	uint64_t start;
	uint64_t end;
	size_t away;
	size_t left;
};

static size_t pages_away(const struct region *r)
{
	size_t away = 0;

	if (pagemap_read(r->addr, r->size, r->before))
		_exit(1);
	for (size_t i = 0; i < region_pages(r); i++)
		away += !(r->before[i] & PM_PRESENT);
	return away;
}

/* Says where its region is, marks it as soon as a page is on its way, and says what it saw. */
static void mark_when_moving(int say, int node, bool downwards)
{
	struct sighting seen = { .start = UINT64_MAX };
	double deadline;
	struct region r;
	size_t pages;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (region_map(&r, MEM_ANON, 4096, REGION_SIZE) || policy_bind(node))
		_exit(1);
	/* The mover goes by page frames, which are handed out upwards. */
	pages = region_pages(&r);
	for (size_t i = 0; i < pages; i++)
		*(volatile char *)(r.addr + (downwards ? pages - 1 - i : i) * page_size()) = 1;
	if (policy_default() || pages_away(&r))
		_exit(1);
	for (size_t i = 0; i < pages; i++) {
		uint64_t at = pagemap_pfn(r.before[i]) * page_size();

		seen.start = at < seen.start ? at : seen.start;
		seen.end = at + page_size() > seen.end ? at + page_size() : seen.end;
	}
	if (write(say, &seen, sizeof(seen)) != sizeof(seen))
		_exit(1);

	deadline = now() + SECONDS;
	while (!seen.away && now() < deadline)
		seen.away = pages_away(&r);
	if (region_mark(&r))
		_exit(1);
	seen.left = pages_away(&r);
	_exit(write(say, &seen, sizeof(seen)) != sizeof(seen));
}

/*
 * Pages that are on their way when the mark is set are waited for, and nothing more of the region
 * is unmapped: not even what the mover has isolated already.
 */
TEST_F_TIMEOUT(moving, mark_waits, 900)
{
	size_t away = 0, left = 0;
	int tries = 0, active = 0;

	while (active < PROOF && tries++ < TRIES) {
		struct sighting seen;
		int say[2], status;
		pid_t pid;

		ASSERT_EQ(pipe(say), 0);
		pid = fork();
		ASSERT_GE(pid, 0);
		if (!pid)
			mark_when_moving(say[1], self->ground.node, variant->downwards);
		close(say[1]);
		ASSERT_EQ(read(say[0], &seen, sizeof(seen)), (ssize_t)sizeof(seen));
		ASSERT_EQ(damon_setup("paddr", "migrate_cold"), 0);
		ASSERT_EQ(damon_range(seen.start, seen.end), 0);
		ASSERT_EQ(damon_target(self->ground.other), 0);
		ASSERT_EQ(damon_on(), 0);
		ASSERT_EQ(read(say[0], &seen, sizeof(seen)), (ssize_t)sizeof(seen));
		damon_off();
		close(say[0]);
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
		ASSERT_EQ(status, 0);
		active += seen.away > 0;
		away += seen.away;
		left += seen.left;
	}
	TH_LOG("%d tries: %zu pages on their way in %d of them, %zu after the mark", tries, away,
	       active, left);
	if (active < PROOF)
		TH_LOG("INCONCLUSIVE: no page was on its way when the process looked");
	EXPECT_EQ(active, PROOF);
	EXPECT_EQ(left, 0);
}

TEST_HARNESS_MAIN
