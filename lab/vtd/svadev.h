/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The endpoint: a PCI Express function that accesses memory as its registers say.
 *
 *   endpoint.c	its registers and its interrupt
 *   job.c	the thread that accesses memory, and its counts
 */
#ifndef _SVADEV_H
#define _SVADEV_H

#include <linux/types.h>
#include <pthread.h>
#include <stdbool.h>

#include "ats.h"
#include "regs.h"

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
 * @regs:	the registers of a job as last written, under the BQL
 * @status:	of the last command, under the BQL
 * @ats:	its address translations; its lock protects what follows
 * @job:	the present or last job
 * @running:	whether there is one
 * @counts:	of the job
 * @latched:	what the registers show of them
 */
struct svadev {
	char pci[QEMU_PCI_DEVICE_ROOM];
	char bar[QEMU_REGION_ROOM] __attribute__((aligned(16)));
	struct svadev_job regs;
	int status;
	struct ats ats;

	struct svadev_job job;
	bool running;
	struct svadev_counts counts;
	struct svadev_counts latched;
};

/* endpoint.c */
extern const struct qemu_type_info svadev_type;

void svadev_interrupt(struct svadev *dev);

/* job.c */
int job_start(struct svadev *dev, const struct svadev_job *job);
void job_stop(struct svadev *dev);
void job_latch(struct svadev *dev, bool reset);
int job_init(struct svadev *dev);

#endif /* _SVADEV_H */
