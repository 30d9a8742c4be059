// SPDX-License-Identifier: GPL-2.0
/* Whether movers that must succeed do, with protected memory in their way: see compare.h. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compare.h"
#include "sva.h"

#define REGION_SIZE	(4 * MIB)
#define TRIES		5
#define PATIENCE	3	/* seconds that an attempt to take memory offline may take */
#define BLOCK_DIR	"/sys/devices/system/memory"
#define GIGANTIC	"/sys/devices/system/node/node%d/hugepages/hugepages-1048576kB/nr_hugepages"
#define GIGANTIC_PAGES	(1024 * MIB / page_size())
#define MAX_GIGANTIC	8

/* ------------------------------------------- offline of memory that the kernel itself may use */

/* Memory that was added to a zone for all purposes, of which one block is wanted back */
static const char *kernel_zone_missing(struct ground *g)
{
	const char *why = slow_node_online("online_kernel", &g->node);
	uint64_t start, end;
	char buf[64];

	if (why)
		return why;
	if (!node_pfn_range(g->node, &start, &end) ||
	    file_read(BLOCK_DIR "/block_size_bytes", buf, sizeof(buf)) < 0)
		return "the node has no memory blocks";
	g->vacate_end = end;
	g->vacate = end - strtoull(buf, NULL, 16) / page_size();
	snprintf(g->path, sizeof(g->path), BLOCK_DIR "/memory%llu/state",
		 (unsigned long long)(g->vacate / (g->vacate_end - g->vacate)));
	return NULL;
}

static int kernel_zone_push(struct ground *g, struct region **regions, int nr)
{
	(void)regions;
	(void)nr;
	return write_bounded(g->path, "offline", PATIENCE);
}

static void kernel_zone_undo(struct ground *g)
{
	file_write(g->path, "online_kernel");
}

static const struct mover kernel_zone_offline = {
	.name = "offline of a kernel-zone block",
	.missing = kernel_zone_missing,
	.place = populate_inside,
	.push = kernel_zone_push,
	.undo = kernel_zone_undo,
};

/* ------------------------------------------------------------- the last possible gigantic page */

static long long gigantic_set(const struct ground *g, long long nr)
{
	char path[PATH_MAX];
	int ret;

	snprintf(path, sizeof(path), GIGANTIC, g->node);
	ret = setting_write(path, "%lld", nr);
	return ret ?: file_number(path);
}

static int gigantic_find(const struct ground *g, uint64_t *pfns)
{
	uint64_t start, end, step = GIGANTIC_PAGES;
	int nr = 0;

	if (!node_pfn_range(g->node, &start, &end))
		return 0;
	for (uint64_t pfn = (start + step - 1) / step * step; pfn + step <= end; pfn += step)
		if (kpageflags(pfn) & KPF_COMPOUND_HEAD &&
		    kpageflags(pfn + step - 1) & KPF_COMPOUND_TAIL && nr < MAX_GIGANTIC)
			pfns[nr++] = pfn;
	return nr;
}

/* All that there can be, then one less: what is left of it is the only place for another. */
static const char *last_gigantic_missing(struct ground *g)
{
	uint64_t all[MAX_GIGANTIC], rest[MAX_GIGANTIC];
	long long nr = gigantic_set(g, MAX_GIGANTIC);
	int nr_rest;

	if (nr < 1 || gigantic_find(g, all) != nr)
		return "no gigantic pages of 1 GiB";
	gigantic_set(g, nr - 1);
	nr_rest = gigantic_find(g, rest);
	for (int i = 0; i < nr; i++) {
		bool kept = false;

		for (int k = 0; k < nr_rest; k++)
			kept |= all[i] == rest[k];
		if (!kept) {
			g->vacate = all[i];
			g->vacate_end = all[i] + GIGANTIC_PAGES;
		}
	}
	g->hugetlb_before = nr - 1;
	return g->vacate_end ? NULL : "the gigantic page was not found";
}

static int last_gigantic_push(struct ground *g, struct region **regions, int nr)
{
	(void)regions;
	(void)nr;
	return gigantic_set(g, g->hugetlb_before + 1) == g->hugetlb_before + 1 ? 0 : -ENOMEM;
}

static void last_gigantic_undo(struct ground *g)
{
	gigantic_set(g, g->hugetlb_before);
}

static const struct mover last_gigantic_page = {
	.name = "gigantic page",
	.missing = last_gigantic_missing,
	.place = populate_inside,
	.push = last_gigantic_push,
	.undo = last_gigantic_undo,
};

/* -------------------------------------------------------------------------------------- trials */

/**
 * struct tally - what the tries come to
 * @tries:	how many there were
 * @succeeded:	how many of them succeeded
 * @inside:	pages of the region that were where the mover wants memory, before the protection
 * @left:	pages that had moved when the region was protected
 * @in_the_way:	pages that were still there when the mover came
 * @moved:	those of them that it moved
 * @corrupt:	pages with other contents afterwards
 * @during:	I/O page faults of a device until the move was over
 * @after:	those from then on
 * @error:	of the last try that failed
 */
struct tally {
	int tries;
	int succeeded;
	size_t inside;
	size_t left;
	size_t in_the_way;
	size_t moved;
	size_t corrupt;
	uint64_t during;
	uint64_t after;
	int error;
};

static size_t count_inside(const struct ground *g, const struct region *r)
{
	size_t inside = 0;

	for (size_t page = 0; page < region_pages(r); page++)
		inside += must_move(g, r, page);
	return inside;
}

/* A device reads the whole range until told to stop. */
static int device_start(struct region *r, int *fd)
{
	struct sva_testdev_job job = sva_job(SVA_TESTDEV_READ, r->addr, r->size, 0);
	struct sva_testdev_stats stats;
	int ret;

	*fd = sva_open_bound(0);
	if (*fd < 0)
		return *fd;
	ret = sva_start(*fd, &job) ?: sva_wait_accesses(*fd, region_pages(r));
	return ret ?: sva_stats(*fd, SVA_TESTDEV_STATS_RESET, &stats);
}

static int device_stop(struct region *r, int fd, struct tally *tally)
{
	struct sva_testdev_stats stats;
	int ret = sva_wait_quiet(fd) ?: sva_wait_accesses(fd, region_pages(r)) ?:
		  sva_stats(fd, SVA_TESTDEV_STATS_RESET, &stats);

	tally->during += ret ? 0 : stats.faults;
	ret = ret ?: sva_wait_accesses(fd, 2 * region_pages(r)) ?: sva_stop(fd) ?:
	      sva_stats(fd, 0, &stats);
	tally->after += ret ? 0 : stats.faults;
	close(fd);
	return ret;
}

static int try(const struct mover *mover, struct ground *g, struct region *r,
	       const struct rival *rival, bool device, struct tally *tally)
{
	int fd = -1, ret = mover->place(g, &r, 1) ?: region_snapshot(r);
	struct diff diff;

	if (ret)
		return ret;
	tally->inside += count_inside(g, r);
	ret = rival->protect(r->addr, r->size);
	if (ret)
		return ret;
	tally->left += region_compare(r).moved;
	ret = region_snapshot(r);
	tally->in_the_way += count_inside(g, r);
	if (device)
		ret = ret ?: device_start(r, &fd);
	if (ret)
		return ret;

	ret = mover->push(g, &r, 1);
	tally->tries++;
	tally->succeeded += !ret;
	tally->error = ret ?: tally->error;
	diff = compare_must_move(g, r);
	tally->moved += diff.moved;
	ret = device ? device_stop(r, fd, tally) : 0;
	tally->corrupt += region_corrupt(r);
	if (mover->undo)
		mover->undo(g);
	return ret ?: rival->release(r->addr, r->size);
}

static int measure_forced(const struct item *item, const struct rival *rival)
{
	const struct mover *mover = item->mover;
	struct tally tally = { 0 };
	struct ground g;
	struct region r;
	const char *why;
	bool device;
	int ret = 0;

	why = ground_init(&g) ?: mover->missing(&g);
	if (why)
		return report_missing("%s", why);
	device = !sva_missing();
	/* Page tables can't be moved: have them come from the node of another processor. */
	ret = g.cpu < 0 ? 0 : task_pin(0, g.cpu);
	ret = ret ?: region_map(&r, MEM_ANON, page_size(), REGION_SIZE);
	if (!ret && rival->system_setup)
		ret = rival->system_setup();
	for (int i = 0; !ret && i < TRIES; i++)
		ret = try(mover, &g, &r, rival, device, &tally);
	if (ret)
		return ret;
	if (!tally.inside)
		return report_missing("inconclusive: no page was in the way");
	if (tally.error)
		fprintf(stderr, "# %s: %s\n", item->what, strerror(-tally.error));
	report_of("succeeded", "tries", tally.succeeded, tally.tries);
	report_of("moved by protecting", "pages", tally.left, tally.inside);
	report_of("moved", "pages", tally.moved, tally.in_the_way);
	report_of("corrupt", "pages", tally.corrupt, tally.tries * region_pages(&r));
	if (device) {
		report("I/O page faults during the move", "faults", tally.during);
		report("I/O page faults afterwards", "faults", tally.after);
	}
	return 0;
}

#define FORCED(name, mover_) \
	{ .what = name, .measure = measure_forced, .mover = mover_, .seconds = 120 }

static const struct item items[] = {
	FORCED("CMA allocation", &cma_alloc),
	FORCED("offline of a movable-zone block", &memory_offline),
	FORCED("offline of a kernel-zone block", &kernel_zone_offline),
	FORCED("gigantic page", &last_gigantic_page),
	FORCED("move_pages()", &move_pages_syscall),
	FORCED("soft offline of a page", &soft_offline),
	{ 0 }
};

const struct section forced_section = { .name = "forced", .items = items };
