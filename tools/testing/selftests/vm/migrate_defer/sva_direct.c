// SPDX-License-Identifier: GPL-2.0
/*
 * The SVA test device in a direct binding, which needs no SVA support of the kernel: the same
 * device, so only what depends on the way it is bound is tested here, the rest in sva_device.
 */
#include <errno.h>
#include <linux/mempolicy.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "migrate_defer.h"
#include "sva.h"

#define PAGES		1024	/* fit into the device's translation cache */
#define ROUNDS		10
#define TIMEOUT		900
#define FOLIO_2M	(2 * MIB)

FIXTURE(direct) {
	int fd;
	char *mem;
	size_t size;
	struct sva_testdev_stats stats;
};

FIXTURE_SETUP(direct)
{
	const char *missing = sva_direct_missing();

	if (missing)
		SKIP(return, "%s", missing);
	setting_write("/proc/sys/kernel/numa_balancing", "0");
	self->size = PAGES * page_size();
	self->mem = mmap(NULL, self->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);
	ASSERT_NE(MAP_FAILED, self->mem);
	ASSERT_EQ(0, madvise(self->mem, self->size, MADV_NOHUGEPAGE));
	self->fd = sva_open_bound(SVA_TESTDEV_BIND_DIRECT);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(direct)
{
	close(self->fd);
	munmap(self->mem, self->size);
	settings_restore();
}

/* An unpopulated range costs one I/O page fault per page, once; so do writes after reads. */
TEST_F(direct, faults_once)
{
	struct sva_testdev_job job = sva_job(SVA_TESTDEV_READ, self->mem, self->size, 1);

	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ(PAGES, self->stats.faults);
	EXPECT_EQ(PAGES, self->stats.causes[SVA_TESTDEV_NONE]);
	EXPECT_EQ(PAGES, self->stats.stalls);
	EXPECT_EQ(0, self->stats.failed_faults);

	job.op = SVA_TESTDEV_INCREMENT;
	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ(PAGES, self->stats.faults);
	EXPECT_EQ(PAGES, self->stats.causes[SVA_TESTDEV_READONLY])
		TH_LOG("%s", sva_describe(&self->stats));

	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ(PAGES, self->stats.accesses);
	EXPECT_EQ(PAGES, self->stats.hits);
	EXPECT_EQ(0, self->stats.faults);
	for (size_t i = 0; i < PAGES; i++)
		ASSERT_EQ(2, *sva_word(self->mem, i));
}

/* Old and clean pages cost a device without hardware A/D a fault, one with it sets the bits. */
TEST_F(direct, accessed_and_dirty)
{
	struct sva_testdev_job job = sva_job(SVA_TESTDEV_WRITE, self->mem, self->size, 1);

	for (int hw_ad = SVA_ALWAYS_HW_AD; hw_ad < 2; hw_ad++) {
		job.flags = hw_ad ? SVA_TESTDEV_JOB_HW_AD : 0;
		memset(self->mem, 1, self->size);
		ASSERT_EQ(0, madvise(self->mem, self->size, MADV_FREE));
		ASSERT_OK(sva_evict(self->fd));
		ASSERT_OK(sva_run(self->fd, &job, &self->stats));
		EXPECT_EQ(hw_ad ? 0 : PAGES, self->stats.faults);
		EXPECT_EQ(hw_ad ? 0 : PAGES, self->stats.causes[SVA_TESTDEV_OLD] +
					     self->stats.causes[SVA_TESTDEV_CLEAN]);
	}
	/* The bits are where the kernel looks for them. */
	job.flags = 0;
	ASSERT_OK(sva_evict(self->fd));
	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ(0, self->stats.faults);
}

/* What may not be accessed makes the job fail, and says where. */
TEST_F(direct, forbidden_memory)
{
	struct sva_testdev_job job = sva_job(SVA_TESTDEV_WRITE, self->mem, self->size, 1);
	const size_t hole = 5 * page_size();

	ASSERT_EQ(0, mprotect(self->mem + hole, page_size(), PROT_READ));
	EXPECT_EQ(-EFAULT, sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ((uintptr_t)self->mem + hole, self->stats.fail_addr);
	EXPECT_EQ(1, self->stats.failed_faults);
	ASSERT_EQ(0, munmap(self->mem + hole, page_size()));
	EXPECT_EQ(-EFAULT, sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ((uintptr_t)self->mem + hole, self->stats.fail_addr);
}

/* A stream goes over a range that is moved, discarded and protected meanwhile. */
TEST_F_TIMEOUT(direct, stream_survives_churn, TIMEOUT)
{
	struct sva_testdev_job job = sva_job(SVA_TESTDEV_INCREMENT, self->mem, self->size, 0);

	if (node_count() < 2)
		SKIP(return, "needs two NUMA nodes to move pages between");
	job.flags = SVA_TESTDEV_JOB_VERIFY;
	ASSERT_OK(sva_start(self->fd, &job));
	for (int round = 0; round < ROUNDS; round++) {
		ASSERT_OK(range_bind(self->mem, self->size, round % 2, MPOL_MF_MOVE));
		ASSERT_OK(sva_wait_accesses(self->fd, PAGES));
		ASSERT_EQ(0, mprotect(self->mem, self->size, PROT_READ | PROT_WRITE | PROT_EXEC));
		ASSERT_EQ(0, mprotect(self->mem, self->size, PROT_READ | PROT_WRITE));
	}
	ASSERT_OK(sva_stop(self->fd));
	ASSERT_OK(sva_stats(self->fd, 0, &self->stats));
	EXPECT_EQ(0, self->stats.result);
	EXPECT_EQ(0, self->stats.mismatches)
		TH_LOG("%s", sva_describe(&self->stats));
	EXPECT_EQ(0, self->stats.failed_faults);
	EXPECT_LT(PAGES, self->stats.faults);
	EXPECT_LT(0, self->stats.invalidations);
	EXPECT_EQ(0, sva_wrong_counters(self->mem, PAGES, 0, &self->stats));
}

/* The same of huge pages, which are split and collapsed. */
TEST_F_TIMEOUT(direct, stream_over_huge_pages, TIMEOUT)
{
	const char *missing = region_missing(MEM_ANON, FOLIO_2M);
	struct sva_testdev_job job;
	struct region r;
	int ret = 0;

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_OK(region_map(&r, MEM_ANON, FOLIO_2M, 2 * FOLIO_2M));
	ASSERT_OK(region_populate(&r, 0));
	ASSERT_EQ(region_pages(&r), region_large_pages(&r))
		TH_LOG("INCONCLUSIVE: there were not enough huge pages");
	for (size_t i = 0; i < region_pages(&r); i++)
		*sva_word(r.addr, i) = 0;
	job = sva_job(SVA_TESTDEV_INCREMENT, r.addr, r.size, 0);
	job.flags = SVA_TESTDEV_JOB_VERIFY;
	ASSERT_OK(sva_start(self->fd, &job));
	ASSERT_OK(sva_wait_accesses(self->fd, 2 * region_pages(&r)));
	ASSERT_OK(sva_stats(self->fd, SVA_TESTDEV_STATS_RESET, &self->stats));
	/* Entries of huge pages serve all of their words. */
	EXPECT_GE(region_pages(&r) / 64, self->stats.walks);
	for (int round = 0; round < ROUNDS; round++) {
		/* A mapping of one page in the middle splits the entry. */
		ASSERT_EQ(0, mprotect(r.addr + r.size / 4, page_size(),
				      PROT_READ | PROT_WRITE | PROT_EXEC));
		ASSERT_EQ(0, mprotect(r.addr + r.size / 4, page_size(), PROT_READ | PROT_WRITE));
		ASSERT_OK(sva_wait_accesses(self->fd, region_pages(&r)));
		for (int try = 0; try < 1000; try++) {
			ret = madvise(r.addr, r.size, MADV_COLLAPSE) ? -errno : 0;
			if (ret != -EAGAIN && ret != -EBUSY && ret != -EINVAL)
				break;
		}
		ASSERT_EQ(0, ret);
		ASSERT_OK(sva_wait_accesses(self->fd, region_pages(&r)));
		if (node_count() > 1)
			ASSERT_OK(range_bind(r.addr, r.size, round % 2, MPOL_MF_MOVE));
	}
	ASSERT_OK(sva_stop(self->fd));
	ASSERT_OK(sva_stats(self->fd, 0, &self->stats));
	EXPECT_EQ(0, self->stats.result);
	EXPECT_EQ(0, self->stats.mismatches)
		TH_LOG("%s", sva_describe(&self->stats));
	EXPECT_EQ(0, self->stats.causes[SVA_TESTDEV_SWAP])
		TH_LOG("%s", sva_describe(&self->stats));
	EXPECT_EQ(0, sva_wrong_counters(r.addr, region_pages(&r), 0, &self->stats));
	region_unmap(&r);
}

/* A sampler sees what move_pages(2) moves, and nothing where nobody moves anything. */
TEST_F_TIMEOUT(direct, sampler_sees_moves, TIMEOUT)
{
	struct sva_testdev_sample sample;
	void **addrs = calloc(PAGES, sizeof(*addrs));
	int *nodes = calloc(PAGES, sizeof(*nodes)), *status = calloc(PAGES, sizeof(*status));

	if (node_count() < 2)
		SKIP(return, "needs two NUMA nodes to move pages between");
	ASSERT_TRUE(addrs && nodes && status);
	memset(self->mem, 1, self->size);
	ASSERT_OK(range_bind(self->mem, self->size, 0, MPOL_MF_MOVE));
	/* Nobody else is to move a page. */
	if (kernel_has_advice())
		ASSERT_EQ(0, madvise(self->mem, self->size, MADV_NOMIGRATE));
	ASSERT_OK(sva_sample_start(self->fd, self->mem, self->size, 100));
	ASSERT_OK(sva_sample_wait_rounds(self->fd, 3));
	ASSERT_OK(sva_sample_read(self->fd, &sample));
	EXPECT_EQ(PAGES, sample.present);
	EXPECT_EQ(PAGES, sample.writable);
	EXPECT_EQ(0, sample.moved);
	EXPECT_EQ(0, sample.unmapped);

	ASSERT_OK(range_bind(self->mem, self->size, 1, 0));
	for (size_t i = 0; i < PAGES; i++) {
		addrs[i] = self->mem + i * page_size();
		nodes[i] = 1;
	}
	ASSERT_EQ(0, syscall(SYS_move_pages, 0, (unsigned long)PAGES, addrs, nodes, status,
			     MPOL_MF_MOVE));
	ASSERT_OK(sva_sample_wait_rounds(self->fd, 2));
	ASSERT_OK(sva_sample_stop(self->fd));
	ASSERT_OK(sva_sample_read(self->fd, &sample));
	EXPECT_EQ(PAGES, sample.moved);
	EXPECT_EQ(PAGES, sample.present);
	EXPECT_EQ(0, sample.result);
	free(addrs);
	free(nodes);
	free(status);
}

/* Those of tests before may still be on their way. */
static bool one_domain(void *unused)
{
	(void)unused;
	return sva_live("domains") == 1;
}

/* Contexts of one process share what they know; a deaf one does not go with others. */
TEST_F(direct, two_contexts)
{
	struct sva_testdev_job job = sva_job(SVA_TESTDEV_WRITE, self->mem, self->size, 1);
	int fd = sva_open(), pasid;

	ASSERT_LE(0, fd);
	EXPECT_EQ(-EBUSY, sva_bind(fd, SVA_TESTDEV_BIND_DIRECT | SVA_TESTDEV_BIND_DEAF));
	pasid = sva_bind(fd, SVA_TESTDEV_BIND_DIRECT);
	ASSERT_LT(0, pasid);
	EXPECT_TRUE(poll_until(one_domain, NULL, TIMEOUT));
	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ(pasid, self->stats.pasid);
	ASSERT_OK(sva_unbind(self->fd));
	ASSERT_OK(sva_run(fd, &job, &self->stats));
	EXPECT_EQ(PAGES, self->stats.hits);
	close(fd);
}

/* A device that hears no invalidation is caught: so the tests of contents mean something. */
TEST_F(direct, deaf_device_reads_old_page)
{
	struct sva_testdev_job job = sva_job(SVA_TESTDEV_WRITE, self->mem, self->size, 1);

	job.seed = 1000;
	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	ASSERT_OK(sva_unbind(self->fd));
	ASSERT_LT(0, sva_bind(self->fd, SVA_TESTDEV_BIND_DIRECT | SVA_TESTDEV_BIND_DEAF));
	EXPECT_EQ(-EPERM, sva_start(self->fd, &job));
	job.op = SVA_TESTDEV_READ;
	job.flags = SVA_TESTDEV_JOB_VERIFY;
	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ(0, self->stats.mismatches);
	ASSERT_EQ(0, madvise(self->mem, self->size, MADV_DONTNEED));
	for (size_t i = 0; i < PAGES; i++)
		*sva_word(self->mem, i) = 1 + i * page_size() / 8;
	job.seed = 1;
	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	EXPECT_LT(0, self->stats.mismatches);
}

/* Whoever dies in the middle of a job leaves nothing, and the module unloads. */
TEST_F_TIMEOUT(direct, death_leaves_nothing, TIMEOUT)
{
	struct sva_testdev_job job = sva_job(SVA_TESTDEV_INCREMENT, self->mem, self->size, 0);

	close(self->fd);
	self->fd = -1;
	for (int round = 0; round < ROUNDS; round++) {
		int ready[2], status;
		pid_t pid;
		char c;

		ASSERT_EQ(0, pipe(ready));
		pid = fork();
		if (!pid) {
			int fd = sva_open_bound(SVA_TESTDEV_BIND_DIRECT);

			if (fd < 0 || sva_sample_start(fd, self->mem, self->size, 0) ||
			    sva_start(fd, &job) || sva_wait_accesses(fd, 2 * PAGES) ||
			    write(ready[1], "", 1) != 1)
				_exit(1);
			if (round % 2)
				_exit(0);
			pause();
		}
		close(ready[1]);
		EXPECT_EQ(1, read(ready[0], &c, 1));
		close(ready[0]);
		if (!(round % 2))
			kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(round % 2 ? 0 : SIGKILL, status);
		ASSERT_TRUE(poll_until(sva_nothing_live, NULL, TIMEOUT));
		ASSERT_OK(sva_unload());
		ASSERT_OK(sva_load());
	}
}

TEST_HARNESS_MAIN
