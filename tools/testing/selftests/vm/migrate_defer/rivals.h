/* SPDX-License-Identifier: GPL-2.0 */
/* Ways to keep pages where they are, each in one place: see rivals.c. */
#ifndef _RIVALS_H
#define _RIVALS_H

#include "migrate_defer.h"

/**
 * struct rival - a way to keep pages where they are
 * @name:	on the command line and in the output
 * @description: in words
 * @missing:	why the machine doesn't have it, or NULL if it does; NULL: it always does
 * @system_setup: set what it needs for the whole system, until settings_restore(); or NULL
 * @protect:	protect a range; any number of ranges; 0 or a negative errno
 * @release:	take that back, with the same arguments
 * @overrule:	what an administrator can do against it, without the process; or NULL
 */
struct rival {
	const char *name;
	const char *description;
	const char *(*missing)(void);
	int (*system_setup)(void);
	int (*protect)(void *addr, size_t len);
	int (*release)(void *addr, size_t len);
	int (*overrule)(void);
};

extern const struct rival rivals[];
extern const size_t nr_rivals;

const struct rival *rival_find(const char *name);
int rival_nothing(void *addr, size_t len);

#endif /* _RIVALS_H */
