// SPDX-License-Identifier: GPL-2.0
/*
 * The address space that contexts are bound to: what the mm tells about it, and
 * whether a device may fault there.  Both ways to bind use it.
 */
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sched/mm.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/userfaultfd_k.h>
#include <linux/vmalloc.h>

#include "internal.h"

atomic_t svadev_nr_domains = ATOMIC_INIT(0);

static unsigned int flush_delay_us;
module_param(flush_delay_us, uint, 0644);
MODULE_PARM_DESC(flush_delay_us, "how long an invalidation takes, up to 1000");

/*
 * Have the kernel free page tables of its own: those of small pages, in favour of
 * huge ones at the same addresses.
 */
static int free_page_tables_set(const char *val, const struct kernel_param *kp)
{
	void *mem = vmalloc(SZ_8M);

	if (!mem)
		return -ENOMEM;
	vfree(mem);
	/* Or the addresses stay out of use for a while. */
	vm_unmap_aliases();
	mem = kvmalloc(SZ_8M, GFP_KERNEL);
	if (!mem)
		return -ENOMEM;
	kvfree(mem);
	return 0;
}

static const struct kernel_param_ops free_page_tables_ops = {
	.set = free_page_tables_set,
};
module_param_cb(free_page_tables, &free_page_tables_ops, NULL, 0200);
MODULE_PARM_DESC(free_page_tables, "write: have the kernel free page tables of its own");

static struct svadev_domain *to_svadev_domain(struct mmu_notifier *notifier)
{
	return container_of(notifier, struct svadev_domain, notifier);
}

/**
 * svadev_domain_alloc() - allocate what belongs to an address space
 * @mm: the address space
 *
 * The caller registers the notifier, with svadev_domain_invalidate() and the
 * like as its operations.
 *
 * Return: the domain, or ERR_PTR(-ENOMEM).
 */
struct svadev_domain *svadev_domain_alloc(struct mm_struct *mm)
{
	struct svadev_domain *dom = kzalloc_obj(*dom);

	if (!dom)
		return ERR_PTR(-ENOMEM);
	dom->mm = mm;
	raw_spin_lock_init(&dom->lock);
	if (svadev_cache_init(dom)) {
		kfree(dom);
		return ERR_PTR(-ENOMEM);
	}
	atomic_inc(&svadev_nr_domains);
	return dom;
}

/**
 * svadev_domain_free() - undo svadev_domain_alloc()
 * @dom: the domain, whose notifier is not registered
 */
void svadev_domain_free(struct svadev_domain *dom)
{
	svadev_cache_free(dom);
	kfree(dom);
	atomic_dec(&svadev_nr_domains);
}

/**
 * svadev_domain_invalidate() - operation of the notifier
 * @notifier: it
 * @mm: its address space
 * @start: first address
 * @end: one after the last
 */
void svadev_domain_invalidate(struct mmu_notifier *notifier, struct mm_struct *mm,
			      unsigned long start, unsigned long end)
{
	unsigned int delay = READ_ONCE(flush_delay_us);

	svadev_cache_invalidate(to_svadev_domain(notifier), start, end);
	/* Hardware forgets translations long before it says that it has. */
	if (delay)
		udelay(min(delay, 1000U));
}

/**
 * svadev_domain_release() - operation of the notifier
 * @notifier: it
 * @mm: its address space
 */
void svadev_domain_release(struct mmu_notifier *notifier, struct mm_struct *mm)
{
	svadev_kill(to_svadev_domain(notifier));
}

/**
 * svadev_domain_free_notifier() - operation of the notifier
 * @notifier: it
 */
void svadev_domain_free_notifier(struct mmu_notifier *notifier)
{
	svadev_domain_free(to_svadev_domain(notifier));
}

/**
 * svadev_may_fault() - whether the kernel can handle an I/O page fault
 * @mm: where
 * @addr: where
 *
 * It answers faults on some kinds of memory, of which no device has a use, by a
 * warning: device memory and [vvar], and what is registered with userfaultfd.
 * Any other address is none of our business, mapped or not.
 *
 * Context: process, no lock of mm/ held.
 * Return: 0, -EFAULT if not, -ESRCH if the address space is gone.
 */
int svadev_may_fault(struct mm_struct *mm, unsigned long addr)
{
	struct vm_area_struct *vma;
	int ret = 0;

	if (!mmget_not_zero(mm))
		return -ESRCH;
	mmap_read_lock(mm);
	vma = vma_lookup(mm, addr);
	if (vma && (vma->vm_flags & (VM_IO | VM_PFNMAP | VM_MIXEDMAP) || userfaultfd_armed(vma)))
		ret = -EFAULT;
	mmap_read_unlock(mm);
	mmput_async(mm);
	return ret;
}
