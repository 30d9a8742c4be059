// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What protection is worth to a device behind the kernel's intel-iommu: page requests,
 * invalidations, cache misses and stalls while the movers that merely optimise are at work, and
 * during and after a move that must succeed.
 *
 * The address spaces of rivals are compared at the same time, each with a device of its own, so
 * that none has better movers than another.
 *
 * SVA_SECONDS=n in the environment: how long the movers that optimise are at work.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "movers.h"
#include "rivals.h"
#include "sva.h"
#include "sva_uio.h"

#define REGION_SIZE	(16 * MIB)
#define SECONDS		15
#define PATIENCE	240	/* until all movers have been there */
#define REQUESTS	10	/* at least, of a device on memory that may be moved */
#define FREE_BYTES	(320 * MIB)	/* on each node, when the run begins */
#define FORCED_SIZE	(4 * MIB)
#define TRIES		10
#define TIMEOUT		9000
#define INTERVAL_US	1000
#define PREFAULT	"/sys/kernel/mm/migrate_defer/prefault"

enum { NOTHING, MLOCK, PIN, NOMIGRATE, RECIPE, NR_RIVALS };

static const char * const rival_names[NR_RIVALS] = {
	[NOTHING] = "nothing", [MLOCK] = "mlock", [PIN] = "pin_uring",
	[NOMIGRATE] = "nomigrate", [RECIPE] = "recipe",
};

/* Counters of /proc/vmstat that show that the movers were at work */
static const char * const proof[] = {
	"compact_migrate_scanned", "numa_pages_migrated", "pswpout",
};

/* The rig is what is tested: without it there is nothing to skip to. */
static const char *rig_missing(struct ground *g)
{
	const char *why = sva_missing() ?: ground_init(g) ?: numa_balancing.missing(g) ?:
			  compact_memory.missing(g);

	for (int i = 0; !why && i < NR_RIVALS; i++) {
		const struct rival *rival = rival_find(rival_names[i]);

		why = rival->missing ? rival->missing() : NULL;
	}
	return why;
}

static int device_start(struct region *r, bool jump)
{
	struct sva_testdev_job job = sva_job(SVA_TESTDEV_INCREMENT, r->addr, r->size, 0);
	struct sva_testdev_stats stats;
	int fd, ret;

	for (size_t page = 0; page < region_pages(r); page++)
		*sva_word(r->addr, page) = 0;
	job.flags = SVA_TESTDEV_JOB_VERIFY | (jump ? SVA_UIO_JOB_SCATTER : 0);
	job.interval_us = INTERVAL_US;
	fd = sva_open_bound(0);
	if (fd < 0)
		return fd;
	ret = sva_start(fd, &job) ?: sva_wait_accesses(fd, region_pages(r)) ?:
	      sva_stats(fd, SVA_TESTDEV_STATS_RESET, &stats);
	if (!ret)
		return fd;
	close(fd);
	return ret;
}

/* In which the device has counted, after it has been told to stop. */
static size_t wrong_counters(const struct region *r, const struct sva_testdev_stats *stats,
			     bool jump)
{
	size_t wrong = 0;

	if (!jump)
		return sva_wrong_counters(r->addr, region_pages(r), 0, stats);
	/* In the pass that was not finished it went to any of them. */
	for (size_t page = 0; page < region_pages(r); page++)
		wrong += *sva_word(r->addr, page) - stats->passes > 1;
	return wrong;
}

/* ------------------------------------------------------------------- movers that merely optimise */

/**
 * struct user - a process with protected memory and a device
 * @pid:	the process
 * @ready:	the device has been everywhere
 * @error:	what went wrong, a negative errno
 * @requests:	page requests up to now
 * @counts:	of the device, when all is over
 * @invalidations: of these counts, when all began
 * @diff:	what has become of the pages
 * @wrong:	words with another content than the device has left there
 */
struct user {
	pid_t pid;
	bool ready;
	int error;
	unsigned long long requests;
	struct svadev_counts counts;
	unsigned long long invalidations;
	struct diff diff;
	size_t wrong;
};

/* What processes have to tell each other */
static struct {
	bool go;
	bool stop;
	struct user user[NR_RIVALS];
} *shared;

static int user_prepare(struct region *r, const struct ground *g, int i)
{
	/* What is pinned or locked counts as such, which is not what is compared. */
	setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){ RLIM_INFINITY, RLIM_INFINITY });
	return region_map(r, MEM_ANON, page_size(), REGION_SIZE) ?:
	       region_populate(r, g->node) ?: rival_find(rival_names[i])->protect(r->addr, r->size);
}

/* Use the memory now on this node, now on that, and look at the device. */
static int user_work(struct user *user, struct ground *g, struct region *r, int fd)
{
	struct sva_testdev_stats stats;
	bool here = false;

	while (!shared->stop) {
		int ret = sva_stats(fd, 0, &stats);

		if (ret || stats.result)
			return ret ?: stats.result;
		user->requests = stats.faults;
		for (int cpu = 0; cpu < cpu_count(); cpu++)
			if ((node_of_cpu(cpu) == g->node) == here && !task_pin(0, cpu))
				break;
		numa_balancing.push(g, &r, 1);
		here = !here;
	}
	return 0;
}

static int user_run(int i, struct ground *g, bool jump)
{
	struct user *user = &shared->user[i];
	struct sva_testdev_stats stats;
	struct region r;
	int fd, ret;

	ret = user_prepare(&r, g, i);
	if (ret)
		return ret;
	fd = device_start(&r, jump);
	if (fd < 0)
		return fd;
	user->ready = true;
	while (!shared->go)
		usleep(1000);
	ret = region_snapshot(&r);
	/* Of some pages may be in swap already, or on their way. */
	if (ret && (i == PIN || i == RECIPE || ret != -ENODATA))
		return ret;
	ret = uio_counts(fd, &user->counts);
	user->invalidations = user->counts.invalidations;
	ret = ret ?: sva_stats(fd, SVA_TESTDEV_STATS_RESET, &stats) ?:
	      user_work(user, g, &r, fd) ?: sva_stop(fd);
	user->diff = region_compare(&r);
	ret = ret ?: uio_counts(fd, &user->counts) ?: sva_stats(fd, 0, &stats);
	if (!ret)
		user->wrong = wrong_counters(&r, &stats, jump);
	return ret;
}

static void user_start(int i, struct ground *g, bool jump)
{
	struct user *user = &shared->user[i];
	pid_t pid = fork();

	if (pid) {
		user->pid = pid;
		return;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	user->error = user_run(i, g, jump);
	_exit(0);
}

FIXTURE(optimising) {
	struct ground ground;
	pid_t fragmenter;
	pid_t pressure;
};

FIXTURE_VARIANT(optimising) {
	bool jump;
};

FIXTURE_VARIANT_ADD(optimising, streams) { .jump = false };

FIXTURE_VARIANT_ADD(optimising, jumps) { .jump = true };

FIXTURE_SETUP(optimising)
{
	const char *why;

	settings_restore();
	why = rig_missing(&self->ground);
	ASSERT_EQ(NULL, why)
		TH_LOG("%s", why);
	ASSERT_EQ(0, swapon(SWAP, 0));
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	ASSERT_NE(MAP_FAILED, shared);
	ASSERT_OK(nodes_fill(FREE_BYTES));
	self->fragmenter = load_compaction();
	self->pressure = load_pressure();
	for (int i = 0; i < NR_RIVALS; i++)
		user_start(i, &self->ground, variant->jump);
}

FIXTURE_TEARDOWN_PARENT(optimising)
{
	settings_restore();
	swapoff(SWAP);
}

static bool all_ready(void *unused)
{
	(void)unused;
	for (int i = 0; i < NR_RIVALS; i++)
		if (!shared->user[i].ready && !shared->user[i].error)
			return false;
	return true;
}

/* All movers have been there, and have hit what was in reach. */
static bool proven(const long long *before)
{
	for (size_t i = 0; i < ARRAY_SIZE(proof); i++)
		if (vmstat(proof[i]) <= before[i])
			return false;
	return shared->user[NOTHING].requests >= REQUESTS &&
	       shared->user[MLOCK].requests >= REQUESTS;
}

static bool any_error(void)
{
	for (int i = 0; i < NR_RIVALS; i++)
		if (shared->user[i].error)
			return true;
	return false;
}

static void print_optimising(double seconds, bool jump)
{
	printf("# A device that %s, intel-iommu, %.0f s of compaction, NUMA balancing and memory\n"
	       "# pressure over %zu MiB of each process:\n#\n", jump ? "jumps" : "streams", seconds,
	       REGION_SIZE / MIB);
	printf("# %-10s%8s%10s%15s%9s%10s%12s%12s%13s%7s\n", "protection", "moved", "requests",
	       "invalidations", "dropped", "misses", "stalls", "longest", "accesses", "wrong");
	for (int i = 0; i < NR_RIVALS; i++) {
		const struct user *u = &shared->user[i];
		const struct svadev_counts *c = &u->counts;

		printf("# %-10s%8zu%10llu%15llu%9llu%10llu%9llu ms%9llu us%13llu%7llu\n",
		       rival_names[i], u->diff.moved + u->diff.absent, c->requests,
		       c->invalidations - u->invalidations, c->dropped, c->translations,
		       c->stall_ns / 1000000, c->stall_ns_max / 1000, c->accesses,
		       c->mismatches + u->wrong);
	}
}

/* Memory under the recipe costs the device no page request, other memory that is not pinned does. */
TEST_F_TIMEOUT(optimising, no_page_requests, TIMEOUT)
{
	const char *env = getenv("SVA_SECONDS");
	double seconds = env ? atof(env) : SECONDS, begin;
	long long before[ARRAY_SIZE(proof)];

	ASSERT_TRUE(poll_until(all_ready, NULL, TIMEOUT));
	for (size_t i = 0; i < ARRAY_SIZE(proof); i++)
		before[i] = vmstat(proof[i]);
	ASSERT_OK(numa_scan_fast());
	shared->go = true;
	begin = now();
	do {
		usleep(100000);
	} while (!any_error() &&
		 (now() - begin < seconds || (now() - begin < PATIENCE && !proven(before))));
	seconds = now() - begin;
	shared->stop = true;
	for (int i = 0; i < NR_RIVALS; i++) {
		const struct user *user = &shared->user[i];
		int status;

		ASSERT_EQ(user->pid, waitpid(user->pid, &status, 0));
		EXPECT_EQ(0, status);
		EXPECT_EQ(0, user->error)
			TH_LOG("%s: %s", rival_names[i], strerror(-user->error));
		EXPECT_EQ(0, user->counts.result);
		EXPECT_EQ(0, user->counts.mismatches + user->wrong);
	}
	load_stop(self->fragmenter);
	load_stop(self->pressure);
	print_optimising(seconds, variant->jump);
	for (size_t i = 0; i < ARRAY_SIZE(proof); i++)
		printf("# %s: %lld\n", proof[i], vmstat(proof[i]) - before[i]);
	EXPECT_TRUE(proven(before))
		TH_LOG("INCONCLUSIVE: not all movers were there in time");
	EXPECT_LT(0, shared->user[RECIPE].counts.accesses);
	EXPECT_EQ(0, shared->user[RECIPE].counts.requests);
	EXPECT_EQ(0, shared->user[RECIPE].diff.moved + shared->user[RECIPE].diff.absent);
}

/* --------------------------------------------------------------------- movers that must succeed */

/**
 * struct tally - what ten moves come to
 * @succeeded:	moves that did
 * @must:	pages that they had to move
 * @moved:	pages that they did move
 * @requests:	page requests until the move was over
 * @invalidations: the same
 * @dropped:	translations that these removed from the cache
 * @stall_ns:	waits of the device, all together
 * @stall_ns_max: the longest
 * @after:	page requests from then on
 * @wrong:	words with another content than the device has left there
 */
struct tally {
	int succeeded;
	size_t must;
	size_t moved;
	unsigned long long requests;
	unsigned long long invalidations;
	unsigned long long dropped;
	unsigned long long stall_ns;
	unsigned long long stall_ns_max;
	unsigned long long after;
	size_t wrong;
};

FIXTURE(forced) {
	struct ground ground;
};

FIXTURE_VARIANT(forced) {
	const struct mover *mover;
	bool jump;
};

FIXTURE_VARIANT_ADD(forced, move_pages_streams) { .mover = &move_pages_syscall };

FIXTURE_VARIANT_ADD(forced, move_pages_jumps) { .mover = &move_pages_syscall, .jump = true };

FIXTURE_VARIANT_ADD(forced, cma_streams) { .mover = &cma_alloc };

FIXTURE_VARIANT_ADD(forced, cma_jumps) { .mover = &cma_alloc, .jump = true };

FIXTURE_VARIANT_ADD(forced, offline_streams) { .mover = &memory_offline };

FIXTURE_SETUP(forced)
{
	const char *why;

	settings_restore();
	why = rig_missing(&self->ground) ?: variant->mover->missing(&self->ground);
	ASSERT_EQ(NULL, why)
		TH_LOG("%s", why);
	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){ RLIM_INFINITY, RLIM_INFINITY }));
}

FIXTURE_TEARDOWN_PARENT(forced)
{
	settings_restore();
}

/* Count what the device saw of a move that is over, and then of two more passes. */
static int count_move(struct region *r, int fd, bool jump, unsigned long long invalidations,
		      struct tally *t)
{
	struct sva_testdev_stats stats;
	struct svadev_counts c;
	int ret;

	ret = sva_wait_quiet(fd) ?: sva_wait_accesses(fd, region_pages(r)) ?: uio_counts(fd, &c) ?:
	      sva_stats(fd, SVA_TESTDEV_STATS_RESET, &stats);
	if (ret)
		return ret;
	t->requests += c.requests;
	t->invalidations += c.invalidations - invalidations;
	t->dropped += c.dropped;
	t->stall_ns += c.stall_ns;
	if (c.stall_ns_max > t->stall_ns_max)
		t->stall_ns_max = c.stall_ns_max;
	ret = sva_wait_accesses(fd, 2 * region_pages(r)) ?: sva_stop(fd) ?:
	      sva_stats(fd, 0, &stats);
	t->after += stats.faults;
	t->wrong += stats.mismatches + wrong_counters(r, &stats, jump);
	return ret ?: stats.result;
}

static int move(struct ground *g, const struct mover *mover, const struct rival *rival, bool jump,
		struct tally *t)
{
	struct svadev_counts before;
	struct region r, *rp = &r;
	struct diff diff;
	int fd, ret;

	ret = region_map(&r, MEM_ANON, page_size(), FORCED_SIZE) ?: mover->place(g, &rp, 1) ?:
	      rival->protect(r.addr, r.size) ?: region_snapshot(&r);
	if (ret)
		return ret;
	fd = device_start(&r, jump);
	if (fd < 0)
		return fd;
	ret = uio_counts(fd, &before);
	if (!ret) {
		t->succeeded += !mover->push(g, &rp, 1);
		ret = count_move(&r, fd, jump, before.invalidations, t);
	}
	diff = compare_must_move(g, &r);
	t->must += diff.pages;
	t->moved += diff.moved;
	close(fd);
	if (mover->undo)
		mover->undo(g);
	ret = ret ?: rival->release(r.addr, r.size);
	region_unmap(&r);
	return ret;
}

static void print_forced(const struct mover *mover, bool jump, const struct tally *tallies)
{
	printf("# A device that %s, intel-iommu, %d moves of %zu MiB by %s:\n#\n",
	       jump ? "jumps" : "streams", TRIES, FORCED_SIZE / MIB, mover->name);
	printf("# %-10s%10s%15s%10s%15s%9s%12s%12s%7s%7s\n", "protection", "succeeded", "moved",
	       "requests", "invalidations", "dropped", "stalls", "longest", "after", "wrong");
	for (int i = 0; i < NR_RIVALS; i++) {
		const struct tally *t = &tallies[i];
		char moved[32];

		snprintf(moved, sizeof(moved), "%zu of %zu", t->moved, t->must);
		printf("# %-10s%10d%15s%10llu%15llu%9llu%9llu ms%9llu us%7llu%7zu\n",
		       rival_names[i], t->succeeded, moved, t->requests, t->invalidations,
		       t->dropped, t->stall_ns / 1000000, t->stall_ns_max / 1000, t->after,
		       t->wrong);
	}
}

/*
 * A move of marked memory succeeds, and the device asks for nothing when it is over.  While it
 * lasts a marked page is missing only as long as it takes to move it alone; so a device that
 * streams meets one missing page after the other, where it would wait once for a whole batch of
 * unmarked pages: many times the requests.
 */
TEST_F_TIMEOUT(forced, requests_end_with_the_move, TIMEOUT)
{
	struct tally tallies[NR_RIVALS] = { 0 }, off = { 0 };

	/* By turns, so that all have the same memory and the same machine. */
	for (int try = 0; try < TRIES; try++)
		for (int i = 0; i < NR_RIVALS; i++)
			ASSERT_OK(move(&self->ground, variant->mover, rival_find(rival_names[i]),
				       variant->jump, &tallies[i]));
	print_forced(variant->mover, variant->jump, tallies);
	for (int i = 0; i < NR_RIVALS; i++)
		EXPECT_EQ(0, tallies[i].wrong);
	for (int i = NOMIGRATE; i <= RECIPE; i++) {
		const struct tally *t = &tallies[i];

		EXPECT_EQ(TRIES, t->succeeded);
		EXPECT_LT(0, t->must);
		EXPECT_EQ(t->must, t->moved);
		EXPECT_EQ(0, t->after);
	}
	/* What is pinned either stays, or was put elsewhere when it was pinned. */
	EXPECT_EQ(0, tallies[PIN].moved);
	/* 20480 unmarked pages were seen to cost 120 and 230 requests, marked ones 884 and 913. */
	if (variant->mover == &move_pages_syscall && !variant->jump)
		EXPECT_LT(tallies[NOTHING].requests + tallies[MLOCK].requests,
			  tallies[NOMIGRATE].requests + tallies[RECIPE].requests);

	ASSERT_OK(setting_write(PREFAULT, "0"));
	for (int try = 0; try < TRIES; try++)
		ASSERT_OK(move(&self->ground, variant->mover, rival_find("recipe"), variant->jump,
			       &off));
	TH_LOG("without pre-fault: %llu page requests during the moves, %llu afterwards",
	       off.requests, off.after);
	EXPECT_EQ(TRIES, off.succeeded);
	EXPECT_EQ(0, off.wrong);
}

TEST_HARNESS_MAIN
