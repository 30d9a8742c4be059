// SPDX-License-Identifier: GPL-2.0-or-later
/* The thread of a device: one job after the other, one access after the other. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "svadev.h"

#define SCATTER_STEP	0x9e3779b1ULL	/* odd: goes to each of 2^n words once */

static __u64 now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ULL + time.tv_nsec;
}

static void count_stall(struct svadev_counts *counts, __u64 ns)
{
	unsigned int bucket = ns ? 63 - __builtin_clzll(ns) : 0;

	if (bucket >= SVADEV_NR_BUCKETS)
		bucket = SVADEV_NR_BUCKETS - 1;
	counts->stalls++;
	counts->stall_ns += ns;
	if (counts->stall_ns_max < ns)
		counts->stall_ns_max = ns;
	counts->stall_hist[bucket]++;
}

static void verify(struct svadev *dev, __u64 addr, __u64 found, __u64 expected)
{
	struct svadev_counts *counts = &dev->counts;

	if (!(dev->job.flags & SVADEV_JOB_VERIFY) || found == expected)
		return;
	if (!counts->mismatches++) {
		counts->mismatch_addr = addr;
		counts->mismatch_expected = expected;
		counts->mismatch_found = found;
	}
}

/*
 * Access a word whose translation is known.  By a pointer into the guest's memory, as a processor
 * of the guest does, so that both see the atomic operations of the other.  ats.lock is held.
 */
static int access_word(struct svadev *dev, const struct atc_entry *entry, __u64 offset)
{
	const struct svadev_job *job = &dev->job;
	__u64 addr = job->addr + offset, len = sizeof(__u64);
	__u64 by_offset = job->seed + offset / sizeof(__u64);
	bool write = job->op != SVADEV_OP_READ;
	__u64 *word;

	word = address_space_map(address_space_memory, entry->address + addr % PAGE_SIZE, &len,
				 write, QEMU_ATTRS_UNSPECIFIED);
	if (!word)
		return -EIO;
	switch (job->op) {
	case SVADEV_OP_READ:
		verify(dev, addr, __atomic_load_n(word, __ATOMIC_RELAXED), by_offset);
		break;
	case SVADEV_OP_WRITE:
		__atomic_store_n(word, by_offset, __ATOMIC_RELAXED);
		break;
	case SVADEV_OP_INCREMENT:
		verify(dev, addr, __atomic_fetch_add(word, 1, __ATOMIC_SEQ_CST),
		       job->seed + dev->counts.passes);
		break;
	}
	address_space_unmap(address_space_memory, word, len, write, len);
	dev->counts.accesses++;
	return 0;
}

/* Make a translation known, by page requests if need be.  Counts these. */
static int get_translation(struct svadev *dev, __u64 addr, bool write, bool *requested)
{
	enum svadev_cause cause;
	int ret = atc_translate(&dev->ats, addr, write, &cause);

	pthread_mutex_lock(&dev->ats.lock);
	dev->counts.translations++;
	if (ret == -EAGAIN) {
		dev->counts.requests++;
		dev->counts.causes[cause]++;
		dev->counts.last_request_addr = addr;
	}
	pthread_mutex_unlock(&dev->ats.lock);
	if (ret != -EAGAIN)
		return ret;
	*requested = true;
	ret = page_request(&dev->ats, addr, write);
	if (ret == -EFAULT) {
		pthread_mutex_lock(&dev->ats.lock);
		dev->counts.refused++;
		pthread_mutex_unlock(&dev->ats.lock);
	}
	return ret;
}

/* Access one word, however often its translation is taken away meanwhile. */
static int do_word(struct svadev *dev, __u64 offset)
{
	__u64 addr = dev->job.addr + offset, begin = 0;
	bool write = dev->job.op != SVADEV_OP_READ, requested = false, first = true;
	int ret = 0;

	for (;;) {
		const struct atc_entry *entry;

		pthread_mutex_lock(&dev->ats.lock);
		if (dev->ats.stop) {
			pthread_mutex_unlock(&dev->ats.lock);
			return -EINTR;
		}
		entry = atc_find(&dev->ats, addr, write);
		if (entry) {
			ret = access_word(dev, entry, offset);
			dev->counts.hits += first;
			if (requested)
				count_stall(&dev->counts, now_ns() - begin);
			pthread_mutex_unlock(&dev->ats.lock);
			break;
		}
		pthread_mutex_unlock(&dev->ats.lock);
		if (first)
			begin = now_ns();
		first = false;
		ret = get_translation(dev, addr, write, &requested);
		if (ret)
			break;
	}
	if (ret && ret != -EINTR) {
		pthread_mutex_lock(&dev->ats.lock);
		dev->counts.fail_addr = addr;
		pthread_mutex_unlock(&dev->ats.lock);
	}
	return ret;
}

static int do_pass(struct svadev *dev)
{
	const struct svadev_job *job = &dev->job;
	__u64 words = (job->len + job->stride - 1) / job->stride, scattered = words;
	int ret;

	if (job->flags & SVADEV_JOB_SCATTER && words > 1)
		scattered = 1ULL << (64 - __builtin_clzll(words - 1));
	for (__u64 i = 0; i < scattered; i++) {
		__u64 word = i;

		if (job->flags & SVADEV_JOB_SCATTER)
			word = i * SCATTER_STEP & (scattered - 1);
		if (word >= words)
			continue;
		ret = do_word(dev, word * job->stride);
		if (ret)
			return ret;
	}
	return 0;
}

/* Returns whether the job is to stop. */
static bool pause_after_pass(struct svadev *dev)
{
	struct timespec end;
	bool stop;

	pthread_mutex_lock(&dev->ats.lock);
	dev->counts.passes++;
	if (dev->job.interval) {
		clock_gettime(CLOCK_REALTIME, &end);
		end.tv_nsec += dev->job.interval * 1000;
		end.tv_sec += end.tv_nsec / 1000000000;
		end.tv_nsec %= 1000000000;
		while (!dev->ats.stop)
			if (pthread_cond_timedwait(&dev->ats.wake, &dev->ats.lock, &end) ==
			    ETIMEDOUT)
				break;
	}
	stop = dev->ats.stop;
	pthread_mutex_unlock(&dev->ats.lock);
	return stop;
}

static void *job_thread(void *arg)
{
	struct svadev *dev = arg;

	rcu_register_thread();
	for (;;) {
		int ret = 0;

		pthread_mutex_lock(&dev->ats.lock);
		while (!dev->running)
			pthread_cond_wait(&dev->ats.wake, &dev->ats.lock);
		pthread_mutex_unlock(&dev->ats.lock);

		while (!dev->job.passes || dev->counts.passes < dev->job.passes) {
			ret = do_pass(dev);
			if (ret || pause_after_pass(dev))
				break;
		}
		bql_lock();
		pthread_mutex_lock(&dev->ats.lock);
		dev->counts.result = ret == -EINTR ? 0 : ret;
		dev->running = false;
		pthread_mutex_unlock(&dev->ats.lock);
		svadev_interrupt(dev);
		bql_unlock();
	}
	return NULL;
}

static int check_job(const struct svadev_job *job)
{
	if (!job->pasid || !job->len || job->addr % PAGE_SIZE || job->len % PAGE_SIZE ||
	    job->addr + job->len < job->addr)
		return -EINVAL;
	if (!job->stride || job->stride % sizeof(__u64) || job->stride > job->len)
		return -EINVAL;
	if (job->op >= SVADEV_NR_OPS || job->flags & ~(__u64)SVADEV_JOB_FLAGS ||
	    job->interval > SVADEV_MAX_INTERVAL)
		return -EINVAL;
	return job->flags & SVADEV_JOB_DEAF && job->op != SVADEV_OP_READ ? -EPERM : 0;
}

/**
 * job_start() - have the thread begin a job
 * @dev: the device
 * @job: the job
 *
 * Context: BQL held.
 * Return: 0, or a negative errno as SVADEV_CMD_START has it.
 */
int job_start(struct svadev *dev, const struct svadev_job *job)
{
	int ret = check_job(job);

	if (ret)
		return ret;
	pthread_mutex_lock(&dev->ats.lock);
	ret = dev->running ? -EBUSY : 0;
	pthread_mutex_unlock(&dev->ats.lock);
	if (ret)
		return ret;
	if (!function_enabled(dev) || atc_listen(&dev->ats, job->pasid))
		return -EIO;
	pthread_mutex_lock(&dev->ats.lock);
	/* What has become stale meanwhile is for deaf jobs alone. */
	if (dev->job.flags & ~job->flags & SVADEV_JOB_DEAF)
		atc_drop(&dev->ats, 0, ~0ULL);
	dev->job = *job;
	dev->ats.deaf = job->flags & SVADEV_JOB_DEAF;
	dev->counts = (struct svadev_counts) { 0 };
	dev->ats.late = 0;
	dev->ats.stop = false;
	dev->running = true;
	pthread_cond_signal(&dev->ats.wake);
	pthread_mutex_unlock(&dev->ats.lock);
	return 0;
}

/**
 * job_stop() - have the thread end its job, soon
 * @dev: the device
 *
 * Context: any.
 */
void job_stop(struct svadev *dev)
{
	pthread_mutex_lock(&dev->ats.lock);
	dev->ats.stop = true;
	pthread_cond_signal(&dev->ats.wake);
	pthread_mutex_unlock(&dev->ats.lock);
}

/**
 * job_latch() - have the registers show the counts
 * @dev: the device
 * @reset: whether to start them anew, see SVADEV_CMD_LATCH_RESET
 *
 * Context: BQL held.
 */
void job_latch(struct svadev *dev, bool reset)
{
	pthread_mutex_lock(&dev->ats.lock);
	dev->counts.invalidations = dev->ats.invalidations;
	dev->counts.dropped = dev->ats.dropped;
	dev->counts.late = dev->ats.late;
	dev->counts.dirtied = fixups_dirtied;
	dev->counts.narrowed = fixups_narrowed;
	dev->latched = dev->counts;
	if (reset) {
		dev->ats.invalidations = 0;
		dev->ats.dropped = 0;
		dev->ats.late = 0;
		dev->counts = (struct svadev_counts) {
			.result = dev->latched.result,
			.fail_addr = dev->latched.fail_addr,
			.accesses = dev->latched.accesses,
			.passes = dev->latched.passes,
			.mismatches = dev->latched.mismatches,
			.mismatch_addr = dev->latched.mismatch_addr,
			.mismatch_expected = dev->latched.mismatch_expected,
			.mismatch_found = dev->latched.mismatch_found,
		};
	}
	pthread_mutex_unlock(&dev->ats.lock);
}

/**
 * job_init() - start the thread of a device
 * @dev: the device
 *
 * Return: 0 or a negative errno.
 */
int job_init(struct svadev *dev)
{
	pthread_t thread;
	int ret;

	ret = pthread_create(&thread, NULL, job_thread, dev);
	if (!ret)
		pthread_detach(thread);
	return -ret;
}
