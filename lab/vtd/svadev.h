/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The endpoint: a PCI Express function with PASID, ATS and PRI for QEMU's intel-iommu.
 *
 *   plugin.c	options, the check of QEMU's ABI, the type of the device
 *   endpoint.c	the PCI Express function, its registers, its interrupt
 *   job.c	the thread that accesses memory, and its counts
 *   atc.c	the address translation cache, translation requests, invalidations
 *   page_request.c	page requests and their responses
 *   walk.c	a look into the first-stage page tables
 *   fixups.c	what makes up for defects of QEMU 11.1
 *
 * Locks, outer ones first: the big QEMU lock (BQL), svadev.lock.  The thread of a device does not
 * wait for the BQL with its lock held: invalidations come with the BQL held and take the lock.
 */
#ifndef _SVADEV_H
#define _SVADEV_H

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

struct svadev_job {
	__u32 pasid;
	__u64 addr;
	__u64 len;
	__u64 stride;
	__u64 passes;
	__u64 seed;
	__u64 op;
	__u64 flags;
	__u64 interval;
};

/**
 * struct svadev - one device
 * @pci:	what QEMU knows of it; first
 * @bar:	region of BAR 0
 * @iotlb:	hears invalidations of the PASID @heard
 * @pri:	hears page responses of the PASID @heard
 * @regs:	the registers of a job as last written, under the BQL
 * @status:	of the last command, under the BQL
 * @heard:	PASID that the notifiers are registered for, 0 if none, under the BQL
 * @lock:	protects what follows
 * @wake:	something changed that the thread waits for
 * @job:	the present or last job
 * @running:	whether there is one
 * @stop:	it is to end
 * @atc:	translations of @heard
 * @counts:	of the job
 * @latched:	what the registers show of them
 * @request_waits: a page request was sent and not answered
 * @request_prgi: its group index
 * @request_code: how it was answered
 */
struct svadev {
	char pci[QEMU_PCI_DEVICE_ROOM];
	char bar[QEMU_REGION_ROOM] __attribute__((aligned(16)));
	struct qemu_iommu_notifier iotlb;
	struct qemu_pri_notifier pri;
	struct svadev_job regs;
	int status;
	__u32 heard;

	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct svadev_job job;
	bool running;
	bool stop;
	struct atc_entry *atc;
	struct svadev_counts counts;
	struct svadev_counts latched;
	bool request_waits;
	__u16 request_prgi;
	int request_code;
};

/* plugin.c */
extern unsigned int fixups_wanted;
extern const struct qemu_type_info svadev_type;

/* endpoint.c */
void svadev_interrupt(struct svadev *dev);

/* job.c */
int job_start(struct svadev *dev, const struct svadev_job *job);
void job_stop(struct svadev *dev);
void job_latch(struct svadev *dev, bool reset);
int job_init(struct svadev *dev);

/* atc.c */
const struct atc_entry *atc_find(const struct svadev *dev, __u64 addr, bool write);
int atc_translate(struct svadev *dev, __u64 addr, bool write, enum svadev_cause *cause);
unsigned int atc_drop(struct svadev *dev, __u64 addr, __u64 last);
int atc_listen(struct svadev *dev, __u32 pasid);
int atc_init(struct svadev *dev);

/* page_request.c */
int page_request(struct svadev *dev, __u64 addr, bool write);
void page_response(struct qemu_pri_notifier *notifier, struct qemu_pri_response *response);

/* walk.c */
struct walk {
	bool bound;		/* the PASID has a first-stage page table */
	__u64 entry;		/* the last one looked at */
	__u64 entry_address;
	bool leaf;		/* it maps a page */
	bool writable;		/* as are those above it */
};

void walk_first_stage(struct svadev *dev, __u32 pasid, __u64 addr, struct walk *walk);
enum svadev_cause walk_cause(const struct walk *walk, bool write);
bool walk_set_dirty(const struct walk *walk);

/* fixups.c */
__u64 iommu_read(unsigned int reg);
unsigned int fixups_in_force(void);
const char *fixups_init(void);
extern unsigned long long fixups_dirtied;
extern unsigned long long fixups_narrowed;

#endif /* _SVADEV_H */
