/* SPDX-License-Identifier: GPL-2.0 */
/* The sections of the comparison of MADV_NOMIGRATE with its rivals: see compare.c. */
#ifndef _COMPARE_H
#define _COMPARE_H

#include "movers.h"
#include "rivals.h"

/**
 * struct item - one thing that is measured, in a process of its own
 * @what:	in the output
 * @measure:	measures it with a rival, and reports; 0, or a negative errno if it could not
 * @mover:	for some: the mover that it is about
 * @folio:	for some: the size of the folios of the memory
 * @share:	for some: how much of the memory is protected, in percent
 * @size:	for some: how much memory it is about, in bytes
 * @seconds:	how long it may take at most
 */
struct item {
	const char *what;
	int (*measure)(const struct item *item, const struct rival *rival);
	const struct mover *mover;
	size_t folio;
	unsigned int share;
	size_t size;
	unsigned int seconds;
};

/**
 * struct section - a part of the comparison
 * @name:	on the command line and in the output
 * @items:	what it measures, up to an entry without @what
 */
struct section {
	const char *name;
	const struct item *items;
};

extern const struct section movers_section;
extern const struct section forced_section;
extern const struct section fragmentation_section;
extern const struct section device_section;
extern const struct section costs_section;
extern const struct section neighbour_section;

/* What was measured, as a line of JSON */
void report(const char *metric, const char *unit, double value);
void report_of(const char *metric, const char *unit, size_t value, size_t of);
int report_missing(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/**
 * struct trial - how a mover is tried on two regions
 * @mover:	the mover
 * @folio:	size of the folios of its regions
 * @setup:	what is set for the whole system once the mover is on its way, or NULL
 * @protect:	protects the second region; 0 or a negative errno
 * @release:	takes that back
 * @g:		the ground
 * @control:	the first region
 * @guarded:	the second region
 */
struct trial {
	const struct mover *mover;
	size_t folio;
	int (*setup)(void);
	int (*protect)(void *addr, size_t len);
	int (*release)(void *addr, size_t len);
	struct ground g;
	struct region control;
	struct region guarded;
};

/**
 * struct outcome - what has become of a region
 * @diff:	how it differs from its snapshot
 * @left:	pages that had moved before it, when the region was protected
 * @broken:	how often the mapping of a page was taken away
 */
struct outcome {
	struct diff diff;
	size_t left;
	long long broken;
};

const char *trial_missing(struct trial *t);
int trial_run(struct trial *t, struct outcome *control, struct outcome *guarded);
bool conclusive(const struct trial *t, const struct outcome *control);
int order9_measure(const struct item *item, int (*setup)(void),
		   int (*protect)(void *addr, size_t len), int (*overrule)(void));

#endif /* _COMPARE_H */
