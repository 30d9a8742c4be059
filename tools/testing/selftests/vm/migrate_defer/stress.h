/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The stress test: stress.c has the test and those who move pages, stress_ops.c the actors, who
 * have memory and do at random whatever one may do with it.
 *
 * Each actor is a process with some threads, and an arena at the same address as all others.  The
 * arena consists of slots, one beside the other, so that VMAs split and merge over their ends.  A
 * thread that works on a slot holds its lock; what threads share beyond is the kernel's affair.
 * Some slots are of objects that all actors map.
 *
 * Locks: the lock of a slot, then that of its object, which is only tried for.  Who wants all slots
 * takes them in order, and holds none before.
 */
#ifndef _STRESS_H
#define _STRESS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "migrate_defer.h"

#define SLOT_SIZE	(2 * MIB)
#define SLOT_PAGES	(SLOT_SIZE / 4096)	/* at most */
#define NR_ACTORS	2
#define NR_THREADS	3	/* of each actor */

enum stress_object {
	OBJECT_SHMEM,
	OBJECT_SHMEM_HUGE,
	OBJECT_FILE,		/* of a disk file system, written by all */
	OBJECT_CONSTANT,	/* the same, written by nobody */
	NR_OBJECTS,
	OBJECT_NONE = NR_OBJECTS,
};

struct slot_kind {
	const char *name;
	enum mem_kind kind;
	bool huge;
	enum stress_object object;
};

extern const struct slot_kind slot_kinds[];
#define NR_SLOTS	9

/* How often, and how it went */
struct op_count {
	uint64_t done;
	uint64_t failed;
};

#define MAX_OPS		32

/**
 * struct stress - what all processes of a run share
 * @seed:	all that is random comes from it
 * @stop:	the end
 * @arena:	where it is, in each actor
 * @bind:	how devices are bound, see sva_bind(); negative: there is none
 * @fd:		the objects
 * @object_lock: for writing: the contents of the object, or its page frames, are changed
 * @actor:	the processes
 * @drained:	the time up to which all forced moves are in @named
 * @lost:	events that were lost
 * @named:	the last time that a forced move of the page was reported, by actor
 * @count:	by operation
 * @epochs:	how often an actor looked at a marked, locked, and populated range
 * @watched:	the pages of them
 * @forced:	those that changed, because they were forced to
 * @late:	how often that was said only after a while
 * @unknown:	those that changed when events were lost, or more than once
 * @broken:	rules broken
 * @how:	the first time
 */
struct stress {
	uint64_t seed;
	bool stop;
	char *arena;
	int bind;
	int fd[NR_OBJECTS];
	pthread_rwlock_t object_lock[NR_OBJECTS];
	pid_t actor[NR_ACTORS];
	double drained;
	uint64_t lost;
	double named[NR_ACTORS][NR_SLOTS * SLOT_PAGES];
	struct op_count count[MAX_OPS];
	uint64_t epochs;
	uint64_t watched;
	uint64_t forced;
	uint64_t late;
	uint64_t unknown;
	uint64_t broken;
	char how[256];
};

extern struct stress *stress;

static inline uint64_t stress_add(uint64_t *counter, uint64_t nr)
{
	return __atomic_add_fetch(counter, nr, __ATOMIC_RELAXED);
}

void stress_broken(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
uint64_t stress_word(size_t page);
const char *stress_op_name(size_t op);
void stress_act(unsigned int actor);

#endif /* _STRESS_H */
