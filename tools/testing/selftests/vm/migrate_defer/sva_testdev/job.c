// SPDX-License-Identifier: GPL-2.0
/*
 * Jobs: a kernel thread that accesses a range of addresses word by word, and
 * waits for I/O page faults where it has to.
 *
 * While the context is bound the counts are protected by svadev_domain.lock,
 * which the thread takes for each access anyway; after that the thread is gone.
 */
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/log2.h>
#include <linux/slab.h>

#include "internal.h"

/**
 * struct svadev_job - a job
 * @ref:	held by the context, and by those who wait
 * @bond:	copy of the context's binding
 * @req:	what user space wants
 * @thread:	who does it
 * @passes:	completed passes, for the thread alone: @stats may be reset
 * @done:	completed at its end
 * @stats:	counts, see above
 */
struct svadev_job {
	struct kref ref;
	struct svadev_bond bond;
	struct sva_testdev_job req;
	struct task_struct *thread;
	u64 passes;
	struct completion done;
	struct sva_testdev_stats stats;
};

atomic_t svadev_nr_jobs = ATOMIC_INIT(0);

static void count_fault(struct svadev_job *job, const struct svadev_access *access,
			int result)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&job->bond.domain->lock, flags);
	job->stats.faults++;
	job->stats.causes[access->cause]++;
	job->stats.last_fault_addr = access->addr;
	if (result)
		job->stats.failed_faults++;
	raw_spin_unlock_irqrestore(&job->bond.domain->lock, flags);
}

static void count_stall(struct svadev_job *job, u64 ns)
{
	unsigned int bucket = min(ns ? ilog2(ns) : 0, SVA_TESTDEV_NR_BUCKETS - 1);
	unsigned long flags;

	raw_spin_lock_irqsave(&job->bond.domain->lock, flags);
	job->stats.stalls++;
	job->stats.stall_ns += ns;
	job->stats.stall_ns_max = max(job->stats.stall_ns_max, ns);
	job->stats.stall_hist[bucket]++;
	raw_spin_unlock_irqrestore(&job->bond.domain->lock, flags);
}

static void count_mismatch(struct svadev_job *job, u64 addr, u64 expected, u64 found)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&job->bond.domain->lock, flags);
	if (!job->stats.mismatches++) {
		job->stats.mismatch_addr = addr;
		job->stats.mismatch_expected = expected;
		job->stats.mismatch_found = found;
	}
	raw_spin_unlock_irqrestore(&job->bond.domain->lock, flags);
}

static void count_pass(struct svadev_job *job)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&job->bond.domain->lock, flags);
	job->stats.passes++;
	raw_spin_unlock_irqrestore(&job->bond.domain->lock, flags);
}

static void job_failed(struct svadev_job *job, u64 addr, int result)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&job->bond.domain->lock, flags);
	job->stats.result = result;
	job->stats.fail_addr = addr;
	raw_spin_unlock_irqrestore(&job->bond.domain->lock, flags);
}

/* Returns 0 to try again, or why the access fails. */
static int job_fault(struct svadev_job *job, const struct svadev_access *access)
{
	bool read = access->op != SVA_TESTDEV_WRITE;
	bool write = access->op != SVA_TESTDEV_READ;
	struct svadev_bond *bond = &job->bond;
	int ret;

	ret = svadev_may_fault(bond->domain->mm, access->addr);
	if (ret)
		return ret;
	if (bond->sva)
		ret = svadev_iommu_fault(bond->pasid, access->addr, read, write);
	else
		ret = svadev_direct_fault(bond->domain->mm, access->addr, read, write);
	count_fault(job, access, ret);
	return ret;
}

/* Returns 0, -ECANCELED if the job is to stop, or why it fails. */
static int job_access(struct svadev_job *job, struct svadev_access *access)
{
	ktime_t start = 0;
	int ret;

	for (;;) {
		if (kthread_should_stop())
			return -ECANCELED;
		ret = svadev_access(job->bond.domain, access);
		if (ret != -EAGAIN)
			break;
		if (!start)
			start = ktime_get();
		ret = job_fault(job, access);
		if (ret)
			break;
	}
	if (!ret && start)
		count_stall(job, ktime_to_ns(ktime_sub(ktime_get(), start)));
	return ret;
}

/* Returns whether to go on. */
static bool job_pass(struct svadev_job *job)
{
	const struct sva_testdev_job *req = &job->req;
	struct svadev_access access = {
		.op	= req->op,
		/* IOMMUs of x86 all set them, and a fault that only reads does not. */
		.hw_ad	= IS_ENABLED(CONFIG_X86) || req->flags & SVA_TESTDEV_JOB_HW_AD,
		.stats	= &job->stats,
	};
	bool verify = req->flags & SVA_TESTDEV_JOB_VERIFY;
	u64 expected, offset;
	unsigned int n = 0;
	int ret;

	for (offset = 0; offset <= req->len - sizeof(u64); offset += req->stride) {
		expected = req->seed;
		expected += req->op == SVA_TESTDEV_INCREMENT ? job->passes :
							       offset / sizeof(u64);
		access.addr = req->addr + offset;
		access.value = expected;
		ret = job_access(job, &access);
		if (ret) {
			if (ret != -ECANCELED)
				job_failed(job, access.addr, ret);
			return false;
		}
		if (verify && access.value != expected)
			count_mismatch(job, access.addr, expected, access.value);
		if (!(++n % 64))
			cond_resched();
	}
	count_pass(job);
	cond_resched();
	return ++job->passes != req->passes;
}

static int job_thread(void *data)
{
	struct svadev_job *job = data;

	while (job_pass(job) && !kthread_should_stop())
		svadev_pause(job->req.interval_us);
	complete_all(&job->done);
	return 0;
}

static int check_job(const struct svadev_bond *bond, const struct sva_testdev_job *req)
{
	if (req->op >= SVA_TESTDEV_NR_OPS || req->reserved ||
	    req->flags & ~(SVA_TESTDEV_JOB_VERIFY | SVA_TESTDEV_JOB_HW_AD) ||
	    req->interval_us > SVA_TESTDEV_MAX_INTERVAL_US)
		return -EINVAL;
	if (!req->stride || req->stride % sizeof(u64) || req->stride > req->len)
		return -EINVAL;
	if (bond->domain->deaf && req->op != SVA_TESTDEV_READ)
		return -EPERM;
	return svadev_check_range(bond->domain, req->addr, req->len);
}

/**
 * svadev_job_start() - start a job
 * @bond: the binding, which must last until svadev_job_stop()
 * @req: what to do
 *
 * Return: the job, to be stopped and put by the caller, or as described at
 * struct sva_testdev_job.
 */
struct svadev_job *svadev_job_start(const struct svadev_bond *bond,
				    const struct sva_testdev_job *req)
{
	struct svadev_job *job;
	int ret;

	ret = check_job(bond, req);
	if (ret)
		return ERR_PTR(ret);
	job = kzalloc_obj(*job, GFP_KERNEL_ACCOUNT);
	if (!job)
		return ERR_PTR(-ENOMEM);
	kref_init(&job->ref);
	init_completion(&job->done);
	job->bond = *bond;
	job->req = *req;
	job->thread = kthread_create(job_thread, job, "sva_job/%u", bond->pasid);
	if (IS_ERR(job->thread)) {
		ret = PTR_ERR(job->thread);
		kfree(job);
		return ERR_PTR(ret);
	}
	atomic_inc(&svadev_nr_jobs);
	get_task_struct(job->thread);
	wake_up_process(job->thread);
	return job;
}

/**
 * svadev_job_stop() - stop a job, if it still runs, and wait for its end
 * @job: the job
 *
 * Context: may sleep; the same job must not be stopped by two callers at once.
 */
void svadev_job_stop(struct svadev_job *job)
{
	if (!job->thread)
		return;
	kthread_stop_put(job->thread);
	job->thread = NULL;
	/* A thread that is stopped before it ever ran does nothing. */
	complete_all(&job->done);
}

/**
 * svadev_job_running() - whether a job's thread still does something
 * @job: the job
 *
 * Return: whether.
 */
bool svadev_job_running(struct svadev_job *job)
{
	return !completion_done(&job->done);
}

/**
 * svadev_job_get() - keep a job's memory
 * @job: the job
 */
void svadev_job_get(struct svadev_job *job)
{
	kref_get(&job->ref);
}

static void job_release(struct kref *ref)
{
	kfree(container_of(ref, struct svadev_job, ref));
	atomic_dec(&svadev_nr_jobs);
}

/**
 * svadev_job_put() - undo svadev_job_get() or, of a stopped job, svadev_job_start()
 * @job: the job
 */
void svadev_job_put(struct svadev_job *job)
{
	kref_put(&job->ref, job_release);
}

/**
 * svadev_job_wait() - wait for the end of a job
 * @job: the job
 * @wait: how long; out: the result
 *
 * Return: 0, -ETIMEDOUT, or -EINTR if there is a signal.
 */
int svadev_job_wait(struct svadev_job *job, struct sva_testdev_wait *wait)
{
	long timeout = wait->timeout_ms == SVA_TESTDEV_FOREVER ?
		       MAX_SCHEDULE_TIMEOUT : msecs_to_jiffies(wait->timeout_ms);

	timeout = wait_for_completion_interruptible_timeout(&job->done, timeout);
	if (timeout < 0)
		return -EINTR;
	if (!timeout)
		return -ETIMEDOUT;
	wait->result = job->stats.result;
	return 0;
}

static void copy_stats(struct sva_testdev_stats *s, struct sva_testdev_stats *to,
		       bool reset)
{
	*to = *s;
	if (!reset)
		return;
	*s = (struct sva_testdev_stats) {
		.result			= s->result,
		.fail_addr		= s->fail_addr,
		.accesses		= s->accesses,
		.passes			= s->passes,
		.mismatches		= s->mismatches,
		.mismatch_addr		= s->mismatch_addr,
		.mismatch_expected	= s->mismatch_expected,
		.mismatch_found		= s->mismatch_found,
	};
}

/**
 * svadev_job_stats() - tell the counts of a job
 * @job: the job
 * @dom: the domain that the job's context is bound to now, or NULL
 * @stats: in: flags; out: the counts
 */
void svadev_job_stats(struct svadev_job *job, struct svadev_domain *dom,
		      struct sva_testdev_stats *stats)
{
	bool reset = stats->flags & SVA_TESTDEV_STATS_RESET;
	unsigned long flags;

	if (dom) {
		raw_spin_lock_irqsave(&dom->lock, flags);
		copy_stats(&job->stats, stats, reset);
		stats->invalidations = dom->invalidations;
		stats->kernel_invalidations = dom->kernel_invalidations;
		stats->dropped = dom->dropped;
		stats->rewarms = dom->rewarms;
		raw_spin_unlock_irqrestore(&dom->lock, flags);
	} else {
		copy_stats(&job->stats, stats, reset);
	}
	stats->running = svadev_job_running(job);
}
