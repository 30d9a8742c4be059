/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A model of the Intel Data Streaming Accelerator (DSA), as far as Linux' idxd and users of its
 * dedicated work queues need it.
 *
 *   dsa.c	registers and work queues
 *   dsa_command.c the commands of the driver
 *   dsa_exec.c	descriptors
 *   movdir64b.c	the instruction that submits them
 *
 * Source: Linux' drivers/dma/idxd (registers.h for layouts, device.c for commands) and
 * include/uapi/linux/idxd.h (descriptors, completion records), which call it version 1 (0x100).
 * What descriptors do was checked against what is public of Intel's:
 *   CRC (polynomial, bit order, inversion of seed and result): dsa_calculate_crc32() and the table
 *	of idxd-config's test/ (dsa.c, dsa_crc32.h), sources/core/src/crc.cpp of DML
 *   flags of each operation, "block on fault" reserved for batches: DML's
 *	include/dml/detail/common/flags.hpp, dsa_prep_batch() of idxd-config's test/dsa_prep.c
 *   statuses: DML's include/dml/detail/common/status.hpp
 *   what a page fault leaves in the record (0x80 for a write, bytes, direction of a move, CRC):
 *	dsa_reprep_memcpy() of idxd-config, sources/hw-path/src/hw_completion_records of DML
 *   comparisons: idxd-config's test/dsa_prep.c (operands), DML's sources/core/src/compare.cpp
 *   pages of batch lists and completion records are requested for any descriptor: cover letter of
 *	"Enable DSA 2.0 Event Log and completion record faulting features", April 2023
 *   a copy with CRC must not overlap: DML's sources/core/src/validation.cpp
 * Not found there, so from the specification's text as remembered: that a CRC goes on with the
 * partial one as its seed; what a fence outside of a batch is (ignored here); two as the smallest
 * batch; bytes_completed of what has succeeded.
 * Not there: shared work queues (they take ENQCMD), the event log, interrupt handles, read buffers,
 * performance counters; ATS cannot be turned off for one work queue.
 */
#ifndef _SVADEV_DSA_H
#define _SVADEV_DSA_H

#include <linux/idxd.h>

#include "ats.h"
#include "dsa_counts.h"

#define DSA_VENDOR_ID		0x8086
#define DSA_DEVICE_ID		0x0b25	/* PCI_DEVICE_ID_INTEL_DSA_SPR0 */

#define DSA_NR_WQS		8
#define DSA_NR_GROUPS		4
#define DSA_NR_ENGINES		1	/* one thread */
#define DSA_TOTAL_WQ_SIZE	128	/* descriptors, of all work queues */
#define DSA_MAX_XFER_SHIFT	21
#define DSA_MAX_BATCH_SHIFT	7
#define DSA_NR_VECTORS		(1 + DSA_NR_WQS)

#define DSA_GRPCFG_SIZE		64
#define DSA_WQCFG_SIZE		32

/* Of GENSTATS and of a work queue, enum idxd_device_status_state */
#define DSA_STATE_DISABLED	0
#define DSA_STATE_ENABLED	1

/* INTCAUSE */
#define DSA_CAUSE_ERROR		0x1
#define DSA_CAUSE_COMMAND	0x2

/* CMDSTS, enum idxd_cmdsts_err */
#define DSA_STATUS_ACTIVE	0x80000000u

/* A descriptor was abandoned: no completion record.  Else what ends one is its status, > 0. */
#define DSA_ABANDONED		(-1)

/**
 * struct dsa_wq - a work queue
 * @cfg:	WQCFG, under the BQL
 * @enabled:	takes descriptors
 * @abandon:	the descriptor that is being worked at is to end
 * @ats:	address translations of its PASID, NULL without one
 * @queue:	descriptors, from @head on
 * @head:	the next one
 * @queued:	how many there are
 * @submitted:	how many were taken
 * @completed:	how many of these have ended
 * @drain_to:	how many have to for the present command to be done
 * @counts:	counts since it was enabled
 */
struct dsa_wq {
	__u32 cfg[DSA_WQCFG_SIZE / 4];
	bool enabled;
	bool abandon;
	struct ats *ats;
	struct dsa_hw_desc queue[DSA_TOTAL_WQ_SIZE];
	unsigned int head;
	unsigned int queued;
	__u64 submitted;
	__u64 completed;
	__u64 drain_to;
	struct dsa_counts counts;
};

/**
 * struct dsa - one device
 * @pci:	what QEMU knows of it; first
 * @bar:	region of BAR 0, the registers
 * @portals:	region of BAR 2, where descriptors are written to
 * @portal:	one that is being written, under the BQL
 * @gencfg:	register, under the BQL as the following ones
 * @genctrl:	register
 * @cause:	INTCAUSE
 * @swerr:	SWERR
 * @grpcfg:	GRPCFG
 * @msix_perm:	table
 * @ats:	address translations by PASID, as many as work queues can have
 * @ats_users:	how many work queues use each, under the BQL
 * @lock:	protects what follows, and the work queues but for cfg
 * @wake:	there is something to do
 * @state:	DSA_STATE_
 * @command:	the present one, if CMDSTS says that it is active
 * @status:	CMDSTS
 * @queues:	work queues
 * @current:	that of the descriptor that is being worked at
 * @next_wq:	to be asked first for the next descriptor
 * @counts:	counts
 */
struct dsa {
	char pci[QEMU_PCI_DEVICE_ROOM];
	char bar[QEMU_REGION_ROOM] __attribute__((aligned(16)));
	char portals[QEMU_REGION_ROOM] __attribute__((aligned(16)));
	__u64 portal[sizeof(struct dsa_hw_desc) / 8];
	__u32 gencfg;
	__u32 genctrl;
	__u32 cause;
	__u32 swerr[8];
	__u32 grpcfg[DSA_NR_GROUPS * DSA_GRPCFG_SIZE / 4];
	__u32 msix_perm[DSA_NR_VECTORS * 2];
	struct ats ats[DSA_NR_WQS];
	unsigned int ats_users[DSA_NR_WQS];

	pthread_mutex_t lock;
	pthread_cond_t wake;
	__u32 state;
	__u32 command;
	__u32 status;
	struct dsa_wq queues[DSA_NR_WQS];
	struct dsa_wq *current;
	unsigned int next_wq;
	struct dsa_counts counts;
};

/* WQCFG: union wqcfg of registers.h */
static inline unsigned int wq_size(const struct dsa_wq *wq)
{
	return wq->cfg[0] & 0xffff;
}

static inline bool wq_is_dedicated(const struct dsa_wq *wq)
{
	return wq->cfg[2] & 1;
}

static inline bool wq_blocks_on_fault(const struct dsa_wq *wq)
{
	return wq->cfg[2] & 2;
}

static inline bool wq_requests_pages(const struct dsa_wq *wq)
{
	return !(wq->cfg[2] & 8);
}

static inline bool wq_has_pasid(const struct dsa_wq *wq)
{
	return wq->cfg[2] & (1u << 28);
}

static inline __u32 wq_pasid(const struct dsa_wq *wq)
{
	return (wq->cfg[2] >> 8) & 0xfffff;
}

static inline unsigned int wq_max_xfer_shift(const struct dsa_wq *wq)
{
	return wq->cfg[3] & 0x1f;
}

static inline unsigned int wq_max_batch_shift(const struct dsa_wq *wq)
{
	return (wq->cfg[3] >> 5) & 0xf;
}

/* dsa.c */
extern const struct qemu_type_info dsa_type;
void dsa_interrupt(struct dsa *dsa, unsigned int vector);
void dsa_cause(struct dsa *dsa, __u32 cause);
void dsa_error(struct dsa *dsa, const struct dsa_wq *wq, __u8 error,
	       const struct dsa_hw_desc *desc, __u64 fault_addr);

/* dsa_command.c */
void command_start(struct dsa *dsa, __u32 command);
bool command_ready(const struct dsa *dsa);
void command_finish(struct dsa *dsa);

/* dsa_exec.c */
void dsa_execute(struct dsa *dsa, struct dsa_wq *wq, const struct dsa_hw_desc *desc);

#define DSA_OPCODES	(BIT_ULL(DSA_OPCODE_NOOP) | BIT_ULL(DSA_OPCODE_BATCH) | \
			 BIT_ULL(DSA_OPCODE_DRAIN) | BIT_ULL(DSA_OPCODE_MEMMOVE) | \
			 BIT_ULL(DSA_OPCODE_MEMFILL) | BIT_ULL(DSA_OPCODE_COMPARE) | \
			 BIT_ULL(DSA_OPCODE_COMPVAL) | BIT_ULL(DSA_OPCODE_CRCGEN) | \
			 BIT_ULL(DSA_OPCODE_COPY_CRC))

#endif /* _SVADEV_DSA_H */
