// SPDX-License-Identifier: GPL-2.0
/*
 * MADV_NOMIGRATE: have page table entries as a device wants to find them.
 *
 * Two callers: the setter of a mark, who undoes what movers had begun, and the
 * pre-fault after a move that a mark did not prevent.  Both walk the page tables
 * of marked VMAs and touch only entries that a device could fault on.
 * change_protection() and GUP are no help: the first clears every entry for a
 * moment, the second takes NUMA hints and old or clean entries for good.
 */

#include <linux/hugetlb.h>
#include <linux/iommu.h>
#include <linux/ksm.h>
#include <linux/migrate_defer.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/pagemap.h>
#include <linux/pagewalk.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/swapops.h>
#include <linux/userfaultfd_k.h>

#include <trace/events/migrate_defer.h>

#include "internal.h"
#include "migrate_defer.h"

/* Faults on one entry: to wait for a migration, to map it, to make it dirty. */
#define SETTLE_TRIES	3

/* What is looked at before mmap_lock is given to others. */
#define SETTLE_BATCH	(512 * PAGE_SIZE)

/**
 * struct settle - state of one walk
 * @prefault: for a device, after a move; NULL for the setter of a mark
 * @unmerge: give what KSM has merged pages of its own
 * @how: FAULT_FLAG_ALLOW_RETRY and what goes with it; 0 where mmap_lock is held for
 *	 writing
 * @addr: where the walk ended because a page fault is needed
 * @fault_flags: which kind of, FAULT_FLAG_WRITE, FAULT_FLAG_UNSHARE or 0
 * @merged: a KSM page could not be unmerged
 */
struct settle {
	struct migrate_defer_prefault *prefault;
	bool unmerge;
	unsigned int how;
	unsigned long addr;
	unsigned int fault_flags;
	bool merged;
};

/* End the walk: the caller has to fault. */
static int settle_by_fault(struct settle *settle, unsigned long addr,
			   unsigned int fault_flags)
{
	settle->addr = addr;
	settle->fault_flags = fault_flags;
	return 1;
}

static void settle_count(struct settle *settle, unsigned long size, bool repaired)
{
	if (!settle->prefault)
		return;
	settle->prefault->looked += size >> PAGE_SHIFT;
	if (repaired)
		settle->prefault->repaired += size >> PAGE_SHIFT;
}

/*
 * Is the entry part of a block for which ptep_get() gathers accessed and dirty bits
 * (contpte_ptep_get() of arm64)?  They need not be set in the entry itself, which is
 * what a device goes by that does not set them.  The last entry of a block does not
 * look like one.
 */
static bool pte_gathered(pte_t *ptep, pte_t pte)
{
	return pte_batch_hint(ptep, pte) > 1;
}

/*
 * Make a present entry one that no device can fault on: accessible, young and,
 * where the VMA allows it and there is no copy to be made, writable and dirty; and
 * all entries of its contiguous block alike.  do_numa_page() and do_wp_page() do the
 * same, one fault at a time.  Returns whether there was anything to do.
 */
static bool settle_pte(struct vm_area_struct *vma, unsigned long addr,
		       pte_t *ptep, pte_t old, const struct folio *folio)
{
	bool protnone = pte_protnone(old) && vma_is_accessible(vma);
	bool gathered = pte_gathered(ptep, old);
	pte_t pte = old;

	/* Leave the read-write protection of userfaultfd to its handler. */
	if (userfaultfd_pte_rwp(vma, old))
		return false;
	if (protnone)
		pte = pte_modify(pte, vma->vm_page_prot);
	pte = pte_mkyoung(pte);
	if ((vma->vm_flags & VM_WRITE) && !pte_write(pte) &&
	    can_change_pte_writable(vma, addr, pte))
		pte = pte_mkwrite(pte, vma);
	if (pte_write(pte) && !pte_dirty(pte) && folio_map_ready(folio, vma))
		pte = pte_mkdirty(pte);
	/* Only the architecture sees whether a block is alike, and does it here. */
	if (pte_same(pte, old) && !gathered)
		return false;

	/* A live entry must not vanish, not even for a moment. */
	if (protnone)
		set_pte_at(vma->vm_mm, addr, ptep, pte);
	else if (!ptep_set_access_flags(vma, addr, ptep, pte, pte_dirty(pte)))
		return false;
	update_mmu_cache(vma, addr, ptep);
	/* Where hardware sets the bits, they may not have been worth it. */
	return gathered || !pte_same(ptep_get(ptep), old);
}

#ifdef CONFIG_TRANSPARENT_HUGEPAGE
static bool settle_pmd(struct vm_area_struct *vma, unsigned long addr,
		       pmd_t *pmdp, pmd_t old)
{
	bool protnone = pmd_protnone(old) && vma_is_accessible(vma);
	pmd_t pmd = old;

	if (is_huge_zero_pmd(old) || userfaultfd_huge_pmd_rwp(vma, old))
		return false;

	if (protnone)
		pmd = pmd_modify(pmd, vma->vm_page_prot);
	pmd = pmd_mkyoung(pmd);
	if ((vma->vm_flags & VM_WRITE) && !pmd_write(pmd) &&
	    can_change_pmd_writable(vma, addr, pmd))
		pmd = pmd_mkwrite(pmd, vma);
	if (pmd_write(pmd) && !pmd_dirty(pmd) &&
	    folio_map_ready(pmd_folio(pmd), vma))
		pmd = pmd_mkdirty(pmd);
	if (pmd_same(pmd, old))
		return false;

	if (protnone)
		set_pmd_at(vma->vm_mm, addr, pmdp, pmd);
	else
		pmdp_set_access_flags(vma, addr, pmdp, pmd, pmd_dirty(pmd));
	update_mmu_cache_pmd(vma, addr, pmdp);
	return !pmd_same(pmdp_get(pmdp), old);
}
#else
static bool settle_pmd(struct vm_area_struct *vma, unsigned long addr,
		       pmd_t *pmdp, pmd_t old)
{
	return false;
}
#endif

/*
 * Are empty entries of a file mapping ones that used to be filled?  Under mlock() all
 * are, unless a mover has just emptied them; and setting a mark unshares the page
 * tables of hugetlb, which only a file of PUD_SIZE can have shared.  Anywhere else an
 * empty entry may be one that has never been used, and stays so.  Skip PROT_NONE VMAs,
 * and leave userfaultfd VMAs to their handler.
 */
static bool settle_fills(const struct settle *settle, struct vm_area_struct *vma)
{
	if (!vma->vm_file || !vma_is_accessible(vma) || userfaultfd_armed(vma))
		return false;
	if (is_vm_hugetlb_page(vma))
		return !settle->prefault && (vma->vm_flags & VM_MAYSHARE) &&
		       i_size_read(file_inode(vma->vm_file)) >= PUD_SIZE;
	return (vma->vm_flags & (VM_LOCKED | VM_LOCKONFAULT)) == VM_LOCKED;
}

/*
 * An empty entry of a file mapping: is it one that a mover emptied?  If so the
 * page is in the page cache, for it was there when it was unmapped.  What has
 * been truncated, punched or swapped out meanwhile is not, and stays away.
 *
 * The mover may not be done yet.  A fault would wait for the folio lock with a
 * reference on the folio, and the mover would fail for that reference.
 */
static bool settle_lost(struct settle *settle, struct vm_area_struct *vma,
			unsigned long addr)
{
	const unsigned long *flags;	/* of a folio, or of what was one */
	struct folio *folio;
	bool lost, locked;

	if (!settle_fills(settle, vma))
		return false;

	rcu_read_lock();
	folio = xa_load(&vma->vm_file->f_mapping->i_pages,
			linear_page_index(vma, addr));
	/*
	 * Not folio_test_locked(): without a reference it may be no folio any
	 * more.  What was mapped was up to date.
	 */
	flags = (const unsigned long *)&folio->flags;
	lost = folio && !xa_is_value(folio) && test_bit(PG_uptodate, flags);
	locked = lost && test_bit(PG_locked, flags);
	rcu_read_unlock();

	if (!locked || !settle->prefault)
		return lost;
	settle->prefault->busy = true;
	return false;
}

/*
 * Has KSM merged the page?  Then the first write would fault, and somebody else's
 * pages would decide where it lies.  While there is a mark it is not merged.
 */
static bool settle_merged(const struct settle *settle, const struct page *page,
			  pte_t pte)
{
#ifdef CONFIG_KSM
	if (settle->unmerge)
		return page ? folio_test_ksm(page_folio(page)) :
			      is_ksm_zero_pte(pte);
#endif
	return false;
}

/*
 * Are these entries all as a write fault leaves them?  Then there is nothing to
 * look at: neither hint nor migration nor KSM page is writable.  That is what
 * most of a populated range is like, and marking it is to cost a fraction of
 * pinning it.  So compare all flags with those of the first entry, which alone
 * is looked at closely.  An architecture without pte_pgprot() takes the long way.
 */
static bool ptes_settled(pte_t *ptep, unsigned long nr)
{
	pte_t pte = ptep_get(ptep);
	unsigned long flags = pgprot_val(pte_pgprot(pte));
	unsigned long differ = 0, i;

	if (!pte_present(pte) || pte_protnone(pte) || !pte_young(pte) ||
	    !pte_write(pte) || !pte_dirty(pte) || !flags)
		return false;
	for (i = 0; i < nr; i++) {
		pte = ptep_get(ptep + i);
		if (pte_gathered(ptep + i, pte))
			return false;
		differ |= pgprot_val(pte_pgprot(pte)) ^ flags;
	}
	return !differ;
}

static int settle_pmd_entry(pmd_t *pmdp, unsigned long addr, unsigned long end,
			    struct mm_walk *walk)
{
	struct settle *settle = walk->private;
	struct vm_area_struct *vma = walk->vma;
	struct mm_struct *mm = walk->mm;
	pte_t *start_pte, *ptep;
	spinlock_t *ptl;	/* of the page table that @pmdp is or names */
	unsigned long nr;	/* entries dealt with */
	int ret = 0;

	cond_resched();
	if (fatal_signal_pending(current))
		return -EINTR;

	ptl = pmd_trans_huge_lock(pmdp, vma);
	if (ptl) {
		pmd_t pmd = pmdp_get(pmdp);
		bool repaired;

		if (pmd_is_migration_entry(pmd)) {
			spin_unlock(ptl);
			pmd_migration_entry_wait(mm, pmdp);
			walk->action = ACTION_AGAIN;
			return 0;
		}
		repaired = pmd_present(pmd) &&
			   settle_pmd(vma, addr & PMD_MASK, pmdp, pmd);
		settle_count(settle, end - addr, repaired);
		spin_unlock(ptl);
		return 0;
	}

again:
	start_pte = pte_offset_map_lock(mm, pmdp, addr, &ptl);
	if (!start_pte) {
		walk->action = ACTION_AGAIN;
		return 0;
	}
	if (ptes_settled(start_pte, (end - addr) >> PAGE_SHIFT)) {
		settle_count(settle, end - addr, false);
		addr = end;
	}
	for (ptep = start_pte; addr != end;
	     ptep += nr, addr += nr << PAGE_SHIFT) {
		pte_t pte = ptep_get(ptep);
		struct page *page;
		bool repaired;

		nr = 1;
		if (pte_none(pte)) {
			if (settle_lost(settle, vma, addr)) {
				ret = settle_by_fault(settle, addr, 0);
				break;
			}
		} else if (!pte_present(pte)) {
			if (!softleaf_is_migration(softleaf_from_pte(pte)))
				continue;
			pte_unmap_unlock(start_pte, ptl);
			migration_entry_wait(mm, pmdp, addr);
			if (fatal_signal_pending(current))
				return -EINTR;
			goto again;
		} else {
			page = vm_normal_page(vma, addr, pte);
			if (settle_merged(settle, page, pte)) {
				/* A fault would be an access, to userfaultfd. */
				if (userfaultfd_pte_rwp(vma, pte)) {
					settle->merged = true;
					ret = -EAGAIN;
					break;
				}
				ret = settle_by_fault(settle, addr,
						      FAULT_FLAG_UNSHARE);
				break;
			}
			if (!page)
				continue;
			repaired = settle_pte(vma, addr, ptep, pte,
					      page_folio(page));
			/* With an entry the rest of its block is settled. */
			nr = min(pte_batch_hint(ptep, ptep_get(ptep)),
				 (end - addr) >> PAGE_SHIFT);
			settle_count(settle, nr << PAGE_SHIFT, repaired);
		}
	}
	pte_unmap_unlock(start_pte, ptl);

	return ret;
}

#ifdef CONFIG_HUGETLB_PAGE
/*
 * hugetlb has entries of its own kind, and one lock more: leave it all to the
 * fault handler.
 */
static int settle_hugetlb_entry(pte_t *ptep, unsigned long hmask,
				unsigned long addr, unsigned long end,
				struct mm_walk *walk)
{
	struct settle *settle = walk->private;
	struct vm_area_struct *vma = walk->vma;
	spinlock_t *ptl;	/* of the page table of @ptep */
	pte_t pte;

	/* Whoever has noted that it is unmapped has done so under this lock. */
	ptl = huge_pte_lock(hstate_vma(vma), walk->mm, ptep);
	pte = huge_ptep_get(walk->mm, addr, ptep);
	spin_unlock(ptl);

	if (huge_pte_none(pte)) {
		if (settle_lost(settle, vma, addr & hmask))
			return settle_by_fault(settle, addr & hmask, 0);
		return 0;
	}
	if (!pte_present(pte)) {
		if (softleaf_is_migration(softleaf_from_pte(pte)))
			return settle_by_fault(settle, addr & hmask, 0);
		return 0;
	}
	/* Leave the read-write protection of userfaultfd to its handler. */
	if (userfaultfd_pte_rwp(vma, pte))
		return 0;
	if (!pte_young(pte) || (huge_pte_write(pte) && !huge_pte_dirty(pte)))
		return settle_by_fault(settle, addr & hmask,
				       huge_pte_write(pte) ? FAULT_FLAG_WRITE : 0);

	settle_count(settle, end - addr, false);
	return 0;
}
#else
#define settle_hugetlb_entry	NULL
#endif

/*
 * Replace a KSM page by a copy.  The page fault that makes it would call the OOM
 * killer, that of the memory cgroup at least: ask for memory before.  What was there
 * just now may have gone to others: rather than to have one of them killed for it, go
 * over the limit by this page.
 */
static vm_fault_t settle_unshare(struct settle *settle, struct vm_area_struct *vma,
				 unsigned int flags)
{
	struct folio *folio = migrate_defer_try_alloc(vma, settle->addr);
	unsigned int noreclaim;
	vm_fault_t ret;

	if (!folio)
		return VM_FAULT_OOM;
	folio_put(folio);
	noreclaim = memalloc_noreclaim_save();
	ret = handle_mm_fault(vma, settle->addr, flags, NULL);
	memalloc_noreclaim_restore(noreclaim);
	return ret;
}

/*
 * Fault where the walk ended.  mmap_lock may have been dropped meanwhile, unless it
 * is held for writing.  Not FAULT_FLAG_TRIED at another try: it would be held while
 * the fault waits for a file system.  Returns where to go on.
 */
static unsigned long settle_fault(struct mm_struct *mm, struct settle *settle,
				  unsigned int *tries)
{
	struct vm_area_struct *vma = vma_lookup(mm, settle->addr);
	unsigned int flags = FAULT_FLAG_REMOTE | settle->how | settle->fault_flags;
	unsigned long size = PAGE_SIZE;
	vm_fault_t ret;

	if (is_vm_hugetlb_page(vma))
		size = huge_page_size(hstate_vma(vma));
	if (settle->fault_flags & FAULT_FLAG_UNSHARE)
		ret = settle_unshare(settle, vma, flags);
	else
		ret = handle_mm_fault(vma, settle->addr, flags, NULL);
	if (ret & (VM_FAULT_RETRY | VM_FAULT_COMPLETED) &&
	    !(settle->how & FAULT_FLAG_RETRY_NOWAIT))
		mmap_read_lock(mm);
	else if (ret & VM_FAULT_RETRY)
		settle->prefault->busy = true;
	if ((ret & VM_FAULT_OOM) && (settle->fault_flags & FAULT_FLAG_UNSHARE))
		settle->merged = true;
	if (!(ret & VM_FAULT_ERROR)) {
		if (!*tries && settle->prefault && !(ret & VM_FAULT_RETRY))
			settle->prefault->repaired += size >> PAGE_SHIFT;
		/* Look whether it did help; if not, it won't help a device. */
		if (++*tries < SETTLE_TRIES)
			return settle->addr;
	}
	*tries = 0;
	return settle->addr + size;
}

static int settle_test_walk(unsigned long start, unsigned long end,
			    struct mm_walk *walk)
{
	/*
	 * A nonzero return skips the VMA.  Pages of DAX do not move, and the walk would
	 * split a PUD of theirs, that is unmap it.
	 */
	return !(walk->vma->vm_flags & VM_NOMIGRATE) || vma_is_dax(walk->vma);
}

/* No page table: ask the page cache for what it has, the hole may be large. */
static int settle_hole(unsigned long addr, unsigned long end, int depth,
		       struct mm_walk *walk)
{
	struct settle *settle = walk->private;
	struct vm_area_struct *vma = walk->vma;
	unsigned long step = PAGE_SIZE;
	pgoff_t index, last;

	if (!vma || !settle_fills(settle, vma))
		return 0;
	if (is_vm_hugetlb_page(vma))
		step = huge_page_size(hstate_vma(vma));

	index = linear_page_index(vma, addr);
	last = index + ((end - addr) >> PAGE_SHIFT) - 1;
	while (xa_find(&vma->vm_file->f_mapping->i_pages, &index, last,
		       XA_PRESENT)) {
		addr = vma->vm_start + ((index - vma->vm_pgoff) << PAGE_SHIFT);
		addr = ALIGN_DOWN(addr, step);
		if (settle_lost(settle, vma, addr))
			return settle_by_fault(settle, addr, 0);
		index += step >> PAGE_SHIFT;
		/* Entries of what is swapped out are none to fill, but many. */
		cond_resched();
		if (fatal_signal_pending(current))
			return -EINTR;
	}
	return 0;
}

static const struct mm_walk_ops settle_marked_ops = {
	.pmd_entry	= settle_pmd_entry,
	.pte_hole	= settle_hole,
	.hugetlb_entry	= settle_hugetlb_entry,
	.test_walk	= settle_test_walk,
	.walk_lock	= PGWALK_RDLOCK,
};

static const struct mm_walk_ops settle_merged_ops = {
	.pmd_entry	= settle_pmd_entry,
	.walk_lock	= PGWALK_WRLOCK,
};

/* Page by page, but only where there is something to be repaired. */
static int settle_all(struct mm_struct *mm, unsigned long start, unsigned long end,
		      const struct mm_walk_ops *ops, struct settle *settle)
{
	unsigned int tries = 0;

	while (start < end && !settle->merged && !fatal_signal_pending(current) &&
	       walk_page_range(mm, start, end, ops, settle) > 0) {
		if (settle->addr != start)
			tries = 0;
		start = settle_fault(mm, settle, &tries);
	}
	return settle->merged ? -EAGAIN : 0;
}

/* Pages of an address space that KSM has merged for it */
static unsigned long ksm_merged_pages(struct mm_struct *mm)
{
#ifdef CONFIG_KSM
	return mm->ksm_merging_pages + mm_ksm_zero_pages(mm);
#else
	return 0;
#endif
}

/**
 * migrate_defer_unmerge - give a range pages of its own that KSM has merged
 * @mm: whose range
 * @start: its start, page aligned
 * @end: its end, page aligned
 *
 * Before it is marked, so that a call that fails for want of memory has marked
 * nothing.
 *
 * Context: mmap_lock of @mm held for writing, which keeps KSM away; sleeps.
 * Return: 0, -EAGAIN where there was no memory or userfaultfd is in the way, or
 * -EINTR if the caller is being killed.
 */
int migrate_defer_unmerge(struct mm_struct *mm, unsigned long start,
			  unsigned long end)
{
	VMA_ITERATOR(vmi, mm, start);
	struct settle settle = { .unmerge = true };
	struct vm_area_struct *vma;
	unsigned long pages;
	int ret;

	pages = min(ksm_merged_pages(mm), (end - start) >> PAGE_SHIFT);
	if (!pages)
		return 0;
	if (!migrate_defer_fits(mm, pages))
		return -EAGAIN;

	for_each_vma_range(vmi, vma, end) {
		if (!(vma->vm_flags & VM_MERGEABLE) || !vma->anon_vma)
			continue;
		ret = settle_all(mm, max(start, vma->vm_start),
				 min(end, vma->vm_end), &settle_merged_ops,
				 &settle);
		if (ret)
			return ret;
	}
	return fatal_signal_pending(current) ? -EINTR : 0;
}

static void split_end(struct mm_struct *mm, unsigned long addr, bool set)
{
	struct vm_area_struct *vma = vma_lookup(mm, addr);

	if (vma && vma->vm_start < addr && !vma_is_anonymous(vma) &&
	    !(vma->vm_flags & VM_NOMIGRATE) == set && !IS_ALIGNED(addr, PMD_SIZE))
		split_huge_pmd_keep(vma, addr);
}

/**
 * migrate_defer_split_ends - split huge pages of files at the ends of a range
 * @mm: whose range
 * @start: its start, page aligned
 * @end: its end, page aligned
 * @set: true for MADV_NOMIGRATE
 *
 * Splitting a VMA would unmap them.
 *
 * Context: mmap_lock of @mm held for writing.
 */
void migrate_defer_split_ends(struct mm_struct *mm, unsigned long start,
			      unsigned long end, bool set)
{
	split_end(mm, start, set);
	split_end(mm, end, set);
}

/* As hugetlb_unshare_all_pmds(), what is marked shares no page tables. */
static void unshare_marked(struct mm_struct *mm, unsigned long start,
			   unsigned long end)
{
	VMA_ITERATOR(vmi, mm, start);
	struct vm_area_struct *vma;

	for_each_vma_range(vmi, vma, end)
		if (is_vm_hugetlb_page(vma) && (vma->vm_flags & VM_NOMIGRATE))
			hugetlb_unshare_all_pmds(vma);
}

/**
 * migrate_defer_marked - finish MADV_NOMIGRATE or MADV_DOMIGRATE
 * @mm: whose range
 * @start: its start, page aligned
 * @end: its end, page aligned
 * @set: true for MADV_NOMIGRATE; else there is nothing to be looked at
 * @result: what came of it so far, 0 or a negative errno
 *
 * Undoes what movers had begun in what is marked: waits until pages that are
 * being moved are mapped again, makes entries accessible that NUMA balancing had
 * made inaccessible, and unmerges what KSM has merged for others who share a page
 * (see the head of migrate_defer.c for why no mover begins anew).  Ends early if the
 * caller is being killed.  Pages that are shared copy-on-write stay read-only:
 * breaking that costs memory, MADV_POPULATE_WRITE is for it.
 *
 * Context: mmap_lock of @mm held for writing, and for reading on return: so that
 * page faults, those of devices too, go on meanwhile.  Sleeps; waits for folio locks.
 * Return: @result, or -EAGAIN where there was no memory to unmerge what KSM has
 * merged.
 */
int migrate_defer_marked(struct mm_struct *mm, unsigned long start,
			 unsigned long end, bool set, int result)
{
	struct settle settle = {
		.unmerge = true,
		.how = FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_KILLABLE,
	};

	if (set)
		unshare_marked(mm, start, end);
	mmap_write_downgrade(mm);
	smp_mb();	/* the hint, then the look; pairs with try_to_merge_one_page() */

	if (set && settle_all(mm, start, end, &settle_marked_ops, &settle))
		result = -EAGAIN;
	trace_mark(mm_owner_pid(mm), start, end, set, result);
	return result;
}

/* Nothing was marked, for the reason that is also returned. */
int migrate_defer_refused(struct mm_struct *mm, unsigned long start,
			  unsigned long end, bool set, int error)
{
	trace_mark(mm_owner_pid(mm), start, end, set, error);
	return error;
}

#ifdef CONFIG_IOMMU_SVA_HINT
/**
 * migrate_defer_prefault - map again what was moved in spite of the mark
 * @mm: the address space, with a reference on mm_users
 * @start: start of what was unmapped
 * @end: its end
 * @prefault: what to do; the counts in it are increased
 *
 * Looks only at what is marked now.  Never breaks COW that was not broken, and
 * brings in no page that is not in memory, unless it goes just now.
 *
 * Context: mmap_lock of @mm held for reading; sleeps.
 * Return: where to go on, after giving others the chance to take mmap_lock: a
 * page fault may wait for the disk, so there is one at most.
 */
unsigned long migrate_defer_prefault(struct mm_struct *mm, unsigned long start,
				     unsigned long end,
				     struct migrate_defer_prefault *prefault)
{
	struct settle settle = {
		.prefault = prefault,
		.how = FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_RETRY_NOWAIT,
	};
	struct vm_area_struct *vma = find_vma(mm, start);

	mmap_assert_locked(mm);

	/* The walk would look at each step of a hole. */
	if (!vma || vma->vm_start >= end)
		return end;
	if (!(vma->vm_flags & VM_NOMIGRATE))
		return min(vma->vm_end, end);
	if (vma->vm_start > start)
		start = vma->vm_start;

	end = min(end, start + SETTLE_BATCH);
	if (walk_page_range(mm, start, end, &settle_marked_ops, &settle) <= 0)
		return end;

	if (settle.addr != start)
		prefault->tries = 0;
	return settle_fault(mm, &settle, &prefault->tries);
}
#endif
