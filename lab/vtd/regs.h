/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Registers of svadev, a PCI Express function with PASID, ATS and PRI that accesses the memory of a
 * process by its virtual addresses.  Shared by the device (a QEMU plugin) and by what drives it.
 *
 * All registers are in BAR 0, have 64 bits and are accessed as such.  Interrupt: MSI-X vector 0,
 * when a job ends.
 */
#ifndef _SVADEV_REGS_H
#define _SVADEV_REGS_H

#define SVADEV_VENDOR_ID	0x1234	/* QEMU's, for devices that exist nowhere else */
#define SVADEV_DEVICE_ID	0x0b5a
#define SVADEV_BAR_SIZE		0x1000

#define SVADEV_MAGIC		0x0001766564617673ULL	/* "svadev", version 1 */

/* What the device tells */
#define SVADEV_REG_MAGIC	0x000
#define SVADEV_REG_RUNNING	0x008	/* 1 while a job runs */
#define SVADEV_REG_STATUS	0x010	/* of the last command: 0 or a negative errno */
#define SVADEV_REG_FIXUPS	0x018	/* SVADEV_FIXUP_ that are in force */

/* Written: a command, which takes effect before the write is done unless said otherwise */
#define SVADEV_REG_COMMAND	0x020
/*
 * Start the job that the registers below describe; discards the counts of the one before.
 * EBUSY: one runs.  EINVAL: range not page aligned, empty or wrapped; stride 0, no multiple of 8,
 * or longer than the range; unknown op or flag; interval too long; no PASID.  EPERM: a deaf job
 * that is to write.
 * EIO: PASID, ATS or PRI is not enabled.
 */
#define SVADEV_CMD_START	1
/* End the job; it has ended when SVADEV_REG_RUNNING is 0. */
#define SVADEV_CMD_STOP		2
/* Forget all cached translations. */
#define SVADEV_CMD_EVICT	3
/* Have the registers from SVADEV_REG_COUNTS show the counts of this moment. */
#define SVADEV_CMD_LATCH	4
/* The same, and start the counts anew, except accesses, passes and mismatches. */
#define SVADEV_CMD_LATCH_RESET	5

/* The job */
#define SVADEV_REG_PASID	0x040
#define SVADEV_REG_ADDR		0x048	/* first byte, page aligned */
#define SVADEV_REG_LEN		0x050	/* bytes, a multiple of the page size */
#define SVADEV_REG_STRIDE	0x058	/* distance of the accessed words, a multiple of 8 */
#define SVADEV_REG_PASSES	0x060	/* how many times, 0: until stopped */
#define SVADEV_REG_SEED		0x068
#define SVADEV_REG_OP		0x070	/* SVADEV_OP_ */
#define SVADEV_REG_FLAGS	0x078	/* SVADEV_JOB_ */
#define SVADEV_REG_INTERVAL	0x080	/* microseconds of pause after each pass */

#define SVADEV_REG_COUNTS	0x100	/* struct svadev_counts */

#define SVADEV_MAX_INTERVAL	1000000

/**
 * enum svadev_op - what a job does with each 64-bit word that it accesses
 * @SVADEV_OP_READ:	reads it
 * @SVADEV_OP_WRITE:	writes seed + offset / 8, where offset is the distance of the word from the
 *			start of the range
 * @SVADEV_OP_INCREMENT: adds 1, atomically
 * @SVADEV_NR_OPS:	how many there are
 */
enum svadev_op {
	SVADEV_OP_READ,
	SVADEV_OP_WRITE,
	SVADEV_OP_INCREMENT,
	SVADEV_NR_OPS
};

/*
 * Count words with another content than expected as mismatches: a read expects what a write with
 * the same range and seed writes, an increment expects seed + completed passes.
 */
#define SVADEV_JOB_VERIFY	0x1
/* Go to the words of a pass in a scattered order, each once, instead of one after the other. */
#define SVADEV_JOB_SCATTER	0x2
/*
 * Count invalidations, but forget nothing: for tests that show that they would notice a stale
 * translation.  May only read.
 */
#define SVADEV_JOB_DEAF		0x4
#define SVADEV_JOB_FLAGS	(SVADEV_JOB_VERIFY | SVADEV_JOB_SCATTER | SVADEV_JOB_DEAF)

/*
 * Defects of QEMU 11.1 that the device makes up for.  Each can be left alone by an option of the
 * plugin (smpwc=off, wideinv=off, dirty=off); a QEMU without the defect is left alone, too.
 */
/* ECAP.SMPWC: Linux refuses SVA where page walks are not coherent; those of QEMU are */
#define SVADEV_FIXUP_SMPWC	0x1
/* IOTLB invalidations of more pages than CAP.MAMV allows, which QEMU refuses and Linux sends */
#define SVADEV_FIXUP_WIDEINV	0x2
/* The dirty bit of a page that is young or cached, which QEMU does not set */
#define SVADEV_FIXUP_DIRTY	0x4

/**
 * enum svadev_cause - what the first-stage page table had when a page was requested
 * @SVADEV_CAUSE_NONE:		nothing
 * @SVADEV_CAUSE_OTHER:		an entry that is not present: swap, migration, a marker
 * @SVADEV_CAUSE_PROTNONE:	present for Linux only: PROT_NONE, NUMA hint
 * @SVADEV_CAUSE_READONLY:	not writable, and a write was asked for
 * @SVADEV_CAUSE_MAPPED:	what was asked for: mapped since the translation had failed
 * @SVADEV_NR_CAUSES:		how many there are
 */
enum svadev_cause {
	SVADEV_CAUSE_NONE,
	SVADEV_CAUSE_OTHER,
	SVADEV_CAUSE_PROTNONE,
	SVADEV_CAUSE_READONLY,
	SVADEV_CAUSE_MAPPED,
	SVADEV_NR_CAUSES
};

#define SVADEV_NR_BUCKETS	40

/**
 * struct svadev_counts - counts of the present or last job
 * @result:		0 running, done or stopped, or a negative errno: -EFAULT the memory may not
 *			be accessed so; -ESRCH the PASID has no address space (any more); -EIO page
 *			requests are not answered or not possible
 * @fail_addr:		address of the access that failed, if @result is not 0
 * @accesses:		completed accesses
 * @passes:		completed passes
 * @hits:		accesses that found their translation cached
 * @translations:	ATS translation requests
 * @requests:		page requests
 * @refused:		those that were answered by an error
 * @late:		page responses that no request waited for
 * @causes:		@requests by enum svadev_cause
 * @last_request_addr:	address of the last page request
 * @stalls:		completed accesses that had to wait for page requests
 * @stall_ns:		how long, all together
 * @stall_ns_max:	the longest
 * @stall_hist:		@stalls by floor(log2(nanoseconds)), the last bucket is open
 * @mismatches:		see SVADEV_JOB_VERIFY
 * @mismatch_addr:	the first one
 * @mismatch_expected:	what should have been there
 * @mismatch_found:	what was
 * @invalidations:	invalidation requests, since the PASID was first used
 * @dropped:		translations that these removed from the cache
 * @dirtied:		dirty bits that SVADEV_FIXUP_DIRTY has set, since QEMU started
 * @narrowed:		invalidations that SVADEV_FIXUP_WIDEINV has rewritten, since QEMU started
 */
struct svadev_counts {
	long long result;
	unsigned long long fail_addr;
	unsigned long long accesses;
	unsigned long long passes;
	unsigned long long hits;
	unsigned long long translations;
	unsigned long long requests;
	unsigned long long refused;
	unsigned long long late;
	unsigned long long causes[SVADEV_NR_CAUSES];
	unsigned long long last_request_addr;
	unsigned long long stalls;
	unsigned long long stall_ns;
	unsigned long long stall_ns_max;
	unsigned long long stall_hist[SVADEV_NR_BUCKETS];
	unsigned long long mismatches;
	unsigned long long mismatch_addr;
	unsigned long long mismatch_expected;
	unsigned long long mismatch_found;
	unsigned long long invalidations;
	unsigned long long dropped;
	unsigned long long dirtied;
	unsigned long long narrowed;
};

#endif /* _SVADEV_REGS_H */
