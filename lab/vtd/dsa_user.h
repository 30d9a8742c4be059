/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What programs need that use work queues of a DSA: see dsa_user.c. */
#ifndef _DSA_USER_H
#define _DSA_USER_H

#include <linux/idxd.h>
#include <stdbool.h>
#include <stddef.h>

#include "dsa_counts.h"

#define DSA_DEVICE	"/sys/bus/dsa/devices/dsa0"
#define ACCEL_CONFIG	"/opt/accel-config/accel-config"
#define MAX_BATCH	64
#define MAX_TRANSFER	(2 << 20)
#define WAIT_SECONDS	200	/* for a descriptor: a machine may be slow */

#define FLAGS_RECORD	(IDXD_OP_FLAG_CRAV | IDXD_OP_FLAG_RCR)
#define FLAGS_BLOCK	(FLAGS_RECORD | IDXD_OP_FLAG_BOF)

/**
 * struct queue_config - how a work queue is configured
 * @name:	its name
 * @kernel:	for the kernel's DMA engine, to be enabled by the test; otherwise for user space
 * @block:	descriptors may block on a fault
 */
struct queue_config {
	const char *name;
	bool kernel;
	bool block;
};

/**
 * struct queue - a work queue in use
 * @fd:		its character device
 * @portal:	where descriptors are written to
 */
struct queue {
	int fd;
	void *portal;
};

/**
 * struct done - a descriptor and its completion record
 * @desc:	the descriptor
 * @record:	how it has ended
 */
struct done {
	struct dsa_hw_desc desc;
	struct dsa_completion_record record __attribute__((aligned(32)));
};

int run(const char *command);
int accel(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
const char *dsa_missing(void);
int configure(const struct queue_config *queues, int nr);
int unconfigure(void);

bool device_path(char *path);
volatile void *map_registers(void);
bool read_counts(int wq, struct dsa_counts *counts);

int queue_open(struct queue *queue, unsigned int n);
void queue_close(struct queue *queue);
void submit(struct queue *queue, const struct dsa_hw_desc *desc);
unsigned int wait_for(const struct dsa_completion_record *record);
unsigned int execute(struct queue *queue, struct done *done);
struct dsa_hw_desc move(void *dst, const void *src, size_t len, unsigned int flags);

#endif /* _DSA_USER_H */
