// SPDX-License-Identifier: GPL-2.0
/*
 * The translation cache, page walks that never fault, and accesses to memory.
 *
 * svadev_domain.lock is held, with interrupts off, from the look-up of a
 * translation through the walk and the insertion to the end of the load or
 * store itself, and by invalidations.  So
 *
 *   - an invalidation that has returned leaves no stale entry, and waits for
 *     accesses through the entries that it drops: whoever invalidates may reuse
 *     the page;
 *   - page tables are not freed during a walk: their freeing waits for an RCU
 *     grace period or for all processors to take an interrupt, or it comes after
 *     an invalidation (x86), when no walk can come to them any more;
 *   - the mm is not torn down during a walk: svadev_kill() waits for the lock.
 *
 * It is taken below page table locks, with any lock of mm/ held.
 */
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pgtable.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <linux/mm_inline.h>
#include <linux/uaccess.h>

#include "internal.h"

#define WAYS	4U

static unsigned int iotlb_entries = 4096;
module_param(iotlb_entries, uint, 0444);
MODULE_PARM_DESC(iotlb_entries, "size of an address space's translation cache");

/**
 * svadev_cache_init() - allocate the translation cache of a domain
 * @dom: the domain
 *
 * Return: 0 or -ENOMEM.
 */
int svadev_cache_init(struct svadev_domain *dom)
{
	dom->sets = roundup_pow_of_two(clamp(iotlb_entries, 16U, 65536U)) / WAYS;
	dom->cache = kvcalloc(dom->sets * WAYS, sizeof(*dom->cache), GFP_KERNEL_ACCOUNT);
	return dom->cache ? 0 : -ENOMEM;
}

/**
 * svadev_cache_free() - undo svadev_cache_init()
 * @dom: the domain
 */
void svadev_cache_free(struct svadev_domain *dom)
{
	kvfree(dom->cache);
}

static struct svadev_translation *cache_set(struct svadev_domain *dom,
					    unsigned long tag)
{
	return &dom->cache[(tag & (dom->sets - 1)) * WAYS];
}

static struct svadev_translation *cache_find(struct svadev_domain *dom,
					     unsigned long addr, unsigned int shift)
{
	struct svadev_translation *t = cache_set(dom, addr >> shift);

	for (unsigned int way = 0; way < WAYS; way++, t++)
		if (t->shift == shift && t->tag == addr >> shift)
			return t;
	return NULL;
}

static struct svadev_translation *cache_lookup(struct svadev_domain *dom,
					       unsigned long addr, bool write)
{
	struct svadev_translation *t;

	t = cache_find(dom, addr, PAGE_SHIFT);
	if (!t)
		t = cache_find(dom, addr, PMD_SHIFT);
	/* The entry may be older than an upgrade of the page, which tells nobody. */
	return t && (!write || t->writable) ? t : NULL;
}

static struct svadev_translation *cache_insert(struct svadev_domain *dom,
					       unsigned long addr,
					       const struct svadev_translation *new)
{
	struct svadev_translation *set = cache_set(dom, addr >> new->shift);
	struct svadev_translation *t = cache_find(dom, addr, new->shift);

	for (unsigned int way = 0; !t && way < WAYS; way++)
		if (!set[way].shift)
			t = &set[way];
	if (!t)
		t = &set[dom->clock++ % WAYS];
	*t = *new;
	return t;
}

static void cache_drop(struct svadev_domain *dom, struct svadev_translation *t)
{
	t->shift = 0;
	dom->dropped++;
}

static void cache_drop_all(struct svadev_domain *dom)
{
	for (unsigned int i = 0; i < dom->sets * WAYS; i++)
		if (dom->cache[i].shift)
			cache_drop(dom, &dom->cache[i]);
}

static void cache_drop_range(struct svadev_domain *dom, unsigned long start,
			     unsigned long last, unsigned int shift)
{
	struct svadev_translation *t;

	for (unsigned long tag = start >> shift; tag <= last >> shift; tag++) {
		t = cache_find(dom, tag << shift, shift);
		if (t)
			cache_drop(dom, t);
	}
}

/**
 * svadev_cache_evict() - forget all translations
 * @dom: the domain
 *
 * Context: any.  When it returns no access uses one of them any more.
 */
void svadev_cache_evict(struct svadev_domain *dom)
{
	unsigned long flags;
	u64 dropped;

	raw_spin_lock_irqsave(&dom->lock, flags);
	dropped = dom->dropped;
	cache_drop_all(dom);
	dom->dropped = dropped;
	raw_spin_unlock_irqrestore(&dom->lock, flags);
}

/**
 * svadev_cache_invalidate() - forget translations that are not valid any more
 * @dom: the domain
 * @start: first address
 * @end: one after the last, -1UL for all
 *
 * The kernel also tells of page tables of its own that it frees
 * (iommu_sva_invalidate_kva_range(), not in 6.12).  The device walks none of those.
 *
 * Context: any, under page table locks.  When it returns no access uses one of
 * them any more.
 */
void svadev_cache_invalidate(struct svadev_domain *dom, unsigned long start,
			     unsigned long end)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&dom->lock, flags);
	if (start >= TASK_SIZE_MAX) {
		dom->kernel_invalidations++;
		goto unlock;
	}
	dom->invalidations++;
	if (!dom->deaf) {
		if (end - start > (unsigned long)dom->sets << PAGE_SHIFT) {
			cache_drop_all(dom);
		} else if (end > start) {
			cache_drop_range(dom, start, end - 1, PAGE_SHIFT);
			cache_drop_range(dom, start, end - 1, PMD_SHIFT);
		}
	}
unlock:
	raw_spin_unlock_irqrestore(&dom->lock, flags);
}

/**
 * svadev_kill() - never access the address space of a domain again
 * @dom: the domain
 *
 * Context: any.  When it returns no access is in flight.
 */
void svadev_kill(struct svadev_domain *dom)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&dom->lock, flags);
	dom->dead = true;
	cache_drop_all(dom);
	raw_spin_unlock_irqrestore(&dom->lock, flags);
}

/**
 * struct leaf - where a page walk ended
 * @slot:	the entry in the page table
 * @pte:	its value, read once; of huge entries too, whose bits are the same
 * @present:	not a swap entry or the like.  Each level has its own test: a huge
 *		entry that is just being split is no swap entry (x86)
 * @pfn:	page frame of the first byte that the entry maps, if @present
 * @shift:	log2 of the size that it maps
 */
struct leaf {
	pte_t *slot;
	pte_t pte;
	bool present;
	unsigned long pfn;
	unsigned int shift;
};

/*
 * Reads single entries as the walker of an IOMMU does: not ptep_get(), which
 * gathers the bits of a block of contiguous entries.
 *
 * Returns false if no entry maps the address.
 */
static bool walk(struct mm_struct *mm, unsigned long addr, struct leaf *leaf)
{
	pgd_t *pgdp, pgd;
	p4d_t *p4dp, p4d;
	pud_t *pudp, pud;
	pmd_t *pmdp, pmd;

	pgdp = pgd_offset(mm, addr);
	pgd = pgdp_get(pgdp);
	if (pgd_none(pgd) || unlikely(pgd_bad(pgd)))
		return false;

	p4dp = p4d_offset_lockless(pgdp, pgd, addr);
	p4d = p4dp_get(p4dp);
	if (p4d_none(p4d) || unlikely(p4d_bad(p4d)))
		return false;

	pudp = pud_offset_lockless(p4dp, p4d, addr);
	pud = pudp_get(pudp);
	if (pud_none(pud))
		return false;
	if (!pud_present(pud) || pud_leaf(pud)) {
		leaf->slot = (pte_t *)pudp;
		leaf->pte = __pte(pud_val(pud));
		leaf->present = pud_present(pud);
		leaf->pfn = pud_pfn(pud);
		leaf->shift = PUD_SHIFT;
		return true;
	}
	if (unlikely(pud_bad(pud)))
		return false;

	pmdp = pmd_offset_lockless(pudp, pud, addr);
	pmd = pmdp_get_lockless(pmdp);
	if (pmd_none(pmd))
		return false;
	if (!pmd_present(pmd) || pmd_leaf(pmd)) {
		leaf->slot = (pte_t *)pmdp;
		leaf->pte = __pte(pmd_val(pmd));
		leaf->present = pmd_present(pmd);
		leaf->pfn = pmd_pfn(pmd);
		leaf->shift = PMD_SHIFT;
		return true;
	}
	if (unlikely(pmd_bad(pmd)))
		return false;

	leaf->slot = pte_offset_kernel(&pmd, addr);
	leaf->pte = READ_ONCE(*leaf->slot);
	leaf->present = pte_present(leaf->pte);
	leaf->pfn = pte_pfn(leaf->pte);
	leaf->shift = PAGE_SHIFT;
	return !pte_none(leaf->pte);
}

static enum sva_testdev_cause nonpresent_cause(pte_t pte)
{
	return softleaf_is_migration(softleaf_from_pte(pte)) ? SVA_TESTDEV_MIGRATION :
							   SVA_TESTDEV_SWAP;
}

/*
 * Whether the entry permits the access.  An IOMMU with hardware A/D sets the
 * bits in the entry that it has read, unless that has changed meanwhile.
 *
 * Returns 0, -EAGAIN if a fault is needed, -EBUSY if the entry has changed.
 */
static int check_leaf(struct leaf *leaf, struct svadev_access *access, bool write)
{
	pteval_t old = pte_val(leaf->pte);
	pte_t pte = leaf->pte;

	if (!leaf->present) {
		access->cause = nonpresent_cause(pte);
		return -EAGAIN;
	}
	if (!pte_access_permitted(pte, false)) {
		access->cause = SVA_TESTDEV_PROTNONE;
		return -EAGAIN;
	}
	if (write && !pte_access_permitted(pte, true)) {
		access->cause = SVA_TESTDEV_READONLY;
		return -EAGAIN;
	}
	if (access->hw_ad) {
		pte = pte_mkyoung(pte);
		if (write)
			pte = pte_mkdirty(pte);
		if (pte_val(pte) != old &&
		    !try_cmpxchg((pteval_t *)leaf->slot, &old, pte_val(pte)))
			return -EBUSY;
		leaf->pte = pte;
		return 0;
	}
	if (!pte_young(pte)) {
		access->cause = SVA_TESTDEV_OLD;
		return -EAGAIN;
	}
	if (write && !pte_dirty(pte)) {
		access->cause = SVA_TESTDEV_CLEAN;
		return -EAGAIN;
	}
	return 0;
}

/* Memory without struct page, or not in the kernel's linear map, is out of reach. */
static bool reachable(pte_t pte, unsigned long pfn)
{
	u64 dummy;

	if (!pfn_valid(pfn) || (pte_special(pte) && !is_zero_pfn(pfn)))
		return false;
	return !get_kernel_nofault(dummy, (u64 *)page_address(pfn_to_page(pfn)));
}

/*
 * Returns 0 and the new entry of the cache, -EAGAIN if a fault is needed,
 * -EFAULT if the device can't access such memory.
 */
static int translate(struct svadev_domain *dom, struct svadev_access *access,
		     bool write, struct svadev_translation **found)
{
	struct svadev_translation new;
	struct leaf leaf;
	int ret;

	do {
		if (!walk(dom->mm, access->addr, &leaf)) {
			access->cause = SVA_TESTDEV_NONE;
			return -EAGAIN;
		}
		ret = check_leaf(&leaf, access, write);
	} while (ret == -EBUSY);
	if (ret)
		return ret;

	/* Larger entries are cached in parts. */
	new.shift = min_t(unsigned int, leaf.shift, PMD_SHIFT);
	new.pfn = leaf.pfn +
		  (((access->addr & ((1UL << leaf.shift) - 1)) >> new.shift)
		   << (new.shift - PAGE_SHIFT));
	new.tag = access->addr >> new.shift;
	new.writable = pte_access_permitted(leaf.pte, true) && pte_dirty(leaf.pte);
	if (!reachable(leaf.pte, new.pfn))
		return -EFAULT;
	*found = cache_insert(dom, access->addr, &new);
	return 0;
}

static int access_word(struct svadev_domain *dom, struct svadev_access *access,
		       const struct svadev_translation *t)
{
	unsigned long offset = access->addr & ((1UL << t->shift) - 1);
	u64 *word = page_address(pfn_to_page(t->pfn + (offset >> PAGE_SHIFT))) +
		    offset_in_page(offset);

	switch (access->op) {
	case SVA_TESTDEV_READ:
		if (!dom->deaf)
			access->value = READ_ONCE(*word);
		else if (get_kernel_nofault(access->value, word))
			return -EFAULT;
		return 0;
	case SVA_TESTDEV_WRITE:
		WRITE_ONCE(*word, access->value);
		return 0;
	case SVA_TESTDEV_INCREMENT:
		access->value = atomic64_fetch_inc((atomic64_t *)word);
		return 0;
	default:
		return -EINVAL;
	}
}

/**
 * svadev_access() - access one word of a bound address space, as a device does
 * @dom: the domain
 * @access: what to do
 *
 * Never faults and never sleeps.
 *
 * Context: any; takes svadev_domain.lock.
 * Return: 0; -EAGAIN if an I/O page fault is needed, for @access->cause;
 * -EFAULT if the device can't access this kind of memory; -ESRCH if the address
 * space is gone.
 */
int svadev_access(struct svadev_domain *dom, struct svadev_access *access)
{
	bool write = access->op != SVA_TESTDEV_READ;
	struct svadev_translation *t;
	unsigned long flags;
	int ret = 0;

	raw_spin_lock_irqsave(&dom->lock, flags);
	if (dom->dead) {
		ret = -ESRCH;
		goto unlock;
	}
	t = cache_lookup(dom, access->addr, write);
	if (t) {
		access->stats->hits++;
	} else {
		access->stats->walks++;
		ret = translate(dom, access, write, &t);
	}
	if (!ret)
		ret = access_word(dom, access, t);
	if (!ret)
		access->stats->accesses++;
unlock:
	raw_spin_unlock_irqrestore(&dom->lock, flags);
	return ret;
}

/**
 * svadev_cache_rewarm() - load the translations of a range, as far as they are there
 * @dom: the domain
 * @start: first address
 * @end: one after the last
 *
 * Context: process context; takes svadev_domain.lock, once per page.
 */
void svadev_cache_rewarm(struct svadev_domain *dom, unsigned long start,
			 unsigned long end)
{
	unsigned long size = (unsigned long)dom->sets * WAYS << PAGE_SHIFT;
	struct svadev_access access = { .op = SVA_TESTDEV_READ };
	struct svadev_translation *t;
	unsigned long flags;

	end = min(end, start + size);
	for (access.addr = start; access.addr < end; access.addr += PAGE_SIZE) {
		raw_spin_lock_irqsave(&dom->lock, flags);
		if (!dom->dead && !cache_lookup(dom, access.addr, false))
			translate(dom, &access, false, &t);
		raw_spin_unlock_irqrestore(&dom->lock, flags);
		cond_resched();
	}

	raw_spin_lock_irqsave(&dom->lock, flags);
	dom->rewarms++;
	raw_spin_unlock_irqrestore(&dom->lock, flags);
}

/**
 * svadev_peek() - look at the page table entry of an address, change nothing
 * @dom: the domain
 * @addr: the address
 * @pte: out: what was found
 *
 * Context: any; takes svadev_domain.lock.
 * Return: 0, or -ESRCH if the address space is gone.
 */
int svadev_peek(struct svadev_domain *dom, unsigned long addr,
		struct svadev_pte *pte)
{
	unsigned long flags;
	struct leaf leaf;
	int ret = 0;

	*pte = (struct svadev_pte){};
	raw_spin_lock_irqsave(&dom->lock, flags);
	if (dom->dead) {
		ret = -ESRCH;
	} else if (walk(dom->mm, addr, &leaf) && leaf.present) {
		pte->readable = pte_access_permitted(leaf.pte, false);
		pte->writable = pte->readable && pte_access_permitted(leaf.pte, true);
		pte->pfn = leaf.pfn + ((addr & ((1UL << leaf.shift) - 1)) >> PAGE_SHIFT);
	}
	raw_spin_unlock_irqrestore(&dom->lock, flags);
	return ret;
}
