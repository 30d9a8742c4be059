/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _LINUX_IOMMU_SVA_HINT_H
#define _LINUX_IOMMU_SVA_HINT_H
/*
 * Pre-fault for devices what was moved in spite of MADV_NOMIGRATE, see
 * drivers/iommu/iommu-sva-hint.c.
 */

#include <linux/iommu.h>
#include <linux/migrate_defer.h>
#include <linux/mm_types.h>

/**
 * struct iommu_sva_hint_ops - what a driver of an SVA device may want to know
 * @rewarm: addresses [@start, @end) of the address space that @handle is about
 *	    are mapped again after a move; the driver may load its translation
 *	    cache.  Called from a work item that holds no lock of mm/; may sleep,
 *	    but may not bind, unbind, register or unregister
 */
struct iommu_sva_hint_ops {
	void (*rewarm)(struct iommu_sva *handle, unsigned long start,
		       unsigned long end);
};

/**
 * iommu_sva_hint_keep_young - must an accessed-bit walk leave a VMA out?
 * @vma: the VMA; its mm's mmap_lock, rmap lock or page table lock is held
 *
 * IOMMUs of x86 set the accessed bit of the entries that they share with the CPU
 * by themselves (DMA_FL_PTE_ACCESS in drivers/iommu/intel, IOMMU_PAGE_ACCESS in
 * drivers/iommu/amd/io_pgtable_v2.c).  Others need not: then a device takes an
 * I/O page fault on an entry that is not young.  An SMMUv3 sets it only with
 * ARM_SMMU_FEAT_HA, and in 6.12 arm-smmu-v3-sva.c does not have it do so.
 *
 * Return: true if @vma is marked and devices have been bound to its mm.
 */
static inline bool iommu_sva_hint_keep_young(const struct vm_area_struct *vma)
{
	return !IS_ENABLED(CONFIG_X86) && vma_nomigrate(vma) &&
	       mm_valid_pasid(vma->vm_mm) &&
	       vma_migrate_deferred(vma, MIGRATE_DEFER_AGING);
}

#ifdef CONFIG_IOMMU_SVA_HINT

void __iommu_sva_hint_unmapped(struct vm_area_struct *vma, unsigned long start,
			       unsigned long end);
int iommu_sva_hint_register(struct iommu_sva *handle,
			    const struct iommu_sva_hint_ops *ops);
void iommu_sva_hint_unregister(struct iommu_sva *handle);

/**
 * iommu_sva_hint_unmapped - a mover unmaps what a device may want back
 * @vma: the VMA; nothing happens unless it is marked and a device is bound
 * @addr: start of what is unmapped
 * @size: bytes from there
 *
 * Context: any but interrupts; typically rmap and page table locks are held.
 */
static inline void iommu_sva_hint_unmapped(struct vm_area_struct *vma,
					   unsigned long addr,
					   unsigned long size)
{
	if (vma_nomigrate(vma) && mm_valid_pasid(vma->vm_mm))
		__iommu_sva_hint_unmapped(vma, addr, addr + size);
}

/* For iommu-sva.c */
int iommu_sva_hint_init(struct iommu_mm_data *iommu_mm, struct mm_struct *mm);
void iommu_sva_hint_destroy(struct iommu_mm_data *iommu_mm);
void iommu_sva_hint_bind(struct iommu_mm_data *iommu_mm);
void iommu_sva_hint_bound(struct mm_struct *mm);
void iommu_sva_hint_unbind(struct iommu_mm_data *iommu_mm);

#else /* !CONFIG_IOMMU_SVA_HINT */

static inline void iommu_sva_hint_unmapped(struct vm_area_struct *vma,
					   unsigned long addr,
					   unsigned long size)
{
}

static inline int iommu_sva_hint_register(struct iommu_sva *handle,
					  const struct iommu_sva_hint_ops *ops)
{
	return -EOPNOTSUPP;
}

static inline void iommu_sva_hint_unregister(struct iommu_sva *handle)
{
}

static inline int iommu_sva_hint_init(struct iommu_mm_data *iommu_mm,
				      struct mm_struct *mm)
{
	return 0;
}

static inline void iommu_sva_hint_destroy(struct iommu_mm_data *iommu_mm)
{
}

static inline void iommu_sva_hint_bind(struct iommu_mm_data *iommu_mm)
{
}

static inline void iommu_sva_hint_bound(struct mm_struct *mm)
{
}

static inline void iommu_sva_hint_unbind(struct iommu_mm_data *iommu_mm)
{
}

#endif /* CONFIG_IOMMU_SVA_HINT */

#endif /* _LINUX_IOMMU_SVA_HINT_H */
