// SPDX-License-Identifier: GPL-2.0
/*
 * MADV_NOMIGRATE: who may mark what, and how much of it.
 *
 * What an address space has marked is counted in pages of its VMAs, populated or
 * not, in mm->nomigrate_vm, and may not pass RLIMIT_MEMLOCK without CAP_IPC_LOCK.
 * The count is its own: what is under mlock() does not use it up.
 *
 * It changes where vm_flags do, and where VMAs come, grow and go: those are
 * vm_stat_account() and remove_vma().  Splitting and merging change nothing.
 * mm->nomigrate_vm and the flags change together under mmap_lock held for writing;
 * munmap() may have downgraded it by the time it removes the VMAs.
 */

#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/hugetlb.h>
#include <linux/migrate_defer.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>

#include "migrate_defer.h"

void __mm_account_nomigrate(struct mm_struct *mm, long npages)
{
	VM_WARN_ON_ONCE(npages < 0 && mm->nomigrate_vm < -npages);
	WRITE_ONCE(mm->nomigrate_vm, mm->nomigrate_vm + npages);
	atomic_long_add(npages, &migrate_defer_marked_pages);
}

/* May @mm have so many pages more marked?  As mlock() asks. */
static bool nomigrate_fits(const struct mm_struct *mm, unsigned long npages)
{
	return mm->nomigrate_vm + npages <= rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT ||
	       capable(CAP_IPC_LOCK);
}

void __vma_grow_nomigrate(struct vm_area_struct *vma, unsigned long npages)
{
	if (nomigrate_fits(vma->vm_mm, npages))
		return;
	__mm_account_nomigrate(vma->vm_mm, -vma_pages(vma));
	vm_flags_clear(vma, VM_NOMIGRATE);
	migrate_defer_yield(vma, vma->vm_start, vma->vm_end,
			    MIGRATE_DEFER_YIELD_LIMIT);
}

/*
 * A mark holds up the page cache of all who use the file, so it takes the right to
 * write it.  What is asked here sends no request to a file system: mmap_lock is
 * held for writing.
 */
static bool may_mark_file(struct file *file)
{
	return file->f_mode & FMODE_WRITE || file_owner_or_capable(file);
}

/**
 * migrate_defer_may_mark - check a whole range before any of it changes
 * @mm: whose range
 * @start: its start, page aligned
 * @end: its end, page aligned
 * @set: true for MADV_NOMIGRATE, which takes rights
 *
 * Holes are left to the caller.  Mappings without struct pages, and those that
 * mix them with others, have nothing to migrate.  A hugetlb VMA can only be
 * split between huge pages, and the stack that execve() prepares not at all.
 *
 * Context: mmap_lock of @mm held for writing.
 * Return: how many pages would be marked more, or
 *   -EINVAL where the range has a mapping that cannot be marked;
 *   -EPERM if the caller may mark nothing;
 *   -EACCES where a shared mapping of a file is neither of one opened for writing
 *	nor of one that the caller owns;
 *   -EAGAIN if the marked part of @mm would pass RLIMIT_MEMLOCK.
 */
long migrate_defer_may_mark(struct mm_struct *mm, unsigned long start,
			    unsigned long end, bool set)
{
	VMA_ITERATOR(vmi, mm, start);
	struct vm_area_struct *vma;
	unsigned long npages = 0;

	mmap_assert_write_locked(mm);

	if (set && !can_do_mlock())
		return -EPERM;

	for_each_vma_range(vmi, vma, end) {
		unsigned long from = max(start, vma->vm_start);
		unsigned long to = min(end, vma->vm_end);

		if (vma->vm_flags & (VM_IO | VM_PFNMAP | VM_MIXEDMAP))
			return -EINVAL;
		/* During execve(), which wants to find it in one piece */
		if (vma_is_temporary_stack(vma))
			return -EINVAL;
		if (is_vm_hugetlb_page(vma) &&
		    ((from | to) & ~huge_page_mask(hstate_vma(vma))))
			return -EINVAL;
		if (!set)
			continue;
		if ((vma->vm_flags & VM_MAYSHARE) && vma->vm_file &&
		    !may_mark_file(vma->vm_file))
			return -EACCES;
		if (!(vma->vm_flags & VM_NOMIGRATE))
			npages += (to - from) >> PAGE_SHIFT;
	}

	/* What is marked already may be beyond the caller's limit. */
	return npages && !nomigrate_fits(mm, npages) ? -EAGAIN : npages;
}
