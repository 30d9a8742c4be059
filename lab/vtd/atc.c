// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The address translation cache (ATC) of a device, which ATS fills and the IOMMU invalidates.
 *
 * Direct mapped, for pages of 4 KiB: a huge page has an entry for each of its parts.
 * Source: PCI Express specification 6.x, section 10 (ATS).
 */
#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>

#include "ats.h"

#define ATC_FILL_MAX	(2ULL << 20)

static __u64 page_tag(__u64 addr)
{
	return (addr >> PAGE_SHIFT) + 1;
}

static struct atc_entry *atc_slot(const struct ats *ats, __u64 addr)
{
	return &ats->atc[(addr >> PAGE_SHIFT) % ATC_ENTRIES];
}

/**
 * atc_find() - look for a translation
 * @ats: of the device and PASID
 * @addr: the address
 * @write: whether it has to allow writes
 *
 * Context: ats.lock held; the translation holds until it is released.
 * Return: it, or NULL.
 */
const struct atc_entry *atc_find(const struct ats *ats, __u64 addr, bool write)
{
	const struct atc_entry *entry = atc_slot(ats, addr);

	return entry->tag == page_tag(addr) && (entry->writable || !write) ? entry : NULL;
}

/**
 * atc_drop() - forget translations
 * @ats: of the device and PASID
 * @addr: first address
 * @last: last address
 *
 * Context: ats.lock held.
 * Return: how many there were.
 */
unsigned int atc_drop(struct ats *ats, __u64 addr, __u64 last)
{
	__u64 first_tag = page_tag(addr), last_tag = page_tag(last);
	unsigned int dropped = 0;

	if (last_tag - first_tag < ATC_ENTRIES) {
		for (__u64 tag = first_tag; tag <= last_tag; tag++) {
			struct atc_entry *entry = atc_slot(ats, (tag - 1) << PAGE_SHIFT);

			dropped += entry->tag == tag;
			if (entry->tag == tag)
				entry->tag = 0;
		}
		return dropped;
	}
	for (unsigned int i = 0; i < ATC_ENTRIES; i++) {
		struct atc_entry *entry = &ats->atc[i];

		if (entry->tag < first_tag || entry->tag > last_tag)
			continue;
		entry->tag = 0;
		dropped++;
	}
	return dropped;
}

/*
 * An invalidation request of the IOMMU, in the processor that has written the queue's tail.  When
 * it returns, no access by an old translation is under way: they are made with the lock held.
 */
static void invalidate(struct qemu_iommu_notifier *notifier, struct qemu_iotlb_entry *entry)
{
	struct ats *ats = container_of(notifier, struct ats, iotlb);
	__u64 first = entry->iova & ~entry->addr_mask;

	pthread_mutex_lock(&ats->lock);
	ats->invalidations++;
	if (!(ats->deaf))
		ats->dropped += atc_drop(ats, first, first | entry->addr_mask);
	pthread_mutex_unlock(&ats->lock);
}

/**
 * atc_listen() - hear invalidations and page responses of a PASID from now on
 * @ats: of the device and PASID
 * @pasid: the PASID, 0 for none
 *
 * Context: BQL held, the thread of the device does not use it.
 * Return: 0 or a negative errno.
 */
int atc_listen(struct ats *ats, __u32 pasid)
{
	int ret;

	if (ats->pasid == pasid)
		return 0;
	if (ats->pasid) {
		pci_pri_unregister_notifier(ats->pci, ats->pasid);
		pci_iommu_unregister_iotlb_notifier(ats->pci, ats->pasid, &ats->iotlb);
		ats->pasid = 0;
	}
	pthread_mutex_lock(&ats->lock);
	atc_drop(ats, 0, ~0ULL);
	ats->invalidations = 0;
	ats->dropped = 0;
	pthread_mutex_unlock(&ats->lock);
	if (!pasid)
		return 0;
	ret = pci_iommu_init_iotlb_notifier(ats->pci, &ats->iotlb, invalidate, ats) ?:
	      pci_iommu_register_iotlb_notifier(ats->pci, pasid, &ats->iotlb);
	if (ret)
		return ret;
	ret = pci_pri_register_notifier(ats->pci, pasid, &ats->pri);
	if (ret) {
		pci_iommu_unregister_iotlb_notifier(ats->pci, pasid, &ats->iotlb);
		return ret;
	}
	ats->pasid = pasid;
	return 0;
}

/* Cache what a translation says, of the 2 MiB around the address at most. */
static void atc_fill(struct ats *ats, const struct qemu_iotlb_entry *result, __u64 addr,
		     bool write)
{
	__u64 mask = result->addr_mask < ATC_FILL_MAX ? result->addr_mask : ATC_FILL_MAX - 1;
	__u64 first = addr & ~mask;

	for (__u64 page = first; page <= (first | mask); page += PAGE_SIZE) {
		struct atc_entry *entry = atc_slot(ats, page);

		entry->tag = page_tag(page);
		entry->address = (result->translated_addr & ~result->addr_mask) +
				 (page & result->addr_mask);
		/* Of a page that was asked for to be read the dirty bit is not set. */
		entry->writable = write;
	}
}

struct request {
	struct ats *ats;
	__u64 addr;
	bool write;
	enum svadev_cause cause;
	int result;
	sem_t done;
};

static int translate(struct request *request)
{
	struct ats *ats = request->ats;
	struct qemu_iotlb_entry result = { 0 };
	__u32 errors = 0;
	struct walk walk;
	ssize_t n;

	walk_first_stage(ats->pci, ats->pasid, request->addr, &walk);
	/* To ask for it would be a fault that the IOMMU reports; a device does not have to. */
	if (!walk.bound)
		return -ESRCH;
	n = pci_ats_request_translation(ats->pci, ats->pasid, false, false,
					request->addr & PAGE_MASK, PAGE_SIZE, !request->write,
					&result, 1, &errors);
	if (n < 0)
		return -EIO;
	if (n != 1 || errors || !(result.perm & QEMU_IOMMU_RO) ||
	    (request->write && !(result.perm & QEMU_IOMMU_WO))) {
		request->cause = walk_cause(&walk, request->write);
		return -EAGAIN;
	}
	/* QEMU sets it only where the accessed bit was clear, too (vtd_set_flag_in_pte()). */
	if (request->write && fixups_in_force() & SVADEV_FIXUP_DIRTY) {
		walk_first_stage(ats->pci, ats->pasid, request->addr, &walk);
		fixups_dirtied += walk_set_dirty(&walk);
	}
	pthread_mutex_lock(&ats->lock);
	atc_fill(ats, &result, request->addr, request->write);
	pthread_mutex_unlock(&ats->lock);
	return 0;
}

static void translate_work(void *cpu, union qemu_run_on_cpu_data data)
{
	struct request *request = data.ptr;
	bool locked = bql_locked();

	(void)cpu;
	if (!locked)
		bql_lock();
	request->result = translate(request);
	if (!locked)
		bql_unlock();
	sem_post(&request->done);
}

/**
 * atc_translate() - send a translation request, and cache what comes back
 * @ats: of the device and PASID
 * @addr: the address
 * @write: whether it is for a write
 * @cause: set if a page has to be requested: why
 *
 * With all virtual processors stopped: QEMU sets accessed and dirty bits by a plain store
 * (vtd_iova_to_flpte()), which may bring back an entry that the guest has just cleared.
 *
 * Context: thread of the device, without locks.
 * Return: 0, -EAGAIN if the page has to be requested, -ESRCH if the PASID has no page table, -EIO
 * if ATS is off.
 */
int atc_translate(struct ats *ats, __u64 addr, bool write, enum svadev_cause *cause)
{
	struct request request = { .ats = ats, .addr = addr, .write = write };

	sem_init(&request.done, 0, 0);
	/* A halted processor that has just looked for work would miss the kick otherwise. */
	bql_lock();
	async_safe_run_on_cpu(qemu_get_cpu(0), translate_work,
			      (union qemu_run_on_cpu_data) { .ptr = &request });
	bql_unlock();
	while (sem_wait(&request.done))
		;
	sem_destroy(&request.done);
	*cause = request.cause;
	return request.result;
}

/**
 * ats_init() - make what a function needs for one PASID at a time
 * @ats: what to make
 * @pci: the function
 *
 * Return: 0 or a negative errno.
 */
int ats_init(struct ats *ats, void *pci)
{
	pthread_mutex_init(&ats->lock, NULL);
	pthread_cond_init(&ats->wake, NULL);
	ats->pci = pci;
	ats->pri.notify = page_response;
	ats->atc = calloc(ATC_ENTRIES, sizeof(*ats->atc));
	return ats->atc ? 0 : -ENOMEM;
}
