/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What PCI Express functions with PASID, ATS and PRI have in common, for QEMU's intel-iommu.
 *
 *   plugin.c	options, the check of QEMU's ABI, the types of devices
 *   function.c	capabilities of a function
 *   atc.c	the address translation cache, translation requests, invalidations
 *   page_request.c	page requests and their responses
 *   walk.c	a look into the first-stage page tables
 *   fixups.c	what makes up for defects of QEMU 11.1
 *
 * Locks, outer ones first: the big QEMU lock (BQL), what a device has of its own, ats.lock.  The
 * thread of a device does not wait for the BQL with one of the others held: invalidations come with
 * the BQL held and take ats.lock.
 */
#ifndef _SVADEV_ATS_H
#define _SVADEV_ATS_H

#include <linux/types.h>
#include <pthread.h>
#include <stdbool.h>

#include "abi.h"
#include "regs.h"

#define ARRAY_SIZE(array)	(sizeof(array) / sizeof((array)[0]))
#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

#define PAGE_SHIFT	12
#define PAGE_SIZE	BIT_ULL(PAGE_SHIFT)
#define PAGE_MASK	(~(PAGE_SIZE - 1))

#define ATC_ENTRIES	65536

struct atc_entry {
	__u64 tag;		/* page number + 1, 0 if unused */
	__u64 address;	/* of the page, physical */
	bool writable;
};

/**
 * struct ats - the address translations of a function for one PASID
 * @pci:	the function
 * @pasid:	PASID that the notifiers are registered for, 0 if none, under the BQL
 * @iotlb:	hears invalidations of @pasid
 * @pri:	hears page responses of @pasid
 * @lock:	protects what follows
 * @wake:	something changed that the thread of the device waits for
 * @stop:	the thread is to end what it does
 * @atc:	translations of @pasid
 * @deaf:	invalidations are counted, but nothing is forgotten
 * @request_waits: a page request was sent and not answered
 * @request_prgi: its group index
 * @request_code: how it was answered
 * @invalidations: invalidation requests
 * @dropped:	translations that these removed from the cache
 * @late:	page responses that no request waited for
 *
 * One thread of the device uses it: there is no more than one page request at a time.
 */
struct ats {
	void *pci;
	__u32 pasid;
	struct qemu_iommu_notifier iotlb;
	struct qemu_pri_notifier pri;

	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop;
	struct atc_entry *atc;
	bool deaf;
	bool request_waits;
	__u16 request_prgi;
	int request_code;
	__u64 invalidations;
	__u64 dropped;
	__u64 late;
};

/* plugin.c */
extern unsigned int fixups_wanted;

/* function.c */
#define set_error(errp, ...)	\
	error_setg_internal(errp, __FILE__, __LINE__, __func__, __VA_ARGS__)

struct function_ids {
	__u16 vendor;
	__u16 device;
	__u16 class;
};

void function_class_init(void *klass, void (*realize)(void *pci, void **errp),
			 const struct function_ids *ids);
int function_init(void *pci, unsigned int vectors, int msix_bar, bool priv, void **errp);
bool function_enabled(const void *pci);

/* atc.c */
const struct atc_entry *atc_find(const struct ats *ats, __u64 addr, bool write);
int atc_translate(struct ats *ats, __u64 addr, bool write, enum svadev_cause *cause);
unsigned int atc_drop(struct ats *ats, __u64 addr, __u64 last);
int atc_listen(struct ats *ats, __u32 pasid);
int ats_init(struct ats *ats, void *pci);

/* page_request.c */
int page_request(struct ats *ats, __u64 addr, bool write);
void page_response(struct qemu_pri_notifier *notifier, struct qemu_pri_response *response);

/* walk.c */
struct walk {
	bool bound;		/* the PASID has a first-stage page table */
	__u64 entry;		/* the last one looked at */
	__u64 entry_address;
	bool leaf;		/* it maps a page */
	bool writable;		/* as are those above it */
};

void walk_first_stage(void *pci, __u32 pasid, __u64 addr, struct walk *walk);
enum svadev_cause walk_cause(const struct walk *walk, bool write);
bool walk_set_dirty(const struct walk *walk);

/* fixups.c */
__u64 iommu_read(unsigned int reg);
unsigned int fixups_in_force(void);
const char *fixups_init(void);
extern unsigned long long fixups_dirtied;
extern unsigned long long fixups_narrowed;

#endif /* _SVADEV_ATS_H */
