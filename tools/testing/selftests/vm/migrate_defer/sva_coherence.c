// SPDX-License-Identifier: GPL-2.0
/*
 * The SVA test device never uses a page after the invalidation that took it away has returned,
 * whatever takes it away: every access is made once, to the right page.
 *
 * SVA_ACCESSES=n in the environment: how many accesses the test "verified_accesses" makes.
 * SVA_SWAP=path: a swap device that the tests of paging out may use.
 */
#include <errno.h>
#include <linux/mempolicy.h>
#include <stdlib.h>
#include <string.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "migrate_defer.h"
#include "sva.h"

#define PAGES		1024	/* fit into the device's translation cache */
#define ROUNDS		20
#define TIMEOUT		900
#define FOLIO_4K	4096
#define FOLIO_64K	(64 * 1024)
#define FOLIO_2M	(2 * MIB)
#define NODE1_HUGETLB	"/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages"

/* ------------------------------------------------------------------------- stale translations */

static int two_windows(char **view, char **window, size_t size)
{
	int fd = memfd_create("sva_device", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, 2 * size))
		return -1;
	*view = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	*window = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return *view == MAP_FAILED || *window == MAP_FAILED ? -1 : fd;
}

enum swap_by { BY_REMAP, BY_DONTNEED, BY_MOVE };

FIXTURE(stale) {
	int fd;
};

FIXTURE_VARIANT(stale) {
	enum swap_by by;
	bool deaf;
};

FIXTURE_VARIANT_ADD(stale, remap) { .by = BY_REMAP };

FIXTURE_VARIANT_ADD(stale, dontneed) { .by = BY_DONTNEED };

FIXTURE_VARIANT_ADD(stale, move) { .by = BY_MOVE };

FIXTURE_VARIANT_ADD(stale, remap_deaf) { .by = BY_REMAP, .deaf = true };

FIXTURE_VARIANT_ADD(stale, dontneed_deaf) { .by = BY_DONTNEED, .deaf = true };

FIXTURE_VARIANT_ADD(stale, move_deaf) { .by = BY_MOVE, .deaf = true };

FIXTURE_SETUP(stale)
{
	const char *missing = sva_missing();

	if (missing)
		SKIP(return, "%s", missing);
	self->fd = sva_open_bound(variant->deaf ? SVA_TESTDEV_BIND_DEAF : 0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(stale)
{
	close(self->fd);
}

/*
 * Whatever puts another page below an address, the device reads the new page from then on; and
 * a device that hears no invalidation is caught by the same test.
 */
TEST_F_TIMEOUT(stale, device_reads_new_page, TIMEOUT)
{
	size_t size = PAGES * page_size(), wrong = 0;
	struct sva_testdev_stats stats;
	struct sva_testdev_job job;
	char *view, *window;
	int memfd;

	if (variant->by == BY_MOVE && node_count() < 2)
		SKIP(return, "needs two NUMA nodes to move pages between");
	memfd = two_windows(&view, &window, size);
	ASSERT_LE(0, memfd);
	if (variant->by != BY_REMAP)
		ASSERT_EQ(window, mmap(window, size, PROT_READ | PROT_WRITE,
				       MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

	job = sva_job(SVA_TESTDEV_READ, window, size, 1);
	job.flags = SVA_TESTDEV_JOB_VERIFY;
	for (int round = 0; round < ROUNDS; round++) {
		switch (variant->by) {
		case BY_REMAP:
			ASSERT_EQ(window, mmap(window, size, PROT_READ | PROT_WRITE,
					       MAP_FIXED | MAP_SHARED, memfd, round % 2 * size));
			break;
		case BY_DONTNEED:
			ASSERT_EQ(0, madvise(window, size, MADV_DONTNEED));
			break;
		case BY_MOVE:
			ASSERT_OK(range_bind(window, size, round % 2, MPOL_MF_MOVE));
			break;
		}
		job.seed = (uint64_t)round << 32;
		for (size_t i = 0; i < PAGES; i++)
			*sva_word(window, i) = job.seed + i * page_size() / 8;
		ASSERT_OK(sva_run(self->fd, &job, &stats));
		wrong += stats.mismatches;
	}
	TH_LOG("%zu of %d accesses read an old page", wrong, ROUNDS * PAGES);
	if (!variant->deaf) {
		EXPECT_EQ(0, wrong);
		return;
	}
	EXPECT_LT(PAGES, wrong);
	job.op = SVA_TESTDEV_WRITE;
	EXPECT_EQ(-EPERM, sva_start(self->fd, &job));
}

FIXTURE(exchange) {
	int fd;
};

FIXTURE_VARIANT(exchange) {
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(exchange, no_hw_ad) {
	.flags = 0,
};

FIXTURE_VARIANT_ADD(exchange, hw_ad) {
	.flags = SVA_TESTDEV_JOB_HW_AD,
};

FIXTURE_SETUP(exchange)
{
	const char *missing = sva_missing();

	if (missing)
		SKIP(return, "%s", missing);
	self->fd = sva_open_bound(0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(exchange)
{
	close(self->fd);
}

/*
 * While the device increments, the memory below it is exchanged: once mmap() has returned the
 * page that was there is never written again, and no increment is lost or done twice.
 */
TEST_F_TIMEOUT(exchange, old_page_left_alone, TIMEOUT)
{
	size_t size = PAGES * page_size(), touched = 0;
	struct sva_testdev_stats stats;
	struct sva_testdev_job job;
	char *view, *window, *copy;
	int memfd;

	memfd = two_windows(&view, &window, size);
	copy = malloc(size);
	ASSERT_LE(0, memfd);
	memset(view, 0, 2 * size);
	job = sva_job(SVA_TESTDEV_INCREMENT, window, size, 0);
	job.flags = variant->flags;
	ASSERT_OK(sva_start(self->fd, &job));
	for (int round = 0; round < 50; round++) {
		char *old = view + round % 2 * size;

		ASSERT_EQ(window, mmap(window, size, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_SHARED,
				       memfd, (round + 1) % 2 * size));
		memcpy(copy, old, size);
		ASSERT_OK(sva_wait_accesses(self->fd, PAGES / 2));
		touched += !!memcmp(copy, old, size);
	}
	ASSERT_OK(sva_stop(self->fd));
	ASSERT_OK(sva_stats(self->fd, 0, &stats));
	EXPECT_EQ(0, stats.result);
	EXPECT_EQ(0, touched);
	for (size_t i = 0; i < PAGES; i++)
		*sva_word(copy, i) = *sva_word(view, i) + *sva_word(view + size, i);
	EXPECT_EQ(0, sva_wrong_counters(copy, PAGES, 0, &stats));
	TH_LOG("%s", sva_describe(&stats));
	free(copy);
}

/* ------------------------------------------------------------- increments while memory changes */

static int push_move(struct region *r)
{
	static int node;

	node = !node;
	return range_bind(r->addr, r->size, node, MPOL_MF_MOVE);
}

static int push_dontneed(struct region *r)
{
	return madvise(r->addr, r->size, MADV_DONTNEED) ? -errno : 0;
}

static int push_fork(struct region *r)
{
	pid_t pid = fork();
	int status;

	(void)r;
	if (!pid)
		_exit(0);
	return pid < 0 || waitpid(pid, &status, 0) != pid || status ? -ECHILD : 0;
}

static int push_split_collapse(struct region *r)
{
	int ret = 0;

	/* A VMA boundary within a huge page splits its mapping. */
	if (madvise(r->addr + page_size(), page_size(), MADV_DONTFORK) ||
	    madvise(r->addr + page_size(), page_size(), MADV_DOFORK))
		ret = -errno;
	/* EINVAL: a page was on its way just then. */
	if (!ret && madvise(r->addr, r->size, MADV_COLLAPSE) &&
	    errno != EAGAIN && errno != EBUSY && errno != EINVAL)
		ret = -errno;
	return ret;
}

static int push_sync(struct region *r)
{
	return msync(r->addr, r->size, MS_SYNC) ? -errno : 0;
}

static int push_age(struct region *r)
{
	if (madvise(r->addr, r->size, MADV_COLD))
		return -errno;
	return file_write("/proc/self/clear_refs", "1");
}

static int push_pageout(struct region *r)
{
	return madvise(r->addr, r->size, MADV_PAGEOUT) ? -errno : 0;
}

FIXTURE(churn) {
	int fd;
	struct region r;
	char *swap;
};

FIXTURE_VARIANT(churn) {
	enum mem_kind kind;
	size_t folio;
	int (*push)(struct region *r);
	int rounds;
};

FIXTURE_VARIANT_ADD(churn, anon_moved) {
	.kind = MEM_ANON, .folio = FOLIO_4K, .push = push_move, .rounds = 20,
};

FIXTURE_VARIANT_ADD(churn, anon_forked) {
	.kind = MEM_ANON, .folio = FOLIO_4K, .push = push_fork, .rounds = 20,
};

FIXTURE_VARIANT_ADD(churn, anon_aged) {
	.kind = MEM_ANON, .folio = FOLIO_4K, .push = push_age, .rounds = 20,
};

FIXTURE_VARIANT_ADD(churn, anon_paged_out) {
	.kind = MEM_ANON, .folio = FOLIO_4K, .push = push_pageout, .rounds = 10,
};

FIXTURE_VARIANT_ADD(churn, anon_64k_moved) {
	.kind = MEM_ANON, .folio = FOLIO_64K, .push = push_move, .rounds = 20,
};

FIXTURE_VARIANT_ADD(churn, anon_64k_aged) {
	.kind = MEM_ANON, .folio = FOLIO_64K, .push = push_age, .rounds = 20,
};

FIXTURE_VARIANT_ADD(churn, anon_64k_forked) {
	.kind = MEM_ANON, .folio = FOLIO_64K, .push = push_fork, .rounds = 20,
};

FIXTURE_VARIANT_ADD(churn, thp_moved) {
	.kind = MEM_ANON, .folio = FOLIO_2M, .push = push_move, .rounds = 20,
};

FIXTURE_VARIANT_ADD(churn, thp_split) {
	.kind = MEM_ANON, .folio = FOLIO_2M, .push = push_split_collapse, .rounds = 20,
};

FIXTURE_VARIANT_ADD(churn, shmem_moved) {
	.kind = MEM_SHMEM, .folio = FOLIO_4K, .push = push_move, .rounds = 20,
};

FIXTURE_VARIANT_ADD(churn, shmem_dropped) {
	.kind = MEM_SHMEM, .folio = FOLIO_4K, .push = push_dontneed, .rounds = 20,
};

FIXTURE_VARIANT_ADD(churn, shmem_paged_out) {
	.kind = MEM_SHMEM, .folio = FOLIO_4K, .push = push_pageout, .rounds = 10,
};

FIXTURE_VARIANT_ADD(churn, shmem_thp_dropped) {
	.kind = MEM_SHMEM, .folio = FOLIO_2M, .push = push_dontneed, .rounds = 20,
};

FIXTURE_VARIANT_ADD(churn, file_synced) {
	.kind = MEM_FILE_SHARED, .folio = FOLIO_4K, .push = push_sync, .rounds = 20,
};

FIXTURE_VARIANT_ADD(churn, file_dropped) {
	.kind = MEM_FILE_SHARED, .folio = FOLIO_4K, .push = push_dontneed, .rounds = 20,
};

FIXTURE_VARIANT_ADD(churn, file_moved) {
	.kind = MEM_FILE_SHARED, .folio = FOLIO_4K, .push = push_move, .rounds = 20,
};

FIXTURE_VARIANT_ADD(churn, hugetlb_moved) {
	.kind = MEM_HUGETLB, .folio = FOLIO_2M, .push = push_move, .rounds = 20,
};

FIXTURE_SETUP(churn)
{
	const char *missing = sva_missing() ?: region_missing(variant->kind, variant->folio);

	if (missing)
		SKIP(return, "%s", missing);
	if (variant->push == push_move && node_count() < 2)
		SKIP(return, "needs two NUMA nodes to move pages between");
	if (variant->push == push_pageout) {
		self->swap = getenv("SVA_SWAP") ?: "/dev/vdb";
		if (swapon(self->swap, 0))
			SKIP(return, "no swap on %s (or in SVA_SWAP): %s", self->swap,
			     strerror(errno));
	}
	ASSERT_OK(region_map(&self->r, variant->kind, variant->folio, PAGES * page_size()));
	if (variant->kind == MEM_HUGETLB)
		ASSERT_OK(setting_write(NODE1_HUGETLB, "%zu", self->r.size / pmd_size()));
	ASSERT_OK(region_populate(&self->r, 0));
	self->fd = sva_open_bound(0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(churn)
{
	close(self->fd);
	region_unmap(&self->r);
	if (self->swap)
		swapoff(self->swap);
	settings_restore();
}

/* Whatever takes mappings away under a device that increments, no increment is lost or doubled. */
TEST_F_TIMEOUT(churn, increments_exact, TIMEOUT)
{
	struct sva_testdev_stats stats;
	size_t pages = region_pages(&self->r);

	for (int hw_ad = SVA_ALWAYS_HW_AD; hw_ad < 2; hw_ad++) {
		struct sva_testdev_job job = sva_job(SVA_TESTDEV_INCREMENT, self->r.addr,
						     self->r.size, 0);

		for (size_t i = 0; i < pages; i++)
			*sva_word(self->r.addr, i) = 0;
		job.flags = SVA_TESTDEV_JOB_VERIFY | (hw_ad ? SVA_TESTDEV_JOB_HW_AD : 0);
		ASSERT_OK(sva_start(self->fd, &job));
		for (int round = 0; round < variant->rounds; round++) {
			ASSERT_OK(sva_wait_accesses(self->fd, pages / 2));
			ASSERT_OK(variant->push(&self->r));
		}
		ASSERT_OK(sva_wait_accesses(self->fd, pages));
		ASSERT_OK(sva_stop(self->fd));
		ASSERT_OK(sva_stats(self->fd, 0, &stats));
		TH_LOG("%s: %s", hw_ad ? "hardware A/D" : "no hardware A/D",
		       sva_describe(&stats));
		EXPECT_EQ(0, stats.result);
		EXPECT_EQ(0, stats.mismatches);
		EXPECT_EQ(0, sva_wrong_counters(self->r.addr, pages, 0, &stats));
		if (variant->push != push_age)
			EXPECT_LT(0, stats.dropped);
	}

	/* What the device wrote must also be in the file. */
	if (variant->kind == MEM_FILE_SHARED) {
		size_t wrong = 0;

		ASSERT_EQ(0, fsync(self->r.fd));
		for (size_t i = 0; i < pages; i++) {
			uint64_t in_file = 0;

			ASSERT_EQ(sizeof(in_file), pread(self->r.fd, &in_file, sizeof(in_file),
							 i * page_size()));
			wrong += in_file != *sva_word(self->r.addr, i);
		}
		EXPECT_EQ(0, wrong);
	}
}

/* --------------------------------------------------------------------------------- the long run */

FIXTURE(long_run) {
	int fd;
	char *mem;
	size_t size;
};

FIXTURE_SETUP(long_run)
{
	const char *missing = sva_missing();

	if (missing)
		SKIP(return, "%s", missing);
	if (node_count() < 2)
		SKIP(return, "needs two NUMA nodes to move pages between");
	self->size = PAGES * page_size();
	self->mem = mmap(NULL, self->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);
	ASSERT_NE(MAP_FAILED, self->mem);
	self->fd = sva_open_bound(0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(long_run)
{
	close(self->fd);
	munmap(self->mem, self->size);
}

/* Millions of accesses with the pages moving all the time find not one wrong word. */
TEST_F_TIMEOUT(long_run, verified_accesses, 3600)
{
	const char *env = getenv("SVA_ACCESSES");
	uint64_t accesses = env ? strtoull(env, NULL, 0) : 500000, moves = 0;
	struct sva_testdev_job job = sva_job(SVA_TESTDEV_INCREMENT, self->mem, self->size,
					     accesses / PAGES + 1);
	struct sva_testdev_stats stats;
	double start = now();

	memset(self->mem, 0, self->size);
	job.flags = SVA_TESTDEV_JOB_VERIFY;
	ASSERT_OK(sva_start(self->fd, &job));
	do {
		ASSERT_OK(range_bind(self->mem, self->size, moves++ % 2, MPOL_MF_MOVE));
	} while (!sva_wait_accesses(self->fd, 10 * PAGES));
	ASSERT_OK(sva_stats(self->fd, 0, &stats));
	EXPECT_EQ(0, stats.result);
	EXPECT_LE(accesses, stats.accesses);
	EXPECT_EQ(0, stats.mismatches);
	EXPECT_EQ(0, sva_wrong_counters(self->mem, PAGES, 0, &stats));
	TH_LOG("%.1f s, all pages moved %llu times: %s", now() - start,
	       (unsigned long long)moves, sva_describe(&stats));
}

TEST_HARNESS_MAIN
