// SPDX-License-Identifier: GPL-2.0
/*
 * sva_testdev: a software device that accesses the memory of bound processes
 * through the kernel's SVA framework, behind a software IOMMU of its own.
 *
 * It is honest: binding, I/O page faults, their responses and invalidations go
 * through the IOMMU core as those of hardware do, and what it accesses is what
 * its translation cache or a page walk says, never a fault in disguise.  Where
 * the core does not do SVA (6.12 on x86) there are direct bindings: direct.c.
 *
 * Locks and lifetimes: internal.h.  Interface: sva_testdev.h.
 */
#include <linux/debugfs.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "internal.h"

/**
 * struct svadev_ctx - an open file
 * @lock:	protects the others
 * @bond:	the binding; @bond.domain is NULL if there is none
 * @job:	the present or last job, or NULL
 * @sampler:	the present or last sampler, or NULL
 */
struct svadev_ctx {
	struct mutex lock; /* see above */
	struct svadev_bond bond;
	struct svadev_job *job;
	struct svadev_sampler *sampler;
};

static atomic_t nr_contexts = ATOMIC_INIT(0);
atomic_t svadev_nr_rewarming = ATOMIC_INIT(0);
static struct dentry *debugfs_dir;

/**
 * svadev_pause() - let a thread sleep, unless it is to stop
 * @us: how many microseconds
 */
void svadev_pause(u32 us)
{
	ktime_t timeout = ns_to_ktime(us * (u64)NSEC_PER_USEC);

	if (!us)
		return;
	set_current_state(TASK_IDLE);
	if (!kthread_should_stop())
		schedule_hrtimeout(&timeout, HRTIMER_MODE_REL);
	__set_current_state(TASK_RUNNING);
}

/**
 * svadev_check_range() - check a range of addresses that user space gave
 * @dom: the domain
 * @addr: its first byte
 * @len: its length
 *
 * Return: 0, -EINVAL if it is unaligned, empty or wraps, -EFAULT if it is not
 * all in user space.
 */
int svadev_check_range(const struct svadev_domain *dom, u64 addr, u64 len)
{
	if (!len || !PAGE_ALIGNED(addr) || !PAGE_ALIGNED(len) || addr + len < addr)
		return -EINVAL;
	return addr + len > dom->mm->task_size ? -EFAULT : 0;
}

static long ctx_bind(struct svadev_ctx *ctx, struct sva_testdev_bind *req)
{
	bool deaf = req->flags & SVA_TESTDEV_BIND_DEAF;
	int ret;

	if (req->flags & ~(SVA_TESTDEV_BIND_DEAF | SVA_TESTDEV_BIND_DIRECT))
		return -EINVAL;
	if (ctx->bond.domain)
		return -EBUSY;
	ret = req->flags & SVA_TESTDEV_BIND_DIRECT ? svadev_direct_bind(&ctx->bond, deaf) :
						     svadev_iommu_bind(&ctx->bond, deaf);
	if (!ret)
		req->pasid = ctx->bond.pasid;
	return ret;
}

static long ctx_unbind(struct svadev_ctx *ctx)
{
	if (!ctx->bond.domain)
		return -ENODEV;
	if (ctx->job)
		svadev_job_stop(ctx->job);
	if (ctx->sampler)
		svadev_sampler_stop(ctx->sampler);
	if (ctx->bond.sva)
		svadev_iommu_unbind(&ctx->bond);
	else
		svadev_direct_unbind(&ctx->bond);
	return 0;
}

static void ctx_forget_job(struct svadev_ctx *ctx)
{
	if (!ctx->job)
		return;
	svadev_job_stop(ctx->job);
	svadev_job_put(ctx->job);
	ctx->job = NULL;
}

static void ctx_forget_sampler(struct svadev_ctx *ctx)
{
	if (!ctx->sampler)
		return;
	svadev_sampler_stop(ctx->sampler);
	svadev_sampler_free(ctx->sampler);
	ctx->sampler = NULL;
}

static long ctx_job_start(struct svadev_ctx *ctx, const struct sva_testdev_job *req)
{
	struct svadev_job *job;

	if (!ctx->bond.domain)
		return -ENODEV;
	if (ctx->job && svadev_job_running(ctx->job))
		return -EBUSY;
	job = svadev_job_start(&ctx->bond, req);
	if (IS_ERR(job))
		return PTR_ERR(job);
	ctx_forget_job(ctx);
	ctx->job = job;
	return 0;
}

static long ctx_job_stop(struct svadev_ctx *ctx)
{
	if (!ctx->job)
		return -ENOENT;
	svadev_job_stop(ctx->job);
	return 0;
}

/* Without the context's lock, so that others can stop what is waited for. */
static long ctx_job_wait(struct svadev_ctx *ctx, struct sva_testdev_wait *req)
{
	struct svadev_job *job;
	long ret;

	mutex_lock(&ctx->lock);
	job = ctx->job;
	if (job)
		svadev_job_get(job);
	mutex_unlock(&ctx->lock);
	if (!job)
		return -ENOENT;
	ret = svadev_job_wait(job, req);
	svadev_job_put(job);
	return ret;
}

static long ctx_stats(struct svadev_ctx *ctx, struct sva_testdev_stats *stats)
{
	if (stats->flags & ~SVA_TESTDEV_STATS_RESET)
		return -EINVAL;
	if (!ctx->job)
		return -ENOENT;
	svadev_job_stats(ctx->job, ctx->bond.domain, stats);
	if (ctx->bond.domain)
		stats->pasid = ctx->bond.pasid;
	return 0;
}

static long ctx_evict(struct svadev_ctx *ctx)
{
	if (!ctx->bond.domain)
		return -ENODEV;
	svadev_cache_evict(ctx->bond.domain);
	return 0;
}

static long ctx_sample_start(struct svadev_ctx *ctx, const struct sva_testdev_sampler *req)
{
	struct svadev_sampler *sampler;

	if (!ctx->bond.domain)
		return -ENODEV;
	if (ctx->sampler && svadev_sampler_running(ctx->sampler))
		return -EBUSY;
	sampler = svadev_sampler_start(ctx->bond.domain, req);
	if (IS_ERR(sampler))
		return PTR_ERR(sampler);
	ctx_forget_sampler(ctx);
	ctx->sampler = sampler;
	return 0;
}

static long ctx_sample_stop(struct svadev_ctx *ctx)
{
	if (!ctx->sampler)
		return -ENOENT;
	svadev_sampler_stop(ctx->sampler);
	return 0;
}

static long ctx_sample_read(struct svadev_ctx *ctx, struct sva_testdev_sample *sample)
{
	if (!ctx->sampler)
		return -ENOENT;
	svadev_sampler_read(ctx->sampler, sample);
	return 0;
}

union svadev_arg {
	struct sva_testdev_bind bind;
	struct sva_testdev_job job;
	struct sva_testdev_wait wait;
	struct sva_testdev_stats stats;
	struct sva_testdev_sampler sampler;
	struct sva_testdev_sample sample;
};

static long ctx_command(struct svadev_ctx *ctx, unsigned int cmd, union svadev_arg *arg)
{
	switch (cmd) {
	case SVA_TESTDEV_BIND:
		return ctx_bind(ctx, &arg->bind);
	case SVA_TESTDEV_UNBIND:
		return ctx_unbind(ctx);
	case SVA_TESTDEV_JOB_START:
		return ctx_job_start(ctx, &arg->job);
	case SVA_TESTDEV_JOB_STOP:
		return ctx_job_stop(ctx);
	case SVA_TESTDEV_STATS:
		return ctx_stats(ctx, &arg->stats);
	case SVA_TESTDEV_EVICT:
		return ctx_evict(ctx);
	case SVA_TESTDEV_SAMPLE_START:
		return ctx_sample_start(ctx, &arg->sampler);
	case SVA_TESTDEV_SAMPLE_STOP:
		return ctx_sample_stop(ctx);
	case SVA_TESTDEV_SAMPLE_READ:
		return ctx_sample_read(ctx, &arg->sample);
	default:
		return -ENOTTY;
	}
}

static long svadev_ioctl(struct file *file, unsigned int cmd, unsigned long ptr)
{
	struct svadev_ctx *ctx = file->private_data;
	void __user *user = (void __user *)ptr;
	size_t size = _IOC_SIZE(cmd);
	union svadev_arg arg = {};
	long ret;

	if (_IOC_TYPE(cmd) != SVA_TESTDEV_IOC || size > sizeof(arg))
		return -ENOTTY;
	if (_IOC_DIR(cmd) & _IOC_WRITE && copy_from_user(&arg, user, size))
		return -EFAULT;

	if (cmd == SVA_TESTDEV_JOB_WAIT) {
		ret = ctx_job_wait(ctx, &arg.wait);
	} else {
		mutex_lock(&ctx->lock);
		ret = ctx_command(ctx, cmd, &arg);
		mutex_unlock(&ctx->lock);
	}

	if (!ret && _IOC_DIR(cmd) & _IOC_READ && copy_to_user(user, &arg, size))
		return -EFAULT;
	return ret;
}

static int svadev_open(struct inode *inode, struct file *file)
{
	struct svadev_ctx *ctx;
	int ret;

	ctx = kzalloc_obj(*ctx, GFP_KERNEL_ACCOUNT);
	if (!ctx)
		return -ENOMEM;
	mutex_init(&ctx->lock);
	ret = svadev_device_get();
	if (ret) {
		kfree(ctx);
		return ret;
	}
	atomic_inc(&nr_contexts);
	file->private_data = ctx;
	return 0;
}

static int svadev_close(struct inode *inode, struct file *file)
{
	struct svadev_ctx *ctx = file->private_data;

	mutex_lock(&ctx->lock);
	ctx_unbind(ctx);
	ctx_forget_job(ctx);
	ctx_forget_sampler(ctx);
	mutex_unlock(&ctx->lock);
	svadev_device_put();
	mutex_destroy(&ctx->lock);
	kfree(ctx);
	atomic_dec(&nr_contexts);
	return 0;
}

static const struct file_operations svadev_fops = {
	.owner		= THIS_MODULE,
	.open		= svadev_open,
	.release	= svadev_close,
	.unlocked_ioctl	= svadev_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
};

static struct miscdevice svadev_misc = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "sva_testdev",
	.fops	= &svadev_fops,
};

static int __init svadev_init(void)
{
	int ret;

	ret = svadev_iommu_init();
	if (ret)
		return ret;
	ret = misc_register(&svadev_misc);
	if (ret) {
		svadev_iommu_exit();
		return ret;
	}
	debugfs_dir = debugfs_create_dir("sva_testdev", NULL);
	debugfs_create_atomic_t("contexts", 0444, debugfs_dir, &nr_contexts);
	debugfs_create_atomic_t("domains", 0444, debugfs_dir, &svadev_nr_domains);
	debugfs_create_atomic_t("rewarming", 0444, debugfs_dir, &svadev_nr_rewarming);
	debugfs_create_atomic_t("jobs", 0444, debugfs_dir, &svadev_nr_jobs);
	debugfs_create_atomic_t("samplers", 0444, debugfs_dir, &svadev_nr_samplers);
	return 0;
}

static void __exit svadev_exit(void)
{
	debugfs_remove(debugfs_dir);
	misc_deregister(&svadev_misc);
	svadev_iommu_exit();
	/* Domains are freed with a delay. */
	mmu_notifier_synchronize();
}

module_init(svadev_init);
module_exit(svadev_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Software SVA device behind a software IOMMU, for tests");
