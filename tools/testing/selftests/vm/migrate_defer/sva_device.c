// SPDX-License-Identifier: GPL-2.0
/*
 * The SVA test device accesses the right memory, takes I/O page faults when and only when a device
 * would, tells what is wrong with a request, and leaves nothing behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "migrate_defer.h"
#include "sva.h"

#define PAGES		1024	/* fit into the device's translation cache */
#define TIMEOUT		900

#define FOLIO_4K	4096
#define FOLIO_64K	(64 * 1024)
#define FOLIO_2M	(2 * MIB)

/* Tests that count every fault want nobody else to cause one. */
static void quiet_movers(void)
{
	setting_write("/proc/sys/kernel/numa_balancing", "0");
}

/* ------------------------------------------------------------------- one range of base pages */

FIXTURE(sva) {
	int fd;
	char *mem;
	size_t size;
	struct sva_testdev_stats stats;
};

FIXTURE_SETUP(sva)
{
	const char *missing = sva_missing();

	if (missing)
		SKIP(return, "%s", missing);
	quiet_movers();
	self->size = PAGES * page_size();
	self->mem = mmap(NULL, self->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);
	ASSERT_NE(MAP_FAILED, self->mem);
	ASSERT_EQ(0, madvise(self->mem, self->size, MADV_NOHUGEPAGE));
	self->fd = sva_open_bound(0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(sva)
{
	close(self->fd);
	munmap(self->mem, self->size);
	settings_restore();
}

/* An unpopulated range costs one I/O page fault per page, once. */
TEST_F(sva, faults_once)
{
	struct sva_testdev_job job = sva_job(SVA_TESTDEV_WRITE, self->mem, self->size, 1);
	uint64_t stalls = 0;

	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ(PAGES, self->stats.faults);
	EXPECT_EQ(PAGES, self->stats.causes[SVA_TESTDEV_NONE]);
	EXPECT_EQ(0, self->stats.failed_faults);
	EXPECT_EQ(PAGES, self->stats.stalls);
	EXPECT_EQ(0, self->stats.hits);
	EXPECT_EQ(2 * PAGES, self->stats.walks);
	for (int i = 0; i < SVA_TESTDEV_NR_BUCKETS; i++)
		stalls += self->stats.stall_hist[i];
	EXPECT_EQ(PAGES, stalls);
	EXPECT_LT(0, self->stats.stall_ns_max);

	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ(PAGES, self->stats.accesses);
	EXPECT_EQ(0, self->stats.faults);
	EXPECT_EQ(0, self->stats.walks);
	EXPECT_EQ(PAGES, self->stats.hits);
}

/* MADV_DONTNEED takes the translations away, and the device sees zeros afterwards. */
TEST_F(sva, dontneed)
{
	struct sva_testdev_job job = sva_job(SVA_TESTDEV_INCREMENT, self->mem, self->size, 1);
	uint64_t dropped;

	memset(self->mem, 0x5a, self->size);
	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	dropped = self->stats.dropped;
	ASSERT_EQ(0, madvise(self->mem, self->size, MADV_DONTNEED));

	job.flags = SVA_TESTDEV_JOB_VERIFY;
	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ(PAGES, self->stats.dropped - dropped);
	EXPECT_EQ(PAGES, self->stats.faults);
	EXPECT_EQ(0, self->stats.mismatches);
	EXPECT_EQ(0, sva_wrong_counters(self->mem, PAGES, 0, &self->stats));
}

#ifdef __x86_64__
#define FREE_PAGE_TABLES	"/sys/module/sva_testdev/parameters/free_page_tables"
#define FREES			20	/* Other users of vmalloc() may have the place. */

/*
 * An IOMMU may cache the kernel's part of a page table, too, and so the kernel tells all of them
 * when it frees a page table of its own.  The translations of the process are none of these.
 */
TEST_F(sva, kernel_page_tables)
{
	struct sva_testdev_job job = sva_job(SVA_TESTDEV_READ, self->mem, self->size, 1);
	uint64_t told, dropped;

	memset(self->mem, 1, self->size);
	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	told = self->stats.kernel_invalidations;
	dropped = self->stats.dropped;
	for (int i = 0; i < FREES && self->stats.kernel_invalidations == told; i++) {
		ASSERT_OK(file_write(FREE_PAGE_TABLES, "1"));
		/* A work item of the kernel tells. */
		usleep(100000);
		ASSERT_OK(sva_stats(self->fd, 0, &self->stats));
	}
	if (self->stats.kernel_invalidations == told)
		TH_LOG("INCONCLUSIVE: the kernel has freed no page table");
	EXPECT_LT(told, self->stats.kernel_invalidations);
	EXPECT_EQ(dropped, self->stats.dropped);

	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ(0, self->stats.walks);
	EXPECT_EQ(PAGES, self->stats.hits);
}
#endif

/* A wrong word is found, once, with its address, what it should be and what it is. */
TEST_F(sva, mismatch_found)
{
	struct sva_testdev_job job = sva_job(SVA_TESTDEV_WRITE, self->mem, self->size, 1);
	size_t offset = 7 * page_size() + 24;

	job.stride = 8;
	job.seed = 1000;
	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	*(uint64_t *)(self->mem + offset) = 42;
	job.op = SVA_TESTDEV_READ;
	job.flags = SVA_TESTDEV_JOB_VERIFY;
	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ(1, self->stats.mismatches);
	EXPECT_EQ((uintptr_t)self->mem + offset, self->stats.mismatch_addr);
	EXPECT_EQ(1000 + offset / 8, self->stats.mismatch_expected);
	EXPECT_EQ(42, self->stats.mismatch_found);
}

/* A device without hardware A/D faults on old pages; one with it sets the bit itself. */
TEST_F(sva, old_pages)
{
	struct sva_testdev_job job = sva_job(SVA_TESTDEV_READ, self->mem, self->size, 1);
	size_t faults = SVA_ALWAYS_HW_AD ? 0 : PAGES;

	memset(self->mem, 1, self->size);
	ASSERT_OK(file_write("/proc/self/clear_refs", "1"));
	ASSERT_OK(sva_evict(self->fd));
	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ(faults, self->stats.causes[SVA_TESTDEV_OLD]);
	EXPECT_EQ(faults, self->stats.faults);

	job.flags = SVA_TESTDEV_JOB_HW_AD;
	ASSERT_OK(file_write("/proc/self/clear_refs", "1"));
	ASSERT_OK(sva_evict(self->fd));
	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ(0, self->stats.faults);

	job.flags = 0;
	ASSERT_OK(sva_evict(self->fd));
	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ(0, self->stats.faults);
}

/* The same of writes to clean pages. */
TEST_F(sva, clean_pages)
{
	struct sva_testdev_job job = sva_job(SVA_TESTDEV_WRITE, self->mem, self->size, 1);
	size_t faults = SVA_ALWAYS_HW_AD ? 0 : PAGES;

	memset(self->mem, 1, self->size);
	ASSERT_EQ(0, madvise(self->mem, self->size, MADV_FREE));
	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ(faults, self->stats.causes[SVA_TESTDEV_OLD] +
			  self->stats.causes[SVA_TESTDEV_CLEAN]);
	EXPECT_EQ(faults, self->stats.faults);

	job.flags = SVA_TESTDEV_JOB_HW_AD;
	ASSERT_EQ(0, madvise(self->mem, self->size, MADV_FREE));
	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ(0, self->stats.faults);

	job.flags = 0;
	ASSERT_OK(sva_evict(self->fd));
	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ(0, self->stats.faults);
}

/* A translation that was inserted by a read does not let a write through. */
TEST_F(sva, write_after_read)
{
	struct sva_testdev_job job = sva_job(SVA_TESTDEV_READ, self->mem, self->size, 1);

	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ(PAGES, self->stats.faults);
	job.op = SVA_TESTDEV_INCREMENT;
	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ(PAGES, self->stats.causes[SVA_TESTDEV_READONLY])
		TH_LOG("%s", sva_describe(&self->stats));
	EXPECT_EQ(0, sva_wrong_counters(self->mem, PAGES, 0, &self->stats));
}

/* Every wrong request has its errno, and the context stays usable. */
TEST_F(sva, errors)
{
	const uint64_t addr = (uintptr_t)self->mem, page = page_size();
	const struct sva_testdev_job good = sva_job(SVA_TESTDEV_READ, self->mem, self->size, 1);
	const struct {
		const char *what;
		int ret;
		uint64_t addr, len, stride;
		uint32_t op, flags, interval_us, reserved;
	} bad[] = {
		{ "unaligned address", -EINVAL, addr + 8, page, 8, 0, 0, 0, 0 },
		{ "unaligned length", -EINVAL, addr, page + 8, 8, 0, 0, 0, 0 },
		{ "no length", -EINVAL, addr, 0, 8, 0, 0, 0, 0 },
		{ "range that wraps", -EINVAL, addr, -page, 8, 0, 0, 0, 0 },
		{ "range that wraps to 0", -EINVAL, -page, page, 8, 0, 0, 0, 0 },
		{ "range beyond user space", -EFAULT, addr, 1ULL << 62, 8, 0, 0, 0, 0 },
		{ "kernel address", -EFAULT, 0xffff000000000000ULL, page, 8, 0, 0, 0, 0 },
		{ "no stride", -EINVAL, addr, page, 0, 0, 0, 0, 0 },
		{ "unaligned stride", -EINVAL, addr, page, 12, 0, 0, 0, 0 },
		{ "stride longer than the range", -EINVAL, addr, page, page + 8, 0, 0, 0, 0 },
		{ "unknown op", -EINVAL, addr, page, 8, SVA_TESTDEV_NR_OPS, 0, 0, 0 },
		{ "unknown op, all bits", -EINVAL, addr, page, 8, ~0U, 0, 0, 0 },
		{ "unknown flag", -EINVAL, addr, page, 8, 0, 1U << 31, 0, 0 },
		{ "interval", -EINVAL, addr, page, 8, 0, 0, SVA_TESTDEV_MAX_INTERVAL_US + 1, 0 },
		{ "reserved field", -EINVAL, addr, page, 8, 0, 0, 0, 1 },
	};
	struct sva_testdev_sampler sampler = { .addr = addr, .len = page, .flags = 1 };
	struct sva_testdev_sample sample;
	struct sva_testdev_bind bind = { .flags = 1U << 31 };
	int fd, result;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		const struct sva_testdev_job job = {
			.addr = bad[i].addr,
			.len = bad[i].len,
			.stride = bad[i].stride,
			.passes = 1,
			.op = bad[i].op,
			.flags = bad[i].flags,
			.interval_us = bad[i].interval_us,
			.reserved = bad[i].reserved,
		};

		EXPECT_EQ(bad[i].ret, sva_start(self->fd, &job))
			TH_LOG("%s", bad[i].what);
	}
	EXPECT_EQ(-EBUSY, sva_bind(self->fd, 0));
	EXPECT_EQ(-ENOENT, sva_stop(self->fd));
	EXPECT_EQ(-ENOENT, sva_wait(self->fd, 0, &result));
	EXPECT_EQ(-ENOENT, sva_stats(self->fd, 0, &self->stats));
	EXPECT_EQ(-ENOENT, sva_sample_stop(self->fd));
	EXPECT_EQ(-ENOENT, sva_sample_read(self->fd, &sample));
	EXPECT_EQ(-1, ioctl(self->fd, SVA_TESTDEV_SAMPLE_START, &sampler));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-EINVAL, sva_sample_start(self->fd, self->mem, 0, 0));
	EXPECT_EQ(-E2BIG, sva_sample_start(self->fd, NULL,
					   (SVA_TESTDEV_MAX_SAMPLE_PAGES + 1) * page, 0));
	EXPECT_EQ(-1, ioctl(self->fd, _IO(SVA_TESTDEV_IOC, 99)));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(-1, ioctl(self->fd, TIOCGWINSZ, &bind));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(-1, ioctl(self->fd, SVA_TESTDEV_JOB_START, NULL));
	EXPECT_EQ(EFAULT, errno);

	fd = sva_open();
	ASSERT_LE(0, fd);
	EXPECT_EQ(-ENODEV, sva_unbind(fd));
	EXPECT_EQ(-ENODEV, sva_evict(fd));
	EXPECT_EQ(-ENODEV, sva_start(fd, &good));
	EXPECT_EQ(-ENODEV, sva_sample_start(fd, self->mem, self->size, 0));
	EXPECT_EQ(-1, ioctl(fd, SVA_TESTDEV_BIND, &bind));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-EBUSY, sva_bind(fd, SVA_TESTDEV_BIND_DEAF));
	close(fd);

	ASSERT_OK(sva_run(self->fd, &good, &self->stats));
	EXPECT_EQ(-EINVAL, sva_stats(self->fd, 1U << 31, &self->stats));
	EXPECT_EQ(PAGES, self->stats.accesses);
}

static void interrupted(int sig)
{
	(void)sig;
}

/* One job at a time; waiting ends by timeout, signal and stop, and reset keeps the totals. */
TEST_F(sva, job_control)
{
	struct sva_testdev_job job = sva_job(SVA_TESTDEV_INCREMENT, self->mem, self->size, 0);
	struct sigaction interrupt = { .sa_handler = interrupted };
	/* Again and again, for the first one may come before the wait. */
	struct itimerval soon = {
		.it_value = { .tv_usec = 10000 }, .it_interval = { .tv_usec = 10000 },
	};
	const struct itimerval never = { 0 };
	uint64_t accesses;
	int result = 1;

	ASSERT_OK(sva_start(self->fd, &job));
	EXPECT_EQ(-EBUSY, sva_start(self->fd, &job));
	EXPECT_EQ(-ETIMEDOUT, sva_wait(self->fd, 0, &result));
	EXPECT_EQ(-ETIMEDOUT, sva_wait(self->fd, 10, &result));
	ASSERT_EQ(0, sigaction(SIGALRM, &interrupt, NULL));
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &soon, NULL));
	EXPECT_EQ(-EINTR, sva_wait(self->fd, SVA_TESTDEV_FOREVER, &result));
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &never, NULL));

	ASSERT_OK(sva_wait_accesses(self->fd, 3 * PAGES));
	ASSERT_OK(sva_stats(self->fd, SVA_TESTDEV_STATS_RESET, &self->stats));
	EXPECT_EQ(1, self->stats.running);
	EXPECT_EQ(PAGES, self->stats.faults);
	accesses = self->stats.accesses;
	ASSERT_OK(sva_wait_accesses(self->fd, PAGES));
	ASSERT_OK(sva_stop(self->fd));
	ASSERT_OK(sva_stop(self->fd));
	ASSERT_OK(sva_wait(self->fd, 0, &result));
	EXPECT_EQ(0, result);
	ASSERT_OK(sva_stats(self->fd, 0, &self->stats));
	EXPECT_EQ(0, self->stats.running);
	EXPECT_EQ(0, self->stats.faults);
	EXPECT_LE(accesses + PAGES, self->stats.accesses);
	EXPECT_EQ(0, sva_wrong_counters(self->mem, PAGES, 0, &self->stats));

	/* What is known of a job survives unbind. */
	ASSERT_OK(sva_unbind(self->fd));
	accesses = self->stats.accesses;
	ASSERT_OK(sva_stats(self->fd, 0, &self->stats));
	EXPECT_EQ(accesses, self->stats.accesses);
	EXPECT_EQ(0, self->stats.pasid);
	ASSERT_LE(0, sva_bind(self->fd, 0));
	ASSERT_OK(sva_stats(self->fd, 0, &self->stats));
	EXPECT_NE(0, self->stats.pasid);
}

/* A job that comes to memory that may not be accessed so fails there, and says where. */
TEST_F(sva, forbidden_memory)
{
	const size_t hole = 5 * page_size();
	struct sva_testdev_job job = sva_job(SVA_TESTDEV_READ, self->mem, self->size, 0);
	const uint64_t at = (uintptr_t)self->mem + hole;

	/* read-only: reads yes, writes no */
	ASSERT_EQ(0, mprotect(self->mem + hole, page_size(), PROT_READ));
	job.passes = 1;
	EXPECT_EQ(0, sva_run(self->fd, &job, &self->stats));
	job.op = SVA_TESTDEV_WRITE;
	EXPECT_EQ(-EFAULT, sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ(at, self->stats.fail_addr);
	EXPECT_EQ(5, self->stats.accesses);
	EXPECT_EQ(1, self->stats.failed_faults);
	EXPECT_EQ(0, self->stats.running);

	/* no access at all */
	ASSERT_EQ(0, mprotect(self->mem + hole, page_size(), PROT_NONE));
	job.op = SVA_TESTDEV_READ;
	EXPECT_EQ(-EFAULT, sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ(at, self->stats.fail_addr);

	/* unmapped, in the middle of a job */
	ASSERT_EQ(0, mprotect(self->mem + hole, page_size(), PROT_READ | PROT_WRITE));
	job.op = SVA_TESTDEV_INCREMENT;
	job.passes = 0;
	ASSERT_OK(sva_start(self->fd, &job));
	ASSERT_OK(sva_wait_accesses(self->fd, 2 * PAGES));
	ASSERT_EQ(0, munmap(self->mem + hole, page_size()));
	int result = 0;

	ASSERT_OK(sva_wait(self->fd, TIMEOUT * 1000, &result));
	EXPECT_EQ(-EFAULT, result);
	ASSERT_OK(sva_stats(self->fd, 0, &self->stats));
	EXPECT_EQ(at, self->stats.fail_addr);

	/* another job goes on where memory is */
	job.addr = at + page_size();
	job.len -= hole + page_size();
	job.passes = 1;
	EXPECT_EQ(0, sva_run(self->fd, &job, &self->stats));
}

/* Memory that no device can have a use for makes the job fail, and the kernel does not complain. */
TEST_F(sva, special_memory)
{
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)self->mem, .len = self->size },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	struct uffdio_api api = { .api = UFFD_API };
	struct sva_testdev_job job;
	size_t len = 0;
	char *start;
	int uffd;

	if (vma_find("[vvar]", &start, &len)) {
		job = sva_job(SVA_TESTDEV_READ, start, len, 1);
		EXPECT_EQ(-EFAULT, sva_run(self->fd, &job, &self->stats));
		EXPECT_EQ((uintptr_t)start, self->stats.fail_addr);
		EXPECT_EQ(0, self->stats.faults);
	}

	uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (uffd < 0)
		SKIP(return, "no userfaultfd");
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_API, &api));
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_REGISTER, &reg));
	job = sva_job(SVA_TESTDEV_READ, self->mem, self->size, 1);
	EXPECT_EQ(-EFAULT, sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ((uintptr_t)self->mem, self->stats.fail_addr);
	EXPECT_EQ(0, self->stats.faults);
	close(uffd);
	EXPECT_EQ(0, sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ(PAGES, self->stats.accesses);
}

/* A sampler sees pages mapped, unmapped, moved and write-protected, and nothing else. */
TEST_F(sva, sampler)
{
	struct sva_testdev_sample sample;

	/* Nobody else is to move a page. */
	if (kernel_has_advice())
		ASSERT_EQ(0, madvise(self->mem, self->size, MADV_NOMIGRATE));
	ASSERT_OK(sva_sample_start(self->fd, self->mem, self->size, 100));
	EXPECT_EQ(-EBUSY, sva_sample_start(self->fd, self->mem, self->size, 100));
	ASSERT_OK(sva_sample_wait_rounds(self->fd, 2));
	ASSERT_OK(sva_sample_read(self->fd, &sample));
	EXPECT_EQ(PAGES, sample.pages);
	EXPECT_EQ(0, sample.present);
	EXPECT_EQ(0, sample.mapped);
	EXPECT_EQ(1, sample.running);

	memset(self->mem, 1, self->size);
	ASSERT_OK(sva_sample_wait_rounds(self->fd, 2));
	ASSERT_OK(sva_sample_read(self->fd, &sample));
	EXPECT_EQ(PAGES, sample.present);
	EXPECT_EQ(PAGES, sample.writable);
	EXPECT_EQ(PAGES, sample.mapped);
	EXPECT_EQ(0, sample.unmapped);
	EXPECT_EQ(0, sample.moved);

	ASSERT_EQ(0, mprotect(self->mem, self->size / 2, PROT_READ));
	ASSERT_OK(sva_sample_wait_rounds(self->fd, 2));
	ASSERT_OK(sva_sample_read(self->fd, &sample));
	EXPECT_EQ(PAGES, sample.present);
	EXPECT_EQ(PAGES / 2, sample.writable);
	/*
	 * mprotect() clears an entry for an instant (ptep_modify_prot_start()), and a walker
	 * without locks, like an IOMMU's, may come just then.
	 */
	EXPECT_EQ(PAGES / 2, sample.write_lost + sample.unmapped);
	EXPECT_EQ(0, sample.moved);

	if (node_count() > 1) {
		for (int node = 0; node < 2; node++) {
			ASSERT_OK(range_bind(self->mem, self->size, node, MPOL_MF_MOVE));
			ASSERT_OK(sva_sample_wait_rounds(self->fd, 2));
		}
		ASSERT_OK(sva_sample_read(self->fd, &sample));
		EXPECT_LE(PAGES, sample.moved);
		EXPECT_EQ(PAGES, sample.present);
	}

	ASSERT_EQ(0, madvise(self->mem, self->size, MADV_DONTNEED));
	ASSERT_OK(sva_sample_wait_rounds(self->fd, 2));
	ASSERT_OK(sva_sample_stop(self->fd));
	ASSERT_OK(sva_sample_read(self->fd, &sample));
	EXPECT_EQ(0, sample.present);
	EXPECT_LE(PAGES, sample.unmapped);
	EXPECT_EQ(0, sample.running);
	EXPECT_EQ(0, sample.result);
}

/* -------------------------------------------------------------------- every kind of memory */

FIXTURE(kinds) {
	int fd;
	struct region r;
	struct sva_testdev_stats stats;
};

FIXTURE_VARIANT(kinds) {
	enum mem_kind kind;
	size_t folio;
};

FIXTURE_VARIANT_ADD(kinds, anon) {
	.kind = MEM_ANON, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(kinds, anon_64k) {
	.kind = MEM_ANON, .folio = FOLIO_64K,
};

FIXTURE_VARIANT_ADD(kinds, anon_thp) {
	.kind = MEM_ANON, .folio = FOLIO_2M,
};

FIXTURE_VARIANT_ADD(kinds, shmem) {
	.kind = MEM_SHMEM, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(kinds, shmem_thp) {
	.kind = MEM_SHMEM, .folio = FOLIO_2M,
};

FIXTURE_VARIANT_ADD(kinds, file_shared) {
	.kind = MEM_FILE_SHARED, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(kinds, hugetlb) {
	.kind = MEM_HUGETLB, .folio = FOLIO_2M,
};

FIXTURE_SETUP(kinds)
{
	const char *missing = sva_missing() ?: region_missing(variant->kind, variant->folio);

	if (missing)
		SKIP(return, "%s", missing);
	quiet_movers();
	ASSERT_OK(region_map(&self->r, variant->kind, variant->folio, PAGES * page_size()));
	ASSERT_OK(region_populate(&self->r, 0));
	ASSERT_EQ(region_pages(&self->r), region_large_pages(&self->r))
		TH_LOG("INCONCLUSIVE: there were not enough large folios");
	self->fd = sva_open_bound(0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(kinds)
{
	close(self->fd);
	region_unmap(&self->r);
	settings_restore();
}

/* What the processor writes the device reads, and what the device writes the processor reads. */
TEST_F_TIMEOUT(kinds, same_contents, TIMEOUT)
{
	struct sva_testdev_job job = sva_job(SVA_TESTDEV_READ, self->r.addr, self->r.size, 1);
	uint64_t *words = (uint64_t *)self->r.addr;
	size_t wrong = 0;

	job.stride = 8;
	job.seed = 12345;
	job.flags = SVA_TESTDEV_JOB_VERIFY;
	for (size_t i = 0; i < self->r.size / 8; i++)
		words[i] = job.seed + i;
	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ(0, self->stats.mismatches);
	EXPECT_EQ(0, self->stats.faults)
		TH_LOG("%s", sva_describe(&self->stats));
	if (variant->folio == FOLIO_2M)
		EXPECT_GE(region_pages(&self->r) / 64, self->stats.walks);

	job.op = SVA_TESTDEV_WRITE;
	job.seed = 67890;
	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	for (size_t i = 0; i < self->r.size / 8; i++)
		wrong += words[i] != job.seed + i;
	EXPECT_EQ(0, wrong);
}

/* ------------------------------------------------------------------- processes, bind and unbind */

FIXTURE(process) {
	struct sva_testdev_job job;
	char *mem;
	size_t size;
};

FIXTURE_SETUP(process)
{
	const char *missing = sva_missing();

	if (missing)
		SKIP(return, "%s", missing);
	self->size = PAGES * page_size();
	self->mem = mmap(NULL, self->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);
	ASSERT_NE(MAP_FAILED, self->mem);
	self->job = sva_job(SVA_TESTDEV_INCREMENT, self->mem, self->size, 0);
}

FIXTURE_TEARDOWN(process)
{
	munmap(self->mem, self->size);
}

enum death { BY_KILL, BY_EXIT, BY_EXEC };

/* A child that has the device work for it when this returns, until it dies. */
static pid_t start_victim(const struct sva_testdev_job *job, enum death death, int *go_on)
{
	int ready[2], go[2];
	pid_t pid;
	char c;
	int fd;

	if (pipe(ready) || pipe(go))
		return -1;
	pid = fork();
	if (pid) {
		close(ready[1]);
		close(go[0]);
		if (read(ready[0], &c, 1) != 1)
			pid = -1;
		close(ready[0]);
		*go_on = go[1];
		return pid;
	}

	close(go[1]);
	fd = sva_open_bound(0);
	if (fd < 0 || sva_sample_start(fd, (void *)(uintptr_t)job->addr, job->len, 0) ||
	    sva_start(fd, job) || sva_wait_accesses(fd, 2 * PAGES))
		_exit(1);
	if (death == BY_EXEC) {
		/* It keeps the context, and ends at the end of its input. */
		fcntl(fd, F_SETFD, 0);
		dup2(go[0], STDIN_FILENO);
		if (write(ready[1], "", 1) == 1)
			execlp("cat", "cat", NULL);
		_exit(1);
	}
	_exit(write(ready[1], "", 1) != 1 || read(go[0], &c, 1) != 0);
}

/* Whatever way a process goes in the middle of a job, nothing is left, and the module unloads. */
TEST_F_TIMEOUT(process, death_leaves_nothing, TIMEOUT)
{
	for (int round = 0; round < 15; round++) {
		enum death death = round % 3;
		int go_on, status;
		pid_t pid = start_victim(&self->job, death, &go_on);

		ASSERT_LT(0, pid);
		ASSERT_EQ(-EWOULDBLOCK, sva_unload());
		if (death == BY_KILL)
			kill(pid, SIGKILL);
		close(go_on);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(death == BY_KILL ? SIGKILL : 0, status);
		ASSERT_TRUE(poll_until(sva_nothing_live, NULL, TIMEOUT));
		ASSERT_OK(sva_unload());
		ASSERT_OK(sva_load());
	}
}

/* Loading, using and unloading the module again and again works. */
TEST_F_TIMEOUT(process, reload, TIMEOUT)
{
	struct sva_testdev_stats stats;

	self->job.passes = 1;
	for (int round = 0; round < 20; round++) {
		int fd;

		ASSERT_OK(sva_unload());
		ASSERT_EQ(-ENOENT, sva_open());
		ASSERT_OK(sva_load());
		if (round % 2)
			continue;
		fd = sva_open_bound(0);
		ASSERT_LE(0, fd);
		ASSERT_OK(sva_run(fd, &self->job, &stats));
		close(fd);
	}
}

/* Binding and unbinding leaves nothing, with a job running at unbind or not. */
TEST_F_TIMEOUT(process, bind_loop, TIMEOUT)
{
	struct sva_testdev_stats stats;
	int fd = sva_open(), pasid = 0;

	ASSERT_LE(0, fd);
	for (int round = 0; round < 100; round++) {
		int ret = sva_bind(fd, 0);

		ASSERT_LT(0, ret);
		if (round)
			EXPECT_EQ(pasid, ret);
		pasid = ret;
		if (round % 2) {
			ASSERT_OK(sva_start(fd, &self->job));
			ASSERT_OK(sva_sample_start(fd, self->mem, self->size, 0));
		}
		if (round % 4 == 3)
			ASSERT_OK(sva_wait_accesses(fd, PAGES));
		ASSERT_OK(sva_unbind(fd));
		if (round % 2) {
			ASSERT_OK(sva_stats(fd, 0, &stats));
			ASSERT_EQ(0, stats.running);
			ASSERT_EQ(0, stats.result);
		}
	}
	close(fd);
	EXPECT_TRUE(poll_until(sva_nothing_live, NULL, TIMEOUT));
}

/* Those of tests before may still be on their way. */
static bool one_domain(void *unused)
{
	(void)unused;
	return sva_live("domains") == 1;
}

/* Contexts of one process share the PASID; each goes on when the other is gone. */
TEST_F_TIMEOUT(process, two_contexts, TIMEOUT)
{
	struct sva_testdev_stats stats[2];
	int fd[2], pasid[2];

	for (int i = 0; i < 2; i++) {
		fd[i] = sva_open();
		ASSERT_LE(0, fd[i]);
		pasid[i] = sva_bind(fd[i], 0);
		ASSERT_OK(sva_start(fd[i], &self->job));
	}
	EXPECT_LT(0, pasid[0]);
	EXPECT_EQ(pasid[0], pasid[1]);
	EXPECT_TRUE(poll_until(one_domain, NULL, TIMEOUT / 10));
	for (int i = 0; i < 2; i++)
		ASSERT_OK(sva_wait_accesses(fd[i], PAGES));
	ASSERT_OK(sva_unbind(fd[0]));
	ASSERT_OK(sva_wait_accesses(fd[1], PAGES));
	ASSERT_OK(sva_stop(fd[1]));
	for (int i = 0; i < 2; i++) {
		ASSERT_OK(sva_stats(fd[i], 0, &stats[i]));
		close(fd[i]);
	}
	for (size_t i = 0; i < PAGES; i++)
		ASSERT_EQ(stats[0].passes + (i < stats[0].accesses % PAGES) +
			  stats[1].passes + (i < stats[1].accesses % PAGES),
			  *sva_word(self->mem, i));
}

static int two_processes_child(const struct sva_testdev_job *job, void *mem, int pasid)
{
	struct sva_testdev_stats stats;
	int fd = sva_open(), mine;

	if (fd < 0)
		return 1;
	mine = sva_bind(fd, 0);
	if (mine <= 0 || mine == pasid)
		return 2;
	for (size_t i = 0; i < PAGES; i++)
		*sva_word(mem, i) = 0;
	if (sva_start(fd, job) || sva_wait_accesses(fd, 10 * PAGES) || sva_stop(fd) ||
	    sva_stats(fd, 0, &stats))
		return 3;
	return stats.mismatches || sva_wrong_counters(mem, PAGES, 0, &stats) ? 4 : 0;
}

/* Two processes with different contents at the same addresses do not see each other's. */
TEST_F_TIMEOUT(process, two_processes, TIMEOUT)
{
	struct sva_testdev_stats stats;
	int fd = sva_open(), pasid, status;
	pid_t pid;

	ASSERT_LE(0, fd);
	pasid = sva_bind(fd, 0);
	ASSERT_LT(0, pasid);
	for (size_t i = 0; i < PAGES; i++)
		*sva_word(self->mem, i) = 1000000;
	self->job.seed = 1000000;
	self->job.flags = SVA_TESTDEV_JOB_VERIFY;
	ASSERT_OK(sva_start(fd, &self->job));

	pid = fork();
	if (!pid) {
		self->job.seed = 0;
		_exit(two_processes_child(&self->job, self->mem, pasid));
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status)
		TH_LOG("child failed at %d", WEXITSTATUS(status));
	ASSERT_OK(sva_stop(fd));
	ASSERT_OK(sva_stats(fd, 0, &stats));
	EXPECT_EQ(0, stats.mismatches);
	EXPECT_EQ(0, sva_wrong_counters(self->mem, PAGES, 1000000, &stats));
	close(fd);
}

TEST_HARNESS_MAIN
