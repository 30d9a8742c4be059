/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * What user space says to /dev/sva_testdev, a software device that accesses the
 * memory of the processes that are bound to it by their virtual addresses.
 *
 * Every open file is one context: at most one binding, one job and one sampler
 * at a time.  Contexts of one process share a PASID and a translation cache.
 */
#ifndef _SVA_TESTDEV_H
#define _SVA_TESTDEV_H

#include <linux/ioctl.h>
#include <linux/types.h>

/*
 * Hear no invalidation: the translation cache goes stale.  Only for tests that
 * show that they would notice; such a context may only read.
 */
#define SVA_TESTDEV_BIND_DEAF	0x1U
/*
 * Attach the address space without the kernel's IOMMU core: for kernels that
 * refuse SVA.  I/O page faults are handled in the same way and counted among the
 * same, but no driver of the kernel knows of the binding, so that nothing is
 * pre-faulted for it.  Direct bindings of a process share a translation cache,
 * others share another.
 */
#define SVA_TESTDEV_BIND_DIRECT	0x2U

/**
 * struct sva_testdev_bind - SVA_TESTDEV_BIND: bind the caller's address space
 * @flags:	SVA_TESTDEV_BIND_*
 * @pasid:	out: the PASID that the address space has on the device, or a number
 *		that stands for one if the binding is direct
 *
 * Errors: EBUSY if the context is bound, or if another context of the process
 * is bound in the same way with another SVA_TESTDEV_BIND_DEAF; EINVAL for unknown
 * flags; EOPNOTSUPP where the kernel does not do SVA (6.12 on x86); whatever
 * iommu_sva_bind_device() or mmu_notifier_get() returns.
 */
struct sva_testdev_bind {
	__u32 flags;
	__u32 pasid;
};

/**
 * enum sva_testdev_op - what a job does with each 64-bit word that it accesses
 * @SVA_TESTDEV_READ:		reads it
 * @SVA_TESTDEV_WRITE:		writes @seed + offset / 8, where offset is the
 *				distance of the word from the start of the range
 * @SVA_TESTDEV_INCREMENT:	adds 1, atomically
 */
enum sva_testdev_op {
	SVA_TESTDEV_READ,
	SVA_TESTDEV_WRITE,
	SVA_TESTDEV_INCREMENT,
	/* private: */
	SVA_TESTDEV_NR_OPS
};

/*
 * Count words with another content than expected as mismatches: a read expects
 * what a write with the same range and seed writes, an increment expects
 * @seed + completed passes.
 */
#define SVA_TESTDEV_JOB_VERIFY	0x1U
/*
 * Behave as an IOMMU that sets accessed and dirty bits itself.  Without it an
 * old page, and on a write a clean one, is an I/O page fault.  On x86 all IOMMUs
 * set the bits, and so does this one, whatever the flag.
 */
#define SVA_TESTDEV_JOB_HW_AD	0x2U

#define SVA_TESTDEV_MAX_INTERVAL_US	1000000U

/**
 * struct sva_testdev_job - SVA_TESTDEV_JOB_START: access a range of addresses
 * @addr:	first byte, page aligned
 * @len:	length in bytes, a multiple of the page size
 * @stride:	distance of the accessed words, a multiple of 8 up to @len
 * @passes:	how many times to go over the range; 0: until stopped
 * @seed:	see enum sva_testdev_op
 * @op:		one of enum sva_testdev_op
 * @flags:	SVA_TESTDEV_JOB_*
 * @interval_us: pause after each pass, up to SVA_TESTDEV_MAX_INTERVAL_US
 * @reserved:	0
 *
 * Errors: ENODEV not bound; EBUSY a job is running; EINVAL unaligned, empty or
 * wrapped range, bad stride, unknown op or flags; EFAULT range that is not all
 * below the end of user space; EPERM anything but a read by a deaf context.
 *
 * Starting a job discards the counts of the one before.
 */
struct sva_testdev_job {
	__u64 addr;
	__u64 len;
	__u64 stride;
	__u64 passes;
	__u64 seed;
	__u32 op;
	__u32 flags;
	__u32 interval_us;
	__u32 reserved;
};

#define SVA_TESTDEV_FOREVER	(~0U)

/**
 * struct sva_testdev_wait - SVA_TESTDEV_JOB_WAIT: wait for the end of the job
 * @timeout_ms:	how long, or SVA_TESTDEV_FOREVER
 * @result:	out: see struct sva_testdev_stats
 *
 * Errors: ENOENT no job was started; ETIMEDOUT; EINTR.
 */
struct sva_testdev_wait {
	__u32 timeout_ms;
	__s32 result;
};

/**
 * enum sva_testdev_cause - what a page walk found that led to an I/O page fault
 * @SVA_TESTDEV_NONE:		nothing is mapped
 * @SVA_TESTDEV_MIGRATION:	migration entry
 * @SVA_TESTDEV_SWAP:		another non-present entry
 * @SVA_TESTDEV_PROTNONE:	present but not accessible: NUMA hint, PROT_NONE,
 *				huge page that is just being split
 * @SVA_TESTDEV_READONLY:	write to a page that is not writable
 * @SVA_TESTDEV_OLD:		accessed bit is clear (no hardware A/D)
 * @SVA_TESTDEV_CLEAN:		write, dirty bit is clear (no hardware A/D)
 */
enum sva_testdev_cause {
	SVA_TESTDEV_NONE,
	SVA_TESTDEV_MIGRATION,
	SVA_TESTDEV_SWAP,
	SVA_TESTDEV_PROTNONE,
	SVA_TESTDEV_READONLY,
	SVA_TESTDEV_OLD,
	SVA_TESTDEV_CLEAN,
	/* private: */
	SVA_TESTDEV_NR_CAUSES
};

#define SVA_TESTDEV_NR_BUCKETS	40

/* Start all counts of the job anew, except @accesses, @passes and @mismatches */
#define SVA_TESTDEV_STATS_RESET	0x1U

/**
 * struct sva_testdev_stats - SVA_TESTDEV_STATS: counts of the present or last job
 * @flags:	in: SVA_TESTDEV_STATS_*
 * @running:	whether the job still runs
 * @result:	0 running, done or stopped; -EFAULT the memory may not be accessed
 *		so; -ESRCH the address space is gone; -EIO fault handling failed
 * @pasid:	as told by SVA_TESTDEV_BIND, 0 if not bound
 * @fail_addr:	address of the access that failed, if @result is not 0
 * @accesses:	completed accesses
 * @passes:	completed passes
 * @hits:	accesses that found their translation in the cache
 * @walks:	page walks
 * @faults:	I/O page faults reported
 * @failed_faults: those that were answered by an error
 * @causes:	@faults by enum sva_testdev_cause
 * @last_fault_addr: address of the last I/O page fault
 * @stalls:	completed accesses that had to wait for I/O page faults
 * @stall_ns:	how long, all together
 * @stall_ns_max: the longest
 * @stall_hist:	@stalls by floor(log2(nanoseconds)), the last bucket is open
 * @mismatches:	see SVA_TESTDEV_JOB_VERIFY
 * @mismatch_addr: the first one
 * @mismatch_expected: what should have been there
 * @mismatch_found: what was
 * @invalidations: invalidations of the address space since it was bound, by
 *		whatever context of the process
 * @kernel_invalidations: those of the kernel's own part of it, which are not among
 *		@invalidations and remove nothing
 * @dropped:	translations that @invalidations removed from the cache
 * @rewarms:	times that the kernel said that it has mapped again what it moved
 *
 * Errors: ENOENT no job was started; EINVAL unknown flags.
 */
struct sva_testdev_stats {
	__u32 flags;
	__u32 running;
	__s32 result;
	__u32 pasid;
	__u64 fail_addr;
	__u64 accesses;
	__u64 passes;
	__u64 hits;
	__u64 walks;
	__u64 faults;
	__u64 failed_faults;
	__u64 causes[SVA_TESTDEV_NR_CAUSES];
	__u64 last_fault_addr;
	__u64 stalls;
	__u64 stall_ns;
	__u64 stall_ns_max;
	__u64 stall_hist[SVA_TESTDEV_NR_BUCKETS];
	__u64 mismatches;
	__u64 mismatch_addr;
	__u64 mismatch_expected;
	__u64 mismatch_found;
	__u64 invalidations;
	__u64 kernel_invalidations;
	__u64 dropped;
	__u64 rewarms;
};

#define SVA_TESTDEV_MAX_SAMPLE_PAGES	0x400000UL

/**
 * struct sva_testdev_sampler - SVA_TESTDEV_SAMPLE_START: watch page table entries
 * @addr:	first byte, page aligned
 * @len:	length in bytes, a multiple of the page size
 * @interval_us: pause after each round, up to SVA_TESTDEV_MAX_INTERVAL_US
 * @flags:	0
 *
 * Errors: ENODEV not bound; EBUSY a sampler is running; EINVAL and EFAULT as
 * for a job; E2BIG more than SVA_TESTDEV_MAX_SAMPLE_PAGES.
 */
struct sva_testdev_sampler {
	__u64 addr;
	__u64 len;
	__u32 interval_us;
	__u32 flags;
};

/**
 * struct sva_testdev_sample - SVA_TESTDEV_SAMPLE_READ: what changed since the
 *			       first round, in pages
 * @rounds:	completed rounds
 * @pages:	pages of the range
 * @present:	pages that could be read at their last sample
 * @writable:	pages that could be written at their last sample
 * @unmapped:	times that a page could no longer be read
 * @mapped:	times that it could again
 * @moved:	times that a page had another page frame than when last mapped
 * @write_lost:	times that a mapped page could no longer be written
 * @write_gained: times that it could again
 * @result:	0, or -ESRCH if the address space is gone
 * @running:	whether the sampler still runs
 *
 * Errors: ENOENT no sampler was started.
 */
struct sva_testdev_sample {
	__u64 rounds;
	__u64 pages;
	__u64 present;
	__u64 writable;
	__u64 unmapped;
	__u64 mapped;
	__u64 moved;
	__u64 write_lost;
	__u64 write_gained;
	__s32 result;
	__u32 running;
};

#define SVA_TESTDEV_IOC		0xb7

#define SVA_TESTDEV_BIND	_IOWR(SVA_TESTDEV_IOC, 0, struct sva_testdev_bind)
/* Stop job and sampler, unbind. Errors: ENODEV not bound */
#define SVA_TESTDEV_UNBIND	_IO(SVA_TESTDEV_IOC, 1)
#define SVA_TESTDEV_JOB_START	_IOW(SVA_TESTDEV_IOC, 2, struct sva_testdev_job)
/* Returns when the job has ended. Errors: ENOENT no job was started */
#define SVA_TESTDEV_JOB_STOP	_IO(SVA_TESTDEV_IOC, 3)
#define SVA_TESTDEV_JOB_WAIT	_IOWR(SVA_TESTDEV_IOC, 4, struct sva_testdev_wait)
#define SVA_TESTDEV_STATS	_IOWR(SVA_TESTDEV_IOC, 5, struct sva_testdev_stats)
/* Forget all translations, as if evicted by others. Errors: ENODEV not bound */
#define SVA_TESTDEV_EVICT	_IO(SVA_TESTDEV_IOC, 6)
#define SVA_TESTDEV_SAMPLE_START _IOW(SVA_TESTDEV_IOC, 7, struct sva_testdev_sampler)
/* Returns when the sampler has ended. Errors: ENOENT no sampler was started */
#define SVA_TESTDEV_SAMPLE_STOP	_IO(SVA_TESTDEV_IOC, 8)
#define SVA_TESTDEV_SAMPLE_READ	_IOR(SVA_TESTDEV_IOC, 9, struct sva_testdev_sample)

#endif /* _SVA_TESTDEV_H */
