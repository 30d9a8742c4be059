// SPDX-License-Identifier: GPL-2.0-or-later
/* The DSA: registers, portals of its work queues, and the thread that is its engine. */
#include <string.h>

#include "dsa.h"
#include "movdir64b.h"

#define MSIX_BAR		4
#define PORTAL_BAR		2
#define BAR_64_BITS		0x4	/* PCI_BASE_ADDRESS_MEM_TYPE_64 */
#define CLASS_SYSTEM_OTHER	0x0880

/* Registers, as Linux' registers.h has them */
#define REG_VERSION		0x00
#define REG_GENCAP		0x10
#define REG_WQCAP		0x20
#define REG_GRPCAP		0x30
#define REG_ENGCAP		0x38
#define REG_OPCAP		0x40
#define REG_OFFSETS		0x60
#define REG_GENCFG		0x80
#define REG_GENCTRL		0x88
#define REG_GENSTS		0x90
#define REG_INTCAUSE		0x98
#define REG_CMD			0xa0
#define REG_CMDSTS		0xa8
#define REG_SWERR		0xc0

/* Tables, where REG_OFFSETS says */
#define TABLE_UNIT		0x100
#define GRPCFG			0x400
#define WQCFG			0x500
#define MSIX_PERM		0x600

#define VERSION			0x100	/* DEVICE_VERSION_1 */
/* block_on_fault, overlap_copy, cache_control_mem, cache_control_cache, and config_en */
#define GENCAP			(0xfULL | DSA_MAX_XFER_SHIFT << 16 | \
				 DSA_MAX_BATCH_SHIFT << 21 | BIT_ULL(31))
/* dedicated_mode, priority, wq_prs_support; WQCFG has 32 bytes */
#define WQCAP			(DSA_TOTAL_WQ_SIZE | DSA_NR_WQS << 16 | BIT_ULL(49) | \
				 BIT_ULL(51) | BIT_ULL(55))
#define READ_BUFFERS		8
#define GRPCAP			(DSA_NR_GROUPS | READ_BUFFERS << 8)

#define GENCTRL_SOFTERR_INT	0x1

#define SWERR_VALID		0x1
#define SWERR_OVERFLOW		0x2
#define SWERR_DESC_VALID	0x4
#define SWERR_WQ_VALID		0x8

/* Of a work queue, the last word of its configuration: its state, which is read only */
#define WQCFG_STATE_WORD	6
#define WQCFG_STATE_SHIFT	30

/* Four portals of a page each, which differ in how an interrupt controller would see them */
#define PORTALS_PER_WQ		4
#define PORTALS_SIZE		(DSA_NR_WQS * PORTALS_PER_WQ * PAGE_SIZE)

/**
 * dsa_interrupt() - interrupt the driver
 * @dsa: the device
 * @vector: 0, or 1 + a work queue's number
 *
 * Context: BQL held.
 */
void dsa_interrupt(struct dsa *dsa, unsigned int vector)
{
	if (vector < DSA_NR_VECTORS)
		msix_notify(dsa, vector);
}

/**
 * dsa_cause() - interrupt the driver for something that is not the end of a descriptor
 * @dsa: the device
 * @cause: DSA_CAUSE_
 *
 * Context: BQL held.
 */
void dsa_cause(struct dsa *dsa, __u32 cause)
{
	dsa->cause |= cause;
	dsa_interrupt(dsa, 0);
}

/**
 * dsa_error() - report what no completion record can say (union sw_err_reg)
 * @dsa: the device
 * @wq: the work queue
 * @error: enum dsa_completion_status
 * @desc: the descriptor
 * @fault_addr: the address, if it is about one
 *
 * Context: BQL held.
 */
void dsa_error(struct dsa *dsa, const struct dsa_wq *wq, __u8 error,
	       const struct dsa_hw_desc *desc, __u64 fault_addr)
{
	if (dsa->swerr[0] & SWERR_VALID) {
		dsa->swerr[0] |= SWERR_OVERFLOW;
		return;
	}
	memset(dsa->swerr, 0, sizeof(dsa->swerr));
	dsa->swerr[0] = SWERR_VALID | SWERR_DESC_VALID | SWERR_WQ_VALID | error << 8 |
			(__u32)(wq - dsa->queues) << 16;
	dsa->swerr[1] = desc->opcode | wq_pasid(wq) << 8;
	memcpy(&dsa->swerr[4], &fault_addr, sizeof(fault_addr));
	if (dsa->genctrl & GENCTRL_SOFTERR_INT)
		dsa_cause(dsa, DSA_CAUSE_ERROR);
}

static __u32 *table_word(struct dsa *dsa, __u64 reg)
{
	if (reg >= GRPCFG && reg - GRPCFG < sizeof(dsa->grpcfg))
		return &dsa->grpcfg[(reg - GRPCFG) / 4];
	if (reg >= WQCFG && reg - WQCFG < DSA_NR_WQS * DSA_WQCFG_SIZE)
		return &dsa->queues[(reg - WQCFG) / DSA_WQCFG_SIZE]
				.cfg[(reg - WQCFG) % DSA_WQCFG_SIZE / 4];
	if (reg >= MSIX_PERM && reg - MSIX_PERM < sizeof(dsa->msix_perm))
		return &dsa->msix_perm[(reg - MSIX_PERM) / 4];
	return NULL;
}

static void add_ats(struct dsa_counts *counts, struct ats *ats)
{
	pthread_mutex_lock(&ats->lock);
	counts->invalidations += ats->invalidations;
	counts->dropped += ats->dropped;
	counts->late += ats->late;
	pthread_mutex_unlock(&ats->lock);
}

static __u64 read_count(struct dsa *dsa, __u64 offset)
{
	unsigned int n = offset / DSA_COUNTS_SIZE;
	struct dsa_wq *wq = n ? &dsa->queues[n - 1] : NULL;
	struct dsa_counts counts;
	__u64 value;

	offset %= DSA_COUNTS_SIZE;
	if (n > DSA_NR_WQS || offset >= sizeof(counts))
		return 0;
	pthread_mutex_lock(&dsa->lock);
	counts = wq ? wq->counts : dsa->counts;
	pthread_mutex_unlock(&dsa->lock);
	if (wq && wq->ats)
		add_ats(&counts, wq->ats);
	for (int i = 0; !wq && i < DSA_NR_WQS; i++)
		add_ats(&counts, &dsa->ats[i]);
	memcpy(&value, (char *)&counts + offset, sizeof(value));
	return value;
}

/* A register of 64 bits. */
static __u64 read_wide(struct dsa *dsa, __u64 reg)
{
	__u64 value = 0;

	switch (reg) {
	case REG_VERSION:
		return VERSION;
	case REG_GENCAP:
		return GENCAP;
	case REG_WQCAP:
		return WQCAP;
	case REG_GRPCAP:
		return GRPCAP;
	case REG_ENGCAP:
		return DSA_NR_ENGINES;
	case REG_OPCAP:
		return DSA_OPCODES;
	case REG_OFFSETS:
		return GRPCFG / TABLE_UNIT | WQCFG / TABLE_UNIT << 16 |
		       (__u64)(MSIX_PERM / TABLE_UNIT) << 32;
	case REG_GENCFG:
		return dsa->gencfg;
	case REG_GENCTRL:
		return dsa->genctrl;
	case REG_INTCAUSE:
		return dsa->cause;
	case REG_GENSTS:
	case REG_CMDSTS:
		pthread_mutex_lock(&dsa->lock);
		value = reg == REG_GENSTS ? dsa->state : dsa->status;
		pthread_mutex_unlock(&dsa->lock);
		return value;
	}
	if (reg >= REG_SWERR && reg - REG_SWERR < sizeof(dsa->swerr))
		memcpy(&value, (char *)dsa->swerr + (reg - REG_SWERR), sizeof(value));
	else if (table_word(dsa, reg))
		memcpy(&value, table_word(dsa, reg), sizeof(value));
	else if (reg >= DSA_COUNTS_OFFSET)
		value = read_count(dsa, reg - DSA_COUNTS_OFFSET);
	return value;
}

static __u64 read_reg(void *opaque, __u64 reg, unsigned int size)
{
	__u64 value = read_wide(opaque, reg & ~7ULL);

	return size == 8 ? value : (__u32)(value >> (reg & 4) * 8);
}

static void write_table(struct dsa *dsa, __u64 reg, __u32 data)
{
	__u32 *word = table_word(dsa, reg), state;
	struct dsa_wq *wq;

	if (!word)
		return;
	if (reg < WQCFG || reg >= MSIX_PERM) {
		*word = data;
		return;
	}
	wq = &dsa->queues[(reg - WQCFG) / DSA_WQCFG_SIZE];
	pthread_mutex_lock(&dsa->lock);
	state = *word & 3u << WQCFG_STATE_SHIFT;
	/* That of an enabled work queue does not change. */
	if (word == &wq->cfg[WQCFG_STATE_WORD])
		*word = (data & ~(3u << WQCFG_STATE_SHIFT)) | state;
	else if (!wq->enabled)
		*word = data;
	pthread_mutex_unlock(&dsa->lock);
}

static void write_word(struct dsa *dsa, __u64 reg, __u32 data)
{
	switch (reg) {
	case REG_GENCFG:
		dsa->gencfg = data;
		break;
	case REG_GENCTRL:
		dsa->genctrl = data;
		break;
	case REG_INTCAUSE:
		dsa->cause &= ~data;
		break;
	case REG_CMD:
		command_start(dsa, data);
		break;
	case REG_SWERR:
		dsa->swerr[0] &= ~(data & (SWERR_VALID | SWERR_OVERFLOW));
		break;
	default:
		write_table(dsa, reg, data);
	}
}

static void write_reg(void *opaque, __u64 reg, __u64 data, unsigned int size)
{
	write_word(opaque, reg, data);
	if (size == 8)
		write_word(opaque, reg + 4, data >> 32);
}

static __u64 read_portal(void *opaque, __u64 addr, unsigned int size)
{
	(void)opaque;
	(void)addr;
	(void)size;
	return 0;
}

/* A descriptor for a work queue: the device itself decides whether it is taken. */
static void submit(struct dsa *dsa, struct dsa_wq *wq)
{
	struct dsa_hw_desc desc;
	bool taken;

	memcpy(&desc, dsa->portal, sizeof(desc));
	pthread_mutex_lock(&dsa->lock);
	taken = wq->enabled && wq->queued < wq_size(wq);
	if (taken) {
		wq->queue[(wq->head + wq->queued) % DSA_TOTAL_WQ_SIZE] = desc;
		wq->queued++;
		wq->submitted++;
		pthread_cond_signal(&dsa->wake);
	}
	pthread_mutex_unlock(&dsa->lock);
	/* It is the user's to keep count of a dedicated one.  No code for it is known to Linux. */
	if (!taken)
		dsa_error(dsa, wq, 0, &desc, 0);
}

/* MOVDIR64B comes in eight parts, with the BQL held from the first to the last. */
static void write_portal(void *opaque, __u64 addr, __u64 data, unsigned int size)
{
	struct dsa *dsa = opaque;
	unsigned int part = addr % sizeof(dsa->portal) / 8;

	(void)size;
	/* Portals take nothing else. */
	if (!movdir64b_active())
		return;
	dsa->portal[part] = data;
	if (part == ARRAY_SIZE(dsa->portal) - 1)
		submit(dsa, &dsa->queues[addr / PAGE_SIZE / PORTALS_PER_WQ]);
}

/* The next descriptor: one of each work queue in turn.  dsa.lock is held. */
static struct dsa_wq *next_wq(struct dsa *dsa)
{
	for (unsigned int i = 0; i < DSA_NR_WQS; i++) {
		unsigned int n = (dsa->next_wq + i) % DSA_NR_WQS;

		if (dsa->queues[n].queued) {
			dsa->next_wq = n + 1;
			return &dsa->queues[n];
		}
	}
	return NULL;
}

static bool command_waits(const struct dsa *dsa)
{
	return dsa->status & DSA_STATUS_ACTIVE && command_ready(dsa);
}

/* What may have been told to end has ended.  dsa.lock is held. */
static void work_done(struct dsa_wq *wq)
{
	wq->abandon = false;
	if (!wq->ats)
		return;
	pthread_mutex_lock(&wq->ats->lock);
	wq->ats->stop = false;
	pthread_mutex_unlock(&wq->ats->lock);
}

static void *engine(void *arg)
{
	struct dsa *dsa = arg;

	rcu_register_thread();
	pthread_mutex_lock(&dsa->lock);
	for (;;) {
		struct dsa_hw_desc desc;
		struct dsa_wq *wq;

		if (command_waits(dsa)) {
			pthread_mutex_unlock(&dsa->lock);
			bql_lock();
			command_finish(dsa);
			bql_unlock();
			pthread_mutex_lock(&dsa->lock);
			continue;
		}
		wq = next_wq(dsa);
		if (!wq) {
			pthread_cond_wait(&dsa->wake, &dsa->lock);
			continue;
		}
		desc = wq->queue[wq->head];
		wq->head = (wq->head + 1) % DSA_TOTAL_WQ_SIZE;
		wq->queued--;
		dsa->current = wq;
		pthread_mutex_unlock(&dsa->lock);
		dsa_execute(dsa, wq, &desc);
		pthread_mutex_lock(&dsa->lock);
		wq->completed++;
		dsa->current = NULL;
		work_done(wq);
	}
	return NULL;
}

static const struct qemu_region_ops bar_ops = {
	.read = read_reg,
	.write = write_reg,
	.endianness = QEMU_DEVICE_LITTLE_ENDIAN,
	.valid = { .min_access_size = 1, .max_access_size = 8 },
	.impl = { .min_access_size = 4, .max_access_size = 8 },
};

static const struct qemu_region_ops portal_ops = {
	.read = read_portal,
	.write = write_portal,
	.endianness = QEMU_DEVICE_LITTLE_ENDIAN,
	.valid = { .min_access_size = 1, .max_access_size = 8 },
	.impl = { .min_access_size = 8, .max_access_size = 8 },
};

/*
 * Kernel work queues use a PASID, too, and Linux configures them only where the function can be
 * privileged (idxd_wq_config_write()).
 */
static void realize(void *pci, void **errp)
{
	struct dsa *dsa = pci;
	pthread_t thread;

	if (function_init(pci, DSA_NR_VECTORS, MSIX_BAR, true, errp))
		return;
	memory_region_init_io(dsa->bar, dsa, &bar_ops, dsa, "svadev-dsa", DSA_BAR_SIZE);
	pci_register_bar(dsa, 0, BAR_64_BITS, dsa->bar);
	memory_region_init_io(dsa->portals, dsa, &portal_ops, dsa, "svadev-dsa-portals",
			      PORTALS_SIZE);
	pci_register_bar(dsa, PORTAL_BAR, BAR_64_BITS, dsa->portals);
	pthread_mutex_init(&dsa->lock, NULL);
	pthread_cond_init(&dsa->wake, NULL);
	for (int i = 0; i < DSA_NR_WQS; i++)
		if (ats_init(&dsa->ats[i], pci))
			goto fail;
	if (pthread_create(&thread, NULL, engine, dsa))
		goto fail;
	pthread_detach(thread);
	return;
fail:
	set_error(errp, "svadev-dsa: the device could not be made");
}

static void class_init(void *klass, const void *data)
{
	static const struct function_ids ids = {
		.vendor = DSA_VENDOR_ID,
		.device = DSA_DEVICE_ID,
		.class = CLASS_SYSTEM_OTHER,
	};

	(void)data;
	function_class_init(klass, realize, &ids);
}

static const struct qemu_interface_info interfaces[] = {
	{ .type = "pci-express-device" },
	{ }
};

const struct qemu_type_info dsa_type = {
	.name = "svadev-dsa",
	.parent = "pci-device",
	.instance_size = sizeof(struct dsa),
	.instance_align = 16,
	.class_init = class_init,
	.interfaces = interfaces,
};
