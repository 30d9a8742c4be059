/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kselftest harness.  Half a minute for a test is not much where the processor is emulated, the
 * kernel has all its checkers, and the machine has other things to do.
 */
#ifndef _HARNESS_H
#define _HARNESS_H

#include "../../kselftest_harness.h"

#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	300

#endif /* _HARNESS_H */
