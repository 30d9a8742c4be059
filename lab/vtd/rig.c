// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Self-test of the endpoint behind the kernel's intel-iommu and uio_pci_generic_sva: that it
 * reaches the right memory, asks for pages when and only when a device would, and would notice a
 * stale translation.  What holds only with a fixup (regs.h) is expected to fail without it, so that
 * the same program, in a guest without that fixup, shows that the test can tell.
 *
 * RIG_SECONDS=n in the environment: how long the soak takes.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "migrate_defer.h"
#include "movers.h"
#include "sva.h"
#include "sva_uio.h"

#define PAGES		256
#define SOAK_SECONDS	10
#define SOAK_TIMEOUT	3600

FIXTURE(rig) {
	int fd;
	char *mem;
	size_t size;
	struct sva_testdev_stats stats;
};

static char *map_at(void *where, size_t size)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | (where ? MAP_FIXED_NOREPLACE : 0);
	char *mem = mmap(where, size, PROT_READ | PROT_WRITE, flags, -1, 0);

	if (mem != MAP_FAILED)
		madvise(mem, size, MADV_NOHUGEPAGE);
	return mem;
}

FIXTURE_SETUP(rig)
{
	const char *missing = sva_missing();

	/* The rig is what is tested: without it there is nothing to skip to. */
	ASSERT_EQ(NULL, missing)
		TH_LOG("%s", missing);
	setting_write("/proc/sys/kernel/numa_balancing", "0");
	self->size = PAGES * page_size();
	self->mem = map_at(NULL, self->size);
	ASSERT_NE(MAP_FAILED, self->mem);
	self->fd = sva_open_bound(0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(rig)
{
	close(self->fd);
	munmap(self->mem, self->size);
	settings_restore();
}

static bool fixed(int fd, unsigned int fixup)
{
	return uio_register(fd, SVADEV_REG_FIXUPS) & fixup;
}

static size_t wrong_words(const char *mem, size_t size, __u64 seed)
{
	const __u64 *words = (const __u64 *)mem;
	size_t wrong = 0;

	for (size_t i = 0; i < size / sizeof(*words); i++)
		wrong += words[i] != seed + i;
	return wrong;
}

static void fill_words(char *mem, size_t size, __u64 seed)
{
	__u64 *words = (__u64 *)mem;

	for (size_t i = 0; i < size / sizeof(*words); i++)
		words[i] = seed + i;
}

static struct sva_testdev_job all_words(enum sva_testdev_op op, char *mem, size_t size)
{
	struct sva_testdev_job job = sva_job(op, mem, size, 1);

	job.stride = 8;
	job.flags = SVA_TESTDEV_JOB_VERIFY;
	return job;
}

/*
 * The driver as its author meant it, without a library: a job over memory that was never touched,
 * by the address that the process has for it, and its end by an interrupt.
 */
TEST(by_hand)
{
	struct pollfd event = { .events = POLLIN };
	volatile __u64 *bar;
	__u32 interrupts;
	__u64 *mem;
	long long pasid;

	ASSERT_EQ(NULL, sva_missing());
	mem = (__u64 *)map_at(NULL, 16 * page_size());
	ASSERT_NE(MAP_FAILED, mem);
	event.fd = open("/dev/uio0", O_RDWR);
	ASSERT_LE(0, event.fd);
	bar = mmap(NULL, SVADEV_BAR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, event.fd, 0);
	ASSERT_NE(MAP_FAILED, bar);
	ASSERT_EQ(SVADEV_MAGIC, bar[SVADEV_REG_MAGIC / 8]);
	pasid = file_number("/sys/class/uio/uio0/device/pasid");
	ASSERT_LT(0, pasid);

	bar[SVADEV_REG_PASID / 8] = pasid;
	bar[SVADEV_REG_ADDR / 8] = (uintptr_t)mem;
	bar[SVADEV_REG_LEN / 8] = 16 * page_size();
	bar[SVADEV_REG_STRIDE / 8] = 8;
	bar[SVADEV_REG_PASSES / 8] = 1;
	bar[SVADEV_REG_SEED / 8] = 4711;
	bar[SVADEV_REG_OP / 8] = SVADEV_OP_WRITE;
	bar[SVADEV_REG_FLAGS / 8] = 0;
	bar[SVADEV_REG_INTERVAL / 8] = 0;
	bar[SVADEV_REG_COMMAND / 8] = SVADEV_CMD_START;
	ASSERT_EQ(0, bar[SVADEV_REG_STATUS / 8]);
	ASSERT_EQ(1, poll(&event, 1, 60000));
	ASSERT_EQ(sizeof(interrupts), read(event.fd, &interrupts, sizeof(interrupts)));
	ASSERT_EQ(0, bar[SVADEV_REG_RUNNING / 8]);
	EXPECT_EQ(0, wrong_words((char *)mem, 16 * page_size(), 4711));
}

/* Untouched memory costs a page request per page, once; what the device writes the CPU reads. */
TEST_F(rig, words)
{
	struct sva_testdev_job job = all_words(SVA_TESTDEV_WRITE, self->mem, self->size);
	struct svadev_counts counts;

	job.seed = 1000;
	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ(PAGES, self->stats.faults);
	EXPECT_EQ(PAGES, self->stats.causes[SVA_TESTDEV_NONE]);
	EXPECT_EQ(0, self->stats.failed_faults);
	EXPECT_EQ(2 * PAGES, self->stats.walks);
	EXPECT_EQ(0, wrong_words(self->mem, self->size, 1000));
	ASSERT_OK(uio_counts(self->fd, &counts));
	EXPECT_EQ(0, counts.late);

	job.op = SVA_TESTDEV_READ;
	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ(self->size / 8, self->stats.hits);
	EXPECT_EQ(0, self->stats.faults);
	EXPECT_EQ(0, self->stats.walks);
	EXPECT_EQ(0, self->stats.mismatches);

	/* A word that is not as expected is found. */
	*(__u64 *)(self->mem + 3 * page_size() + 24) = 42;
	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ(1, self->stats.mismatches);
	EXPECT_EQ((uintptr_t)self->mem + 3 * page_size() + 24, self->stats.mismatch_addr);
	EXPECT_EQ(42, self->stats.mismatch_found);
}

/* Of the same range in a scattered order each word once, too. */
TEST_F(rig, scattered)
{
	struct sva_testdev_job job = all_words(SVA_TESTDEV_INCREMENT, self->mem, 3 * page_size());

	job.flags |= SVA_UIO_JOB_SCATTER;
	job.passes = 2;
	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ(2 * 3 * page_size() / 8, self->stats.accesses);
	EXPECT_EQ(0, self->stats.mismatches);
	for (size_t i = 0; i < 3 * page_size() / 8; i++)
		ASSERT_EQ(2, ((__u64 *)self->mem)[i]);
}

/* The device and the CPU add to the same words at the same time, and no addition is lost. */
TEST_F(rig, atomic)
{
	struct sva_testdev_job job = sva_job(SVA_TESTDEV_INCREMENT, self->mem, page_size(), 0);
	__u64 *word = (__u64 *)self->mem, added = 0;

	ASSERT_OK(sva_start(self->fd, &job));
	ASSERT_OK(sva_wait_accesses(self->fd, 1));
	for (double end = now() + 1; now() < end;) {
		for (int i = 0; i < 1000; i++)
			__atomic_fetch_add(word, 1, __ATOMIC_SEQ_CST);
		added += 1000;
	}
	ASSERT_OK(sva_stop(self->fd));
	ASSERT_OK(sva_stats(self->fd, 0, &self->stats));
	EXPECT_LT(1000, self->stats.accesses);
	EXPECT_EQ(added + self->stats.accesses, *word);
}

/* What the CPU unmaps the device forgets, before the call that unmaps it returns. */
TEST_F(rig, invalidation)
{
	struct sva_testdev_job job = all_words(SVA_TESTDEV_WRITE, self->mem, self->size);
	__u64 invalidations, dropped;

	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	invalidations = self->stats.invalidations;
	dropped = self->stats.dropped;
	ASSERT_EQ(0, madvise(self->mem, 16 * page_size(), MADV_DONTNEED));
	ASSERT_OK(sva_stats(self->fd, 0, &self->stats));
	EXPECT_LT(invalidations, self->stats.invalidations);
	EXPECT_LE(16, self->stats.dropped - dropped);

	job.op = SVA_TESTDEV_INCREMENT;
	job.len = 16 * page_size();
	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ(16, self->stats.faults);
	EXPECT_EQ(0, self->stats.mismatches);
}

/*
 * Two pages on both sides of a large power of two, which Linux invalidates by one request that is
 * too large for QEMU.  Without the fixup it is not done, and the device reads what was there
 * before: a stale translation is noticed.
 */
TEST_F(rig, stale_translation)
{
	bool works = fixed(self->fd, SVADEV_FIXUP_WIDEINV);
	struct svadev_counts before, after;
	struct sva_testdev_job job;
	size_t size = 2 * page_size();
	char *mem = map_at((void *)((1UL << 46) - page_size()), size);

	ASSERT_NE(MAP_FAILED, mem);
	fill_words(mem, size, 1);
	job = all_words(SVA_TESTDEV_READ, mem, size);
	job.seed = 1;
	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	ASSERT_EQ(0, self->stats.mismatches);
	ASSERT_OK(uio_counts(self->fd, &before));

	ASSERT_EQ(0, munmap(mem, size));
	ASSERT_EQ(mem, map_at(mem, size));
	fill_words(mem, size, 5000);
	job.seed = 5000;
	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	ASSERT_OK(uio_counts(self->fd, &after));
	TH_LOG("fixup %s: %llu of %zu words wrong, %llu invalidations rewritten",
	       works ? "on" : "off", self->stats.mismatches, size / 8,
	       after.narrowed - before.narrowed);
	if (works) {
		EXPECT_EQ(0, self->stats.mismatches);
		EXPECT_LT(before.narrowed, after.narrowed);
	} else {
		EXPECT_LT(0, self->stats.mismatches);
	}
	munmap(mem, size);
}

/* kB of the range that MADV_FREE may throw away: pages that are clean */
static long long lazyfree_kb(const char *mem)
{
	unsigned long start, end;
	bool inside = false;
	long long kb = -1;
	char line[256];
	FILE *f = fopen("/proc/self/smaps", "r");

	while (f && kb < 0 && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = start <= (uintptr_t)mem && (uintptr_t)mem < end;
		if (inside)
			sscanf(line, "LazyFree: %lld kB", &kb);
	}
	if (f)
		fclose(f);
	return kb;
}

/* Have the range clean, and the kernel look at it so. */
static int make_lazyfree(char *mem, size_t size)
{
	int ret;

	memset(mem, 1, size);
	ret = lru_drain();
	if (ret)
		return ret;
	return madvise(mem, size, MADV_FREE) ? -errno : lru_drain();
}

/*
 * A write of the device makes a page dirty that is young already; without the fixup it stays clean,
 * and reclaim would throw it away.
 */
TEST_F(rig, dirty_bit)
{
	struct sva_testdev_job job = sva_job(SVA_TESTDEV_WRITE, self->mem, self->size, 1);
	bool works = fixed(self->fd, SVADEV_FIXUP_DIRTY);
	long long all = self->size / 1024;

	ASSERT_OK(make_lazyfree(self->mem, self->size));
	for (size_t page = 0; page < PAGES; page++)
		(void)*(volatile char *)(self->mem + page * page_size());
	ASSERT_EQ(all, lazyfree_kb(self->mem));
	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ(0, self->stats.faults);
	TH_LOG("fixup %s: %lld of %lld kB clean after the write", works ? "on" : "off",
	       lazyfree_kb(self->mem), all);
	EXPECT_EQ(works ? 0 : all, lazyfree_kb(self->mem));
}

/* Reading makes nothing dirty, and allows no write that would not be seen. */
TEST_F(rig, read_leaves_clean)
{
	struct sva_testdev_job job = sva_job(SVA_TESTDEV_READ, self->mem, self->size, 1);

	ASSERT_OK(make_lazyfree(self->mem, self->size));
	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ(self->size / 1024, lazyfree_kb(self->mem));
	job.op = SVA_TESTDEV_WRITE;
	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ(0, self->stats.hits);
	EXPECT_EQ(PAGES, self->stats.walks);
}

/* A write that is not allowed ends the job, at its address; so does an address with nothing. */
TEST_F(rig, refused)
{
	struct sva_testdev_job job = sva_job(SVA_TESTDEV_WRITE, self->mem, self->size, 1);
	char *page = self->mem + 9 * page_size();

	ASSERT_EQ(0, mprotect(page, page_size(), PROT_READ));
	ASSERT_EQ(-EFAULT, sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ((uintptr_t)page, self->stats.fail_addr);
	EXPECT_EQ(1, self->stats.failed_faults);
	EXPECT_EQ(9, self->stats.accesses);

	job.op = SVA_TESTDEV_READ;
	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	ASSERT_EQ(0, munmap(page, page_size()));
	ASSERT_EQ(-EFAULT, sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ((uintptr_t)page, self->stats.fail_addr);
}

/* A job that cannot be done is refused, and a second one at a time. */
TEST_F(rig, bad_job)
{
	struct sva_testdev_job good = sva_job(SVA_TESTDEV_READ, self->mem, self->size, 0);
	struct sva_testdev_job job = good;

	job.addr += 8;
	EXPECT_EQ(-EINVAL, sva_start(self->fd, &job));
	job = good;
	job.len = 0;
	EXPECT_EQ(-EINVAL, sva_start(self->fd, &job));
	job = good;
	job.stride = 12;
	EXPECT_EQ(-EINVAL, sva_start(self->fd, &job));
	job = good;
	job.op = SVADEV_NR_OPS;
	EXPECT_EQ(-EINVAL, sva_start(self->fd, &job));
	job = good;
	job.interval_us = SVADEV_MAX_INTERVAL + 1;
	EXPECT_EQ(-EINVAL, sva_start(self->fd, &job));

	ASSERT_OK(sva_start(self->fd, &good));
	EXPECT_EQ(-EBUSY, sva_start(self->fd, &good));
	ASSERT_OK(sva_stop(self->fd));
}

/* Each stall is in the histogram, and the longest is no longer than all together. */
TEST_F(rig, stalls)
{
	struct sva_testdev_job job = sva_job(SVA_TESTDEV_READ, self->mem, self->size, 1);
	__u64 in_hist = 0;

	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	for (int i = 0; i < SVA_TESTDEV_NR_BUCKETS; i++)
		in_hist += self->stats.stall_hist[i];
	EXPECT_EQ(PAGES, self->stats.stalls);
	EXPECT_EQ(PAGES, in_hist);
	EXPECT_LT(0, self->stats.stall_ns_max);
	EXPECT_LE(self->stats.stall_ns_max, self->stats.stall_ns);
}

enum end { END_EXIT, END_KILL, END_EXEC, NR_ENDS };

/* In a process of its own: never returns. */
static void end_in_mid_job(enum end end, char *mem, size_t size, int ready)
{
	struct sva_testdev_job job = sva_job(SVA_TESTDEV_INCREMENT, mem, size, 0);
	int fd = sva_open_bound(0);

	if (fd < 0 || sva_start(fd, &job) || sva_wait_accesses(fd, 2 * PAGES))
		_exit(1);
	if (write(ready, "", 1) != 1)
		_exit(1);
	if (end == END_EXIT)
		_exit(0);
	if (end == END_EXEC)
		execl("/bin/true", "true", NULL);
	for (;;)
		pause();
}

/*
 * A process ends, or becomes another program, while the device writes to its memory: it ends
 * without a hang, and the device can be bound again.  The kernel log is for harness/guest to look
 * at.
 */
TEST_F(rig, exit_in_mid_job)
{
	struct sva_testdev_job job = all_words(SVA_TESTDEV_WRITE, self->mem, self->size);

	for (int i = 0; i < 3 * NR_ENDS; i++) {
		int ready[2], status;
		char byte;
		pid_t pid;

		ASSERT_EQ(0, pipe(ready));
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid)
			end_in_mid_job(i % NR_ENDS, self->mem, self->size, ready[1]);
		close(ready[1]);
		ASSERT_EQ(1, read(ready[0], &byte, 1));
		close(ready[0]);
		if (i % NR_ENDS == END_KILL)
			kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(i % NR_ENDS == END_KILL ? WIFSIGNALED(status) : !status);
	}
	ASSERT_OK(sva_run(self->fd, &job, &self->stats));
	EXPECT_EQ(0, wrong_words(self->mem, self->size, 0));
}

/* --------------------------------------------------------------------------------- the soak */

struct soak {
	char *mem;
	size_t size;
	unsigned int random;
	int children;
	int changed;		/* children that have seen a change */
};

static unsigned int pick(struct soak *soak, unsigned int below)
{
	soak->random = soak->random * 1103515245 + 12345;
	return (soak->random >> 16) % below;
}

static void to_node(struct soak *soak, int node)
{
	size_t pages = soak->size / page_size();
	void **page = calloc(pages, sizeof(*page));
	int *nodes = calloc(pages, sizeof(*nodes)), *status = calloc(pages, sizeof(*status));

	for (size_t i = 0; page && nodes && status && i < pages; i++) {
		page[i] = soak->mem + i * page_size();
		nodes[i] = node;
	}
	if (page && nodes && status)
		syscall(SYS_move_pages, 0, pages, page, nodes, status, 2 /* MPOL_MF_MOVE */);
	free(page);
	free(nodes);
	free(status);
}

/* A child has the memory copied on write: what the device writes meanwhile it must not see. */
static void fork_and_compare(struct soak *soak, __u64 seed, struct sva_testdev_job *job, int fd)
{
	struct sva_testdev_stats stats;
	int go[2], status;
	char byte = 0;
	pid_t pid;

	if (pipe(go))
		return;
	pid = fork();
	if (!pid) {
		if (read(go[0], &byte, 1) != 1)
			_exit(2);
		_exit(!!wrong_words(soak->mem, soak->size, seed));
	}
	if (pid > 0) {
		if (sva_run(fd, job, &stats) || write(go[1], &byte, 1) != 1)
			kill(pid, SIGKILL);
		soak->children++;
		soak->changed += waitpid(pid, &status, 0) != pid || status;
	}
	close(go[0]);
	close(go[1]);
}

static void disturb(struct soak *soak)
{
	size_t half = soak->size / 2;

	switch (pick(soak, 6)) {
	case 0:
		madvise(soak->mem, soak->size, MADV_HUGEPAGE);
		madvise(soak->mem, soak->size, MADV_COLLAPSE);
		break;
	case 1:
		madvise(soak->mem, soak->size, MADV_NOHUGEPAGE);
		break;
	case 2:
		to_node(soak, pick(soak, 2));
		break;
	case 3:
		mprotect(soak->mem, half, PROT_READ);
		mprotect(soak->mem, half, PROT_READ | PROT_WRITE);
		break;
	case 4:
		file_write("/proc/sys/vm/compact_memory", "1");
		break;
	case 5:
		madvise(soak->mem + half, half, MADV_PAGEOUT);
		break;
	}
}

/* The device and the CPU write by turns, while the memory is moved, split, collapsed and copied. */
TEST_F_TIMEOUT(rig, soak, SOAK_TIMEOUT)
{
	const char *env = getenv("RIG_SECONDS");
	double end = now() + (env ? atof(env) : SOAK_SECONDS);
	__u64 wrong = 0, accesses = 0, requests = 0, invalidations = 0, seed = 1;
	struct soak soak = { .size = 4 * MIB, .random = 1 };
	struct sva_testdev_job job;
	int rounds = 0;

	soak.mem = mmap(NULL, soak.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			-1, 0);
	ASSERT_NE(MAP_FAILED, soak.mem);
	while (now() < end) {
		bool alone = pick(&soak, 2);

		/* The device writes, disturbed; the CPU reads. */
		job = all_words(SVA_TESTDEV_WRITE, soak.mem, soak.size);
		job.seed = seed++;
		if (pick(&soak, 4) == 0)
			ASSERT_EQ(0, madvise(soak.mem, soak.size / 2, MADV_DONTNEED));
		ASSERT_OK(sva_start(self->fd, &job));
		for (int i = 0; i < 3 && !alone; i++)
			disturb(&soak);
		do {
			unsigned int patience = alone ? SVA_TESTDEV_FOREVER : 1;
			int result, ret = sva_wait(self->fd, patience, &result);

			if (!ret) {
				/* Not by a write that came while it was not allowed. */
				ASSERT_TRUE(!result || result == -EFAULT);
				break;
			}
			ASSERT_EQ(-ETIMEDOUT, ret);
			disturb(&soak);
		} while (true);
		ASSERT_OK(sva_stats(self->fd, 0, &self->stats));
		accesses += self->stats.accesses;
		requests += self->stats.faults;
		invalidations = self->stats.invalidations;
		if (self->stats.result)
			ASSERT_OK(sva_run(self->fd, &job, &self->stats));
		wrong += wrong_words(soak.mem, soak.size, job.seed);

		/* The CPU writes, the device reads, disturbed. */
		fill_words(soak.mem, soak.size, seed);
		job = all_words(SVA_TESTDEV_READ, soak.mem, soak.size);
		job.seed = seed;
		ASSERT_OK(sva_start(self->fd, &job));
		disturb(&soak);
		ASSERT_OK(sva_stop(self->fd));
		ASSERT_OK(sva_stats(self->fd, 0, &self->stats));
		wrong += self->stats.mismatches;
		accesses += self->stats.accesses;
		requests += self->stats.faults;

		job = all_words(SVA_TESTDEV_WRITE, soak.mem, soak.size);
		job.stride = page_size();
		job.seed = seed + 1;
		fork_and_compare(&soak, seed, &job, self->fd);
		seed += 2;
		rounds++;
	}
	printf("# soak: %d rounds, %llu accesses, %llu page requests, %llu invalidations\n",
	       rounds, accesses, requests, invalidations);
	printf("# soak: %llu wrong words, %d of %d children saw a change\n", wrong, soak.changed,
	       soak.children);
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(0, soak.changed);
	EXPECT_LT(0, requests);
	munmap(soak.mem, soak.size);
}

TEST_HARNESS_MAIN
