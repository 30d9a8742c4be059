/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _LINUX_MIGRATE_DEFER_H
#define _LINUX_MIGRATE_DEFER_H
/*
 * Deferring page migration: madvise(MADV_NOMIGRATE).
 *
 * The hooks of foreign files go through this header, which holds a stub for
 * each of them when CONFIG_MIGRATE_DEFER is off.  See mm/migrate_defer.c for
 * the rules.
 */

#include <linux/jump_label.h>
#include <linux/migrate_mode.h>
#include <linux/mm.h>
#include <linux/rmap.h>

/*
 * Movers that merely optimise.  Each has a row in mm/migrate_defer_policy.c, a
 * vmstat counter in the same order and a name in
 * include/trace/events/migrate_defer.h.
 */
enum migrate_defer_mover {
	MIGRATE_DEFER_COMPACTION,
	MIGRATE_DEFER_NUMA_BALANCING,
	MIGRATE_DEFER_KHUGEPAGED,
	MIGRATE_DEFER_KSM,
	MIGRATE_DEFER_DEMOTION,
	MIGRATE_DEFER_DAMON,
	MIGRATE_DEFER_THP_SPLIT,
	MIGRATE_DEFER_FORK,
	MIGRATE_DEFER_AGING,
	NR_MIGRATE_DEFER_MOVERS,
};

/* Why a mark gives way to what would fail otherwise. */
enum migrate_defer_yield {
	MIGRATE_DEFER_YIELD_FORK,	/* the child's copies cannot be made */
	MIGRATE_DEFER_YIELD_LIMIT,	/* growth beyond RLIMIT_MEMLOCK */
};

/**
 * struct migrate_defer_scan - the last answer, kept during a scan by PFN
 * @mapping: raw folio->mapping that the answer is about, 0 for none
 * @first: first page offset in @mapping that it holds for
 * @last: last page offset that it holds for
 * @deferred: whether mapped folios there are to be left alone
 *
 * Neighbours in memory are mostly neighbours in one mapping.  A scan keeps
 * this on its stack for one page block, so that an answer is never old.
 */
struct migrate_defer_scan {
	unsigned long mapping;
	pgoff_t first;
	pgoff_t last;
	bool deferred;
};

/**
 * struct migrate_defer_prefault - what came of a pre-fault
 * @busy: folios were locked, probably by the mover, and have been left alone
 * @tries: faults on the address that comes next
 * @looked: base pages that are mapped
 * @repaired: base pages that a device would have faulted on
 */
struct migrate_defer_prefault {
	bool busy;
	unsigned int tries;
	unsigned long looked;
	unsigned long repaired;
};

/* Without CONFIG_MIGRATE_DEFER the callers of these are compiled out. */
long migrate_defer_may_mark(struct mm_struct *mm, unsigned long start,
			    unsigned long end, bool set);
bool migrate_defer_arm(struct mm_struct *mm);
int migrate_defer_unmerge(struct mm_struct *mm, unsigned long start,
			  unsigned long end);
void migrate_defer_split_ends(struct mm_struct *mm, unsigned long start,
			      unsigned long end, bool set);
int migrate_defer_marked(struct mm_struct *mm, unsigned long start,
			 unsigned long end, bool set, int result);
int migrate_defer_refused(struct mm_struct *mm, unsigned long start,
			  unsigned long end, bool set, int error);

#ifdef CONFIG_MIGRATE_DEFER
/* False until the first mark of the system's life. */
DECLARE_STATIC_KEY_FALSE(migrate_defer_key);

/* Which mover, plus one, a migrate_pages() reason stands for; 0: it must succeed. */
extern const u8 migrate_reason_movers[MR_TYPES];

bool __anon_vma_maybe_nomigrate(const struct anon_vma *anon_vma);
bool __folio_maybe_nomigrate(const struct folio *folio);
bool __folio_nomigrate(struct folio *folio);
bool __folio_migrate_deferred(struct folio *folio,
			      enum migrate_defer_mover mover, bool urgent,
			      struct migrate_defer_scan *scan);
bool __folio_migrate_refused(struct folio *folio, enum migrate_reason reason);
bool __folio_locked_migrate_deferred(struct folio *folio,
				     enum migrate_defer_mover mover, bool urgent);
bool __mapping_migrate_deferred(struct address_space *mapping, pgoff_t first,
				pgoff_t last, enum migrate_defer_mover mover);
bool __vma_migrate_deferred(enum migrate_defer_mover mover);
void __folio_migrate_forced(struct folio *folio, enum migrate_reason reason,
			    int result);
bool migrate_defer_heeds(enum migrate_defer_mover mover);
bool __migrate_defer_gives_way(enum migrate_defer_mover mover);
enum migrate_reason __migrate_defer_reason(enum migrate_reason reason);

void __vma_grow_nomigrate(struct vm_area_struct *vma, unsigned long npages);
void __vma_fork_begin(struct vm_area_struct *vma);
bool vma_fork_yields(struct vm_area_struct *vma, unsigned long addr);
struct folio *vma_fork_alloc(struct vm_area_struct *vma, unsigned long addr);
void __mm_account_nomigrate(struct mm_struct *mm, long npages);
void migrate_defer_hint(struct vm_area_struct *vma);

bool migrate_defer_may_prefault(void);
unsigned long migrate_defer_prefault(struct mm_struct *mm, unsigned long start,
				     unsigned long end,
				     struct migrate_defer_prefault *prefault);
void migrate_defer_prefaulted(struct mm_struct *mm, u32 pasid,
			      unsigned long start, unsigned long looked,
			      unsigned long repaired, u64 delay);

static inline bool migrate_defer_active(void)
{
	return static_branch_unlikely(&migrate_defer_key);
}

/* Is the mark set?  Exact under mmap_lock, see the head of migrate_defer.c. */
static inline bool vma_nomigrate(const struct vm_area_struct *vma)
{
	return migrate_defer_active() &&
	       (READ_ONCE(vma->vm_flags) & VM_NOMIGRATE);
}

/*
 * Does a mark hold this folio, which the VMA may map?  Of a private mapping only
 * what is anonymous: the pages of the file are those of all who may read it.
 */
static inline bool vma_holds_folio(const struct vm_area_struct *vma,
				   const struct folio *folio)
{
	return vma_nomigrate(vma) &&
	       (folio_test_anon(folio) || (vma->vm_flags & VM_MAYSHARE));
}

/**
 * folio_maybe_nomigrate - may a marked VMA map this folio?
 * @folio: the folio, on which the caller holds a reference
 *
 * Context: any, takes no lock.
 * Return: false only where no marked VMA maps @folio; true is a mere hint.
 */
static inline bool folio_maybe_nomigrate(const struct folio *folio)
{
	return migrate_defer_active() && __folio_maybe_nomigrate(folio);
}

/**
 * folio_nomigrate - does a marked VMA map this folio?
 * @folio: the folio, referenced but not locked
 *
 * Context: may sleep; takes the folio lock (try only) and the rmap locks.
 * Return: true if so, or if somebody has locked @folio and it may be so.
 */
static inline bool folio_nomigrate(struct folio *folio)
{
	return folio_maybe_nomigrate(folio) && __folio_nomigrate(folio);
}

/**
 * folio_migrate_deferred - must an optimising mover leave this folio alone?
 * @folio: the folio, referenced but not locked
 * @mover: who asks; counted and traced where the answer is yes
 * @urgent: whether the mover's next step would be the OOM killer, to which some
 *	    marks give way: then that is counted and traced
 * @scan: the caller's memory of the last answer, or NULL
 *
 * A folio that somebody else has locked gets no for an answer: the mover goes
 * on, and the next question, under a lock that it waits for, decides.
 *
 * Context: may sleep; takes the folio lock (try only) and the rmap locks.
 * Return: true if a marked VMA maps @folio.
 */
static inline bool folio_migrate_deferred(struct folio *folio,
					  enum migrate_defer_mover mover,
					  bool urgent,
					  struct migrate_defer_scan *scan)
{
	return folio_maybe_nomigrate(folio) &&
	       __folio_migrate_deferred(folio, mover, urgent, scan);
}

/**
 * folio_migrate_refused - folio_migrate_deferred() for migrate_pages()
 * @folio: the folio, isolated but not locked
 * @reason: why it is migrated, which tells whether the mover may be refused
 *
 * Context: as folio_migrate_deferred().
 * Return: true if @folio must stay, for this call, mapped as it is.
 */
static inline bool folio_migrate_refused(struct folio *folio,
					 enum migrate_reason reason)
{
	return folio_maybe_nomigrate(folio) &&
	       __folio_migrate_refused(folio, reason);
}

/**
 * vma_migrate_deferred - must a mover that works by VMA leave this one alone?
 * @vma: the VMA, its mm's mmap_lock or the lock of one of its page tables held
 * @mover: who asks; counted and traced where the answer is yes
 *
 * Return: true if @vma is marked.
 */
static inline bool vma_migrate_deferred(const struct vm_area_struct *vma,
					enum migrate_defer_mover mover)
{
	return vma_nomigrate(vma) && __vma_migrate_deferred(mover);
}

/*
 * vma_migrate_deferred() without counting: of a mover that asks more than once,
 * or about a page that it may not be interested in.
 */
static inline bool vma_nomigrate_heeded(const struct vm_area_struct *vma,
					enum migrate_defer_mover mover)
{
	return vma_nomigrate(vma) && migrate_defer_heeds(mover);
}

/* fork() comes to @vma of the parent, mmap_lock held for writing. */
static inline void vma_fork_begin(struct vm_area_struct *vma)
{
	if (vma_nomigrate(vma))
		__vma_fork_begin(vma);
}

/**
 * vma_fork_copies - must fork() copy exclusive anonymous pages at once?
 * @vma: the parent's VMA, its mm's mmap_lock held for writing
 *
 * Otherwise it would write-protect them.  folio_needs_cow_for_dma() says the same
 * of a folio, where pinned ones are told.
 *
 * Return: true if @vma is marked, and there was memory for copies so far.
 */
static inline bool vma_fork_copies(const struct vm_area_struct *vma)
{
	return vma_nomigrate_heeded(vma, MIGRATE_DEFER_FORK) &&
	       vma->vm_mm->nomigrate_shares != vma;
}

/**
 * vma_grow_nomigrate - a VMA grows, marked or not
 * @vma: the VMA
 * @npages: by how many pages
 *
 * Growth never fails because of a mark: beyond the limit that of @vma is taken away.
 *
 * Context: mmap_lock held for writing.
 */
static inline void vma_grow_nomigrate(struct vm_area_struct *vma,
				      unsigned long npages)
{
	if (vma_nomigrate(vma))
		__vma_grow_nomigrate(vma, npages);
}

/**
 * folio_locked_migrate_deferred - folio_migrate_deferred() for a locked folio
 * @folio: the folio, locked
 * @mover: who asks; counted and traced
 * @urgent: whether the mover's next step would be the OOM killer, to which some
 *	    marks give way: then that is counted and traced
 *
 * Context: may sleep; takes the rmap locks.
 * Return: true if a marked VMA maps @folio and @mover must leave it alone.
 */
static inline bool folio_locked_migrate_deferred(struct folio *folio,
						 enum migrate_defer_mover mover,
						 bool urgent)
{
	return folio_maybe_nomigrate(folio) &&
	       __folio_locked_migrate_deferred(folio, mover, urgent);
}

/**
 * mapping_migrate_deferred - must a mover leave a range of a file alone?
 * @mapping: the file's
 * @first: first page offset
 * @last: last page offset
 * @mover: who asks; counted and traced where the answer is yes
 *
 * Context: may sleep; takes i_mmap_rwsem.
 * Return: true if a marked VMA, populated or not, covers part of the range.
 */
static inline bool mapping_migrate_deferred(struct address_space *mapping,
					    pgoff_t first, pgoff_t last,
					    enum migrate_defer_mover mover)
{
	return migrate_defer_active() && mapping_nomigrate_hint(mapping) &&
	       __mapping_migrate_deferred(mapping, first, last, mover);
}

/**
 * migrate_defer_ttu - flags for try_to_migrate() on behalf of a mover
 * @reason: why the folio is migrated
 *
 * Even before there is any mark: the first may be set while the mover is at work.
 *
 * Return: TTU_HONOR_NOMIGRATE for a mover that merely optimises, else 0.
 */
static inline enum ttu_flags migrate_defer_ttu(enum migrate_reason reason)
{
	return migrate_reason_movers[reason] ? TTU_HONOR_NOMIGRATE : 0;
}

/**
 * vma_refuses_unmap - TTU_HONOR_NOMIGRATE: the last question that is asked
 * @vma: the VMA, its page table locked
 * @folio: the folio that it maps
 * @flags: of try_to_migrate() or try_to_unmap()
 *
 * The mark may have been set since the mover last asked.
 *
 * Return: true if @vma is marked and the entry must stay as it is.
 */
static inline bool vma_refuses_unmap(const struct vm_area_struct *vma,
				     const struct folio *folio,
				     enum ttu_flags flags)
{
	return (flags & TTU_HONOR_NOMIGRATE) && vma_holds_folio(vma, folio) &&
	       READ_ONCE(migrate_defer_on);
}

#ifdef CONFIG_TRANSPARENT_HUGEPAGE
void split_huge_pmd_keep(struct vm_area_struct *vma, unsigned long address);
int split_folio_to_list_ttu(struct folio *folio, struct list_head *list,
			    enum ttu_flags ttu);
int split_huge_page_unless_deferred(struct page *page,
				    enum migrate_defer_mover mover);
#else
static inline void split_huge_pmd_keep(struct vm_area_struct *vma,
				       unsigned long address)
{
}

static inline int split_folio_to_list_ttu(struct folio *folio,
					  struct list_head *list,
					  enum ttu_flags ttu)
{
	return split_folio_to_list(folio, list);
}

static inline int split_huge_page_unless_deferred(struct page *page,
						  enum migrate_defer_mover mover)
{
	return split_huge_page(page);
}
#endif

/* The reason for migrate_pages() that goes with @urgent folio decisions. */
static inline enum migrate_reason
migrate_defer_reason(enum migrate_reason reason, bool urgent)
{
	return migrate_defer_active() && urgent ?
	       __migrate_defer_reason(reason) : reason;
}

/* Are there marks that give way to this mover before the OOM killer comes? */
static inline bool migrate_defer_gives_way(enum migrate_defer_mover mover)
{
	return migrate_defer_active() && __migrate_defer_gives_way(mover);
}

/**
 * folio_migrate_forced - report what a mover that must succeed did
 * @folio: the folio that is mapped now: the new one, or the old one if the
 *	   move failed; locked
 * @reason: why it was migrated
 * @result: 0 or a negative errno
 *
 * Context: may sleep; takes the rmap locks.
 */
static inline void folio_migrate_forced(struct folio *folio,
					enum migrate_reason reason, int result)
{
	/* An optimising mover that came before the mark is nobody's force. */
	if (migrate_defer_active() && !migrate_reason_movers[reason] &&
	    __folio_maybe_nomigrate(folio))
		__folio_migrate_forced(folio, reason, result);
}

static inline void mm_init_nomigrate(struct mm_struct *mm)
{
	mm->nomigrate_vm = 0;
	mm->nomigrate_shares = NULL;
}

/**
 * mm_account_nomigrate - a VMA comes, grows, goes or changes its flags
 * @mm: the address space
 * @vm_flags: of the VMA; nothing happens unless it is marked
 * @npages: pages that are marked more; negative: less
 *
 * Context: mmap_lock of @mm held for writing, or downgraded by munmap(), which a
 * second munmap() cannot do meanwhile.
 */
static inline void mm_account_nomigrate(struct mm_struct *mm,
					vm_flags_t vm_flags, long npages)
{
	if (migrate_defer_active() && (vm_flags & VM_NOMIGRATE) && npages)
		__mm_account_nomigrate(mm, npages);
}

/* mm_account_nomigrate() of a VMA whose flags have changed. */
static inline void mm_reaccount_nomigrate(struct mm_struct *mm,
					  vm_flags_t old_flags,
					  vm_flags_t new_flags, long npages)
{
	if (migrate_defer_active() && ((old_flags ^ new_flags) & VM_NOMIGRATE))
		__mm_account_nomigrate(mm, new_flags & VM_NOMIGRATE ? npages :
								      -npages);
}

/* All VMAs have gone. */
static inline void mm_check_nomigrate(struct mm_struct *mm)
{
	VM_WARN_ON_ONCE(mm->nomigrate_vm);
}

/* A new anon_vma, not yet published: its folios will be those of @vma. */
static inline void anon_vma_inherit_nomigrate(struct anon_vma *anon_vma,
					      const struct vm_area_struct *vma)
{
	if (vma->vm_flags & VM_NOMIGRATE)
		WRITE_ONCE(anon_vma->nomigrate_hint, true);
}

/* folio_maybe_nomigrate() of a folio of @anon_vma, whatever it is now */
static inline bool anon_vma_maybe_nomigrate(const struct anon_vma *anon_vma)
{
	return migrate_defer_active() && __anon_vma_maybe_nomigrate(anon_vma);
}

static inline void anon_vma_init_nomigrate(struct anon_vma *anon_vma)
{
	/* Somebody may be looking: the memory of an anon_vma is typesafe only. */
	WRITE_ONCE(anon_vma->nomigrate_hint, false);
}

#else /* !CONFIG_MIGRATE_DEFER */

static inline bool migrate_defer_active(void)
{
	return false;
}

static inline bool vma_nomigrate(const struct vm_area_struct *vma)
{
	return false;
}

static inline bool folio_maybe_nomigrate(const struct folio *folio)
{
	return false;
}

static inline bool folio_nomigrate(struct folio *folio)
{
	return false;
}

static inline bool folio_migrate_deferred(struct folio *folio,
					  enum migrate_defer_mover mover,
					  bool urgent,
					  struct migrate_defer_scan *scan)
{
	return false;
}

static inline bool folio_migrate_refused(struct folio *folio,
					 enum migrate_reason reason)
{
	return false;
}

static inline bool anon_vma_maybe_nomigrate(const struct anon_vma *anon_vma)
{
	return false;
}

static inline bool vma_migrate_deferred(const struct vm_area_struct *vma,
					enum migrate_defer_mover mover)
{
	return false;
}

static inline bool vma_nomigrate_heeded(const struct vm_area_struct *vma,
					enum migrate_defer_mover mover)
{
	return false;
}

static inline void vma_fork_begin(struct vm_area_struct *vma)
{
}

static inline bool vma_fork_copies(const struct vm_area_struct *vma)
{
	return false;
}

static inline bool vma_fork_yields(struct vm_area_struct *vma, unsigned long addr)
{
	return false;
}

static inline struct folio *vma_fork_alloc(struct vm_area_struct *vma,
					   unsigned long addr)
{
	return NULL;
}

static inline void vma_grow_nomigrate(struct vm_area_struct *vma,
				      unsigned long npages)
{
}

static inline bool folio_locked_migrate_deferred(struct folio *folio,
						 enum migrate_defer_mover mover,
						 bool urgent)
{
	return false;
}

static inline bool mapping_migrate_deferred(struct address_space *mapping,
					    pgoff_t first, pgoff_t last,
					    enum migrate_defer_mover mover)
{
	return false;
}

static inline bool vma_refuses_unmap(const struct vm_area_struct *vma,
				     const struct folio *folio,
				     enum ttu_flags flags)
{
	return false;
}

static inline int split_folio_to_list_ttu(struct folio *folio,
					  struct list_head *list,
					  enum ttu_flags ttu)
{
	return split_folio_to_list(folio, list);
}

static inline int split_huge_page_unless_deferred(struct page *page,
						  enum migrate_defer_mover mover)
{
	return split_huge_page(page);
}

static inline enum migrate_reason
migrate_defer_reason(enum migrate_reason reason, bool urgent)
{
	return reason;
}

static inline bool migrate_defer_gives_way(enum migrate_defer_mover mover)
{
	return false;
}

static inline void folio_migrate_forced(struct folio *folio,
					enum migrate_reason reason, int result)
{
}

static inline enum ttu_flags migrate_defer_ttu(enum migrate_reason reason)
{
	return 0;
}

static inline void anon_vma_inherit_nomigrate(struct anon_vma *anon_vma,
					      const struct vm_area_struct *vma)
{
}

static inline void anon_vma_init_nomigrate(struct anon_vma *anon_vma)
{
}

static inline void mm_init_nomigrate(struct mm_struct *mm)
{
}

static inline void mm_account_nomigrate(struct mm_struct *mm,
					vm_flags_t vm_flags, long npages)
{
}

static inline void mm_reaccount_nomigrate(struct mm_struct *mm,
					  vm_flags_t old_flags,
					  vm_flags_t new_flags, long npages)
{
}

static inline void mm_check_nomigrate(struct mm_struct *mm)
{
}

static inline void migrate_defer_hint(struct vm_area_struct *vma)
{
}

#endif /* CONFIG_MIGRATE_DEFER */

/*
 * Is a page of the VMA to be mapped so that a device needs nobody's help to use
 * it: young, and dirty if it is writable?  Not what MADV_FREE has given up.
 */
static inline bool folio_map_ready(const struct folio *folio,
				   const struct vm_area_struct *vma)
{
	return vma_nomigrate(vma) &&
	       (!folio_test_anon(folio) || folio_test_swapbacked(folio) ||
		folio_test_hugetlb(folio));
}

#endif /* _LINUX_MIGRATE_DEFER_H */
