// SPDX-License-Identifier: GPL-2.0
/*
 * The recipe for applications: mmap(), mlock() against reclaim, MADV_POPULATE_WRITE and
 * MADV_NOMIGRATE.  A device streams over such memory, over memory that is only locked and over
 * memory that is not protected, all in one process, while everybody else wants to move it.
 *
 * SVA_SECONDS=n in the environment: how long.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/swap.h>
#include <unistd.h>

#include "harness.h"
#include "movers.h"
#include "sva.h"

#define REGION_SIZE	(32 * MIB)
#define SECONDS		15
#define PATIENCE	240
#define FAULTS		100	/* at least, of a device on memory that may be moved */
#define TIMEOUT		9000
#define FREE_BYTES	(320 * MIB)	/* on each node, when the run begins */

enum protection { NOTHING, LOCKED, RECIPE, NR_PROTECTIONS };

static const char * const protection_name[] = {
	"nothing", "mlock()", "the recipe",
};

/* Counters of /proc/vmstat that show that the movers were at work */
static const char * const proof[] = {
	"compact_migrate_scanned", "numa_pages_migrated", "pswpout",
};

struct user {
	struct region r;
	int fd;
	struct sva_testdev_stats stats;
	size_t moved;
};

FIXTURE(recipe) {
	struct ground ground;
	struct user user[NR_PROTECTIONS];
	pid_t fragmenter;
	pid_t pressure;
};

static int protect(struct region *r, enum protection protection)
{
	if (protection != NOTHING && mlock(r->addr, r->size))
		return -errno;
	if (protection != RECIPE)
		return 0;
	if (madvise(r->addr, r->size, MADV_POPULATE_WRITE))
		return -errno;
	return region_mark(r);
}

FIXTURE_SETUP(recipe)
{
	const char *why;

	settings_restore();
	why = sva_missing() ?: ground_init(&self->ground) ?:
	      numa_balancing.missing(&self->ground) ?: compact_memory.missing(&self->ground);
	if (why)
		SKIP(return, "%s", why);
	if (swapon(SWAP, 0))
		SKIP(return, "no swap on %s: %s", SWAP, strerror(errno));
	ASSERT_OK(nodes_fill(FREE_BYTES));
	/* Before there is anything that fork() would write-protect */
	self->fragmenter = load_compaction();
	self->pressure = load_pressure();
	for (int i = 0; i < NR_PROTECTIONS; i++) {
		struct region *r = &self->user[i].r;

		ASSERT_OK(region_map(r, MEM_ANON, page_size(), REGION_SIZE));
		ASSERT_OK(region_populate(r, self->ground.node));
		for (size_t page = 0; page < region_pages(r); page++)
			*sva_word(r->addr, page) = 0;
		ASSERT_OK(protect(r, i));
	}
}

FIXTURE_TEARDOWN_PARENT(recipe)
{
	settings_restore();
	swapoff(SWAP);
}

static void print_table(const struct user *user, double seconds)
{
	printf("# I/O page faults of a device in %.0f s of compaction, NUMA balancing and memory\n"
	       "# pressure, streaming over three ranges of %zu MiB that differ only in how they\n"
	       "# are protected:\n#\n", seconds, REGION_SIZE / MIB);
	printf("# %-12s%10s%10s%12s%12s%12s%12s%10s\n", "protection", "moved", "faults",
	       "stall p50", "stall p99", "longest", "accesses", "wrong");
	for (int i = 0; i < NR_PROTECTIONS; i++) {
		const struct sva_testdev_stats *s = &user[i].stats;

		printf("# %-12s%10zu%10llu%9llu us%9llu us%9llu us%12llu%10llu\n",
		       protection_name[i], user[i].moved, s->faults, sva_stall_below(s, 0.5),
		       sva_stall_below(s, 0.99), s->stall_ns_max / 1000, s->accesses,
		       s->mismatches);
	}
}

/* All movers have been there, and have hit what was in reach. */
static bool proven(struct user *user, const long long *before)
{
	for (size_t i = 0; i < ARRAY_SIZE(proof); i++)
		if (vmstat(proof[i]) <= before[i])
			return false;
	for (int i = NOTHING; i <= LOCKED; i++)
		if (sva_stats(user[i].fd, 0, &user[i].stats) || user[i].stats.faults <= FAULTS)
			return false;
	return true;
}

/* Memory under the recipe costs the device no I/O page fault, other memory does. */
TEST_F_TIMEOUT(recipe, no_faults, TIMEOUT)
{
	const char *env = getenv("SVA_SECONDS");
	double seconds = env ? atof(env) : SECONDS, begin;
	long long before[ARRAY_SIZE(proof)];
	bool here = false;
	int ret;

	for (int i = 0; i < NR_PROTECTIONS; i++) {
		struct user *user = &self->user[i];
		struct sva_testdev_job job = sva_job(SVA_TESTDEV_INCREMENT, user->r.addr,
						     user->r.size, 0);

		job.flags = SVA_TESTDEV_JOB_VERIFY;
		job.interval_us = 1000;
		user->fd = sva_open_bound(0);
		ASSERT_LE(0, user->fd);
		/* The movers are at work: of the others something may be in swap, or on its way. */
		ret = region_snapshot(&user->r);
		ASSERT_OK(i != RECIPE && ret == -ENODATA ? 0 : ret);
		ASSERT_OK(sva_start(user->fd, &job));
	}
	for (int i = 0; i < NR_PROTECTIONS; i++)
		ASSERT_OK(sva_wait_accesses(self->user[i].fd, region_pages(&self->user[i].r)));
	for (size_t i = 0; i < ARRAY_SIZE(proof); i++)
		before[i] = vmstat(proof[i]);
	for (int i = 0; i < NR_PROTECTIONS; i++)
		ASSERT_OK(sva_stats(self->user[i].fd, SVA_TESTDEV_STATS_RESET,
				    &self->user[i].stats));

	/* Use the memory now on this node, now on that. */
	ASSERT_OK(numa_scan_fast());
	begin = now();
	do {
		struct region *regions[NR_PROTECTIONS];

		for (int i = 0; i < NR_PROTECTIONS; i++)
			regions[i] = &self->user[i].r;
		for (int cpu = 0; cpu < cpu_count(); cpu++)
			if ((node_of_cpu(cpu) == self->ground.node) == here && !task_pin(0, cpu))
				break;
		numa_balancing.push(&self->ground, regions, NR_PROTECTIONS);
		here = !here;
		/* On a slow machine it takes longer until all movers have been there. */
	} while (now() - begin < seconds ||
		 (now() - begin < PATIENCE && !proven(self->user, before)));
	seconds = now() - begin;

	for (int i = 0; i < NR_PROTECTIONS; i++) {
		struct user *user = &self->user[i];
		struct diff diff = region_compare(&user->r);

		ASSERT_OK(sva_stop(user->fd));
		ASSERT_OK(sva_stats(user->fd, 0, &user->stats));
		user->moved = diff.moved + diff.absent;
		EXPECT_EQ(0, user->stats.result);
		EXPECT_EQ(0, user->stats.mismatches);
		EXPECT_EQ(0, sva_wrong_counters(user->r.addr, region_pages(&user->r), 0,
						&user->stats));
	}
	load_stop(self->fragmenter);
	load_stop(self->pressure);
	print_table(self->user, seconds);
	for (size_t i = 0; i < ARRAY_SIZE(proof); i++) {
		printf("# %s: %lld\n", proof[i], vmstat(proof[i]) - before[i]);
		EXPECT_LT(0, vmstat(proof[i]) - before[i]);
	}
	EXPECT_LT(FAULTS, self->user[NOTHING].stats.faults);
	EXPECT_LT(FAULTS, self->user[LOCKED].stats.faults);
	EXPECT_EQ(0, self->user[RECIPE].stats.faults)
		TH_LOG("%s", sva_describe(&self->user[RECIPE].stats));
	EXPECT_EQ(0, self->user[RECIPE].moved);
}

TEST_HARNESS_MAIN
