/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef _SVADEV_MOVDIR64B_H
#define _SVADEV_MOVDIR64B_H

#include <linux/types.h>
#include <stdbool.h>

void movdir64b_init(__u64 id);
bool movdir64b_active(void);

#endif /* _SVADEV_MOVDIR64B_H */
