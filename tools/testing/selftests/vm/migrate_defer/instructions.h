/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Counting instructions: on one processor under QEMU's "-icount shift=0" the time that the counter
 * of the processor tells is the number of instructions executed.
 */
#ifndef _INSTRUCTIONS_H
#define _INSTRUCTIONS_H

#include <stdbool.h>
#include <stdint.h>

static inline uint64_t counter(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
	uint64_t ticks, frequency;

	asm volatile("isb; mrs %0, cntvct_el0" : "=r"(ticks));
	asm volatile("mrs %0, cntfrq_el0" : "=r"(frequency));
	return ticks * (1000000000 / frequency);
#else
	return 0;
#endif
}

/* Whether the counter counts instructions: a loop of a known number of them tells. */
static inline bool counts_instructions(void)
{
	uint64_t best = UINT64_MAX;

	for (int try = 0; try < 20; try++) {
		uint64_t start = counter(), n = 100000;

#if defined(__x86_64__)
		asm volatile("1: dec %0; jnz 1b" : "+r"(n));
#elif defined(__aarch64__)
		asm volatile("1: subs %0, %0, #1; b.ne 1b" : "+r"(n));
#endif
		start = counter() - start;
		if (start < best)
			best = start;
	}
	return best >= 200000 && best < 200100;
}

#endif /* _INSTRUCTIONS_H */
