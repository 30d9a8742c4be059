// SPDX-License-Identifier: GPL-2.0
/*
 * MADV_NOMIGRATE: which movers heed a mark, and what people see of it.
 *
 * Whoever moves or unmaps pages either is in the tables of movers that merely
 * optimise, or does it as if there were no mark.  A hook names its mover, or the
 * migrate_pages() reason that stands for it, and gets the answer from here.
 */

#include <linux/hugetlb.h>
#include <linux/memcontrol.h>
#include <linux/migrate_defer.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/swap.h>
#include <linux/sysfs.h>
#include <linux/vmstat.h>

#include "migrate_defer.h"

#define CREATE_TRACE_POINTS
#include <trace/events/migrate_defer.h>

/* Does the mark give way when the next step would be the OOM killer? */
static const bool yields[NR_MIGRATE_DEFER_MOVERS] = {
	[MIGRATE_DEFER_COMPACTION]	= true,
	[MIGRATE_DEFER_NUMA_BALANCING]	= false,
	[MIGRATE_DEFER_KHUGEPAGED]	= false,
	[MIGRATE_DEFER_KSM]		= false,
	[MIGRATE_DEFER_DEMOTION]	= true,
	[MIGRATE_DEFER_DAMON]		= false,
	[MIGRATE_DEFER_THP_SPLIT]	= true,
	[MIGRATE_DEFER_FORK]		= false,
	[MIGRATE_DEFER_AGING]		= false,
};

/*
 * The migrate_pages() reasons that only a mover that merely optimises gives; all
 * others are those of movers that must succeed.  Looked up for every folio that
 * is migrated, marked or not.
 */
#define OPTIMISES(mover)	(MIGRATE_DEFER_##mover + 1)

const u8 migrate_reason_movers[MR_TYPES] = {
	[MR_COMPACTION]			= OPTIMISES(COMPACTION),
	[MR_NUMA_MISPLACED]		= OPTIMISES(NUMA_BALANCING),
	[MR_DEMOTION]			= OPTIMISES(DEMOTION),
	[MR_DAMON]			= OPTIMISES(DAMON),
};

/* The switches in sysfs */
bool migrate_defer_on __read_mostly = true;
static bool last_resort_on __read_mostly = true;

/* Pages of marked VMAs, of all address spaces: see mm/migrate_defer_limit.c */
atomic_long_t migrate_defer_marked_pages = ATOMIC_LONG_INIT(0);

/**
 * migrate_defer_decide - the policy, apart from the state of the system
 * @mover: who wants to move or unmap a page of a marked range
 * @urgent: whether its next step would be the OOM killer
 * @enabled: whether marks count at all
 * @last_resort: whether they give way before the OOM killer comes
 *
 * Return: what @mover is to do.
 */
enum migrate_defer_verdict
migrate_defer_decide(enum migrate_defer_mover mover, bool urgent, bool enabled,
		     bool last_resort)
{
	if (!enabled)
		return MIGRATE_DEFER_IGNORE;
	if (urgent && last_resort && yields[mover])
		return MIGRATE_DEFER_OVERRIDE;
	return MIGRATE_DEFER_LEAVE;
}

/* Which mover that merely optimises, if any, stands behind a reason. */
bool migrate_reason_mover(enum migrate_reason reason,
			  enum migrate_defer_mover *mover)
{
	if (!migrate_reason_movers[reason])
		return false;
	*mover = migrate_reason_movers[reason] - 1;
	return true;
}

/**
 * migrate_defer_heeds - does a mover that is in no hurry heed marks now?
 * @mover: the mover
 *
 * Return: false if marks have been switched off.
 */
bool migrate_defer_heeds(enum migrate_defer_mover mover)
{
	return migrate_defer_decide(mover, false, READ_ONCE(migrate_defer_on), true) ==
	       MIGRATE_DEFER_LEAVE;
}

bool __migrate_defer_gives_way(enum migrate_defer_mover mover)
{
	return migrate_defer_decide(mover, true, READ_ONCE(migrate_defer_on),
				    READ_ONCE(last_resort_on)) ==
	       MIGRATE_DEFER_OVERRIDE && atomic_long_read(&migrate_defer_marked_pages);
}

/**
 * __migrate_defer_reason - the reason to give to migrate_pages()
 * @reason: of a mover that merely optimises
 *
 * For one whose next step would be the OOM killer: if marks give way to it then
 * migrate_pages() is to agree with what was decided about each folio.  Demotion
 * has a reason of its own because it accounts isolated pages by itself.
 *
 * Return: @reason, or one of the MR_LAST_RESORT ones.
 */
enum migrate_reason __migrate_defer_reason(enum migrate_reason reason)
{
	enum migrate_defer_mover mover;

	if (migrate_reason_mover(reason, &mover) &&
	    migrate_defer_decide(mover, true, READ_ONCE(migrate_defer_on),
				 READ_ONCE(last_resort_on)) == MIGRATE_DEFER_OVERRIDE)
		return reason == MR_DEMOTION ? MR_LAST_RESORT_DEMOTION :
					       MR_LAST_RESORT;
	return reason;
}

/*
 * What becomes of marked pages, here and now: counted and traced.  True if they
 * are to be left alone.
 */
bool migrate_defer_leave(enum migrate_defer_mover mover, bool urgent,
			 unsigned long pfn, unsigned int order)
{
	BUILD_BUG_ON(NOMIGRATE_SKIP_AGING - NOMIGRATE_SKIP_COMPACTION + 1 !=
		     NR_MIGRATE_DEFER_MOVERS);

	switch (migrate_defer_decide(mover, urgent, READ_ONCE(migrate_defer_on),
				     READ_ONCE(last_resort_on))) {
	case MIGRATE_DEFER_LEAVE:
		count_vm_event(NOMIGRATE_SKIP_COMPACTION + mover);
		trace_skip(mover, pfn, order);
		return true;
	case MIGRATE_DEFER_OVERRIDE:
		count_vm_events(NOMIGRATE_OVERRIDE, 1 << order);
		trace_override(mover, pfn, order);
		return false;
	case MIGRATE_DEFER_IGNORE:
		break;
	}
	return false;
}

bool __vma_migrate_deferred(enum migrate_defer_mover mover)
{
	return migrate_defer_leave(mover, false, -1UL, 0);
}

/**
 * migrate_defer_yield - say that a mark gives way
 * @vma: whose
 * @start: of the range where it does
 * @end: its end
 * @why: the reason
 *
 * Context: any.
 */
void migrate_defer_yield(const struct vm_area_struct *vma, unsigned long start,
			 unsigned long end, enum migrate_defer_yield why)
{
	count_vm_event(NOMIGRATE_YIELD);
	trace_yield(mm_owner_pid(vma->vm_mm), start, end, why);
}

/* Pages that a memory cgroup and those above it have room for, as far as is known */
static unsigned long memcg_room(struct mm_struct *mm)
{
	unsigned long room = ULONG_MAX;
#ifdef CONFIG_MEMCG
	struct mem_cgroup *memcg, *start = get_mem_cgroup_from_mm(mm);

	for (memcg = start; memcg && !mem_cgroup_is_root(memcg);
	     memcg = parent_mem_cgroup(memcg)) {
		unsigned long max = min(READ_ONCE(memcg->memory.max),
					READ_ONCE(memcg->memory.high));
		unsigned long used = page_counter_read(&memcg->memory);
		long files = memcg_page_state(memcg, NR_FILE_PAGES) -
			     memcg_page_state(memcg, NR_SHMEM);

		room = min(room, (max > used ? max - used : 0) +
				 (files > 0 ? files / 2 : 0));
	}
	mem_cgroup_put(start);
#endif
	return room;
}

/**
 * migrate_defer_fits - is there memory for copies, and as much for others?
 * @mm: whose copies
 * @pages: how many
 *
 * Without it the next allocation, whose ever it is, would have the OOM killer called.
 * It is rough: what can be reclaimed is not known before.
 *
 * Context: may sleep.
 * Return: true if there is.
 */
bool migrate_defer_fits(struct mm_struct *mm, unsigned long pages)
{
	return 2 * pages <= max(0L, si_mem_available()) &&
	       2 * pages <= memcg_room(mm);
}

static void fork_shares(struct vm_area_struct *vma, unsigned long addr)
{
	if (vma->vm_mm->nomigrate_shares == vma)
		return;
	vma->vm_mm->nomigrate_shares = vma;
	migrate_defer_yield(vma, addr, vma->vm_end, MIGRATE_DEFER_YIELD_FORK);
}

void __vma_fork_begin(struct vm_area_struct *vma)
{
	struct mm_struct *mm = vma->vm_mm;

	mm->nomigrate_shares = NULL;
	if (vma->anon_vma && !is_vm_hugetlb_page(vma) && vma_fork_copies(vma) &&
	    !migrate_defer_fits(mm, min(vma_pages(vma),
					get_mm_counter(mm, MM_ANONPAGES))))
		fork_shares(vma, vma->vm_start);
}

/**
 * vma_fork_yields - what fork() would copy for a mark cannot be copied
 * @vma: the parent's VMA
 * @addr: address of the page
 *
 * For want of memory, or because the page cannot be read.
 *
 * Context: mmap_lock held for writing.
 * Return: true if the copy was for the mark; from here on @vma is shared.
 */
bool vma_fork_yields(struct vm_area_struct *vma, unsigned long addr)
{
	if (!vma_fork_copies(vma))
		return false;
	fork_shares(vma, addr);
	return true;
}

/**
 * migrate_defer_try_alloc - a page for what can be done without
 * @vma: the VMA that it is for
 * @addr: its address there
 *
 * The OOM killer does not come for it, nor that of the memory cgroup.
 *
 * Context: may sleep.
 * Return: the page, charged as those of @vma, or NULL.
 */
struct folio *migrate_defer_try_alloc(struct vm_area_struct *vma,
				      unsigned long addr)
{
	struct page *page = alloc_page_vma(GFP_HIGHUSER_MOVABLE | __GFP_NORETRY |
					   __GFP_NOWARN, vma, addr);

	if (page && mem_cgroup_charge(page_folio(page), vma->vm_mm, GFP_KERNEL |
				      __GFP_NORETRY | __GFP_NOWARN)) {
		__free_page(page);
		page = NULL;
	}
	return page ? page_folio(page) : NULL;
}

/**
 * vma_fork_alloc - a page for what fork() copies for a mark
 * @vma: the parent's VMA
 * @addr: address of the page
 *
 * Where there is no memory the rest of @vma is shared with the child.
 *
 * Context: mmap_lock held for writing; sleeps.
 * Return: the page, charged as those of @vma, or NULL.
 */
struct folio *vma_fork_alloc(struct vm_area_struct *vma, unsigned long addr)
{
	struct folio *folio = migrate_defer_try_alloc(vma, addr);

	if (!folio) {
		fork_shares(vma, addr);
		return NULL;
	}
	folio_throttle_swaprate(folio, GFP_KERNEL);
	__vma_migrate_deferred(MIGRATE_DEFER_FORK);
	return folio;
}

/* Whose memory it is, as far as the kernel keeps track of it. */
pid_t mm_owner_pid(struct mm_struct *mm)
{
	pid_t pid = 0;
#ifdef CONFIG_MEMCG
	struct task_struct *owner;

	rcu_read_lock();
	owner = rcu_dereference(mm->owner);
	if (owner)
		pid = task_tgid_nr(owner);
	rcu_read_unlock();
#endif
	return pid;
}

/* Sysfs: one switch each. */
struct migrate_defer_switch {
	struct kobj_attribute attr;
	bool *on;
};

static bool *switch_of(struct kobj_attribute *attr)
{
	return container_of(attr, struct migrate_defer_switch, attr)->on;
}

static ssize_t switch_show(struct kobject *kobj, struct kobj_attribute *attr,
			   char *buf)
{
	return sysfs_emit(buf, "%d\n", READ_ONCE(*switch_of(attr)));
}

static ssize_t switch_store(struct kobject *kobj, struct kobj_attribute *attr,
			    const char *buf, size_t count)
{
	u8 on;

	if (kstrtou8(buf, 10, &on) || on > 1)
		return -EINVAL;
	WRITE_ONCE(*switch_of(attr), on);
	return count;
}

#define MIGRATE_DEFER_SWITCH(_name, _on)				\
static struct migrate_defer_switch _name##_switch = {			\
	.attr = __ATTR(_name, 0644, switch_show, switch_store),	\
	.on = &(_on),							\
}

MIGRATE_DEFER_SWITCH(enabled, migrate_defer_on);
MIGRATE_DEFER_SWITCH(last_resort, last_resort_on);

#ifdef CONFIG_IOMMU_SVA_HINT
static bool prefault_on __read_mostly = true;

MIGRATE_DEFER_SWITCH(prefault, prefault_on);

/* May the IOMMU SVA path pre-fault? */
bool migrate_defer_may_prefault(void)
{
	return READ_ONCE(prefault_on);
}

/**
 * migrate_defer_prefaulted - report a pre-fault
 * @mm: whose address space
 * @pasid: what devices know it by
 * @start: start of what was moved
 * @looked: base pages that were looked at
 * @repaired: those that a device would have faulted on
 * @delay: microseconds since the first of it was unmapped
 */
void migrate_defer_prefaulted(struct mm_struct *mm, u32 pasid,
			      unsigned long start, unsigned long looked,
			      unsigned long repaired, u64 delay)
{
	count_vm_events(NOMIGRATE_PREFAULT, repaired);
	trace_prefault(mm_owner_pid(mm), pasid, start, looked, repaired, delay);
}
#endif

static ssize_t marked_kb_show(struct kobject *kobj, struct kobj_attribute *attr,
			      char *buf)
{
	return sysfs_emit(buf, "%ld\n",
			  atomic_long_read(&migrate_defer_marked_pages) << (PAGE_SHIFT - 10));
}

static struct kobj_attribute marked_kb_attr = __ATTR_RO(marked_kb);

static struct attribute *migrate_defer_attrs[] = {
	&enabled_switch.attr.attr,
	&last_resort_switch.attr.attr,
	&marked_kb_attr.attr,
#ifdef CONFIG_IOMMU_SVA_HINT
	&prefault_switch.attr.attr,
#endif
	NULL,
};

static const struct attribute_group migrate_defer_attr_group = {
	.name = "migrate_defer",
	.attrs = migrate_defer_attrs,
};

static int __init migrate_defer_init(void)
{
	return sysfs_create_group(mm_kobj, &migrate_defer_attr_group);
}
subsys_initcall(migrate_defer_init);
