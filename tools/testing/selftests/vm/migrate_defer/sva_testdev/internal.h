/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The parts of the test device:
 *
 *   main.c	module, character device, contexts
 *   domain.c	what both ways to bind have in common
 *   iommu.c	the software IOMMU as the kernel's IOMMU core sees it, and all
 *		that depends on the version of that core's interface
 *   direct.c	bindings without that core
 *   iotlb.c	translation cache, page walks, accesses to memory
 *   job.c	jobs, I/O page faults seen from the device
 *   sampler.c	samplers
 *
 * Locks, outermost first:
 *
 *   fake_lock (iommu.c)		the fake device appears at the first open() and
 *				goes at the last close()
 *   svadev_ctx.lock		binding, job and sampler of a context; held while
 *				they are stopped, so nothing that a job, a sampler
 *				or a fault handler does may need it
 *   bond_lock (iommu.c),
 *   direct_lock (direct.c)	how often an address space is bound
 *   iommu_sva_lock, mmap_lock	of the core, taken by bind and unbind
 *   svadev_domain.lock		a raw spinlock, interrupts off: see iotlb.c
 *
 * The domain of a context is valid from bind to unbind.  Jobs and samplers use
 * it without a reference, and are stopped before unbind.  They hold none on the
 * mm either: what keeps its page tables is that svadev_domain.dead is not set
 * while svadev_domain.lock is held.
 */
#ifndef _SVA_TESTDEV_INTERNAL_H
#define _SVA_TESTDEV_INTERNAL_H

#include <linux/completion.h>
#include <linux/iommu.h>
#include <linux/kref.h>
#include <linux/mmu_notifier.h>
#include <linux/sched.h>
#include <linux/spinlock.h>

#include "sva_testdev.h"

/**
 * struct svadev_translation - one entry of the translation cache
 * @tag:	address >> @shift
 * @pfn:	first page frame
 * @shift:	log2 of the size, 0 if the entry is empty
 * @writable:	writes need no walk
 */
struct svadev_translation {
	unsigned long tag;
	unsigned long pfn;
	u8 shift;
	bool writable;
};

/**
 * struct svadev_domain - a process address space, attached to a PASID
 * @domain:	what the core sees; nothing in a direct binding
 * @notifier:	tells about invalidations and the end of @mm
 * @mm:		the address space
 * @lock:	see iotlb.c
 * @dead:	@mm is being torn down
 * @deaf:	invalidations are ignored
 * @bonds:	how many contexts are bound, protected by the bond_lock of iommu.c or
 *		the direct_lock of direct.c
 * @pasid:	what user space knows it by; of a direct binding only
 * @invalidations: how many there were
 * @kernel_invalidations: how many there were of the kernel's part, which are ignored
 * @dropped:	entries removed by them
 * @rewarms:	calls of svadev_cache_rewarm()
 * @clock:	chooses the entry to replace
 * @sets:	number of sets of the translation cache, a power of 2
 * @cache:	the translations
 */
struct svadev_domain {
	struct iommu_domain domain;
	struct mmu_notifier notifier;
	struct mm_struct *mm;
	raw_spinlock_t lock;
	bool dead;
	bool deaf;
	unsigned int bonds;
	u32 pasid;
	u64 invalidations;
	u64 kernel_invalidations;
	u64 dropped;
	u64 rewarms;
	unsigned int clock;
	unsigned int sets;
	struct svadev_translation *cache;
};

/**
 * struct svadev_bond - a context's binding
 * @sva:	the core's handle, or NULL if the binding is direct
 * @domain:	the domain attached to the PASID
 * @pasid:	the PASID
 */
struct svadev_bond {
	struct iommu_sva *sva;
	struct svadev_domain *domain;
	u32 pasid;
};

/**
 * struct svadev_access - one access to one word
 * @addr:	its virtual address
 * @op:		what to do
 * @hw_ad:	see SVA_TESTDEV_JOB_HW_AD
 * @value:	in: what to write; out: what was read
 * @cause:	out: why a fault is needed
 * @stats:	counts hits, walks and accesses
 */
struct svadev_access {
	unsigned long addr;
	enum sva_testdev_op op;
	bool hw_ad;
	u64 value;
	enum sva_testdev_cause cause;
	struct sva_testdev_stats *stats;
};

/**
 * struct svadev_pte - what a page walk found, without any side effect
 * @pfn:	page frame, if @readable
 * @readable:	a read would succeed
 * @writable:	a write would succeed
 */
struct svadev_pte {
	unsigned long pfn;
	bool readable;
	bool writable;
};

struct svadev_job;
struct svadev_sampler;

/* Live objects, in debugfs */
extern atomic_t svadev_nr_domains;
extern atomic_t svadev_nr_rewarming;
extern atomic_t svadev_nr_jobs;
extern atomic_t svadev_nr_samplers;

/* domain.c */
struct svadev_domain *svadev_domain_alloc(struct mm_struct *mm);
void svadev_domain_free(struct svadev_domain *dom);
void svadev_domain_invalidate(struct mmu_notifier *notifier, struct mm_struct *mm,
			      unsigned long start, unsigned long end);
void svadev_domain_release(struct mmu_notifier *notifier, struct mm_struct *mm);
void svadev_domain_free_notifier(struct mmu_notifier *notifier);
int svadev_may_fault(struct mm_struct *mm, unsigned long addr);

/* iommu.c */
#ifdef CONFIG_IOMMU_SVA
int svadev_iommu_init(void);
void svadev_iommu_exit(void);
int svadev_device_get(void);
void svadev_device_put(void);
int svadev_iommu_bind(struct svadev_bond *bond, bool deaf);
void svadev_iommu_unbind(struct svadev_bond *bond);
int svadev_iommu_fault(u32 pasid, unsigned long addr, bool read, bool write);
#else
static inline int svadev_iommu_init(void)
{
	return 0;
}

static inline void svadev_iommu_exit(void)
{
}

static inline int svadev_device_get(void)
{
	return 0;
}

static inline void svadev_device_put(void)
{
}

static inline int svadev_iommu_bind(struct svadev_bond *bond, bool deaf)
{
	return -EOPNOTSUPP;
}

static inline void svadev_iommu_unbind(struct svadev_bond *bond)
{
}

static inline int svadev_iommu_fault(u32 pasid, unsigned long addr, bool read, bool write)
{
	return -EIO;
}
#endif

/* direct.c */
int svadev_direct_bind(struct svadev_bond *bond, bool deaf);
void svadev_direct_unbind(struct svadev_bond *bond);
int svadev_direct_fault(struct mm_struct *mm, unsigned long addr, bool read, bool write);

/* iotlb.c */
int svadev_cache_init(struct svadev_domain *dom);
void svadev_cache_free(struct svadev_domain *dom);
void svadev_cache_evict(struct svadev_domain *dom);
void svadev_cache_invalidate(struct svadev_domain *dom, unsigned long start,
			     unsigned long end);
void svadev_cache_rewarm(struct svadev_domain *dom, unsigned long start,
			 unsigned long end);
void svadev_kill(struct svadev_domain *dom);
int svadev_access(struct svadev_domain *dom, struct svadev_access *access);
int svadev_peek(struct svadev_domain *dom, unsigned long addr,
		struct svadev_pte *pte);

/* main.c */
void svadev_pause(u32 us);
int svadev_check_range(const struct svadev_domain *dom, u64 addr, u64 len);

/* job.c */
struct svadev_job *svadev_job_start(const struct svadev_bond *bond,
				    const struct sva_testdev_job *req);
void svadev_job_stop(struct svadev_job *job);
bool svadev_job_running(struct svadev_job *job);
void svadev_job_get(struct svadev_job *job);
void svadev_job_put(struct svadev_job *job);
int svadev_job_wait(struct svadev_job *job, struct sva_testdev_wait *wait);
void svadev_job_stats(struct svadev_job *job, struct svadev_domain *dom,
		      struct sva_testdev_stats *stats);

/* sampler.c */
struct svadev_sampler *
svadev_sampler_start(struct svadev_domain *dom,
		     const struct sva_testdev_sampler *req);
void svadev_sampler_stop(struct svadev_sampler *sampler);
bool svadev_sampler_running(const struct svadev_sampler *sampler);
void svadev_sampler_read(struct svadev_sampler *sampler,
			 struct sva_testdev_sample *sample);
void svadev_sampler_free(struct svadev_sampler *sampler);

#endif /* _SVA_TESTDEV_INTERNAL_H */
