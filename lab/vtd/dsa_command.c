// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The commands of the DSA's driver.
 *
 * A command is active until the engine finds that what it waits for has happened, and finishes it.
 * What is to be abandoned is, from the write of the command on.
 *
 * Source: Linux' drivers/dma/idxd: enum idxd_cmd, enum idxd_cmdsts_err, idxd_cmd_exec(), and in
 * idxd_wq_drain() the operand of commands about some work queues.
 */
#include <string.h>

#include "dsa.h"

#define COMMAND_OPERAND(command)	((command) & 0xfffff)
#define COMMAND_CODE(command)		(((command) >> 20) & 0x1f)
#define COMMAND_INTERRUPT		0x80000000u

enum command_code {
	ENABLE_DEVICE = 1,
	DISABLE_DEVICE,
	DRAIN_ALL,
	ABORT_ALL,
	RESET_DEVICE,
	ENABLE_WQ,
	DISABLE_WQ,
	DRAIN_WQ,
	ABORT_WQ,
	RESET_WQ,
	DRAIN_PASID,
	ABORT_PASID,
};

enum command_error {
	SUCCESS,
	INVALID_COMMAND,
	INVALID_WQ,
	HARDWARE_ERROR,
	DEVICE_ENABLED = 0x10,
	WQ_SIZE_RANGE = 0x14,
	GROUP_CONFIG = 0x15,
	DEVICE_NOT_ENABLED = 0x20,
	WQ_ENABLED,
	WQ_SIZE,
	WQ_MODE = 0x24,
	WQ_PASID_ENABLE = 0x26,
	WQ_MAX_BATCH,
	WQ_MAX_XFER,
	DISABLE_NOT_ENABLED = 0x31,
	WQS_NOT_ENABLED,
};

#define WQ_STATE_WORD		6
#define WQ_STATE_ENABLED	(1u << 30)

static bool aborts(enum command_code code)
{
	return code == ABORT_ALL || code == RESET_DEVICE || code == ABORT_WQ || code == RESET_WQ ||
	       code == ABORT_PASID;
}

static bool disables(enum command_code code)
{
	return code == DISABLE_DEVICE || code == RESET_DEVICE || code == DISABLE_WQ ||
	       code == RESET_WQ;
}

/* Whether a command waits for a work queue. */
static bool concerns(const struct dsa *dsa, const struct dsa_wq *wq)
{
	__u32 operand = COMMAND_OPERAND(dsa->command), n = wq - dsa->queues;

	switch (COMMAND_CODE(dsa->command)) {
	case DISABLE_DEVICE:
	case DRAIN_ALL:
	case ABORT_ALL:
	case RESET_DEVICE:
		return true;
	case DISABLE_WQ:
	case DRAIN_WQ:
	case ABORT_WQ:
	case RESET_WQ:
		/* 16 of them by bits, which 16 is in the upper bits */
		return operand >> 16 == n / 16 && operand & 1u << n % 16;
	case DRAIN_PASID:
	case ABORT_PASID:
		return wq_has_pasid(wq) && wq_pasid(wq) == operand;
	}
	return false;
}

static void abandon(struct dsa *dsa, struct dsa_wq *wq)
{
	wq->completed += wq->queued;
	dsa->counts.abandoned += wq->queued;
	wq->counts.abandoned += wq->queued;
	wq->queued = 0;
	if (dsa->current != wq)
		return;
	wq->abandon = true;
	if (!wq->ats)
		return;
	/* It is the only one that uses the translations at this time: there is one engine. */
	pthread_mutex_lock(&wq->ats->lock);
	wq->ats->stop = true;
	pthread_cond_signal(&wq->ats->wake);
	pthread_mutex_unlock(&wq->ats->lock);
}

/**
 * command_start() - the driver has written a command
 * @dsa: the device
 * @command: it
 *
 * Context: BQL held.
 */
void command_start(struct dsa *dsa, __u32 command)
{
	enum command_code code = COMMAND_CODE(command);

	pthread_mutex_lock(&dsa->lock);
	if (!(dsa->status & DSA_STATUS_ACTIVE)) {
		dsa->command = command;
		dsa->status = DSA_STATUS_ACTIVE;
		for (int i = 0; i < DSA_NR_WQS; i++) {
			struct dsa_wq *wq = &dsa->queues[i];

			if (!concerns(dsa, wq))
				continue;
			if (disables(code))
				wq->enabled = false;
			if (aborts(code))
				abandon(dsa, wq);
			wq->drain_to = wq->submitted;
		}
		pthread_cond_signal(&dsa->wake);
	}
	pthread_mutex_unlock(&dsa->lock);
}

/**
 * command_ready() - whether nothing is left that the present command waits for
 * @dsa: the device
 *
 * Context: dsa.lock held, in the engine.
 *
 * Return: true where that is so, also if there is no command.
 */
bool command_ready(const struct dsa *dsa)
{
	for (int i = 0; i < DSA_NR_WQS; i++) {
		const struct dsa_wq *wq = &dsa->queues[i];

		if (concerns(dsa, wq) && wq->completed < wq->drain_to)
			return false;
	}
	return true;
}

/* Translations of a PASID, which work queues may share; or NULL if the IOMMU has none. */
static struct ats *get_ats(struct dsa *dsa, __u32 pasid)
{
	int n = -1;

	for (int i = 0; i < DSA_NR_WQS; i++) {
		if (dsa->ats_users[i] && dsa->ats[i].pasid == pasid) {
			dsa->ats_users[i]++;
			return &dsa->ats[i];
		}
		if (!dsa->ats_users[i])
			n = i;
	}
	/* There are as many as work queues: one is free. */
	if (!pasid || n < 0 || !function_enabled(dsa) || atc_listen(&dsa->ats[n], pasid))
		return NULL;
	dsa->ats_users[n] = 1;
	return &dsa->ats[n];
}

static void put_ats(struct dsa *dsa, struct ats *ats)
{
	int n = ats - dsa->ats;

	if (--dsa->ats_users[n])
		return;
	dsa->counts.invalidations += ats->invalidations;
	dsa->counts.dropped += ats->dropped;
	dsa->counts.late += ats->late;
	ats->late = 0;
	atc_listen(ats, 0);
}

static void disable_wq(struct dsa *dsa, struct dsa_wq *wq)
{
	wq->enabled = false;
	wq->cfg[WQ_STATE_WORD] &= ~WQ_STATE_ENABLED;
	if (wq->ats)
		put_ats(dsa, wq->ats);
	wq->ats = NULL;
}

static enum command_error enable_wq(struct dsa *dsa, __u32 n)
{
	struct dsa_wq *wq = &dsa->queues[n];

	if (dsa->state != DSA_STATE_ENABLED)
		return DEVICE_NOT_ENABLED;
	if (n >= DSA_NR_WQS)
		return INVALID_WQ;
	if (wq->enabled)
		return WQ_ENABLED;
	if (!wq_size(wq) || wq_size(wq) > DSA_TOTAL_WQ_SIZE)
		return WQ_SIZE;
	if (!wq_is_dedicated(wq))
		return WQ_MODE;
	if (wq_max_batch_shift(wq) > DSA_MAX_BATCH_SHIFT)
		return WQ_MAX_BATCH;
	if (wq_max_xfer_shift(wq) > DSA_MAX_XFER_SHIFT)
		return WQ_MAX_XFER;
	if (wq_has_pasid(wq)) {
		wq->ats = get_ats(dsa, wq_pasid(wq));
		if (!wq->ats)
			return WQ_PASID_ENABLE;
	}
	wq->counts = (struct dsa_counts) { 0 };
	wq->enabled = true;
	wq->cfg[WQ_STATE_WORD] |= WQ_STATE_ENABLED;
	return SUCCESS;
}

static enum command_error enable_device(struct dsa *dsa)
{
	unsigned int total = 0;

	if (dsa->state == DSA_STATE_ENABLED)
		return DEVICE_ENABLED;
	for (int i = 0; i < DSA_NR_WQS; i++)
		total += wq_size(&dsa->queues[i]);
	if (total > DSA_TOTAL_WQ_SIZE)
		return WQ_SIZE_RANGE;
	/* struct grpcfg: four words of 64 bits of work queues, one of engines */
	for (int i = 0; i < DSA_NR_GROUPS; i++) {
		const __u32 *group = &dsa->grpcfg[i * DSA_GRPCFG_SIZE / 4];

		if (group[0] && !group[8])
			return GROUP_CONFIG;
	}
	dsa->state = DSA_STATE_ENABLED;
	return SUCCESS;
}

static void reset_device(struct dsa *dsa)
{
	for (int i = 0; i < DSA_NR_WQS; i++)
		memset(dsa->queues[i].cfg, 0, sizeof(dsa->queues[i].cfg));
	memset(dsa->grpcfg, 0, sizeof(dsa->grpcfg));
	memset(dsa->msix_perm, 0, sizeof(dsa->msix_perm));
	memset(dsa->swerr, 0, sizeof(dsa->swerr));
	dsa->gencfg = 0;
	dsa->genctrl = 0;
	dsa->state = DSA_STATE_DISABLED;
}

static enum command_error finish(struct dsa *dsa)
{
	enum command_code code = COMMAND_CODE(dsa->command);
	__u32 operand = COMMAND_OPERAND(dsa->command);
	bool enabled = dsa->state == DSA_STATE_ENABLED;

	for (int i = 0; i < DSA_NR_WQS; i++) {
		struct dsa_wq *wq = &dsa->queues[i];

		if (!concerns(dsa, wq))
			continue;
		if (disables(code))
			disable_wq(dsa, wq);
		if (code == RESET_WQ)
			memset(wq->cfg, 0, sizeof(wq->cfg));
	}
	switch (code) {
	case ENABLE_DEVICE:
		return enable_device(dsa);
	case DISABLE_DEVICE:
		dsa->state = DSA_STATE_DISABLED;
		return enabled ? SUCCESS : DISABLE_NOT_ENABLED;
	case RESET_DEVICE:
		reset_device(dsa);
		return SUCCESS;
	case ENABLE_WQ:
		return enable_wq(dsa, operand);
	case DISABLE_WQ:
	case DRAIN_WQ:
	case ABORT_WQ:
	case RESET_WQ:
		return enabled ? SUCCESS : WQS_NOT_ENABLED;
	case DRAIN_ALL:
	case ABORT_ALL:
	case DRAIN_PASID:
	case ABORT_PASID:
		return SUCCESS;
	}
	return INVALID_COMMAND;
}

/**
 * command_finish() - finish the present command
 * @dsa: the device
 *
 * Context: BQL held, in the engine, command_ready() has been true.
 */
void command_finish(struct dsa *dsa)
{
	bool interrupt;

	pthread_mutex_lock(&dsa->lock);
	dsa->status = finish(dsa);
	interrupt = dsa->command & COMMAND_INTERRUPT;
	pthread_mutex_unlock(&dsa->lock);
	if (interrupt)
		dsa_cause(dsa, DSA_CAUSE_COMMAND);
}
