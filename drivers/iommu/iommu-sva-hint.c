// SPDX-License-Identifier: GPL-2.0
/*
 * Pre-fault for SVA devices what was moved in spite of MADV_NOMIGRATE.
 *
 * A mover that must succeed unmaps pages of a marked range.  Most of them are
 * mapped again when it is done, as they were.  What it has left to the next page
 * fault is mapped by a work item where mlock() says that all of it is to be mapped;
 * anything else may never have been used, and a fault of the device maps it.  mm/
 * notes what it unmaps while a device is bound to the address space.  Nothing is
 * mapped for writing that was not: a file would hear of a write that there was not.
 *
 * Locking
 *
 * The note is taken under rmap and page table locks: it may not sleep or
 * allocate, and may not be lost.  It goes to an array of ranges under
 * hint->lock, the innermost lock; where the array is full, the two ranges that
 * are nearest to each other become one.  The work item takes the array away, and
 * then mmap_lock for reading, a batch at a time.
 *
 * Lifetime
 *
 * The hint lives as long as mm->iommu_mm, from the first bind to __mmdrop().
 * Each time the work is queued it takes a reference by mmgrab(), and drops it
 * at its end.  It only looks at page tables after mmget_not_zero(), so that
 * exit_mmap() need not wait for it.  Notes are only taken between the first bind
 * and the last unbind; work that runs then may come to its end later.  Drivers are
 * called back under hint->clients_lock, which iommu_sva_hint_unregister() takes:
 * afterwards the module of a driver may go.
 */

#include <linux/iommu.h>
#include <linux/iommu-sva-hint.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/migrate_defer.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

/* Ranges that are kept apart; neighbours merge, so this is plenty. */
#define HINT_RANGES	64

/* A mover that is not done after so many ticks does not count as one. */
#define HINT_TRIES	50

/**
 * struct hint_range - what was unmapped
 * @start: its start
 * @end: its end
 * @tries: how often the mover was found not to be done
 * @since: when it was unmapped, for the tracepoint
 */
struct hint_range {
	unsigned long start;
	unsigned long end;
	unsigned int tries;
	ktime_t since;
};

struct hint_client {
	struct list_head list;
	struct iommu_sva *handle;
	const struct iommu_sva_hint_ops *ops;
};

/**
 * struct iommu_sva_hint - notes about one address space
 * @mm: the address space
 * @lock: protects @ranges[@filling], @filling, @nr and @bound
 * @ranges: one array is filled while the work item reads the other; in order of
 *	    their start, and one spare
 * @filling: which one is filled
 * @nr: ranges in it
 * @bound: bonds between @mm and devices; also under iommu_sva_lock
 * @work: takes the ranges and maps them again
 * @clients_lock: protects @clients
 * @clients: drivers that want to be called back
 */
struct iommu_sva_hint {
	struct mm_struct *mm;
	spinlock_t lock;		/* protects what follows up to @bound */
	struct hint_range ranges[2][HINT_RANGES + 1];
	unsigned int filling;
	unsigned int nr;
	unsigned int bound;
	struct delayed_work work;
	struct mutex clients_lock;	/* protects @clients */
	struct list_head clients;
};

static void hint_range_merge(struct hint_range *range,
			     const struct hint_range *other)
{
	range->start = min(range->start, other->start);
	range->end = max(range->end, other->end);
	range->tries = min(range->tries, other->tries);
	range->since = min(range->since, other->since);
}

/* Too many: close the smallest gap. */
static void hint_close_gap(struct hint_range *ranges, unsigned int nr)
{
	unsigned long gap, smallest = -1UL;
	unsigned int i, at = 0;

	for (i = 0; i + 1 < nr; i++) {
		gap = 0;
		if (ranges[i + 1].start > ranges[i].end)
			gap = ranges[i + 1].start - ranges[i].end;
		if (gap < smallest) {
			smallest = gap;
			at = i;
		}
	}
	hint_range_merge(&ranges[at], &ranges[at + 1]);
	memmove(&ranges[at + 1], &ranges[at + 2],
		(nr - at - 2) * sizeof(*ranges));
}

static void hint_note(struct iommu_sva_hint *hint, const struct hint_range *new)
{
	struct hint_range *ranges = hint->ranges[hint->filling];
	unsigned int i, at;

	lockdep_assert_held(&hint->lock);

	/* Mostly it is the neighbour of what came last. */
	for (i = hint->nr; i-- > 0; ) {
		if (new->start <= ranges[i].end && new->end >= ranges[i].start) {
			hint_range_merge(&ranges[i], new);
			return;
		}
	}

	for (at = hint->nr; at > 0 && ranges[at - 1].start > new->start; at--)
		ranges[at] = ranges[at - 1];
	ranges[at] = *new;
	hint->nr++;
	if (hint->nr > HINT_RANGES) {
		hint_close_gap(ranges, hint->nr);
		hint->nr--;
	}
}

/*
 * Migration maps the pages again by itself, so give it time: then there is mostly
 * nothing left to do but to look.
 */
static void hint_queue(struct iommu_sva_hint *hint)
{
	lockdep_assert_held(&hint->lock);

	mmgrab(hint->mm);
	if (!queue_delayed_work(system_dfl_wq, &hint->work, 1))
		mmdrop(hint->mm);
}

void __iommu_sva_hint_unmapped(struct vm_area_struct *vma, unsigned long start,
			       unsigned long end)
{
	struct iommu_sva_hint *hint = READ_ONCE(vma->vm_mm->iommu_mm)->hint;
	const struct hint_range range = {
		.start = max(start, vma->vm_start),
		.end = min(end, vma->vm_end),
		.since = ktime_get(),
	};

	spin_lock(&hint->lock);
	if (hint->bound) {
		hint_note(hint, &range);
		hint_queue(hint);
	}
	spin_unlock(&hint->lock);
}

/*
 * The mover is not done: come back later, unless that has been tried enough.  Then a
 * fault of the device waits for it.
 */
static bool hint_later(struct iommu_sva_hint *hint, struct hint_range *range)
{
	if (++range->tries == HINT_TRIES)
		return false;

	spin_lock(&hint->lock);
	if (hint->bound) {
		hint_note(hint, range);
		hint_queue(hint);
	}
	spin_unlock(&hint->lock);
	return true;
}

static void hint_rewarm(struct iommu_sva_hint *hint, unsigned long start,
			unsigned long end)
{
	struct hint_client *client;

	mutex_lock(&hint->clients_lock);
	list_for_each_entry(client, &hint->clients, list)
		client->ops->rewarm(client->handle, start, end);
	mutex_unlock(&hint->clients_lock);
}

static void hint_prefault(struct iommu_sva_hint *hint, unsigned long addr,
			  unsigned long end,
			  struct migrate_defer_prefault *prefault)
{
	struct mm_struct *mm = hint->mm;

	while (addr < end && READ_ONCE(hint->bound)) {
		mmap_read_lock(mm);
		addr = migrate_defer_prefault(mm, addr, end, prefault);
		mmap_read_unlock(mm);
		cond_resched();
	}
}

static void hint_range_work(struct iommu_sva_hint *hint, struct hint_range *range)
{
	struct migrate_defer_prefault prefault = {};

	hint_prefault(hint, range->start, range->end, &prefault);
	if (prefault.busy && hint_later(hint, range) && !prefault.repaired)
		return;
	if (prefault.looked)
		hint_rewarm(hint, range->start, range->end);
	migrate_defer_prefaulted(hint->mm, mm_get_enqcmd_pasid(hint->mm),
				 range->start, prefault.looked, prefault.repaired,
				 ktime_us_delta(ktime_get(), range->since));
}

static void hint_work(struct work_struct *work)
{
	struct iommu_sva_hint *hint =
		container_of(to_delayed_work(work), struct iommu_sva_hint, work);
	struct mm_struct *mm = hint->mm;
	struct hint_range *ranges;
	unsigned int i, nr;

	spin_lock(&hint->lock);
	ranges = hint->ranges[hint->filling];
	nr = hint->nr;
	hint->filling ^= 1;
	hint->nr = 0;
	spin_unlock(&hint->lock);

	if (migrate_defer_may_prefault() && mmget_not_zero(mm)) {
		for (i = 0; i < nr; i++)
			hint_range_work(hint, &ranges[i]);
		/* exit_mmap() may take long, and is not this work's. */
		mmput_async(mm);
	}

	/* The reference of the queueing; @hint may go with it. */
	mmdrop(mm);
}

/**
 * iommu_sva_hint_init - make room for notes about an address space
 * @iommu_mm: what the IOMMU core keeps of the address space, not yet published
 * @mm: the address space
 *
 * Context: process context.
 * Return: 0 or -ENOMEM.
 */
int iommu_sva_hint_init(struct iommu_mm_data *iommu_mm, struct mm_struct *mm)
{
	struct iommu_sva_hint *hint = kzalloc_obj(*hint);

	if (!hint)
		return -ENOMEM;

	hint->mm = mm;
	spin_lock_init(&hint->lock);
	INIT_DELAYED_WORK(&hint->work, hint_work);
	mutex_init(&hint->clients_lock);
	INIT_LIST_HEAD(&hint->clients);
	iommu_mm->hint = hint;
	return 0;
}

/**
 * iommu_sva_hint_destroy - undo iommu_sva_hint_init()
 * @iommu_mm: of an address space that no device is bound to
 *
 * Context: __mmdrop(), so that no work is queued; possibly the work itself.
 */
void iommu_sva_hint_destroy(struct iommu_mm_data *iommu_mm)
{
	/* A driver has forgotten to unregister. */
	WARN_ON_ONCE(!list_empty(&iommu_mm->hint->clients));
	kfree(iommu_mm->hint);
}

/**
 * iommu_sva_hint_bind - a bond with a device comes into being
 * @iommu_mm: of the address space
 *
 * Context: process context, under iommu_sva_lock.
 */
void iommu_sva_hint_bind(struct iommu_mm_data *iommu_mm)
{
	struct iommu_sva_hint *hint = iommu_mm->hint;

	spin_lock(&hint->lock);
	WRITE_ONCE(hint->bound, hint->bound + 1);
	spin_unlock(&hint->lock);
}

/**
 * iommu_sva_hint_bound - have marked memory ready for a device
 * @mm: the address space, with a reference on mm_users
 *
 * What was marked before the bond is mapped, but entries may be old or clean, which
 * not all devices can do with; and a mover may have emptied what is under mlock().
 *
 * Context: process context, after iommu_sva_hint_bind(); takes mmap_lock.
 */
void iommu_sva_hint_bound(struct mm_struct *mm)
{
	struct migrate_defer_prefault prefault = {};

	/* Taken only where there are marks, but forbidden to hold in any case. */
	might_lock(&mm->mmap_lock);

	/* Whoever sets a mark just now sees the bond or is seen here. */
	smp_mb();
	if (!READ_ONCE(mm->nomigrate_vm))
		return;

	/* Who walks for accessed bits and has not seen the bond comes to an end. */
	mmap_write_lock(mm);
	mmap_write_unlock(mm);
	hint_prefault(mm->iommu_mm->hint, 0, mm->task_size, &prefault);
}

/**
 * iommu_sva_hint_unbind - a bond with a device ends
 * @iommu_mm: of the address space
 *
 * Does not wait for work that runs, because page faults of this address space may
 * take long, and everybody else waits for iommu_sva_lock.
 *
 * Context: process context, under iommu_sva_lock.
 */
void iommu_sva_hint_unbind(struct iommu_mm_data *iommu_mm)
{
	struct iommu_sva_hint *hint = iommu_mm->hint;
	bool last;

	spin_lock(&hint->lock);
	WRITE_ONCE(hint->bound, hint->bound - 1);	/* see hint_prefault() */
	last = !hint->bound;
	if (last)
		hint->nr = 0;
	spin_unlock(&hint->lock);

	if (last && cancel_delayed_work(&hint->work))
		mmdrop(hint->mm);
}

/**
 * iommu_sva_hint_register - be called back after a pre-fault
 * @handle: a bond that iommu_sva_bind_device() made
 * @ops: the callbacks
 *
 * Undo it by iommu_sva_hint_unregister() before iommu_sva_unbind_device().
 *
 * Context: process context, with no lock held that the callback takes.
 * Return: 0, -EBUSY if @handle is registered, -ENOMEM.
 */
int iommu_sva_hint_register(struct iommu_sva *handle,
			    const struct iommu_sva_hint_ops *ops)
{
	struct iommu_sva_hint *hint = handle->handle.domain->mm->iommu_mm->hint;
	struct hint_client *client, *new;
	int ret = 0;

	new = kmalloc_obj(*new);
	if (!new)
		return -ENOMEM;
	new->handle = handle;
	new->ops = ops;

	mutex_lock(&hint->clients_lock);
	list_for_each_entry(client, &hint->clients, list) {
		if (client->handle == handle) {
			ret = -EBUSY;
			break;
		}
	}
	if (!ret)
		list_add(&new->list, &hint->clients);
	mutex_unlock(&hint->clients_lock);
	if (ret)
		kfree(new);
	return ret;
}
EXPORT_SYMBOL_GPL(iommu_sva_hint_register);

/**
 * iommu_sva_hint_unregister - be called back no more
 * @handle: the bond, before iommu_sva_unbind_device(); nothing happens if it is
 *	    not registered
 *
 * Context: process context; waits for a callback that runs.
 */
void iommu_sva_hint_unregister(struct iommu_sva *handle)
{
	struct iommu_sva_hint *hint = handle->handle.domain->mm->iommu_mm->hint;
	struct hint_client *client;

	mutex_lock(&hint->clients_lock);
	list_for_each_entry(client, &hint->clients, list) {
		if (client->handle == handle) {
			list_del(&client->list);
			kfree(client);
			break;
		}
	}
	mutex_unlock(&hint->clients_lock);
}
EXPORT_SYMBOL_GPL(iommu_sva_hint_unregister);
