// SPDX-License-Identifier: GPL-2.0
/*
 * What a device sees when marked memory has to be moved in spite of the mark: the right page all
 * the time, and no I/O page fault once the move is over.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "harness.h"
#include "movers.h"
#include "sva.h"

#define REGION_SIZE	(4 * MIB)
#define TRIES		10
#define TIMEOUT		900
#define FOLIO_4K	4096
#define FOLIO_2M	(2 * MIB)
#define TRACING		"/sys/kernel/tracing"
#define PARAMETERS	"/sys/module/sva_testdev/parameters"
#define PUD_SPAN	(1UL << 30)

#define PREFAULT	"/sys/kernel/mm/migrate_defer/prefault"
#define HUGETLB_NODE	"/sys/devices/system/node/node%d/hugepages/hugepages-2048kB/nr_hugepages"

/* Set the mark, then the pages have a device bound to them: as an application does it. */
static int device_open(struct region *r)
{
	return region_mark(r) ?: sva_open_bound(0);
}

/* ------------------------------------------------------------------------------ every mover */

FIXTURE(forced) {
	struct ground ground;
	struct region r;
	int fd;
};

/* @lost: the mover leaves it to the next fault to map the pages again, under mlock(), too */
FIXTURE_VARIANT(forced) {
	const struct mover *mover;
	enum mem_kind kind;
	size_t folio;
	bool lost;
};

FIXTURE_VARIANT_ADD(forced, cma_anon_4k) {
	.mover = &cma_alloc, .kind = MEM_ANON, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(forced, cma_shmem_4k) {
	.mover = &cma_alloc, .kind = MEM_SHMEM, .folio = FOLIO_4K,
};

/* Clean pages of a file are migrated, not dropped. */
FIXTURE_VARIANT_ADD(forced, cma_shared_file_4k) {
	.mover = &cma_alloc, .kind = MEM_FILE_SHARED, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(forced, offline_anon_4k) {
	.mover = &memory_offline, .kind = MEM_ANON, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(forced, offline_anon_2m) {
	.mover = &memory_offline, .kind = MEM_ANON, .folio = FOLIO_2M,
};

FIXTURE_VARIANT_ADD(forced, gigantic_page_anon_4k) {
	.mover = &gigantic_page, .kind = MEM_ANON, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(forced, longterm_pin_anon_4k) {
	.mover = &longterm_pin, .kind = MEM_ANON, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(forced, soft_offline_anon_4k) {
	.mover = &soft_offline, .kind = MEM_ANON, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(forced, soft_offline_anon_2m) {
	.mover = &soft_offline, .kind = MEM_ANON, .folio = FOLIO_2M,
};

FIXTURE_VARIANT_ADD(forced, soft_offline_shmem_4k) {
	.mover = &soft_offline, .kind = MEM_SHMEM, .folio = FOLIO_4K,
};

/* It is split, for which the huge page of a file would be unmapped without the mark. */
FIXTURE_VARIANT_ADD(forced, soft_offline_shmem_2m) {
	.mover = &soft_offline, .kind = MEM_SHMEM, .folio = FOLIO_2M,
};

FIXTURE_VARIANT_ADD(forced, soft_offline_hugetlb) {
	.mover = &soft_offline, .kind = MEM_HUGETLB, .folio = FOLIO_2M,
};

FIXTURE_VARIANT_ADD(forced, move_pages_anon_4k) {
	.mover = &move_pages_syscall, .kind = MEM_ANON, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(forced, move_pages_anon_2m) {
	.mover = &move_pages_syscall, .kind = MEM_ANON, .folio = FOLIO_2M,
};

FIXTURE_VARIANT_ADD(forced, move_pages_shmem_4k) {
	.mover = &move_pages_syscall, .kind = MEM_SHMEM, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(forced, move_pages_shmem_2m) {
	.mover = &move_pages_syscall, .kind = MEM_SHMEM, .folio = FOLIO_2M,
};

FIXTURE_VARIANT_ADD(forced, move_pages_shared_file_4k) {
	.mover = &move_pages_syscall, .kind = MEM_FILE_SHARED, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(forced, move_pages_hugetlb) {
	.mover = &move_pages_syscall, .kind = MEM_HUGETLB, .folio = FOLIO_2M,
};

FIXTURE_VARIANT_ADD(forced, mbind_anon_4k) {
	.mover = &mbind_move, .kind = MEM_ANON, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(forced, migrate_pages_anon_4k) {
	.mover = &migrate_pages_syscall, .kind = MEM_ANON, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(forced, cpuset_anon_4k) {
	.mover = &cpuset_migrate, .kind = MEM_ANON, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(forced, collapse_anon_4k) {
	.mover = &collapse, .kind = MEM_ANON, .folio = FOLIO_4K,
};

/* Without the mark the huge page would be mapped clean. */
FIXTURE_VARIANT_ADD(forced, collapse_shmem_4k) {
	.mover = &collapse, .kind = MEM_SHMEM, .folio = FOLIO_4K,
};

/* All others that map the file lose the small pages. */
FIXTURE_VARIANT_ADD(forced, collapse_by_peer_shmem_4k) {
	.mover = &collapse_by_peer, .kind = MEM_SHMEM, .folio = FOLIO_4K, .lost = true,
};

FIXTURE_SETUP(forced)
{
	const char *why;

	settings_restore();
	self->r.fd = -1;
	self->fd = -1;
	why = sva_missing() ?: ground_init(&self->ground) ?:
	      variant->mover->missing(&self->ground) ?:
	      region_missing(variant->kind, variant->folio);
	if (why)
		SKIP(return, "%s", why);
	ASSERT_OK(region_map(&self->r, variant->kind, variant->folio, REGION_SIZE));
}

/* The process of the test is gone, and its memory with it. */
FIXTURE_TEARDOWN_PARENT(forced)
{
	settings_restore();
}

/* A mapping of a file on disk is only read: write-back would have its entries fault on writes. */
static struct sva_testdev_job device_job(const struct region *r, uint64_t passes)
{
	bool write = r->kind != MEM_FILE_SHARED;
	struct sva_testdev_job job = sva_job(write ? SVA_TESTDEV_INCREMENT : SVA_TESTDEV_READ,
					     r->addr, r->size, passes);

	if (write)
		job.flags = SVA_TESTDEV_JOB_VERIFY;
	return job;
}

static void counters_clear(const struct region *r)
{
	if (r->kind == MEM_FILE_SHARED)
		return;
	for (size_t i = 0; i < region_pages(r); i++)
		*sva_word(r->addr, i) = 0;
}

static size_t counters_wrong(const struct region *r, const struct sva_testdev_stats *stats)
{
	if (r->kind == MEM_FILE_SHARED)
		return region_corrupt(r);
	return sva_wrong_counters(r->addr, region_pages(r), 0, stats);
}

/*
 * Ten moves, by turns for hardware that sets accessed and dirty bits and for hardware that does
 * not: the mover succeeds under a streaming device, no access goes astray, and when the move is
 * over there is no I/O page fault any more.
 */
TEST_F_TIMEOUT(forced, streaming, TIMEOUT)
{
	uint64_t window_faults = 0, later_faults = 0, longest = 0;
	const struct mover *mover = variant->mover;
	struct region *r = &self->r;
	struct ground *g = &self->ground;
	size_t pages = region_pages(r), moved = 0, must = 0;
	int succeeded = 0;

	for (int try = 0; try < TRIES; try++) {
		struct sva_testdev_job job = device_job(r, 0);
		struct sva_testdev_stats stats;
		struct diff diff;
		int ret;

		ASSERT_EQ(0, mover->place(g, &r, 1))
			TH_LOG("INCONCLUSIVE: could not place the region");
		counters_clear(r);
		self->fd = device_open(r);
		ASSERT_LE(0, self->fd);
		ASSERT_OK(region_snapshot(r));
		if (try % 2)
			job.flags |= SVA_TESTDEV_JOB_HW_AD;
		ASSERT_OK(sva_start(self->fd, &job));
		ASSERT_OK(sva_wait_accesses(self->fd, pages));
		ASSERT_OK(sva_stats(self->fd, SVA_TESTDEV_STATS_RESET, &stats));

		ret = mover->push(g, &r, 1);
		ASSERT_NE(-ESTALE, ret)
			TH_LOG("INCONCLUSIVE: %s took other memory", mover->name);
		if (ret)
			TH_LOG("%s: try %d: %s", mover->name, try, strerror(-ret));
		ASSERT_OK(sva_wait_quiet(self->fd));
		ASSERT_OK(sva_wait_accesses(self->fd, pages));
		ASSERT_OK(sva_stats(self->fd, SVA_TESTDEV_STATS_RESET, &stats));
		window_faults += stats.faults;
		if (stats.stall_ns_max > longest)
			longest = stats.stall_ns_max;

		ASSERT_OK(sva_wait_accesses(self->fd, 2 * pages));
		ASSERT_OK(sva_stop(self->fd));
		ASSERT_OK(sva_stats(self->fd, 0, &stats));
		EXPECT_EQ(0, stats.result);
		EXPECT_EQ(0, stats.mismatches);
		EXPECT_EQ(0, stats.faults)
			TH_LOG("try %d: %s", try, sva_describe(&stats));
		later_faults += stats.faults;
		diff = compare_must_move(g, r);
		must += diff.pages;
		moved += diff.moved;
		succeeded += !ret;
		EXPECT_EQ(0, counters_wrong(r, &stats));
		close(self->fd);
		self->fd = -1;
		if (mover->undo)
			mover->undo(g);
		ASSERT_OK(region_unmark(r));
	}
	TH_LOG("%d of %d succeeded, %zu of %zu pages moved, longest stall %llu us", succeeded,
	       TRIES, moved, must, (unsigned long long)longest / 1000);
	TH_LOG("I/O page faults: %llu in the window, %llu after it",
	       (unsigned long long)window_faults, (unsigned long long)later_faults);
	EXPECT_EQ(TRIES, succeeded);
	EXPECT_LT(0, must);
	EXPECT_EQ(must, moved);
}

/*
 * One move while the device does nothing; then it goes over the range without A/D bits.
 * @lock: mlock() the range: then the pre-fault knows that all of it is to be mapped
 */
static int fault_after_move(struct ground *g, struct region *r, const struct mover *mover,
			    bool lock, struct sva_testdev_stats *stats)
{
	struct sva_testdev_job job = device_job(r, 1);
	int fd, ret = mover->place(g, &r, 1);

	if (!ret && lock && mlock(r->addr, r->size))
		ret = -errno;
	if (ret)
		return ret;
	counters_clear(r);
	fd = device_open(r);
	if (fd < 0)
		return fd;
	ret = mover->push(g, &r, 1) ?: sva_wait_quiet(fd) ?: sva_run(fd, &job, stats);
	if (!ret && (stats->mismatches || counters_wrong(r, stats)))
		ret = -EBADMSG;
	close(fd);
	if (mover->undo)
		mover->undo(g);
	if (lock && munlock(r->addr, r->size))
		ret = ret ?: -errno;
	return ret ?: region_unmark(r);
}

/*
 * A device that comes after the move has no I/O page fault; without the pre-fault it has those
 * that the mover leaves behind.
 */
TEST_F_TIMEOUT(forced, device_comes_later, TIMEOUT)
{
	struct sva_testdev_stats stats;
	long long repaired;

	for (int try = 0; try < 3; try++) {
		ASSERT_OK(setting_write(PREFAULT, "1"));
		repaired = vmstat("nomigrate_prefault");
		ASSERT_OK(fault_after_move(&self->ground, &self->r, variant->mover,
					   variant->lost, &stats));
		repaired = vmstat("nomigrate_prefault") - repaired;
		EXPECT_EQ(0, stats.faults)
			TH_LOG("with pre-fault: %s", sva_describe(&stats));
		/* The driver has been called back, but for anonymous memory that is collapsed. */
		if (variant->mover != &collapse || variant->kind != MEM_ANON)
			EXPECT_LT(0, stats.rewarms);
		if (variant->lost)
			EXPECT_LT(0, repaired);

		ASSERT_OK(setting_write(PREFAULT, "0"));
		ASSERT_OK(fault_after_move(&self->ground, &self->r, variant->mover,
					   variant->lost, &stats));
		if (!try)
			TH_LOG("pages repaired with pre-fault %lld; without: %s", repaired,
			       sva_describe(&stats));
		EXPECT_EQ(variant->lost, !!stats.faults);
		if (variant->lost)
			EXPECT_LT(0, stats.causes[SVA_TESTDEV_NONE]);
	}
}

/* ------------------------------------------------------------------------- single situations */

FIXTURE(special) {
	struct ground ground;
	struct region r;
};

FIXTURE_SETUP(special)
{
	const char *why;

	settings_restore();
	self->r.fd = -1;
	why = sva_missing() ?: ground_init(&self->ground) ?:
	      (self->ground.other < 0 ? "needs two NUMA nodes to move pages between" : NULL);
	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN_PARENT(special)
{
	settings_restore();
}

/* Memory that was old or clean when it was moved is not so afterwards, pre-fault or not. */
TEST_F_TIMEOUT(special, moved_pages_are_young_and_dirty, TIMEOUT)
{
	static const struct { enum mem_kind kind; size_t folio; } kinds[] = {
		{ MEM_ANON, FOLIO_4K }, { MEM_ANON, FOLIO_2M },
		{ MEM_SHMEM, FOLIO_4K }, { MEM_SHMEM, FOLIO_2M },
	};
	struct sva_testdev_stats stats;
	struct sva_testdev_job job;
	int fd;

	ASSERT_OK(setting_write(PREFAULT, "0"));
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct region *r = &self->r;

		if (region_missing(kinds[i].kind, kinds[i].folio))
			continue;
		ASSERT_OK(region_map(r, kinds[i].kind, kinds[i].folio, REGION_SIZE));
		ASSERT_OK(move_pages_syscall.place(&self->ground, &r, 1));
		fd = device_open(r);
		ASSERT_LE(0, fd);
		/* Mapped anew by reads the pages of a file are clean; then all are made old. */
		if (kinds[i].kind == MEM_SHMEM) {
			ASSERT_EQ(0, mmap(r->addr, r->size, PROT_READ | PROT_WRITE,
					  MAP_FIXED | MAP_SHARED, r->fd, 0) != r->addr);
			ASSERT_OK(region_mark(r));
			region_touch(r);
		}
		ASSERT_OK(file_write("/proc/self/clear_refs", "1"));
		job = device_job(r, 1);
		job.op = SVA_TESTDEV_WRITE;
		job.flags = 0;
		ASSERT_OK(move_pages_syscall.push(&self->ground, &r, 1));
		ASSERT_OK(sva_run(fd, &job, &stats));
		EXPECT_EQ(0, stats.faults)
			TH_LOG("%s, folios of %zu KiB: %s", kind_name(r->kind), r->folio >> 10,
			       sva_describe(&stats));
		close(fd);
		region_unmap(r);
	}
}

/* A huge page of zeros that is split stays writable memory. */
TEST_F_TIMEOUT(special, split_keeps_zeros_writable, TIMEOUT)
{
	const char *why = soft_offline.missing(&self->ground) ?:
			  region_missing(MEM_ANON, FOLIO_2M);
	struct region *r = &self->r;
	struct sva_testdev_stats stats;
	struct sva_testdev_job job;
	int fd;

	if (why)
		SKIP(return, "%s", why);
	ASSERT_OK(setting_write(PREFAULT, "0"));
	ASSERT_OK(region_map(r, MEM_ANON, FOLIO_2M, REGION_SIZE));
	ASSERT_OK(soft_offline.place(&self->ground, &r, 1));
	memset(r->addr, 0, r->size);
	fd = device_open(r);
	ASSERT_LE(0, fd);
	ASSERT_OK(soft_offline.push(&self->ground, &r, 1));
	job = device_job(r, 1);
	ASSERT_OK(sva_run(fd, &job, &stats));
	EXPECT_EQ(0, stats.faults)
		TH_LOG("%s", sva_describe(&stats));
	close(fd);
}

/* All of a huge page but the poisoned part is there again, pre-fault or not. */
TEST_F_TIMEOUT(special, memory_failure_spares_the_rest, TIMEOUT)
{
	const char *why = memory_failure.missing(&self->ground) ?:
			  region_missing(MEM_SHMEM, FOLIO_2M);
	struct region *r = &self->r;
	struct sva_testdev_stats stats;
	struct sva_testdev_job job;
	char *bad;
	int fd;

	if (why)
		SKIP(return, "%s", why);
	ASSERT_OK(setting_write(PREFAULT, "0"));
	ASSERT_OK(region_map(r, MEM_SHMEM, FOLIO_2M, REGION_SIZE));
	ASSERT_OK(memory_failure.place(&self->ground, &r, 1));
	fd = device_open(r);
	ASSERT_LE(0, fd);
	ASSERT_OK(memory_failure.push(&self->ground, &r, 1));

	bad = poison_address(r);
	job = sva_job(SVA_TESTDEV_WRITE, r->addr, bad - r->addr, 1);
	ASSERT_OK(sva_run(fd, &job, &stats));
	EXPECT_EQ(0, stats.faults)
		TH_LOG("before it: %s", sva_describe(&stats));
	job = sva_job(SVA_TESTDEV_WRITE, bad + page_size(),
		      r->addr + r->size - bad - page_size(), 1);
	ASSERT_OK(sva_run(fd, &job, &stats));
	EXPECT_EQ(0, stats.faults)
		TH_LOG("behind it: %s", sva_describe(&stats));
	job = sva_job(SVA_TESTDEV_READ, bad, page_size(), 1);
	EXPECT_EQ(-EFAULT, sva_run(fd, &job, &stats));
	close(fd);
}

static bool driver_is_busy(void *unused)
{
	(void)unused;
	return sva_live("rewarming") > 0;
}

/* A page that is marked, to be moved: the work item then waits for the driver. */
static int work_item_hold(struct ground *g)
{
	static struct region page;
	struct region *regions[] = { &page };
	int ret;

	ret = region_map(&page, MEM_ANON, FOLIO_4K, FOLIO_4K) ?:
	      move_pages_syscall.place(g, regions, 1) ?: region_mark(&page) ?:
	      setting_write(PARAMETERS "/rewarm_block", "1") ?:
	      move_pages_syscall.push(g, regions, 1);
	return ret ?: poll_until(driver_is_busy, NULL, 60) ? 0 : -ETIMEDOUT;
}

/* What was noted meanwhile comes next. */
static int work_item_go_on(int fd)
{
	return setting_write(PARAMETERS "/rewarm_block", "0") ?: sva_wait_quiet(fd);
}

/* Small pages of a file under mlock(), which another process may have made into huge ones */
static int map_locked(struct ground *g, struct region *r)
{
	int ret = region_map(r, MEM_SHMEM, FOLIO_4K, REGION_SIZE) ?:
		  collapse_by_peer.place(g, &r, 1);

	return ret ?: mlock(r->addr, r->size) ? -errno : 0;
}

static size_t pages_present(const struct region *r)
{
	struct file_state state;

	return file_state(r->fd, r->addr, r->size, &state) ? -1 : state.present;
}

/* What was not mapped before the move is not mapped afterwards. */
TEST_F_TIMEOUT(special, holes_stay_holes, TIMEOUT)
{
	struct region *r = &self->r;
	size_t pages;
	int fd;

	ASSERT_OK(region_map(r, MEM_SHMEM, FOLIO_4K, REGION_SIZE));
	pages = region_pages(r);
	ASSERT_OK(move_pages_syscall.place(&self->ground, &r, 1));
	/* All of the file is in memory, and the first half of it is mapped. */
	ASSERT_EQ(r->addr, mmap(r->addr, r->size, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_SHARED,
				r->fd, 0));
	for (size_t i = 0; i < pages / 2; i++)
		*sva_word(r->addr, i) = i;
	fd = device_open(r);
	ASSERT_LE(0, fd);
	r->size /= 2;
	ASSERT_OK(move_pages_syscall.push(&self->ground, &r, 1));
	r->size *= 2;
	ASSERT_OK(sva_wait_quiet(fd));
	EXPECT_EQ(pages / 2, pages_present(r));
	close(fd);
}

/* Split the huge pages of a file, which would unmap them without the mark. */
static int split(const void *addr, size_t size)
{
	return file_write("/sys/kernel/debug/split_huge_pages", "%d,0x%lx,0x%lx", getpid(),
			  (unsigned long)addr, (unsigned long)addr + size);
}

/*
 * Nor are the holes among the small entries that map a huge page of a file: not when it is split,
 * and not when another process has it made.  A collapse leaves none of them.
 */
TEST_F_TIMEOUT(special, holes_in_huge_pages_stay_holes, TIMEOUT)
{
	const char *why = collapse.missing(&self->ground) ?: region_missing(MEM_SHMEM, FOLIO_2M);
	const size_t step = 8, huge_pages = REGION_SIZE / FOLIO_2M;
	struct region *r = &self->r;

	if (why)
		SKIP(return, "%s", why);
	for (int by_peer = 0; by_peer < 2; by_peer++) {
		const struct mover *mover = &collapse_by_peer;
		size_t touched = 0;
		int fd;

		if (by_peer) {
			ASSERT_OK(region_map(r, MEM_SHMEM, FOLIO_4K, REGION_SIZE));
			ASSERT_OK(mover->place(&self->ground, &r, 1));
			/* khugepaged stays away. */
			ASSERT_OK(region_mark(r));
			ASSERT_EQ(0, madvise(r->addr, r->size, MADV_DONTNEED));
		} else {
			ASSERT_OK(region_map(r, MEM_SHMEM, FOLIO_2M, REGION_SIZE));
			ASSERT_OK(region_populate(r, self->ground.node));
			/* No huge entry: part of it is read-only. */
			for (size_t i = 0; i < huge_pages; i++)
				ASSERT_EQ(0, mprotect(r->addr + i * FOLIO_2M, page_size(),
						      PROT_READ));
			ASSERT_EQ(0, madvise(r->addr, r->size, MADV_DONTNEED));
		}
		for (size_t i = 1; i < region_pages(r); i += step, touched++)
			*sva_word(r->addr, i) = i;
		ASSERT_EQ(touched, pages_present(r));
		fd = device_open(r);
		ASSERT_LE(0, fd);
		if (by_peer)
			ASSERT_OK(mover->push(&self->ground, &r, 1));
		else
			ASSERT_OK(split(r->addr, r->size));
		ASSERT_OK(sva_wait_quiet(fd));
		EXPECT_EQ(by_peer ? 0 : touched, pages_present(r));
		region_touch(r);
		EXPECT_EQ(by_peer ? r->size : 0, huge_mapped(r->addr, r->size));
		close(fd);
		region_unmap(r);
	}
}

/*
 * A file on a disk that was written to, moved, and written back before the work item comes: the
 * work item does not write to it.
 */
TEST_F_TIMEOUT(special, written_file_stays_clean, TIMEOUT)
{
	const char *why = region_missing(MEM_FILE_SHARED, FOLIO_4K);
	struct file_state before, after;
	struct region *r = &self->r;
	int fd;

	if (why)
		SKIP(return, "%s", why);
	ASSERT_OK(region_map(r, MEM_FILE_SHARED, FOLIO_4K, REGION_SIZE));
	ASSERT_OK(move_pages_syscall.place(&self->ground, &r, 1));
	ASSERT_EQ(0, mlock(r->addr, r->size));
	fd = device_open(r);
	ASSERT_LE(0, fd);
	ASSERT_OK(work_item_hold(&self->ground));
	for (size_t i = 0; i < region_pages(r); i++)
		*sva_word(r->addr, i) = i;
	ASSERT_OK(move_pages_syscall.push(&self->ground, &r, 1));
	ASSERT_EQ(0, fsync(r->fd));
	ASSERT_OK(file_state(r->fd, r->addr, r->size, &before));
	ASSERT_EQ(0, before.dirty_kb);
	ASSERT_EQ(region_pages(r), before.present);
	ASSERT_OK(work_item_go_on(fd));
	ASSERT_OK(file_state(r->fd, r->addr, r->size, &after));
	EXPECT_TRUE(file_state_same(&before, &after))
		TH_LOG("%zu kB are dirty, %zu pages are mapped", after.dirty_kb, after.present);
	close(fd);
}

/*
 * The range is mapped anew before the work item comes: of what is there now it maps nothing that
 * has not been used.
 */
TEST_F_TIMEOUT(special, note_outlives_the_mapping, TIMEOUT)
{
	static const enum mem_kind kinds[] = { MEM_SHMEM, MEM_FILE_SHARED };
	const char *why = collapse.missing(&self->ground) ?:
			  region_missing(MEM_SHMEM, FOLIO_2M) ?:
			  region_missing(MEM_FILE_SHARED, FOLIO_4K);
	struct region *r = &self->r, file;

	if (why)
		SKIP(return, "%s", why);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct file_state before, after;
		int fd;

		ASSERT_OK(region_map(&file, kinds[i], FOLIO_4K, REGION_SIZE));
		ASSERT_OK(region_populate(&file, -1));
		ASSERT_EQ(0, fsync(file.fd));
		ASSERT_OK(map_locked(&self->ground, r));
		fd = device_open(r);
		ASSERT_LE(0, fd);
		ASSERT_OK(work_item_hold(&self->ground));
		ASSERT_OK(collapse_by_peer.push(&self->ground, &r, 1));

		ASSERT_EQ(r->addr, mmap(r->addr, r->size, PROT_READ | PROT_WRITE,
					MAP_FIXED | MAP_SHARED, file.fd, 0));
		ASSERT_EQ(0, madvise(r->addr, r->size, MADV_NOMIGRATE));
		ASSERT_OK(file_state(file.fd, r->addr, r->size, &before));
		ASSERT_EQ(0, before.present);
		ASSERT_OK(work_item_go_on(fd));
		ASSERT_OK(file_state(file.fd, r->addr, r->size, &after));
		EXPECT_TRUE(file_state_same(&before, &after))
			TH_LOG("%zu kB are dirty, %zu pages are mapped", after.dirty_kb,
			       after.present);
		close(fd);
		region_unmap(r);
		region_unmap(&file);
	}
}

static int hold(void *unused)
{
	(void)unused;
	return 0;
}

/* Pages that are shared copy-on-write are moved, and stay shared. */
TEST_F_TIMEOUT(special, copy_on_write_stays, TIMEOUT)
{
	struct sva_testdev_sample sample;
	struct region *r = &self->r;
	struct peer child;
	int fd;

	ASSERT_OK(region_map(r, MEM_ANON, FOLIO_4K, REGION_SIZE));
	ASSERT_OK(move_pages_syscall.place(&self->ground, &r, 1));
	ASSERT_OK(peer_start(&child, hold, NULL));
	fd = device_open(r);
	ASSERT_LE(0, fd);
	ASSERT_OK(region_snapshot(r));
	ASSERT_OK(range_bind(r->addr, r->size, self->ground.other, MPOL_MF_MOVE_ALL));
	ASSERT_OK(sva_wait_quiet(fd));
	EXPECT_EQ(region_pages(r), region_compare(r).moved);
	ASSERT_OK(sva_sample_start(fd, r->addr, r->size, 0));
	ASSERT_OK(sva_sample_wait_rounds(fd, 1));
	ASSERT_OK(sva_sample_read(fd, &sample));
	EXPECT_EQ(region_pages(r), sample.present);
	EXPECT_EQ(0, sample.writable);
	close(fd);
	peer_stop(&child);
}

/* If the mark goes before the pre-fault comes, it stays away. */
TEST_F_TIMEOUT(special, unmarked_is_left_alone, TIMEOUT)
{
	const char *why = collapse.missing(&self->ground) ?: region_missing(MEM_SHMEM, FOLIO_2M);
	struct region *r = &self->r;

	if (why)
		SKIP(return, "%s", why);
	for (int unmark = 0; unmark < 2; unmark++) {
		int fd;

		ASSERT_OK(map_locked(&self->ground, r));
		fd = device_open(r);
		ASSERT_LE(0, fd);
		ASSERT_OK(work_item_hold(&self->ground));
		ASSERT_OK(collapse_by_peer.push(&self->ground, &r, 1));
		if (unmark)
			ASSERT_OK(region_unmark(r));
		ASSERT_EQ(0, pages_present(r));
		ASSERT_OK(work_item_go_on(fd));
		EXPECT_EQ(unmark ? 0 : region_pages(r), pages_present(r));
		close(fd);
		region_unmap(r);
	}
}

/* What a mover took from a range under mlock() before a device was bound is there for the first. */
TEST_F_TIMEOUT(special, first_bond_maps_what_is_lost, TIMEOUT)
{
	const char *why = collapse.missing(&self->ground) ?: region_missing(MEM_SHMEM, FOLIO_2M);
	struct region *r = &self->r;
	struct sva_testdev_stats stats;
	struct sva_testdev_job job;
	int fd;

	if (why)
		SKIP(return, "%s", why);
	ASSERT_OK(map_locked(&self->ground, r));
	ASSERT_OK(region_mark(r));
	ASSERT_OK(collapse_by_peer.push(&self->ground, &r, 1));
	ASSERT_EQ(0, pages_present(r));
	fd = sva_open_bound(0);
	ASSERT_LE(0, fd);
	job = device_job(r, 1);
	job.flags = 0;
	ASSERT_OK(sva_run(fd, &job, &stats));
	EXPECT_EQ(0, stats.faults)
		TH_LOG("%s", sva_describe(&stats));
	close(fd);
}

/* Huge pages can't be mapped by one entry where no VMA covers them: leaves the first page r/o. */
static int map_by_small_entries(struct region *r, const struct ground *g)
{
	int ret = region_populate(r, g->node);

	for (size_t at = 0; !ret && at < r->size; at += FOLIO_2M)
		ret = mprotect(r->addr + at, page_size(), PROT_READ) ? -errno : 0;
	if (ret)
		return ret;
	region_touch(r);
	for (size_t i = 0; i < region_pages(r); i++)
		if (i % (FOLIO_2M / page_size()))
			*sva_word(r->addr, i) = 0;
	return 0;
}

/*
 * A huge page of a file that is mapped by small entries: MADV_COLLAPSE maps it by one, which would
 * be clean without the mark, and the driver hears of it.
 */
TEST_F_TIMEOUT(special, huge_page_is_mapped_anew, TIMEOUT)
{
	const char *why = collapse.missing(&self->ground) ?: region_missing(MEM_SHMEM, FOLIO_2M);
	struct region *r = &self->r;

	if (why)
		SKIP(return, "%s", why);
	for (int prefault = 1; prefault >= 0; prefault--) {
		struct sva_testdev_stats stats;
		struct sva_testdev_job job;
		int fd;

		ASSERT_OK(setting_write(PREFAULT, "%d", prefault));
		ASSERT_OK(region_map(r, MEM_SHMEM, FOLIO_2M, REGION_SIZE));
		ASSERT_OK(map_by_small_entries(r, &self->ground));
		ASSERT_EQ(0, mprotect(r->addr, r->size, PROT_READ | PROT_WRITE));
		fd = device_open(r);
		ASSERT_LE(0, fd);
		ASSERT_OK(collapse.push(&self->ground, &r, 1));
		ASSERT_EQ(r->size, huge_mapped(r->addr, r->size));
		ASSERT_OK(sva_wait_quiet(fd));
		job = device_job(r, 1);
		job.flags = 0;
		ASSERT_OK(sva_run(fd, &job, &stats));
		EXPECT_EQ(0, stats.faults)
			TH_LOG("pre-fault %d: %s", prefault, sva_describe(&stats));
		EXPECT_EQ(prefault, !!stats.rewarms);
		close(fd);
		region_unmap(r);
	}
}

#define SHARERS	6

static int touch_all(void *arg)
{
	region_touch(arg);
	return 0;
}

/*
 * The pre-fault comes when a mover is done, and does not make it fail: here one that takes long,
 * because many map the small pages that it makes into huge ones.
 */
TEST_F_TIMEOUT(special, mover_is_not_disturbed, TIMEOUT)
{
	const char *why = collapse.missing(&self->ground) ?: region_missing(MEM_SHMEM, FOLIO_2M);
	struct region *r = &self->r;
	struct peer peers[SHARERS];
	int failed = 0, faulted = 0;

	if (why)
		SKIP(return, "%s", why);
	for (int try = 0; try < TRIES; try++) {
		struct sva_testdev_stats stats;
		struct sva_testdev_job job;
		int fd;

		ASSERT_OK(region_map(r, MEM_SHMEM, FOLIO_4K, REGION_SIZE));
		ASSERT_OK(collapse_by_peer.place(&self->ground, &r, 1));
		/* khugepaged stays away. */
		ASSERT_OK(region_mark(r));
		for (int i = 0; i < SHARERS; i++)
			ASSERT_OK(peer_start(&peers[i], touch_all, r));
		ASSERT_EQ(0, mlock(r->addr, r->size));
		fd = device_open(r);
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, huge_mapped(r->addr, r->size));
		failed += !!collapse_by_peer.push(&self->ground, &r, 1);
		ASSERT_OK(sva_wait_quiet(fd));
		job = device_job(r, 1);
		job.flags = 0;
		ASSERT_OK(sva_run(fd, &job, &stats));
		faulted += !!stats.faults;
		close(fd);
		for (int i = SHARERS - 1; i >= 0; i--)
			peer_stop(&peers[i]);
		region_unmap(r);
	}
	TH_LOG("of %d times the collapse failed %d, the device faulted later %d", TRIES, failed,
	       faulted);
	EXPECT_EQ(0, failed);
	EXPECT_EQ(0, faulted);
}

/*
 * So that x86 does not queue TLB flushes: it does where another processor has run the process.
 * That processor forgets it with one flush, and is forgotten with another, which the kernel sees
 * to once a second (flush_tlb_func(), should_trim_cpumask()).
 */
static int run_on_one(int cpu)
{
	int ret = task_pin(0, cpu);

	for (int i = 0; !ret && i < 3; i++) {
		char *page = mmap(NULL, page_size(), PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

		if (page == MAP_FAILED || munmap(page, page_size()))
			ret = -errno;
		sleep(2);
	}
	return ret;
}

/*
 * A device that faults while its translations are being flushed finds the migration entry, and
 * waits for it without a reference: one that it took would fail the migration.
 */
static void fault_during_flush(struct __test_metadata *_metadata, struct ground *g,
			       struct region *r, int *failed)
{
	struct sva_testdev_stats stats;
	struct sva_testdev_job job;
	int fd;

	ASSERT_OK(run_on_one(g->cpu));
	ASSERT_OK(setting_write(PARAMETERS "/flush_delay_us", "100"));
	counters_clear(r);
	fd = device_open(r);
	ASSERT_LE(0, fd);
	job = device_job(r, 0);
	ASSERT_OK(sva_start(fd, &job));
	ASSERT_OK(sva_wait_accesses(fd, region_pages(r)));
	ASSERT_OK(sva_stats(fd, SVA_TESTDEV_STATS_RESET, &stats));
	*failed = 0;
	/* Where one thread emulates all processors the device seldom comes by. */
	for (int try = 0; try < TRIES || (stats.faults <= 100 && try < 100 * TRIES); try++) {
		*failed += !!move_pages_syscall.push(g, &r, 1);
		ASSERT_OK(sva_stats(fd, 0, &stats));
	}
	ASSERT_OK(sva_stop(fd));
	ASSERT_OK(sva_stats(fd, 0, &stats));
	TH_LOG("%s", sva_describe(&stats));
	EXPECT_LT(100, stats.faults)
		TH_LOG("INCONCLUSIVE: the device hardly came by while pages moved");
	/* The few instructions between the clearing of an entry and its writing are left. */
	EXPECT_GT(10, stats.causes[SVA_TESTDEV_NONE]);
	close(fd);
}

TEST_F_TIMEOUT(special, fault_during_flush, TIMEOUT)
{
	struct region *r = &self->r;
	int failed;

	ASSERT_OK(region_map(r, MEM_FILE_SHARED, FOLIO_4K, REGION_SIZE));
	ASSERT_OK(move_pages_syscall.place(&self->ground, &r, 1));
	fault_during_flush(_metadata, &self->ground, r, &failed);
	EXPECT_EQ(0, failed);
}

/*
 * That a call fails is only told: a fault has the lock of the VMA for a moment, too, and the mover
 * only tries to take that (hugetlb_vma_trylock_write()).
 */
TEST_F_TIMEOUT(special, fault_during_flush_of_hugetlb, TIMEOUT)
{
	const char *why = region_missing(MEM_HUGETLB, FOLIO_2M);
	struct region *r = &self->r;
	int failed;

	if (why)
		SKIP(return, "%s", why);
	ASSERT_OK(region_map(r, MEM_HUGETLB, FOLIO_2M, REGION_SIZE));
	/* What is private is not in the page cache. */
	ASSERT_EQ(r->addr, mmap(r->addr, r->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED |
				MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE, -1, 0));
	ASSERT_OK(move_pages_syscall.place(&self->ground, &r, 1));
	fault_during_flush(_metadata, &self->ground, r, &failed);
	TH_LOG("failed moves: %d", failed);
}

/* A field of an event in the trace, -1 if it has no such field */
static uint64_t field(const char *event, const char *name)
{
	char key[32];
	const char *at;

	snprintf(key, sizeof(key), " %s=", name);
	at = strstr(event, key);
	return at ? strtoull(at + strlen(key), NULL, 0) : -1ULL;
}

/* What the pre-fault says of a range in the trace: how many pages it looked at and repaired */
static void sum_prefaults(struct __test_metadata *_metadata, const char *addr, size_t size,
			  unsigned int pasid, unsigned long *looked, unsigned long *repaired)
{
	FILE *trace = fopen(TRACING "/trace", "r");
	char line[512];

	*looked = *repaired = 0;
	ASSERT_NE(NULL, trace);
	while (fgets(line, sizeof(line), trace)) {
		char *event = strstr(line, " prefault: ");
		uint64_t address;

		if (!event)
			continue;
		EXPECT_EQ(getpid(), field(event, "pid"));
		EXPECT_EQ(pasid, field(event, "pasid"));
		address = field(event, "address");
		if (address < (uintptr_t)addr || address >= (uintptr_t)addr + size)
			continue;
		EXPECT_LT(0, field(event, "delay_us"));
		*looked += field(event, "looked");
		*repaired += field(event, "repaired");
	}
	fclose(trace);
}

/* What the pre-fault does is traced and counted. */
TEST_F_TIMEOUT(special, prefault_is_reported, TIMEOUT)
{
	const char *why = collapse.missing(&self->ground) ?: region_missing(MEM_SHMEM, FOLIO_2M);
	unsigned long looked = 0, repaired;
	struct region *r = &self->r;
	unsigned int pasid;
	long long counted;
	int fd, trace;

	if (why)
		SKIP(return, "%s", why);
	if (access(TRACING "/events/migrate_defer/prefault", F_OK))
		SKIP(return, "no tracefs, or no such event");
	fd = sva_open();
	ASSERT_LE(0, fd);
	pasid = sva_bind(fd, 0);
	ASSERT_OK(setting_write(TRACING "/events/migrate_defer/prefault/enable", "1"));
	/* It comes again to pages that the mover is not through with, which may be now and then. */
	for (int try = 0; try < TRIES && (!try || looked != region_pages(r)); try++) {
		if (try)
			region_unmap(r);
		ASSERT_OK(map_locked(&self->ground, r));
		ASSERT_OK(region_mark(r));
		ASSERT_OK(sva_wait_quiet(fd));
		/* Opening it so empties it. */
		trace = open(TRACING "/trace", O_WRONLY | O_TRUNC | O_CLOEXEC);
		ASSERT_LE(0, trace);
		close(trace);
		counted = vmstat("nomigrate_prefault");
		ASSERT_OK(collapse_by_peer.push(&self->ground, &r, 1));
		ASSERT_OK(sva_wait_quiet(fd));
		counted = vmstat("nomigrate_prefault") - counted;

		sum_prefaults(_metadata, r->addr, r->size, pasid, &looked, &repaired);
		EXPECT_EQ(repaired, counted);
		/* Each page, or the first of a range that one fault maps. */
		EXPECT_LT(0, repaired);
		EXPECT_LE(region_pages(r), looked);
	}
	EXPECT_EQ(region_pages(r), looked);
	close(fd);
}

/* The switch knows yes and no. */
TEST_F(special, switch_refuses_nonsense)
{
	static const char * const bad[] = { "2", "maybe", "-1" };

	ASSERT_OK(setting_write(PREFAULT, "0"));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EINVAL, file_write(PREFAULT, "%s", bad[i]));
		EXPECT_EQ(0, file_number(PREFAULT));
	}
	ASSERT_OK(file_write(PREFAULT, "1"));
	EXPECT_EQ(1, file_number(PREFAULT));
}

/* What userfaultfd handles is for its owner to map; the pre-fault could not even ask. */
TEST_F_TIMEOUT(special, userfaultfd_is_left_alone, TIMEOUT)
{
	const char *why = collapse.missing(&self->ground) ?: region_missing(MEM_SHMEM, FOLIO_2M);
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_MINOR_SHMEM };
	struct region *r = &self->r;
	struct uffdio_register reg;
	long long repaired;
	struct pollfd poll_fd;
	int fd, uffd;

	if (why)
		SKIP(return, "%s", why);
	uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api))
		SKIP(return, "no userfaultfd with minor faults");
	ASSERT_OK(map_locked(&self->ground, r));
	reg = (struct uffdio_register) {
		.range = { .start = (uintptr_t)r->addr, .len = r->size },
		.mode = UFFDIO_REGISTER_MODE_MINOR,
	};
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_REGISTER, &reg));
	fd = device_open(r);
	ASSERT_LE(0, fd);
	repaired = vmstat("nomigrate_prefault");
	ASSERT_OK(collapse_by_peer.push(&self->ground, &r, 1));
	ASSERT_EQ(0, pages_present(r));
	ASSERT_OK(sva_wait_quiet(fd));
	EXPECT_EQ(0, pages_present(r));
	EXPECT_EQ(repaired, vmstat("nomigrate_prefault"));
	poll_fd = (struct pollfd) { .fd = uffd, .events = POLLIN };
	EXPECT_EQ(0, poll(&poll_fd, 1, 0));
	close(fd);
	close(uffd);
}

/* More ranges than the kernel has room for: some become one, but none is forgotten. */
TEST_F_TIMEOUT(special, many_ranges, TIMEOUT)
{
	const char *why = region_missing(MEM_SHMEM, FOLIO_2M);
	const size_t nr = 80, gap = 2 * FOLIO_2M;
	unsigned long looked, repaired;
	struct region *r = &self->r;
	unsigned int pasid;
	int fd, trace;
	char *space;

	if (why)
		SKIP(return, "%s", why);
	if (access(TRACING "/events/migrate_defer/prefault", F_OK))
		SKIP(return, "no tracefs, or no such event");
	ASSERT_OK(region_map(r, MEM_SHMEM, FOLIO_2M, nr * FOLIO_2M));
	ASSERT_OK(region_populate(r, self->ground.node));
	ASSERT_EQ(region_pages(r), region_large_pages(r))
		TH_LOG("INCONCLUSIVE: there were not enough huge pages");
	fd = sva_open();
	ASSERT_LE(0, fd);
	pasid = sva_bind(fd, 0);
	space = mmap(NULL, (nr + 1) * gap, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, space);
	space = (char *)(((uintptr_t)space + FOLIO_2M - 1) & -FOLIO_2M);
	for (size_t i = 0; i < nr; i++) {
		char *at = space + i * gap;

		ASSERT_EQ(at, mremap(r->addr + i * FOLIO_2M, FOLIO_2M, FOLIO_2M,
				     MREMAP_MAYMOVE | MREMAP_FIXED, at));
		ASSERT_EQ(0, madvise(at, FOLIO_2M, MADV_NOMIGRATE));
		*(volatile char *)at = 1;
	}
	/* While the work item waits for the driver the ranges fill the array. */
	ASSERT_OK(work_item_hold(&self->ground));
	ASSERT_OK(setting_write(TRACING "/events/migrate_defer/prefault/enable", "1"));
	trace = open(TRACING "/trace", O_WRONLY | O_TRUNC | O_CLOEXEC);
	ASSERT_LE(0, trace);
	close(trace);
	ASSERT_OK(split(space, nr * gap));
	ASSERT_OK(setting_write(PARAMETERS "/rewarm_block", "0"));
	ASSERT_OK(sva_wait_quiet_huge(fd, 2 * nr));
	sum_prefaults(_metadata, space, nr * gap, pasid, &looked, &repaired);
	TH_LOG("%zu ranges: of %zu pages %lu were looked at", nr, nr * FOLIO_2M / page_size(),
	       looked);
	EXPECT_LE(nr * FOLIO_2M / page_size(), looked);
	close(fd);
}

/* ---------------------------------------------------------- page tables of several processes */

static int hugetlb_pool(int node, int pages)
{
	char path[128];

	snprintf(path, sizeof(path), HUGETLB_NODE, node);
	return setting_write(path, "%d", pages);
}

static int touch_shared(void *arg)
{
	for (size_t i = 0; i < 4; i++)
		*(volatile char *)((char *)arg + i * FOLIO_2M);
	return 0;
}

/* Not mbind(), which splits the VMA, and with it the page table. */
static int move_shared(char *addr, size_t size, int node)
{
	void *addrs[8];
	int nodes[8], status[8], nr = size / FOLIO_2M;

	for (int i = 0; i < nr; i++) {
		addrs[i] = addr + i * FOLIO_2M;
		nodes[i] = node;
	}
	if (syscall(SYS_move_pages, 0, nr, addrs, nodes, status, MPOL_MF_MOVE_ALL))
		return -errno;
	for (int i = 0; i < nr; i++)
		if (status[i] != node)
			return status[i] < 0 ? status[i] : -EAGAIN;
	return 0;
}

static int poison(const struct ground *g, char *addr)
{
	uint64_t entry;

	return pagemap_read(addr, page_size(), &entry) ?:
	       file_write(g->path, "%#llx",
			  (unsigned long long)pagemap_pfn(entry) * page_size());
}

FIXTURE(shared_table) {
	struct ground ground;
	char *addr;
};

FIXTURE_VARIANT(shared_table) {
	bool poison;
};

FIXTURE_VARIANT_ADD(shared_table, move) { .poison = false };

FIXTURE_VARIANT_ADD(shared_table, memory_failure) { .poison = true };

FIXTURE_SETUP(shared_table)
{
	const char *why;
	char *reserve;

	settings_restore();
	why = sva_missing() ?: ground_init(&self->ground) ?:
	      (self->ground.other < 0 ? "needs two NUMA nodes to move pages between" : NULL) ?:
	      memory_failure.missing(&self->ground) ?: region_missing(MEM_HUGETLB, FOLIO_2M);
	if (why)
		SKIP(return, "%s", why);
	for (int node = 0; node < 2; node++)
		ASSERT_OK(hugetlb_pool(node, 8));
	reserve = mmap(NULL, 2 * PUD_SPAN, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);
	ASSERT_NE(MAP_FAILED, reserve);
	self->addr = (char *)(((uintptr_t)reserve + PUD_SPAN - 1) & -PUD_SPAN);
}

FIXTURE_TEARDOWN_PARENT(shared_table)
{
	settings_restore();
}

/*
 * Of processes that share a page table of hugetlb pages all but one lose it when one page goes,
 * and whoever has marked the file does without: there is nothing to be pre-faulted.
 */
TEST_F_TIMEOUT(shared_table, is_not_shared, TIMEOUT)
{
	size_t size = 4 * FOLIO_2M;
	struct sva_testdev_stats stats;
	struct sva_testdev_job job;
	char *addr = self->addr;
	struct peer peers[2];
	int fd, memfd;

	ASSERT_OK(setting_write(PREFAULT, "0"));
	memfd = memfd_create("sva_forced", MFD_CLOEXEC | MFD_HUGETLB);
	ASSERT_LE(0, memfd);
	ASSERT_EQ(0, ftruncate(memfd, PUD_SPAN));
	ASSERT_EQ(addr, mmap(addr, PUD_SPAN, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_FIXED | MAP_NORESERVE, memfd, 0));
	ASSERT_OK(policy_bind(self->ground.node));
	memset(addr, 1, size);
	ASSERT_OK(policy_default());
	for (int i = 0; i < 2; i++)
		ASSERT_OK(peer_start(&peers[i], touch_shared, addr));

	ASSERT_EQ(0, madvise(addr, PUD_SPAN, MADV_NOMIGRATE));
	fd = sva_open_bound(0);
	ASSERT_LE(0, fd);
	job = sva_job(SVA_TESTDEV_WRITE, addr, size, 1);
	if (variant->poison) {
		job.len -= FOLIO_2M;
		ASSERT_OK(poison(&self->ground, addr + job.len));
	} else {
		ASSERT_OK(move_shared(addr, size, self->ground.other));
	}
	ASSERT_OK(sva_run(fd, &job, &stats));
	EXPECT_EQ(0, stats.faults)
		TH_LOG("%s", sva_describe(&stats));
	close(fd);
	/* A peer that came later holds the pipes of those before. */
	for (int i = 1; i >= 0; i--)
		peer_stop(&peers[i]);
}

TEST_HARNESS_MAIN
