// SPDX-License-Identifier: GPL-2.0
/* How tests use the SVA test device: see sva.h. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "migrate_defer.h"
#include "sva.h"

#define DEVICE		"/dev/sva_testdev"
#define MODULE		"sva_testdev"
#define DEBUGFS		"/sys/kernel/debug/" MODULE "/"

/* Nothing that the device is asked for takes longer, however slow the machine. */
#define TIMEOUT_S	300

/* The kernel waits for a tick before it pre-faults, and gets to it within a few more. */
#define QUIET_S		0.2
#define QUIET_HUGE	10	/* and so many huge pages' worth of page faults */

/* ---------------------------------------------------------------------------------- the module */

/* Or the environment variable SVA_TESTDEV says where it is. */
#define BESIDE	MODULE "/" MODULE ".ko"

/**
 * sva_load() - load the module
 *
 * Return: 0, -EEXIST if it is loaded, or another negative errno.
 */
int sva_load(void)
{
	return module_load("SVA_TESTDEV", BESIDE, "");
}

/**
 * sva_unload() - unload the module
 *
 * Return: 0 or a negative errno.
 */
int sva_unload(void)
{
	return syscall(SYS_delete_module, MODULE, O_NONBLOCK) ? -errno : 0;
}

static const char *no_device(int ret)
{
	static char reason[PATH_MAX + 128];

	snprintf(reason, sizeof(reason), "no SVA test device: %s: %s",
		 module_path("SVA_TESTDEV", BESIDE), strerror(-ret));
	return reason;
}

static const char *missing(unsigned int flags)
{
	static char reason[128];
	int ret, fd;

	if (geteuid())
		return "the SVA test device needs root";
	ret = sva_load();
	if (ret && ret != -EEXIST)
		return no_device(ret);
	fd = sva_open_bound(flags);
	if (fd == -EOPNOTSUPP)
		return "6.12 refuses SVA on x86 by a security fix: run this on arm64";
	if (fd < 0) {
		snprintf(reason, sizeof(reason), "the SVA test device can't be bound: %s",
			 strerror(-fd));
		return reason;
	}
	close(fd);
	return NULL;
}

/**
 * sva_missing() - have the test device behind the kernel's IOMMU core, or know why not
 *
 * Loads the module if need be.
 *
 * Return: the reason why there is none, or NULL.
 */
const char *sva_missing(void)
{
	return missing(0);
}

/**
 * sva_direct_missing() - have the test device for direct bindings, or know why not
 *
 * Loads the module if need be.  Direct bindings work where the kernel refuses SVA, too.
 *
 * Return: the reason why there is none, or NULL.
 */
const char *sva_direct_missing(void)
{
	return missing(SVA_TESTDEV_BIND_DIRECT);
}

/**
 * sva_live() - how many objects of the module are alive
 * @what: "contexts", "domains", "jobs", "samplers", or "rewarming" for callbacks that run
 *
 * Return: the number, or a negative errno.
 */
long long sva_live(const char *what)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), DEBUGFS "%s", what);
	return file_number(path);
}

/**
 * sva_nothing_live() - whether nobody has left anything in the module
 * @unused: for poll_until(), because domains are freed with a delay
 *
 * Return: whether.
 */
bool sva_nothing_live(void *unused)
{
	(void)unused;
	return !sva_live("contexts") && !sva_live("domains") && !sva_live("jobs") &&
	       !sva_live("samplers");
}

/* ------------------------------------------------------------------------------------- contexts */

static int command(int fd, unsigned long cmd, void *arg)
{
	return ioctl(fd, cmd, arg) ? -errno : 0;
}

/**
 * sva_open() - open a context
 *
 * Return: a file descriptor or a negative errno.
 */
int sva_open(void)
{
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/**
 * sva_bind() - bind the address space of this process
 * @fd: the context
 * @flags: SVA_TESTDEV_BIND_ flags
 *
 * Return: the PASID or a negative errno.
 */
int sva_bind(int fd, unsigned int flags)
{
	struct sva_testdev_bind bind = { .flags = flags };

	return command(fd, SVA_TESTDEV_BIND, &bind) ?: (int)bind.pasid;
}

/**
 * sva_open_bound() - open a context and bind it
 * @flags: SVA_TESTDEV_BIND_ flags
 *
 * Return: a file descriptor or a negative errno.
 */
int sva_open_bound(unsigned int flags)
{
	int fd = sva_open(), ret;

	if (fd < 0)
		return fd;
	ret = sva_bind(fd, flags);
	if (ret < 0) {
		close(fd);
		return ret;
	}
	return fd;
}

/**
 * sva_unbind() - stop all that a context does, and undo sva_bind()
 * @fd: the context
 *
 * Return: 0 or a negative errno.
 */
int sva_unbind(int fd)
{
	return command(fd, SVA_TESTDEV_UNBIND, NULL);
}

/**
 * sva_evict() - have the device forget its translations
 * @fd: the context
 *
 * Return: 0 or a negative errno.
 */
int sva_evict(int fd)
{
	return command(fd, SVA_TESTDEV_EVICT, NULL);
}

/* ----------------------------------------------------------------------------------------- jobs */

/**
 * sva_job() - a job that accesses one word per page
 * @op: what it does
 * @addr: start of the range
 * @len: its length
 * @passes: how often, 0: until stopped
 *
 * Return: the job, for changes by the caller.
 */
struct sva_testdev_job sva_job(enum sva_testdev_op op, void *addr, size_t len, uint64_t passes)
{
	return (struct sva_testdev_job) {
		.op = op,
		.addr = (uintptr_t)addr,
		.len = len,
		.stride = page_size(),
		.passes = passes,
	};
}

/**
 * sva_start() - start a job
 * @fd: the context
 * @job: the job
 *
 * Return: 0 or a negative errno.
 */
int sva_start(int fd, const struct sva_testdev_job *job)
{
	return command(fd, SVA_TESTDEV_JOB_START, (void *)job);
}

/**
 * sva_stop() - stop the job, if it still runs
 * @fd: the context
 *
 * Return: 0 or a negative errno.
 */
int sva_stop(int fd)
{
	return command(fd, SVA_TESTDEV_JOB_STOP, NULL);
}

/**
 * sva_wait() - wait for the end of the job
 * @fd: the context
 * @timeout_ms: how long, or SVA_TESTDEV_FOREVER
 * @result: how it ended
 *
 * Return: 0 or a negative errno.
 */
int sva_wait(int fd, unsigned int timeout_ms, int *result)
{
	struct sva_testdev_wait wait = { .timeout_ms = timeout_ms };
	int ret = command(fd, SVA_TESTDEV_JOB_WAIT, &wait);

	*result = wait.result;
	return ret;
}

/**
 * sva_stats() - read the counts of the present or last job
 * @fd: the context
 * @flags: SVA_TESTDEV_STATS_ flags
 * @stats: the counts
 *
 * Return: 0 or a negative errno.
 */
int sva_stats(int fd, unsigned int flags, struct sva_testdev_stats *stats)
{
	stats->flags = flags;
	return command(fd, SVA_TESTDEV_STATS, stats);
}

/**
 * sva_run() - do a job to its end
 * @fd: the context
 * @job: the job
 * @stats: its counts
 *
 * Return: how it ended, or a negative errno.
 */
int sva_run(int fd, const struct sva_testdev_job *job, struct sva_testdev_stats *stats)
{
	int result = 0;
	int ret = sva_start(fd, job);

	if (!ret)
		ret = sva_wait(fd, TIMEOUT_S * 1000, &result);
	if (!ret)
		ret = sva_stats(fd, 0, stats);
	return ret ?: result;
}

/**
 * sva_wait_accesses() - wait until a running job has made progress
 * @fd: the context
 * @more: how many more accesses than it has done up to now
 *
 * Return: 0, -ECANCELED if the job has ended, or another negative errno.
 */
int sva_wait_accesses(int fd, uint64_t more)
{
	struct sva_testdev_stats stats;
	double deadline = now() + TIMEOUT_S;
	uint64_t target = 0;

	for (;;) {
		int ret = sva_stats(fd, 0, &stats);

		if (ret)
			return ret;
		if (!target)
			target = stats.accesses + more;
		if (stats.accesses >= target)
			return 0;
		if (!stats.running)
			return -ECANCELED;
		if (now() > deadline)
			return -ETIMEDOUT;
		usleep(500);
	}
}

#define LOOKS	100	/* without news, and by turns on each processor */

/* How long a fault for each page of a huge page takes here */
static double huge_seconds(void)
{
	static double seconds;
	size_t size = pmd_size();
	double begin = now();
	char *mem;

	if (seconds)
		return seconds;
	mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		return 0;
	madvise(mem, size, MADV_NOHUGEPAGE);
	for (size_t offset = 0; offset < size; offset += page_size())
		mem[offset] = 1;
	seconds = now() - begin;
	munmap(mem, size);
	return seconds;
}

/**
 * sva_wait_quiet_huge() - wait until the kernel has pre-faulted what it has moved
 * @fd: a context that has had a job, or none
 * @huge: huge pages that may be in one range
 *
 * The pre-fault is asynchronous: wait until nothing has been heard of it for a while.  It is silent
 * until it is through with a range, which may take a fault for each page.
 *
 * Return: 0 or a negative errno, -ETIMEDOUT among them.
 */
int sva_wait_quiet_huge(int fd, size_t huge)
{
	double deadline = now() + TIMEOUT_S, wait = QUIET_S + huge * huge_seconds();
	double quiet = now() + wait;
	unsigned int looks = 0;
	uint64_t before = 0;
	cpu_set_t cpus;
	int ret = 0;

	if (sched_getaffinity(0, sizeof(cpus), &cpus))
		return -errno;
	do {
		struct sva_testdev_stats stats = { 0 };
		uint64_t heard = vmstat("nomigrate_prefault");

		if (!sva_stats(fd, 0, &stats))
			heard += stats.rewarms;
		if (heard != before) {
			quiet = now() + wait;
			looks = 0;
		}
		before = heard;
		/* Time passes also where the processor that has the work is held up. */
		task_pin(0, looks++ % cpu_count());
		usleep(2000);
		if (now() > deadline)
			ret = -ETIMEDOUT;
	} while (!ret && (now() < quiet || looks < LOOKS));
	sched_setaffinity(0, sizeof(cpus), &cpus);
	return ret;
}

/**
 * sva_wait_quiet() - the same, of movers that leave ranges of some huge pages at most
 * @fd: a context that has had a job, or none
 *
 * Return: as sva_wait_quiet_huge().
 */
int sva_wait_quiet(int fd)
{
	return sva_wait_quiet_huge(fd, QUIET_HUGE);
}

/**
 * sva_word() - the word of a page that a job of sva_job() accesses
 * @addr: start of the range
 * @page: which page
 *
 * Return: its address.
 */
uint64_t *sva_word(const void *addr, size_t page)
{
	return (uint64_t *)((char *)addr + page * page_size());
}

/**
 * sva_wrong_counters() - check what a job of increments, which has ended, has made
 * @addr: start of its range
 * @pages: length of its range
 * @base: what the counters were before
 * @stats: counts of the job
 *
 * Return: how many counters are wrong.
 */
size_t sva_wrong_counters(const void *addr, size_t pages, uint64_t base,
			  const struct sva_testdev_stats *stats)
{
	size_t wrong = 0;

	for (size_t i = 0; i < pages; i++)
		wrong += *sva_word(addr, i) !=
			 base + stats->passes + (i < stats->accesses - stats->passes * pages);
	return wrong;
}

/**
 * sva_stall_below() - what a share of the stalls stayed below
 * @stats: the counts of a job
 * @share: the share, 1 for all
 *
 * Return: an upper bound in microseconds.
 */
unsigned long long sva_stall_below(const struct sva_testdev_stats *stats, double share)
{
	uint64_t seen = 0;

	for (int i = 0; i < SVA_TESTDEV_NR_BUCKETS; i++) {
		seen += stats->stall_hist[i];
		if (seen >= share * stats->stalls)
			return (2ULL << i) / 1000;
	}
	return 0;
}

/**
 * sva_cause_name() - why a device had an I/O page fault, in a word
 * @cause: why
 *
 * Return: the word.
 */
const char *sva_cause_name(enum sva_testdev_cause cause)
{
	static const char * const names[SVA_TESTDEV_NR_CAUSES] = {
		[SVA_TESTDEV_NONE] = "none",
		[SVA_TESTDEV_MIGRATION] = "migration",
		[SVA_TESTDEV_SWAP] = "swap",
		[SVA_TESTDEV_PROTNONE] = "protnone",
		[SVA_TESTDEV_READONLY] = "readonly",
		[SVA_TESTDEV_OLD] = "old",
		[SVA_TESTDEV_CLEAN] = "clean",
	};

	return names[cause];
}

/**
 * sva_describe() - the counts of a job in a line
 * @stats: the counts
 *
 * Return: the line, valid until the next call.
 */
const char *sva_describe(const struct sva_testdev_stats *stats)
{
	static char line[512];
	size_t n;

	n = snprintf(line, sizeof(line),
		     "%llu accesses, %llu hits, %llu walks, %llu invalidations, %llu dropped, %llu mismatches, longest stall %llu us, %llu faults",
		     stats->accesses, stats->hits, stats->walks, stats->invalidations,
		     stats->dropped, stats->mismatches, stats->stall_ns_max / 1000, stats->faults);
	for (int i = 0; i < SVA_TESTDEV_NR_CAUSES; i++)
		if (stats->causes[i])
			n += snprintf(line + n, sizeof(line) - n, " %s:%llu",
				      sva_cause_name(i), stats->causes[i]);
	return line;
}

/* ------------------------------------------------------------------------------------- samplers */

/**
 * sva_sample_start() - start to watch page table entries
 * @fd: the context
 * @addr: start of the range
 * @len: its length
 * @interval_us: pause after each round
 *
 * Return: 0 or a negative errno.
 */
int sva_sample_start(int fd, void *addr, size_t len, unsigned int interval_us)
{
	struct sva_testdev_sampler sampler = {
		.addr = (uintptr_t)addr,
		.len = len,
		.interval_us = interval_us,
	};

	return command(fd, SVA_TESTDEV_SAMPLE_START, &sampler);
}

/**
 * sva_sample_stop() - stop the sampler, if it still runs
 * @fd: the context
 *
 * Return: 0 or a negative errno.
 */
int sva_sample_stop(int fd)
{
	return command(fd, SVA_TESTDEV_SAMPLE_STOP, NULL);
}

/**
 * sva_sample_read() - read the counts of the present or last sampler
 * @fd: the context
 * @sample: the counts
 *
 * Return: 0 or a negative errno.
 */
int sva_sample_read(int fd, struct sva_testdev_sample *sample)
{
	return command(fd, SVA_TESTDEV_SAMPLE_READ, sample);
}

/**
 * sva_sample_wait_rounds() - wait until a running sampler has made progress
 * @fd: the context
 * @more: how many more rounds than it has completed up to now
 *
 * Return: 0, -ECANCELED if the sampler has ended, or another negative errno.
 */
int sva_sample_wait_rounds(int fd, uint64_t more)
{
	struct sva_testdev_sample sample;
	double deadline = now() + TIMEOUT_S;
	uint64_t target = 0;

	for (;;) {
		int ret = sva_sample_read(fd, &sample);

		if (ret)
			return ret;
		if (!target)
			target = sample.rounds + more;
		if (sample.rounds >= target)
			return 0;
		if (!sample.running)
			return -ECANCELED;
		if (now() > deadline)
			return -ETIMEDOUT;
		usleep(500);
	}
}
