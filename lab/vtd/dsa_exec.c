// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Descriptors of the DSA, one after the other, each page by page.
 *
 * Where a translation fails, a descriptor with "block on fault" has the page requested and goes on
 * when it is there; one without ends with a page fault, the address of it, and how far it has come:
 * its user does the rest.
 *
 * Source of numbers and layouts: Linux' include/uapi/linux/idxd.h; of what they mean: dsa.h.  CRC:
 * CRC-32C as of iSCSI (RFC 3720); the seed is the result of what is before, 0 at the beginning.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dsa.h"

#define RECORD_SIZE		sizeof(struct dsa_completion_record)
#define DESC_SIZE		sizeof(struct dsa_hw_desc)
#define CRC32C_POLYNOMIAL	0x82f63b78	/* bit reversed */
#define MIN_BATCH		2
#define FILL_PATTERN		8

/* What is being done for one descriptor. */
struct work {
	struct dsa *dsa;
	struct dsa_wq *wq;
	const struct dsa_hw_desc *desc;
	bool block;			/* on fault */
	bool in_batch;
	__u32 done;			/* bytes, or descriptors of a batch */
	struct dsa_completion_record record;
	struct dsa_counts counts;	/* of this descriptor */
};

static void add(struct dsa_counts *to, const struct dsa_counts *from)
{
	to->descriptors += from->descriptors;
	to->batched += from->batched;
	to->abandoned += from->abandoned;
	to->bytes += from->bytes;
	to->translations += from->translations;
	to->requests += from->requests;
	to->refused += from->refused;
	to->faults += from->faults;
}

static void add_counts(struct work *work)
{
	pthread_mutex_lock(&work->dsa->lock);
	add(&work->dsa->counts, &work->counts);
	add(&work->wq->counts, &work->counts);
	pthread_mutex_unlock(&work->dsa->lock);
	work->counts = (struct dsa_counts) { 0 };
}

static int fault(struct work *work, int status, __u64 addr, bool write)
{
	work->counts.faults++;
	work->record.fault_addr = addr;
	return status | (write ? DSA_COMP_STATUS_WRITE : 0);
}

/* Make the translation of an address known.  0 if the access is to be tried again. */
static int get_translation(struct work *work, __u64 addr, bool write, bool block)
{
	enum svadev_cause cause;
	int ret;

	work->counts.translations++;
	ret = atc_translate(work->wq->ats, addr, write, &cause);
	if (!ret)
		return 0;
	if (ret != -EAGAIN)
		return fault(work, DSA_COMP_TRANSLATION_FAIL, addr, write);
	if (!block)
		return fault(work, DSA_COMP_PAGE_FAULT_NOBOF, addr, write);
	work->counts.requests++;
	ret = page_request(work->wq->ats, addr, write);
	switch (ret) {
	case 0:
		return 0;
	case -EINTR:
		return DSA_ABANDONED;
	case -EFAULT:
		work->counts.refused++;
		return fault(work, DSA_COMP_PAGE_FAULT_IR, addr, write);
	}
	return fault(work, DSA_COMP_TRANSLATION_FAIL, addr, write);
}

/* The status of a completion record is written after the rest of it, as a user waits for it. */
static void copy_out(void *to, const void *from, unsigned int len, bool record)
{
	const __u8 *bytes = from;

	if (!record) {
		memcpy(to, from, len);
		return;
	}
	memcpy((__u8 *)to + 1, bytes + 1, len - 1);
	__atomic_store_n((__u8 *)to, bytes[0], __ATOMIC_RELEASE);
}

/*
 * Access memory of the process within one page.  With the lock held from the look-up to the end,
 * as an invalidation waits for it.
 */
static int access_page(struct work *work, __u64 addr, void *buf, unsigned int len, bool write,
		       bool record, bool block)
{
	struct ats *ats = work->wq->ats;

	for (;;) {
		const struct atc_entry *entry;
		__u64 mapped = len;
		void *host = NULL;
		int ret;

		pthread_mutex_lock(&ats->lock);
		if (ats->stop) {
			pthread_mutex_unlock(&ats->lock);
			return DSA_ABANDONED;
		}
		entry = atc_find(ats, addr, write);
		if (entry)
			host = address_space_map(address_space_memory,
						 entry->address + addr % PAGE_SIZE, &mapped, write,
						 QEMU_ATTRS_UNSPECIFIED);
		if (host && write)
			copy_out(host, buf, mapped, record);
		else if (host)
			memcpy(buf, host, mapped);
		if (host)
			address_space_unmap(address_space_memory, host, mapped, write, mapped);
		pthread_mutex_unlock(&ats->lock);
		if (entry) {
			work->counts.bytes += len;
			return host && mapped == len ? 0 : DSA_COMP_HW_ERR1;
		}
		ret = get_translation(work, addr, write, block);
		if (ret)
			return ret;
	}
}

static int read_page(struct work *work, __u64 addr, void *buf, unsigned int len)
{
	return access_page(work, addr, buf, len, false, false, work->block);
}

static int write_page(struct work *work, __u64 addr, void *buf, unsigned int len)
{
	return access_page(work, addr, buf, len, true, false, work->block);
}

/* How much of @len bytes from @addr on is in its page. */
static unsigned int in_page(__u64 addr, __u64 len)
{
	__u64 room = PAGE_SIZE - addr % PAGE_SIZE;

	return len < room ? len : room;
}

/* The same of the @len bytes before @addr. */
static unsigned int in_page_before(__u64 addr, __u64 len)
{
	__u64 room = (addr - 1) % PAGE_SIZE + 1;

	return len < room ? len : room;
}

/*
 * CRC of a buffer; both the seed and the result are inverted, as is done at the ends
 * (dsa_calculate_crc32() of idxd-config's test/dsa.c, without its flags).
 */
static __u32 crc32c(__u32 seed, const __u8 *buf, unsigned int len)
{
	__u32 crc = ~seed;

	while (len--) {
		crc ^= *buf++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? CRC32C_POLYNOMIAL : 0);
	}
	return ~crc;
}

/*
 * If the destination lies behind the source and in it, from the end: then the result is 1, and what
 * is left after a fault is the beginning (dsa_reprep_memcpy() of idxd-config's test/dsa_prep.c).
 */
static int do_move(struct work *work)
{
	const struct dsa_hw_desc *desc = work->desc;
	__u64 src = desc->src_addr, dst = desc->dst_addr, len = desc->xfer_size, n;
	bool backwards = dst > src && dst - src < len;
	__u32 *done = &work->done;
	__u8 page[PAGE_SIZE];
	int ret = 0;

	work->record.result = backwards;
	for (; *done < len && !ret; *done += ret ? 0 : n) {
		__u64 left = len - *done, at = *done;

		if (backwards) {
			n = in_page_before(dst + left, in_page_before(src + left, left));
			at = left - n;
		} else {
			n = in_page(dst + at, in_page(src + at, left));
		}
		ret = read_page(work, src + at, page, n) ?: write_page(work, dst + at, page, n);
	}
	return ret ?: DSA_COMP_SUCCESS;
}

static int do_fill(struct work *work)
{
	const struct dsa_hw_desc *desc = work->desc;
	__u32 *done = &work->done, n;
	__u8 pattern[FILL_PATTERN], page[PAGE_SIZE];
	int ret = 0;

	memcpy(pattern, &desc->pattern, sizeof(pattern));
	for (; *done < desc->xfer_size && !ret; *done += ret ? 0 : n) {
		n = in_page(desc->dst_addr + *done, desc->xfer_size - *done);
		for (unsigned int i = 0; i < n; i++)
			page[i] = pattern[(*done + i) % FILL_PATTERN];
		ret = write_page(work, desc->dst_addr + *done, page, n);
	}
	return ret ?: DSA_COMP_SUCCESS;
}

/*
 * Compare two buffers, or one with a pattern: the result is 0 if they are equal, else 1, and the
 * bytes completed are those before the first difference.
 */
static int do_compare(struct work *work)
{
	const struct dsa_hw_desc *desc = work->desc;
	bool value = desc->opcode == DSA_OPCODE_COMPVAL;
	__u32 *done = &work->done;
	__u8 pattern[FILL_PATTERN], one[PAGE_SIZE], two[PAGE_SIZE];

	memcpy(pattern, &desc->comp_pattern, sizeof(pattern));
	while (*done < desc->xfer_size) {
		unsigned int n = in_page(desc->src_addr + *done, desc->xfer_size - *done);
		int ret;

		if (!value)
			n = in_page(desc->src2_addr + *done, n);
		ret = read_page(work, desc->src_addr + *done, one, n);
		if (!ret && !value)
			ret = read_page(work, desc->src2_addr + *done, two, n);
		if (ret)
			return ret;
		for (unsigned int i = 0; i < n; i++, ++*done) {
			if (one[i] == (value ? pattern[*done % FILL_PATTERN] : two[i]))
				continue;
			work->record.result = 1;
			goto compared;
		}
	}
compared:
	if (desc->flags & IDXD_OP_FLAG_CR && work->record.result != desc->expected_res)
		return DSA_COMP_SUCCESS_PRED;
	return DSA_COMP_SUCCESS;
}

/* The CRC of what was completed is there after a page fault, too: the seed of the rest. */
static int do_crc(struct work *work)
{
	const struct dsa_hw_desc *desc = work->desc;
	__u32 *done = &work->done, crc = desc->crc_seed, n;
	bool copy = desc->opcode == DSA_OPCODE_COPY_CRC;
	__u8 page[PAGE_SIZE];
	int ret = 0;

	for (; *done < desc->xfer_size && !ret; *done += ret ? 0 : n) {
		n = in_page(desc->src_addr + *done, desc->xfer_size - *done);
		if (copy)
			n = in_page(desc->dst_addr + *done, n);
		ret = read_page(work, desc->src_addr + *done, page, n);
		if (!ret && copy)
			ret = write_page(work, desc->dst_addr + *done, page, n);
		if (!ret)
			crc = crc32c(crc, page, n);
	}
	work->record.crc_val = crc;
	return ret ?: DSA_COMP_SUCCESS;
}

static int complete(struct work *work, int status);
static int execute(struct work *work);

/*
 * Descriptors from memory, whose pages are requested unless that is off for the work queue: a batch
 * has no "block on fault".  One with a fence needs all before it to have succeeded.
 */
static int do_batch(struct work *work)
{
	const struct dsa_hw_desc *desc = work->desc;
	__u32 *done = &work->done;
	bool failed = false;

	if (desc->desc_list_addr % DESC_SIZE)
		return DSA_COMP_DESCLIST_ALIGN;
	if (desc->desc_count < MIN_BATCH ||
	    desc->desc_count > 1u << wq_max_batch_shift(work->wq))
		return DSA_COMP_DESC_CNT_ERANGE;
	for (; *done < desc->desc_count; ++*done) {
		struct dsa_hw_desc one;
		struct work part = {
			.dsa = work->dsa, .wq = work->wq, .desc = &one, .in_batch = true,
		};
		int ret = access_page(work, desc->desc_list_addr + *done * DESC_SIZE, &one,
				      sizeof(one), false, false, wq_requests_pages(work->wq));

		if (ret == DSA_ABANDONED)
			return ret;
		if (ret)
			return DSA_COMP_BATCH_PAGE_FAULT;
		if (failed && one.flags & IDXD_OP_FLAG_FENCE)
			break;
		ret = complete(&part, execute(&part));
		if (ret == DSA_ABANDONED)
			return ret;
		failed |= ret != DSA_COMP_SUCCESS;
	}
	return failed ? DSA_COMP_BATCH_FAIL : DSA_COMP_SUCCESS;
}

static bool transfers(unsigned int opcode)
{
	return opcode != DSA_OPCODE_NOOP && opcode != DSA_OPCODE_BATCH &&
	       opcode != DSA_OPCODE_DRAIN;
}

/*
 * The flags that an operation has (DML's include/dml/detail/common/flags.hpp), but for those of
 * capabilities that are not there; the others are reserved.
 */
static __u32 flags_of(unsigned int opcode)
{
	__u32 flags = IDXD_OP_FLAG_CRAV | IDXD_OP_FLAG_RCR | IDXD_OP_FLAG_RCI;

	switch (opcode) {
	case DSA_OPCODE_BATCH:
	case DSA_OPCODE_DRAIN:
		return flags;
	case DSA_OPCODE_NOOP:
		return flags | IDXD_OP_FLAG_FENCE;
	case DSA_OPCODE_MEMMOVE:
	case DSA_OPCODE_MEMFILL:
	case DSA_OPCODE_COPY_CRC:
		flags |= IDXD_OP_FLAG_CC;
		break;
	case DSA_OPCODE_COMPARE:
	case DSA_OPCODE_COMPVAL:
		flags |= IDXD_OP_FLAG_CR;
		break;
	}
	return flags | IDXD_OP_FLAG_FENCE | IDXD_OP_FLAG_BOF;
}

static bool overlap(const struct dsa_hw_desc *desc)
{
	return desc->src_addr < desc->dst_addr + desc->xfer_size &&
	       desc->dst_addr < desc->src_addr + desc->xfer_size;
}

/* What the device finds wrong before it does anything. */
static int check(struct work *work)
{
	const struct dsa_hw_desc *desc = work->desc;
	__u32 bad = desc->flags & ~flags_of(desc->opcode);

	if (desc->opcode >= 64 || !(DSA_OPCODES & BIT_ULL(desc->opcode)))
		return DSA_COMP_BAD_OPCODE;
	if (work->in_batch &&
	    (desc->opcode == DSA_OPCODE_BATCH || desc->opcode == DSA_OPCODE_DRAIN))
		return DSA_COMP_BAD_OPCODE;
	if (!wq_blocks_on_fault(work->wq))
		bad |= desc->flags & IDXD_OP_FLAG_BOF;
	if (desc->flags & IDXD_OP_FLAG_RCR && !(desc->flags & IDXD_OP_FLAG_CRAV))
		bad |= IDXD_OP_FLAG_RCR;
	work->record.invalid_flags = bad;
	if (bad)
		return DSA_COMP_INVALID_FLAGS;
	if (transfers(desc->opcode) &&
	    (!desc->xfer_size || desc->xfer_size > 1u << wq_max_xfer_shift(work->wq)))
		return DSA_COMP_XFER_ERANGE;
	/* Only a move knows from which end to begin. */
	if (desc->opcode == DSA_OPCODE_COPY_CRC && overlap(desc))
		return DSA_COMP_OVERLAP_BUFFERS;
	return 0;
}

/* Returns a status, or DSA_ABANDONED. */
static int execute(struct work *work)
{
	int status = check(work);

	work->block = work->desc->flags & IDXD_OP_FLAG_BOF;
	if (status)
		return status;
	switch (work->desc->opcode) {
	case DSA_OPCODE_MEMMOVE:
		return do_move(work);
	case DSA_OPCODE_MEMFILL:
		return do_fill(work);
	case DSA_OPCODE_COMPARE:
	case DSA_OPCODE_COMPVAL:
		return do_compare(work);
	case DSA_OPCODE_CRCGEN:
	case DSA_OPCODE_COPY_CRC:
		return do_crc(work);
	case DSA_OPCODE_BATCH:
		return do_batch(work);
	}
	/* No operation; and a drain, as all that came before it has been done. */
	return DSA_COMP_SUCCESS;
}

static void report_error(struct work *work, int error)
{
	bql_lock();
	dsa_error(work->dsa, work->wq, error, work->desc, work->desc->completion_addr);
	bql_unlock();
}

/*
 * Tell the user how a descriptor has ended.  Without an event log a completion record that cannot
 * be written is an error of the device; for it pages are requested unless that is off for the work
 * queue, whatever the descriptor says of its operands.  Returns the status, or DSA_ABANDONED.
 */
static int complete(struct work *work, int status)
{
	const struct dsa_hw_desc *desc = work->desc;
	__u64 faults = work->counts.faults, addr = work->record.fault_addr;
	int ret = 0;

	if (status != DSA_ABANDONED && desc->flags & IDXD_OP_FLAG_CRAV &&
	    (desc->flags & IDXD_OP_FLAG_RCR || status != DSA_COMP_SUCCESS)) {
		struct dsa_completion_record record;

		memcpy(&record, &work->record, RECORD_SIZE);
		record.status = status;
		/* The same word is called descs_completed for a batch. */
		record.bytes_completed = work->done;
		if (desc->completion_addr % RECORD_SIZE)
			ret = DSA_COMP_CRA_ALIGN;
		else
			ret = access_page(work, desc->completion_addr, &record, RECORD_SIZE, true,
					  true, wq_requests_pages(work->wq));
		/* Only those of operands are counted. */
		work->counts.faults = faults;
		work->record.fault_addr = addr;
		if (ret > 0)
			report_error(work, ret == DSA_COMP_CRA_ALIGN ? ret : DSA_COMP_CRA_XLAT);
	}
	if (status == DSA_ABANDONED || ret == DSA_ABANDONED) {
		work->counts.abandoned++;
		add_counts(work);
		return DSA_ABANDONED;
	}
	if (work->in_batch)
		work->counts.batched++;
	else
		work->counts.descriptors++;
	add_counts(work);
	if (desc->flags & IDXD_OP_FLAG_RCI) {
		bql_lock();
		dsa_interrupt(work->dsa, desc->int_handle);
		bql_unlock();
	}
	return status;
}

/**
 * dsa_execute() - do what a descriptor says
 * @dsa: the device
 * @wq: the work queue that it comes from
 * @desc: it
 *
 * Context: the engine, without locks.
 */
void dsa_execute(struct dsa *dsa, struct dsa_wq *wq, const struct dsa_hw_desc *desc)
{
	struct work work = { .dsa = dsa, .wq = wq, .desc = desc };

	/* Without a PASID there is no memory to access: the driver opens one before it submits. */
	if (!wq->ats) {
		report_error(&work, DSA_COMP_TRANSLATION_FAIL);
		return;
	}
	complete(&work, execute(&work));
}
