// SPDX-License-Identifier: GPL-2.0
/*
 * Everything that can happen to marked memory, or to the device, while pages are moved and
 * pre-faulted: contents stay right, nothing is left behind, and the kernel does not complain.
 */
#include <errno.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "migrate_defer.h"
#include "sva.h"

#define SIZE		(4 * MIB)
#define ROUNDS		200
#define MOVES		30	/* at least */
#define LIVES		12	/* of processes that die in the middle */
#define TIMEOUT		900
#define SPLIT		"/sys/kernel/debug/split_huge_pages"

/* Word 0 of a page is the device's, word 1 tells whose page it is. */
#define WHOSE		1
#define MAGIC		0x5afe000000000000ULL

enum deed {
	UNBIND, MUNMAP, MREMAP, FORK, UNMARK, DIE,
};

/**
 * struct victim - a process whose memory is moved
 * @mem: huge pages of a memfd, marked and locked, under the device
 * @other: the same without mark and lock
 * @memfd: the memfd
 * @fd: the device
 * @stop: the mover thread is to end
 * @moves: how many rounds it has made
 */
struct victim {
	char *mem;
	char *other;
	int memfd;
	int fd;
	int stop;
	unsigned long moves;
};

/* Moves the memory, splits its huge pages, makes huge pages of it, for which it is unmapped. */
static void *mover(void *arg)
{
	size_t pages = SIZE / page_size();
	void **addrs = calloc(pages, sizeof(*addrs));
	int *nodes = calloc(pages, sizeof(*nodes)), *status = calloc(pages, sizeof(*status));
	struct victim *v = arg;

	while (!__atomic_load_n(&v->stop, __ATOMIC_RELAXED)) {
		char *mem = __atomic_load_n(&v->mem, __ATOMIC_RELAXED);

		for (size_t i = 0; i < pages; i++) {
			addrs[i] = mem + i * page_size();
			nodes[i] = v->moves % 2;
		}
		syscall(SYS_move_pages, 0, pages, addrs, nodes, status, MPOL_MF_MOVE);
		file_write(SPLIT, "%d,0x%lx,0x%lx", getpid(), (unsigned long)mem,
			   (unsigned long)mem + SIZE);
		syscall(SYS_move_pages, 0, pages, addrs, nodes, status, MPOL_MF_MOVE);
		madvise(v->moves % 3 ? v->other : mem, SIZE, MADV_COLLAPSE);
		__atomic_add_fetch(&v->moves, 1, __ATOMIC_RELAXED);
	}
	free(addrs);
	free(nodes);
	free(status);
	return NULL;
}

static int device_start(struct victim *v)
{
	struct sva_testdev_job job = sva_job(SVA_TESTDEV_INCREMENT, v->mem, SIZE, 0);

	job.interval_us = 500;
	return sva_start(v->fd, &job);
}

static int victim_init(struct victim *v)
{
	char *reserve;

	*v = (struct victim) { .fd = -1 };
	v->memfd = memfd_create("sva_race", MFD_CLOEXEC);
	if (v->memfd < 0 || ftruncate(v->memfd, SIZE))
		return -errno;
	reserve = mmap(NULL, 6 * SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (reserve == MAP_FAILED)
		return -errno;
	v->mem = (char *)(((uintptr_t)reserve + pmd_size() - 1) & -pmd_size());
	v->other = v->mem + 4 * SIZE;
	if (mmap(v->mem, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, v->memfd,
		 0) != v->mem ||
	    mmap(v->other, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, v->memfd,
		 0) != v->other || mlock(v->mem, SIZE))
		return -errno;
	for (size_t i = 0; i < SIZE / page_size(); i++)
		sva_word(v->mem, i)[WHOSE] = MAGIC + i;
	if (madvise(v->mem, SIZE, MADV_NOMIGRATE))
		return -errno;
	v->fd = sva_open_bound(0);
	return v->fd < 0 ? v->fd : device_start(v);
}

static size_t wrong_pages(const struct victim *v)
{
	size_t wrong = 0;

	for (size_t i = 0; i < SIZE / page_size(); i++)
		wrong += sva_word(v->mem, i)[WHOSE] != MAGIC + i;
	return wrong;
}

static int remap(struct victim *v, size_t offset, size_t len)
{
	void *at = v->mem + offset;

	if (munmap(at, len))
		return -errno;
	if (mmap(at, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, v->memfd,
		 offset) != at || mlock(at, len))
		return -errno;
	return madvise(at, len, MADV_NOMIGRATE) ? -errno : 0;
}

static int do_deed(struct victim *v, enum deed deed, int round)
{
	size_t half = SIZE / 2, odd = (round % 7 + 1) * page_size();
	int ret, status;
	char *to;
	pid_t pid;

	switch (deed) {
	case UNBIND:
		ret = sva_unbind(v->fd);
		if (!ret) {
			ret = sva_bind(v->fd, 0);
			ret = ret < 0 ? ret : 0;
		}
		break;
	case MUNMAP:
		ret = remap(v, round % 2 ? 0 : odd, half);
		break;
	case MREMAP:
		to = v->mem + (round % 2 ? -2 : 2) * (long)half;
		to = mremap(v->mem, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, to);
		ret = to == MAP_FAILED ? -errno : 0;
		if (!ret)
			__atomic_store_n(&v->mem, to, __ATOMIC_RELAXED);
		break;
	case FORK:
		pid = fork();
		if (!pid)
			_exit(wrong_pages(v) != 0);
		ret = waitpid(pid, &status, 0) == pid && !status ? 0 : -ECHILD;
		break;
	case UNMARK:
		ret = madvise(v->mem + odd, half, MADV_DOMIGRATE) ? -errno : 0;
		usleep(round % 5 * 1000);
		if (!ret && madvise(v->mem + odd, half, MADV_NOMIGRATE))
			ret = -errno;
		break;
	default:
		ret = 0;
	}
	if (ret)
		return ret;
	usleep(round % 4 * 3000);

	/* Where the memory was away, the job has failed: have it go on. */
	sva_stop(v->fd);
	return device_start(v);
}

static int live(enum deed deed, unsigned long *moves)
{
	struct victim v;
	pthread_t thread;
	int ret = victim_init(&v);

	if (ret)
		return ret;
	if (pthread_create(&thread, NULL, mover, &v))
		return -EAGAIN;
	for (int round = 0; !ret && (round < ROUNDS ||
				     __atomic_load_n(&v.moves, __ATOMIC_RELAXED) < MOVES); round++)
		ret = do_deed(&v, deed, round);
	__atomic_store_n(&v.stop, 1, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	*moves = v.moves;
	if (!ret && wrong_pages(&v))
		ret = -EBADMSG;
	close(v.fd);
	return ret;
}

FIXTURE(race) {
	char unused;
};

FIXTURE_VARIANT(race) {
	enum deed deed;
};

FIXTURE_VARIANT_ADD(race, unbind) { .deed = UNBIND };

FIXTURE_VARIANT_ADD(race, munmap) { .deed = MUNMAP };

FIXTURE_VARIANT_ADD(race, mremap) { .deed = MREMAP };

FIXTURE_VARIANT_ADD(race, fork) { .deed = FORK };

FIXTURE_VARIANT_ADD(race, unmark) { .deed = UNMARK };

FIXTURE_SETUP(race)
{
	const char *missing = sva_missing() ?: region_missing(MEM_SHMEM, pmd_size());

	if (missing)
		SKIP(return, "%s", missing);
	if (node_count() < 2)
		SKIP(return, "needs two NUMA nodes to move pages between");
}

FIXTURE_TEARDOWN(race)
{
}

/* One deed again and again while the memory is moved, split and collapsed. */
TEST_F_TIMEOUT(race, nothing_goes_wrong, TIMEOUT)
{
	long long forced = vmstat("nomigrate_forced"), repaired = vmstat("nomigrate_prefault");
	unsigned long moves = 0;

	ASSERT_OK(live(variant->deed, &moves));
	forced = vmstat("nomigrate_forced") - forced;
	repaired = vmstat("nomigrate_prefault") - repaired;
	TH_LOG("%lu rounds of moves, %lld pages moved, %lld repaired", moves, forced, repaired);
	EXPECT_LT(0, forced);
	EXPECT_LT(0, repaired);
	EXPECT_TRUE(poll_until(sva_nothing_live, NULL, TIMEOUT));
}

FIXTURE(end) {
	char unused;
};

FIXTURE_SETUP(end)
{
	const char *missing = sva_missing() ?: region_missing(MEM_SHMEM, pmd_size());

	if (missing)
		SKIP(return, "%s", missing);
}

FIXTURE_TEARDOWN(end)
{
}

/*
 * A process that ends, by exit or by a signal, in the middle of moves and pre-faults; and the
 * module is unloaded as soon as it lets itself be unloaded.
 */
TEST_F_TIMEOUT(end, process_and_module, TIMEOUT)
{
	unsigned long moves = 0;
	int busy = 0;

	for (int life = 0; life < LIVES; life++) {
		double deadline;
		int status, ret;
		pid_t pid = fork();

		if (!pid) {
			struct victim v;
			pthread_t thread;

			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (victim_init(&v) || pthread_create(&thread, NULL, mover, &v))
				_exit(1);
			while (!__atomic_load_n(&v.moves, __ATOMIC_RELAXED))
				usleep(1000);
			usleep(life * 1500);
			if (life % 2)
				raise(SIGKILL);
			_exit(0);
		}
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(life % 2 ? SIGKILL : 0, status);
		deadline = now() + TIMEOUT;
		while ((ret = sva_unload()) == -EAGAIN || ret == -EWOULDBLOCK || ret == -EBUSY) {
			busy++;
			ASSERT_LT(now(), deadline);
			usleep(500);
		}
		ASSERT_OK(ret);
		ASSERT_OK(sva_load());
		moves++;
	}
	TH_LOG("%lu lives, the module was busy %d times", moves, busy);
}

TEST_HARNESS_MAIN
