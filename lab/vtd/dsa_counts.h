/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the DSA counts; a real one has no such registers.  Shared by the device and by programs that
 * map its BAR 0, whose last page they are.
 */
#ifndef _SVADEV_DSA_COUNTS_H
#define _SVADEV_DSA_COUNTS_H

#define DSA_BAR_SIZE		0x10000
#define DSA_COUNTS_OFFSET	0xf000	/* of the whole device */
#define DSA_COUNTS_SIZE		0x80
/* Of one work queue; what is about translations: of its PASID */
#define DSA_WQ_COUNTS(n)	(DSA_COUNTS_OFFSET + (1 + (n)) * DSA_COUNTS_SIZE)

/**
 * struct dsa_counts - counts since QEMU started, or since the work queue was enabled
 * @descriptors:	completed ones, without those of batches
 * @batched:		completed ones of batches
 * @abandoned:		ended without a completion record, by an abort or a reset
 * @bytes:		read and written
 * @translations:	ATS translation requests
 * @requests:		page requests
 * @refused:		those that were answered by an error
 * @faults:		descriptors that ended with a page fault
 * @invalidations:	invalidation requests
 * @dropped:		translations that these removed from the cache
 * @late:		page responses that no request waited for
 */
struct dsa_counts {
	unsigned long long descriptors;
	unsigned long long batched;
	unsigned long long abandoned;
	unsigned long long bytes;
	unsigned long long translations;
	unsigned long long requests;
	unsigned long long refused;
	unsigned long long faults;
	unsigned long long invalidations;
	unsigned long long dropped;
	unsigned long long late;
};

#endif /* _SVADEV_DSA_COUNTS_H */
