/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The endpoint of regs.h behind the functions of sva.h, by the kernel's uio_pci_generic_sva.  What
 * only this device has:
 */
#ifndef _SVA_UIO_H
#define _SVA_UIO_H

#include <linux/types.h>
#include <stdbool.h>

#include "regs.h"

#define SVA_UIO_JOB_SCATTER	0x40000000U	/* of a job's flags: SVADEV_JOB_SCATTER */

__u64 uio_register(int fd, unsigned int reg);
int uio_counts(int fd, struct svadev_counts *counts);

/* By the linker: --wrap */
int __real_open(const char *path, int flags, ...);
int __real_close(int fd);
int __real_ioctl(int fd, unsigned long cmd, ...);
int __real_module_load(const char *env, const char *beside, const char *args);
int __wrap_open(const char *path, int flags, ...);
int __wrap_close(int fd);
int __wrap_ioctl(int fd, unsigned long cmd, ...);
bool __wrap_sva_nothing_live(void *unused);
int __wrap_module_load(const char *env, const char *beside, const char *args);

#endif /* _SVA_UIO_H */
