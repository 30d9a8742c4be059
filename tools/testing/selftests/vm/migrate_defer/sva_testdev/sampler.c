// SPDX-License-Identifier: GPL-2.0
/*
 * Samplers: a kernel thread that looks at the page table entries of a range
 * again and again, and counts how they change.  Nothing is accessed, so that
 * what is seen is what movers do, not what a device provokes.
 */
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "internal.h"

/**
 * struct svadev_sampler - a sampler
 * @dom:	the domain
 * @req:	what user space wants
 * @thread:	who does it
 * @done:	whether @thread has ended
 * @lock:	protects @sample
 * @sample:	the counts
 * @last:	the last samples; @pfn is kept when a page is unmapped
 */
struct svadev_sampler {
	struct svadev_domain *dom;
	struct sva_testdev_sampler req;
	struct task_struct *thread;
	bool done;
	spinlock_t lock; /* see above */
	struct sva_testdev_sample sample;
	struct svadev_pte last[];
};

atomic_t svadev_nr_samplers = ATOMIC_INIT(0);

static void count_change(struct sva_testdev_sample *sum, const struct svadev_pte *old,
			 const struct svadev_pte *new)
{
	if (!old->readable && new->readable)
		sum->mapped++;
	if (old->readable && !new->readable)
		sum->unmapped++;
	if (new->readable && old->pfn && old->pfn != new->pfn)
		sum->moved++;
	if (old->readable && new->readable && old->writable && !new->writable)
		sum->write_lost++;
	if (old->readable && new->readable && !old->writable && new->writable)
		sum->write_gained++;
}

static int sampler_round(struct svadev_sampler *sampler)
{
	struct sva_testdev_sample *sum = &sampler->sample;
	u64 present = 0, writable = 0;
	struct svadev_pte pte;
	int ret;

	for (u64 i = 0; i < sum->pages; i++) {
		struct svadev_pte *last = &sampler->last[i];

		ret = svadev_peek(sampler->dom, sampler->req.addr + (i << PAGE_SHIFT), &pte);
		if (ret)
			return ret;
		if (kthread_should_stop())
			return 0;
		present += pte.readable;
		writable += pte.writable;
		if (sum->rounds) {
			spin_lock(&sampler->lock);
			count_change(sum, last, &pte);
			spin_unlock(&sampler->lock);
		}
		if (!pte.readable)
			pte.pfn = last->pfn;
		*last = pte;
		if (!(i % 64))
			cond_resched();
	}
	spin_lock(&sampler->lock);
	sum->rounds++;
	sum->present = present;
	sum->writable = writable;
	spin_unlock(&sampler->lock);
	return 0;
}

static int sampler_thread(void *data)
{
	struct svadev_sampler *sampler = data;
	int ret;

	do {
		ret = sampler_round(sampler);
		if (ret)
			break;
		svadev_pause(sampler->req.interval_us);
		cond_resched();
	} while (!kthread_should_stop());

	spin_lock(&sampler->lock);
	sampler->sample.result = ret;
	sampler->done = true;
	spin_unlock(&sampler->lock);
	return 0;
}

/**
 * svadev_sampler_start() - start a sampler
 * @dom: the domain, which must be bound until svadev_sampler_stop()
 * @req: what to watch
 *
 * Return: the sampler, to be stopped and freed by the caller, or as described at
 * struct sva_testdev_sampler.
 */
struct svadev_sampler *
svadev_sampler_start(struct svadev_domain *dom,
		     const struct sva_testdev_sampler *req)
{
	u64 pages = req->len >> PAGE_SHIFT;
	struct svadev_sampler *sampler;
	int ret;

	if (req->flags || req->interval_us > SVA_TESTDEV_MAX_INTERVAL_US)
		return ERR_PTR(-EINVAL);
	ret = svadev_check_range(dom, req->addr, req->len);
	if (ret)
		return ERR_PTR(ret);
	if (pages > SVA_TESTDEV_MAX_SAMPLE_PAGES)
		return ERR_PTR(-E2BIG);

	sampler = kvzalloc(struct_size(sampler, last, pages), GFP_KERNEL_ACCOUNT);
	if (!sampler)
		return ERR_PTR(-ENOMEM);
	sampler->dom = dom;
	sampler->req = *req;
	sampler->sample.pages = pages;
	spin_lock_init(&sampler->lock);
	sampler->thread = kthread_create(sampler_thread, sampler, "sva_sampler");
	if (IS_ERR(sampler->thread)) {
		ret = PTR_ERR(sampler->thread);
		kvfree(sampler);
		return ERR_PTR(ret);
	}
	atomic_inc(&svadev_nr_samplers);
	get_task_struct(sampler->thread);
	wake_up_process(sampler->thread);
	return sampler;
}

/**
 * svadev_sampler_stop() - stop a sampler, if it still runs, and wait for its end
 * @sampler: the sampler
 *
 * Context: may sleep; the same sampler must not be stopped by two callers at once.
 */
void svadev_sampler_stop(struct svadev_sampler *sampler)
{
	if (!sampler->thread)
		return;
	kthread_stop_put(sampler->thread);
	sampler->thread = NULL;
	sampler->done = true;
}

/**
 * svadev_sampler_running() - whether a sampler's thread still does something
 * @sampler: the sampler
 *
 * Return: whether.
 */
bool svadev_sampler_running(const struct svadev_sampler *sampler)
{
	return !READ_ONCE(sampler->done);
}

/**
 * svadev_sampler_read() - tell the counts of a sampler
 * @sampler: the sampler
 * @sample: out: the counts
 */
void svadev_sampler_read(struct svadev_sampler *sampler,
			 struct sva_testdev_sample *sample)
{
	spin_lock(&sampler->lock);
	*sample = sampler->sample;
	sample->running = !sampler->done;
	spin_unlock(&sampler->lock);
}

/**
 * svadev_sampler_free() - free a stopped sampler
 * @sampler: the sampler
 */
void svadev_sampler_free(struct svadev_sampler *sampler)
{
	kvfree(sampler);
	atomic_dec(&svadev_nr_samplers);
}
