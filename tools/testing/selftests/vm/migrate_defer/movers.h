/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How to make each mover move pages, each in one place.  Adding a mover is one struct mover in
 * movers.c and the variants of the tests that use it.
 */
#ifndef _MOVERS_H
#define _MOVERS_H

#include "migrate_defer.h"

/**
 * struct ground - where a mover is provoked
 * @node:	where the mover finds the pages
 * @other:	another node, or -1
 * @cpu:	a processor of the other node
 * @here:	the node that the asked-for movers put the pages on last
 * @vacate:	the first page frame that a mandatory mover must empty
 * @vacate_end:	one after the last; 0 if it is not about page frames
 * @hugetlb_taken:	whether huge pages were allocated to fill the node
 * @hugetlb_before:	how many there were before that
 * @cma_taken:	whether the CMA area was allocated to have it out of the way
 * @pool:	memory that makes holes in the free memory
 * @pool_size:	its length
 * @pipe:	holds references to the pages of the pool that stay
 * @fragment:	memory that uses up left-over free fragments
 * @nr_fragments:	how many there are
 * @path:	the file that the mover is provoked by
 */
struct ground {
	int node;
	int other;
	int cpu;
	int here;
	uint64_t vacate;
	uint64_t vacate_end;
	bool hugetlb_taken;
	long long hugetlb_before;
	bool cma_taken;
	char *pool;
	size_t pool_size;
	int pipe[2];
	char *fragment[256];
	int nr_fragments;
	char path[160];
};

/**
 * struct mover - something that moves pages
 * @name:	in words
 * @counter:	counter of /proc/vmstat that tells what it did about marked pages
 * @missing:	why the machine doesn't have it, or NULL if it does; also fills in the ground
 * @place:	populate regions where the mover will find them
 * @push:	provoke it once; 0 or a negative errno: -ESTALE if it took memory elsewhere
 * @undo:	give back what a successful push took
 */
struct mover {
	const char *name;
	const char *counter;
	const char *(*missing)(struct ground *g);
	int (*place)(struct ground *g, struct region **regions, int nr);
	int (*push)(struct ground *g, struct region **regions, int nr);
	void (*undo)(struct ground *g);
};

/* Movers that merely optimise */
extern const struct mover compact_memory;
extern const struct mover direct_compaction;
extern const struct mover kcompactd;
extern const struct mover numa_balancing;

/* Movers that must succeed */
extern const struct mover cma_alloc;
extern const struct mover memory_offline;
extern const struct mover gigantic_page;
extern const struct mover move_pages_syscall;
extern const struct mover migrate_pages_syscall;
extern const struct mover mbind_move;
extern const struct mover cpuset_migrate;

/* Movers that must succeed, on the last of the regions (movers_page.c) */
extern const struct mover soft_offline;
extern const struct mover memory_failure;
extern const struct mover longterm_pin;
/* On all of them */
extern const struct mover collapse;
extern const struct mover collapse_by_peer;

/* Movers that merely optimise, about huge pages (movers_thp.c) */
extern const struct mover khugepaged;
extern const struct mover khugepaged_file;
extern const struct mover deferred_split;
extern const struct mover underused_split;

/**
 * struct watch - a kernel event, recorded from now on
 * @dir:	a tracing instance of its own
 */
struct watch {
	char dir[80];
};

int watch_open(struct watch *w, const char *event);
int watch_count(const struct watch *w, const char *field, const struct region *r);
void watch_close(struct watch *w);
size_t huge_mapped(const void *addr, size_t len);
int khugepaged_wake(void);

/* KSM, which merges what is MADV_MERGEABLE (movers_ksm.c) */
extern const struct mover ksm;

int ksm_fast(void);
int ksm_pages(const struct region *r);
uint64_t ksm_word(size_t page);

/* Between memory tiers (movers_tier.c) */
extern const struct mover demotion;

const char *slow_node_missing(int *node);
const char *slow_node_online(const char *how, int *node);
const char *tier_group(void);

/* DAMON's schemes (movers_damon.c) */
extern const struct mover damon;

const char *damon_missing(struct ground *g);
int damon_setup(const char *operations, const char *action);
int damon_range(uint64_t start, uint64_t end);
int damon_regions(unsigned int nr);
int damon_target(int node);
int damon_on(void);
void damon_off(void);
pid_t damon_pid(void);
long long damon_stat(const char *name);
int damon_watch(const char *operations, const char *action, uint64_t start, uint64_t end);

/* Processes that keep movers busy (load.c) */
pid_t load_compaction(void);
pid_t load_pressure(void);
void load_stop(pid_t pid);
void load_gone(pid_t pid);

char *poison_address(const struct region *r);

const char *ground_init(struct ground *g);
void ground_release(struct ground *g);
int lru_drain(void);
int regions_populate(struct region **regions, int nr, int node);
int populate_inside(struct ground *g, struct region **regions, int nr);
int nodes_fill(size_t leave);
int watermarks_lower(void);
long free_huge_blocks(int node);
int write_bounded(const char *path, const char *value, int seconds);
int numa_scan_fast(void);
int numa_scan_stop(void);
int compact_node(const struct ground *g);
struct diff push_until_moved(const struct mover *mover, struct ground *g, struct region **regions,
			     int nr, const struct region *control, double seconds);
bool must_move(const struct ground *g, const struct region *r, size_t page);
struct diff compare_must_move(const struct ground *g, const struct region *r);

#endif /* _MOVERS_H */
