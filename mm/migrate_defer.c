// SPDX-License-Identifier: GPL-2.0
/*
 * Deferring page migration: madvise(MADV_NOMIGRATE).
 *
 * A device that shares a process's address space (IOMMU SVA) stalls for an
 * I/O page fault whenever a page is moved under it.  A process marks the
 * ranges that such devices use, with VM_NOMIGRATE, and while the mark stands
 *
 *  - movers that merely optimise (enum migrate_defer_mover) leave the pages of
 *    the range, and their mappings, alone;
 *  - movers that must succeed (CMA, alloc_contig_range(), memory offline, page
 *    poisoning, explicit system calls) move them as if there were no mark, and
 *    say so by the tracepoint migrate_defer:forced.
 *
 * No page reference is held for a mark, and nothing is stored per page.
 *
 * How it is decided
 *
 * The truth is vma->vm_flags.  A mover that works by VMA just tests it
 * (vma_migrate_deferred()).  A mover that works by PFN or folio asks three
 * times, each question dearer and better than the one before:
 *
 *  1. folio_maybe_nomigrate(): a sticky hint in the address_space or anon_vma
 *     of the folio.  Any context.  It may say yes wrongly, never no wrongly.
 *  2. folio_migrate_deferred(): the exact answer from the rmap, before anything
 *     is unmapped, so that nobody else who maps the folio sees it go away.
 *  3. TTU_HONOR_NOMIGRATE: the flag of the very VMA, under the page table lock,
 *     in try_to_migrate_one() and try_to_unmap_one().
 *
 * Who holds the folio lock already asks question 2 by
 * folio_locked_migrate_deferred(); who works by file, before it has any folio,
 * by mapping_migrate_deferred(), which is coarser: for all of a range.
 *
 * Locking
 *
 * vm_flags change under mmap_lock held for writing.  The setter writes the hint
 * first, then the flag, then, with mmap_lock downgraded, takes the page table lock of
 * each table of the range (migrate_defer_marked()).  A mover whose question 3 comes after that
 * sees the flag; one whose question came before has left a migration entry,
 * which the setter finds and waits for.  Questions 1 and 2 need no ordering
 * with the setter: they save work and other VMAs' mappings, question 3 decides.
 *
 * A mark is set: mmap_lock (W), then (R) -> page table lock.
 * Question 2:    folio lock (try, unless held) -> i_mmap_rwsem or
 *		  anon_vma->rwsem (R) -> page table lock; see the head of
 *		  mm/rmap.c.  By file: i_mmap_rwsem (R).
 * The hints:     set under mmap_lock (W), or before the anon_vma is published;
 *		  never cleared before the anon_vma or inode is freed; read
 *		  under RCU.
 */

#include <linux/hugetlb.h>
#include <linux/ksm.h>
#include <linux/migrate.h>
#include <linux/migrate_defer.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/mman.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/vmstat.h>

#include <trace/events/migrate_defer.h>

#include "internal.h"
#include "migrate_defer.h"

DEFINE_STATIC_KEY_FALSE(migrate_defer_key);

/* Page offsets that one answer may speak for: see folio_window_marks(). */
#define MIGRATE_DEFER_WINDOW	512UL

/* The hints stay for ever: they are worth nothing where nothing is marked. */
static bool migrate_defer_hints(void)
{
	return atomic_long_read(&migrate_defer_marked_pages);
}

bool __anon_vma_maybe_nomigrate(const struct anon_vma *anon_vma)
{
	return migrate_defer_hints() && READ_ONCE(anon_vma->nomigrate_hint);
}

/*
 * The folio may be freed, truncated or moved to another anon_vma meanwhile.
 * An address_space is freed by RCU, so is the slab of anon_vmas, and an
 * anon_vma belongs to the folio as long as the folio is mapped: the same
 * reasoning as in folio_lock_anon_vma_read().  KSM pages belong to no VMA, and
 * movable_ops pages are never mapped.
 */
bool __folio_maybe_nomigrate(const struct folio *folio)
{
	unsigned long mapping;
	bool hint = false;

	if (!migrate_defer_hints())
		return false;

	rcu_read_lock();
	mapping = (unsigned long)READ_ONCE(folio->mapping);
	switch (mapping & FOLIO_MAPPING_FLAGS) {
	case 0:
		if (mapping && folio_mapped(folio))
			hint = mapping_nomigrate_hint((void *)mapping);
		break;
	case FOLIO_MAPPING_ANON:
		if (folio_mapped(folio)) {
			struct anon_vma *anon_vma;

			anon_vma = (void *)(mapping - FOLIO_MAPPING_ANON);
			hint = READ_ONCE(anon_vma->nomigrate_hint);
		}
		break;
	}
	rcu_read_unlock();

	return hint;
}

/* What kinds of VMAs lie in a window of page offsets. */
#define WINDOW_MARKED	0x1
#define WINDOW_UNMARKED	0x2
#define WINDOW_MIXED	(WINDOW_MARKED | WINDOW_UNMARKED)

static inline unsigned int vma_window_mark(const struct vm_area_struct *vma,
					   const struct folio *folio)
{
	return vma_holds_folio(vma, folio) ? WINDOW_MARKED : WINDOW_UNMARKED;
}

/*
 * Look at the VMAs around the folio, but not at their page tables.  A mapped
 * folio is mapped by some VMA that covers it, so where all VMAs of the window
 * are of one kind, the answer is known for each of its folios.
 */
static unsigned int folio_window_marks(struct folio *folio, pgoff_t first,
				       pgoff_t last)
{
	unsigned int marks = 0;

	if (folio_test_anon(folio)) {
		struct anon_vma *anon_vma;
		struct anon_vma_chain *avc;

		anon_vma = folio_lock_anon_vma_read(folio, NULL);
		if (!anon_vma)
			return 0;
		anon_rmap_tree_foreach(avc, anon_vma, first, last) {
			cond_resched();
			marks |= vma_window_mark(avc->vma, folio);
			if (marks == WINDOW_MIXED)
				break;
		}
		anon_vma_unlock_read(anon_vma);
	} else {
		struct address_space *mapping = folio->mapping;
		struct vm_area_struct *vma;

		if (!mapping)
			return 0;
		i_mmap_lock_read(mapping);
		mapping_rmap_tree_foreach(vma, mapping, first, last) {
			cond_resched();
			marks |= vma_window_mark(vma, folio);
			if (marks == WINDOW_MIXED)
				break;
		}
		i_mmap_unlock_read(mapping);
	}

	return marks;
}

static bool folio_nomigrate_one(struct folio *folio, struct vm_area_struct *vma,
				unsigned long address, void *arg)
{
	DEFINE_FOLIO_VMA_WALK(pvmw, folio, vma, address, 0);
	bool *nomigrate = arg;

	if (!vma_holds_folio(vma, folio) || !page_vma_mapped_walk(&pvmw))
		return true;

	page_vma_mapped_walk_done(&pvmw);
	*nomigrate = true;
	return false;
}

/* Does a marked VMA map the folio?  The folio is locked. */
static bool folio_held(struct folio *folio, struct migrate_defer_scan *scan)
{
	pgoff_t first = round_down(folio->index, MIGRATE_DEFER_WINDOW);
	pgoff_t last = round_up(folio->index + folio_nr_pages(folio),
				MIGRATE_DEFER_WINDOW) - 1;
	unsigned int marks = folio_window_marks(folio, first, last);
	bool nomigrate = false;
	struct rmap_walk_control rwc = {
		.rmap_one = folio_nomigrate_one,
		.arg = &nomigrate,
		.anon_lock = folio_lock_anon_vma_read,
	};

	if (marks == WINDOW_MIXED) {
		rmap_walk(folio, &rwc);
		return nomigrate;
	}

	if (scan && marks) {
		scan->mapping = (unsigned long)folio->mapping;
		scan->first = first;
		scan->last = last;
		scan->deferred = marks == WINDOW_MARKED;
	}
	return marks == WINDOW_MARKED && folio_mapped(folio);
}

bool __folio_nomigrate(struct folio *folio)
{
	bool held;

	if (!folio_trylock(folio))
		return true;
	held = folio_held(folio, NULL);
	folio_unlock(folio);
	return held;
}

/* The folio is not locked, the answer that @scan keeps may be about it. */
static bool migrate_defer_scan_knows(const struct migrate_defer_scan *scan,
				     const struct folio *folio)
{
	pgoff_t index = READ_ONCE(folio->index);

	return scan->mapping &&
	       scan->mapping == (unsigned long)READ_ONCE(folio->mapping) &&
	       index >= scan->first &&
	       index + folio_nr_pages(folio) - 1 <= scan->last;
}

bool __folio_migrate_deferred(struct folio *folio,
			      enum migrate_defer_mover mover, bool urgent,
			      struct migrate_defer_scan *scan)
{
	bool deferred;

	if (scan && migrate_defer_scan_knows(scan, folio)) {
		deferred = scan->deferred;
	} else {
		if (!folio_trylock(folio))
			return false;
		deferred = folio_held(folio, scan);
		folio_unlock(folio);
	}

	return deferred && migrate_defer_leave(mover, urgent, folio_pfn(folio),
					       folio_order(folio));
}

bool __folio_locked_migrate_deferred(struct folio *folio,
				     enum migrate_defer_mover mover, bool urgent)
{
	return folio_held(folio, NULL) &&
	       migrate_defer_leave(mover, urgent, folio_pfn(folio),
				   folio_order(folio));
}

bool __mapping_migrate_deferred(struct address_space *mapping, pgoff_t first,
				pgoff_t last, enum migrate_defer_mover mover)
{
	struct vm_area_struct *vma;
	bool marked = false;

	i_mmap_lock_read(mapping);
	mapping_rmap_tree_foreach(vma, mapping, first, last) {
		cond_resched();
		marked = vma_nomigrate(vma) && (vma->vm_flags & VM_MAYSHARE);
		if (marked)
			break;
	}
	i_mmap_unlock_read(mapping);

	return marked && migrate_defer_leave(mover, false, -1UL, 0);
}

bool __folio_migrate_refused(struct folio *folio, enum migrate_reason reason)
{
	enum migrate_defer_mover mover;

	return migrate_reason_mover(reason, &mover) &&
	       __folio_migrate_deferred(folio, mover, false, NULL);
}

struct forced_walk {
	enum migrate_reason reason;
	int result;
};

static bool folio_forced_one(struct folio *folio, struct vm_area_struct *vma,
			     unsigned long address, void *arg)
{
	DEFINE_FOLIO_VMA_WALK(pvmw, folio, vma, address, 0);
	const struct forced_walk *forced = arg;
	unsigned long pages = 0;

	if (!vma_holds_folio(vma, folio))
		return true;

	while (page_vma_mapped_walk(&pvmw)) {
		if (!pages)
			address = pvmw.address;
		if (folio_test_hugetlb(folio))
			pages += folio_nr_pages(folio);
		else
			pages += pvmw.pte ? 1 : PMD_SIZE >> PAGE_SHIFT;
	}
	if (!pages)
		return true;

	if (!forced->result)
		count_vm_events(NOMIGRATE_FORCED, pages);
	trace_forced(forced->reason, mm_owner_pid(vma->vm_mm), address, pages,
		     forced->result);
	return true;
}

void __folio_migrate_forced(struct folio *folio, enum migrate_reason reason,
			    int result)
{
	struct forced_walk forced = {
		.reason = reason,
		.result = result,
	};
	struct rmap_walk_control rwc = {
		.rmap_one = folio_forced_one,
		.arg = &forced,
		.anon_lock = folio_lock_anon_vma_read,
	};

	rmap_walk(folio, &rwc);
}

/* Whether all hooks are at work: the key takes its time. */
static bool migrate_defer_armed __read_mostly;

/**
 * migrate_defer_arm - have the hooks at work before the first mark is set
 * @mm: the address space that is to be marked
 *
 * Context: mmap_lock of @mm held for writing, also on return; cpu_hotplug_lock is
 * taken, hence without it: mmap_lock is dropped the first time in the system's life.
 * Return: whether it was dropped.
 */
bool migrate_defer_arm(struct mm_struct *mm)
{
	if (READ_ONCE(migrate_defer_armed))
		return false;
	mmap_write_unlock(mm);
	static_branch_enable(&migrate_defer_key);
	WRITE_ONCE(migrate_defer_armed, true);
	mmap_write_lock(mm);
	return true;
}

/**
 * migrate_defer_hint - tell lockless readers that a VMA will be marked
 * @vma: the VMA, not yet marked
 *
 * A folio of @vma may belong to any anon_vma of its chain, that is, to one of
 * an ancestor that forked.  Of a private mapping of a file the mark does not hold
 * what is the file's.  fork() looks at MMF_HAS_PINNED before it looks at anything else.
 *
 * Context: mmap_lock held for writing.
 */
void migrate_defer_hint(struct vm_area_struct *vma)
{
	struct anon_vma_chain *avc;

	mmap_assert_write_locked(vma->vm_mm);

	if (!mm_flags_test(MMF_HAS_PINNED, vma->vm_mm))
		mm_flags_set(MMF_HAS_PINNED, vma->vm_mm);
	if (vma->vm_file && (vma->vm_flags & VM_MAYSHARE))
		mapping_set_nomigrate_hint(vma->vm_file->f_mapping);
	list_for_each_entry(avc, &vma->anon_vma_chain, same_vma)
		WRITE_ONCE(avc->anon_vma->nomigrate_hint, true);
}
