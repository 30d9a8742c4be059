// SPDX-License-Identifier: GPL-2.0
/*
 * A mark that is set while khugepaged or a shrinker is at work: when madvise() returns, what is
 * mapped stays as it is, no matter what the mover has seen before.
 *
 * The mover shares one processor with the test, which wakes up when it likes: then the mover is
 * interrupted where it may sleep, and that is between one look at the VMA and the next.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "movers_test.h"

#define RACE_SECONDS	6
#define RACES		400
#define PROOF		5	/* races that each side has to win */

/* Without end, and with pauses for others to get at the locks */
static void shrink(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (nice(19) == -1)
		_exit(1);
	for (;;) {
		file_write("/proc/sys/vm/drop_caches", "2");
		usleep(5000);
	}
}

/**
 * struct contest - a mover and what it wants
 * @kind:	of memory
 * @folio:	of its folios, before
 * @thread:	the kernel thread that is the mover, or NULL: a shrinker
 * @offer:	have the region as the mover wants it, fresh; 0 or a negative errno
 * @taken:	whether the mover has taken it
 */
struct contest {
	enum mem_kind kind;
	size_t folio;
	const char *thread;
	int (*offer)(struct ground *g, struct region *r);
	bool (*taken)(const struct region *r);
};

/* Any page is elsewhere, or nowhere. */
static bool any_changed(const struct region *r)
{
	struct diff diff = region_compare(r);

	return diff.moved || diff.absent;
}

static int small_pages(struct ground *g, struct region *r)
{
	if (madvise(r->addr, r->size, MADV_DONTNEED) ||
	    madvise(r->addr, r->size, MADV_NOHUGEPAGE))
		return -errno;
	return region_populate(r, g->node) ?: region_snapshot(r) ?:
	       (madvise(r->addr, r->size, MADV_HUGEPAGE) ? -errno : 0);
}

static const struct contest small_pages_contest = {
	.kind = MEM_ANON, .folio = FOLIO_4K, .thread = "khugepaged",
	.offer = small_pages, .taken = any_changed,
};

/* A huge page of a file, mapped by small entries */
static int small_entries(struct ground *g, struct region *r)
{
	if (madvise(r->addr, r->size, MADV_HUGEPAGE))
		return -errno;
	if (region_large_pages(r) != region_pages(r)) {
		int ret = region_drop(r) ?: region_populate(r, g->node);

		if (ret)
			return ret;
	}
	if (madvise(r->addr, r->size, MADV_NOHUGEPAGE) ||
	    madvise(r->addr, r->size, MADV_DONTNEED))
		return -errno;
	region_touch(r);
	return region_snapshot(r) ?: (madvise(r->addr, r->size, MADV_HUGEPAGE) ? -errno : 0);
}

static const struct contest page_table_contest = {
	.kind = MEM_SHMEM, .folio = FOLIO_2M, .thread = "khugepaged",
	.offer = small_entries, .taken = any_changed,
};

/* Of a huge page whose second half is gone, is the first still part of a large folio? */
static bool is_split(const struct region *r)
{
	return !(kpageflags(pagemap_pfn(r->before[0])) & KPF_COMPOUND_HEAD);
}

static int half_huge(struct ground *g, struct region *r)
{
	int ret;

	/* Where there is a page table already, there will be no huge page. */
	region_unmap(r);
	ret = region_map(r, MEM_ANON, FOLIO_2M, pmd_size()) ?: region_populate(r, g->node);
	if (ret)
		return ret;
	if (madvise(r->addr + r->size / 2, r->size / 2, MADV_DONTNEED))
		return -errno;
	return pagemap_read(r->addr, r->size, r->before);
}

static const struct contest split_contest = {
	.kind = MEM_ANON, .folio = FOLIO_2M, .offer = half_huge, .taken = is_split,
};

FIXTURE(race)
{
	struct ground ground;
	struct region r;
	pid_t mover;
};

FIXTURE_VARIANT(race)
{
	const struct contest *contest;
};

FIXTURE_VARIANT_ADD(race, collapse) { .contest = &small_pages_contest };

FIXTURE_VARIANT_ADD(race, page_table_of_huge_page) { .contest = &page_table_contest };

FIXTURE_VARIANT_ADD(race, deferred_split) { .contest = &split_contest };

FIXTURE_SETUP(race)
{
	const struct contest *contest = variant->contest;
	const char *why;

	settings_restore();
	why = missing(&self->ground, &khugepaged, contest->kind, contest->folio) ?:
	      deferred_split.missing(&self->ground);
	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(region_map(&self->r, contest->kind, contest->folio, pmd_size()), 0);
	if (contest->thread) {
		/* Nothing to populate, but khugepaged is made fast, and waits for its time. */
		ASSERT_EQ(khugepaged.place(&self->ground, NULL, 0), 0);
		ASSERT_EQ(khugepaged_wake(), 0);
		self->mover = kthread_find(contest->thread);
		ASSERT_GT(self->mover, 0);
	} else {
		pid_t pid = fork();

		ASSERT_GE(pid, 0);
		if (!pid)
			shrink();
		self->mover = pid;	/* which the child shares */
	}
	ASSERT_EQ(task_pin(self->mover, 0), 0);
	ASSERT_EQ(task_pin(0, 0), 0);
}

FIXTURE_TEARDOWN_PARENT(race)
{
	/* A shrinker has gone with the test. */
	if (self->mover > 0 && variant->contest->thread)
		task_pin(self->mover, -1);
	settings_restore();
}

/* What is there when madvise() returns stays, until the mark goes. */
TEST_F_TIMEOUT(race, mark_holds_at_once, TIMEOUT)
{
	const struct contest *contest = variant->contest;
	int races = 0, late = 0, in_time = 0, broken = 0;
	double end = now() + RACE_SECONDS;
	unsigned int delay = 2000;	/* microseconds: what gives each side its chance */
	struct region *r = &self->r;

	for (; races < RACES && now() < end; races++) {
		ASSERT_EQ(contest->offer(&self->ground, r), 0);
		if (contest->thread)
			ASSERT_EQ(khugepaged_wake(), 0);
		if (delay > 1)
			usleep(delay * (12 + races % 9) / 16);
		ASSERT_EQ(region_mark(r), 0);
		if (contest->taken(r)) {
			late++;
			delay -= delay / 8 + (delay > 1);
		} else {
			in_time++;
			delay += delay / 8 + 1;
			for (int i = 0; i < 10 && !contest->taken(r); i++)
				usleep(2000);
			broken += contest->taken(r);
		}
		delay = delay > 50000 ? 50000 : delay;
		ASSERT_EQ(region_unmark(r), 0);
	}
	TH_LOG("%d races: the mark was late in %d, in time in %d, and did not hold in %d of those",
	       races, late, in_time, broken);
	EXPECT_GE(late, PROOF)
		TH_LOG("INCONCLUSIVE: the mover has hardly won");
	EXPECT_GE(in_time, PROOF)
		TH_LOG("INCONCLUSIVE: the mark has hardly won");
	EXPECT_EQ(broken, 0);
}

TEST_HARNESS_MAIN
