/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How tests use the SVA test device, see sva_testdev/sva_testdev.h.
 *
 * Unless said otherwise functions return 0 or a negative errno.
 */
#ifndef _SVA_H
#define _SVA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sva_testdev/sva_testdev.h"

/* For functions that return 0 or a negative errno */
#define ASSERT_OK(expr) do {						\
	int __ret = (expr);						\
	ASSERT_EQ(0, __ret) TH_LOG("%s: %s", #expr, strerror(-__ret));	\
} while (0)

/* Whether the device sets accessed and dirty bits whatever a job says */
#ifdef __x86_64__
#define SVA_ALWAYS_HW_AD	1
#else
#define SVA_ALWAYS_HW_AD	0
#endif

/* The module */
const char *sva_missing(void);
const char *sva_direct_missing(void);
int sva_load(void);
int sva_unload(void);
long long sva_live(const char *what);
bool sva_nothing_live(void *unused);

/* A context, which is a file descriptor */
int sva_open(void);
int sva_bind(int fd, unsigned int flags);
int sva_open_bound(unsigned int flags);
int sva_unbind(int fd);
int sva_evict(int fd);

/* Jobs */
struct sva_testdev_job sva_job(enum sva_testdev_op op, void *addr, size_t len, uint64_t passes);
int sva_start(int fd, const struct sva_testdev_job *job);
int sva_stop(int fd);
int sva_wait(int fd, unsigned int timeout_ms, int *result);
int sva_stats(int fd, unsigned int flags, struct sva_testdev_stats *stats);
int sva_run(int fd, const struct sva_testdev_job *job, struct sva_testdev_stats *stats);
int sva_wait_accesses(int fd, uint64_t more);
int sva_wait_quiet(int fd);
int sva_wait_quiet_huge(int fd, size_t huge);
uint64_t *sva_word(const void *addr, size_t page);
size_t sva_wrong_counters(const void *addr, size_t pages, uint64_t base,
			  const struct sva_testdev_stats *stats);
unsigned long long sva_stall_below(const struct sva_testdev_stats *stats, double share);
const char *sva_cause_name(enum sva_testdev_cause cause);
const char *sva_describe(const struct sva_testdev_stats *stats);

/* Samplers */
int sva_sample_start(int fd, void *addr, size_t len, unsigned int interval_us);
int sva_sample_stop(int fd);
int sva_sample_read(int fd, struct sva_testdev_sample *sample);
int sva_sample_wait_rounds(int fd, uint64_t more);

#endif /* _SVA_H */
