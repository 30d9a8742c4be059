// SPDX-License-Identifier: GPL-2.0
/*
 * Direct bindings: a device that is attached to an address space without the
 * kernel's IOMMU core, for kernels where that does not do SVA.  The mm tells the
 * device about invalidations as it tells any other, and the device handles its
 * I/O page faults itself, in the way of iommu_sva_handle_mm().
 */
#include <linux/err.h>
#include <linux/idr.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/sched/mm.h>

#include "internal.h"

/* Protects svadev_domain.bonds and .deaf of direct bindings */
static DEFINE_MUTEX(direct_lock);

/* Stand for PASIDs: any number that no other address space has will do. */
static DEFINE_IDA(direct_pasids);

static struct mmu_notifier *direct_alloc_notifier(struct mm_struct *mm)
{
	struct svadev_domain *dom = svadev_domain_alloc(mm);

	return IS_ERR(dom) ? ERR_CAST(dom) : &dom->notifier;
}

static const struct mmu_notifier_ops direct_notifier_ops = {
	.arch_invalidate_secondary_tlbs	= svadev_domain_invalidate,
	.release			= svadev_domain_release,
	.alloc_notifier			= direct_alloc_notifier,
	.free_notifier			= svadev_domain_free_notifier,
};

static int direct_first_bond(struct svadev_domain *dom, bool deaf)
{
	unsigned long flags;
	int pasid;

	pasid = ida_alloc_range(&direct_pasids, 1, U16_MAX, GFP_KERNEL);
	if (pasid < 0)
		return pasid;
	dom->pasid = pasid;
	raw_spin_lock_irqsave(&dom->lock, flags);
	dom->deaf = deaf;
	raw_spin_unlock_irqrestore(&dom->lock, flags);
	return 0;
}

/**
 * svadev_direct_bind() - bind the current address space without the IOMMU core
 * @bond: out: the binding
 * @deaf: see SVA_TESTDEV_BIND_DEAF
 *
 * Context: process with an mm, mmap_lock not held.
 * Return: 0, -EBUSY if the address space is bound so with another @deaf, or
 * another negative errno.
 */
int svadev_direct_bind(struct svadev_bond *bond, bool deaf)
{
	struct mmu_notifier *notifier;
	struct svadev_domain *dom;
	int ret = 0;

	mutex_lock(&direct_lock);
	notifier = mmu_notifier_get(&direct_notifier_ops, current->mm);
	if (IS_ERR(notifier)) {
		ret = PTR_ERR(notifier);
		goto unlock;
	}
	dom = container_of(notifier, struct svadev_domain, notifier);
	if (!dom->bonds)
		ret = direct_first_bond(dom, deaf);
	else if (dom->deaf != deaf)
		ret = -EBUSY;
	if (ret) {
		mmu_notifier_put(notifier);
		goto unlock;
	}
	dom->bonds++;
	bond->sva = NULL;
	bond->pasid = dom->pasid;
	bond->domain = dom;
unlock:
	mutex_unlock(&direct_lock);
	return ret;
}

/**
 * svadev_direct_unbind() - undo svadev_direct_bind()
 * @bond: the binding, whose user does not access memory any more
 */
void svadev_direct_unbind(struct svadev_bond *bond)
{
	struct svadev_domain *dom = bond->domain;

	mutex_lock(&direct_lock);
	if (!--dom->bonds)
		ida_free(&direct_pasids, dom->pasid);
	bond->domain = NULL;
	/* It frees the domain when nobody is told anything any more. */
	mmu_notifier_put(&dom->notifier);
	mutex_unlock(&direct_lock);
}

/**
 * svadev_direct_fault() - handle an I/O page fault
 * @mm: the address space
 * @addr: where
 * @read: the access needs to read
 * @write: the access needs to write
 *
 * As iommu_sva_handle_mm() does it, which is not there for modules.
 *
 * Context: a job's thread, which is bound.
 * Return: 0 to try again, -EFAULT if the access is not allowed, -ESRCH if the
 * address space is gone.
 */
int svadev_direct_fault(struct mm_struct *mm, unsigned long addr, bool read, bool write)
{
	vm_flags_t access = (read ? VM_READ : 0) | (write ? VM_WRITE : 0);
	unsigned int flags = FAULT_FLAG_REMOTE | FAULT_FLAG_USER |
			     (write ? FAULT_FLAG_WRITE : 0);
	struct vm_area_struct *vma;
	int ret = -EFAULT;

	if (!mmget_not_zero(mm))
		return -ESRCH;
	mmap_read_lock(mm);
	vma = vma_lookup(mm, addr);
	if (vma && !(access & ~vma->vm_flags) &&
	    !(handle_mm_fault(vma, addr & PAGE_MASK, flags, NULL) & VM_FAULT_ERROR))
		ret = 0;
	mmap_read_unlock(mm);
	/* If it was the last, the job must not take as long as tearing it down does. */
	mmput_async(mm);
	return ret;
}
