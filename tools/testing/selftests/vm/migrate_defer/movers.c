// SPDX-License-Identifier: GPL-2.0
/* How to make each mover move pages: see movers.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/mempolicy.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "movers.h"

#define NODE_DIR	"/sys/devices/system/node/node%d"
#define BLOCK_DIR	"/sys/devices/system/memory"
#define NUMA_DIR	"/sys/kernel/debug/sched/numa_balancing"
#define CMA_DIR		"/sys/kernel/debug/cma"
#define CGROUP_DIR	"/sys/fs/cgroup"

#define GIB	(1UL << 30)
#define FRAGMENT_PAGES	256
#define SPARE_BLOCKS	16	/* huge pages that are left free */

/* -------------------------------------------------------------------------------- the ground */

/**
 * ground_init() - choose the nodes to work on
 * @g: what to fill in
 *
 * Return: why the machine is not fit for any mover, or NULL.
 */
const char *ground_init(struct ground *g)
{
	*g = (struct ground) { .other = -1, .cpu = -1 };
	if (geteuid())
		return "only root sees page frames";
	for (int node = 1; node < node_count(); node++)
		if (node_meminfo(node, "MemFree:") > node_meminfo(g->node, "MemFree:"))
			g->node = node;
	for (int cpu = 0; cpu < cpu_count(); cpu++) {
		if (node_of_cpu(cpu) != g->node) {
			g->cpu = cpu;
			g->other = node_of_cpu(cpu);
			break;
		}
	}
	g->here = g->node;
	/* One mover at a time */
	numa_scan_stop();
	/* Pages on per-processor lists are nobody's free memory: keep those lists short. */
	setting_write("/proc/sys/vm/percpu_pagelist_high_fraction", "1000000");
	return NULL;
}

/**
 * ground_release() - give back the memory that was needed to provoke a mover
 * @g: the ground
 */
void ground_release(struct ground *g)
{
	if (g->pool)
		munmap(g->pool, g->pool_size);
	while (g->nr_fragments)
		munmap(g->fragment[--g->nr_fragments], FRAGMENT_PAGES * page_size());
	if (g->pipe[1]) {
		close(g->pipe[0]);
		close(g->pipe[1]);
		g->pipe[1] = 0;
	}
	g->pool = NULL;
}

/**
 * must_move() - whether a mandatory mover must move a page
 * @g: the ground
 * @r: the region, with a snapshot
 * @page: index of the page in it
 *
 * Return: whether.
 */
bool must_move(const struct ground *g, const struct region *r, size_t page)
{
	uint64_t pfn = pagemap_pfn(r->before[page]);

	return !g->vacate_end || (pfn >= g->vacate && pfn < g->vacate_end);
}

/**
 * compare_must_move() - like region_compare(), of the pages that a mandatory mover must move
 * @g: the ground
 * @r: the region, with a snapshot
 *
 * Return: the difference.
 */
struct diff compare_must_move(const struct ground *g, const struct region *r)
{
	uint64_t *entries = calloc(region_pages(r), sizeof(*entries));
	struct diff diff = { 0 };

	if (!entries || pagemap_read(r->addr, r->size, entries)) {
		perror("# pagemap");
		abort();
	}
	for (size_t i = 0; i < region_pages(r); i++) {
		if (!must_move(g, r, i))
			continue;
		diff.pages++;
		if (!(entries[i] & PM_PRESENT))
			diff.absent++;
		else if (pagemap_pfn(entries[i]) != pagemap_pfn(r->before[i]))
			diff.moved++;
	}
	free(entries);
	return diff;
}

/**
 * push_until_moved() - provoke a mover until it has moved most of a control region
 * @mover: the mover
 * @g: the ground
 * @regions: all regions, as for its place()
 * @nr: how many
 * @control: an unmarked region with a snapshot; it is touched, because a mover that splits large
 *	     folios of a file leaves them unmapped
 * @seconds: give up after so long
 *
 * Return: how the control region differs from its snapshot.
 */
struct diff push_until_moved(const struct mover *mover, struct ground *g, struct region **regions,
			     int nr, const struct region *control, double seconds)
{
	double deadline = now() + seconds;
	struct diff diff;

	do {
		mover->push(g, regions, nr);
		region_touch(control);
		diff = region_compare(control);
	} while (2 * diff.moved < diff.pages && now() < deadline);
	return diff;
}

struct frame {
	uint64_t pfn;
	size_t index;
};

/* Address space for base pages on the ground's node. */
static char *map_frames(const struct ground *g, size_t size)
{
	char *addr = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (addr == MAP_FAILED)
		return NULL;
	madvise(addr, size, MADV_NOHUGEPAGE);
	if (range_bind(addr, size, g->node, 0)) {
		munmap(addr, size);
		return NULL;
	}
	return addr;
}

/* Populates such pages and tells their page frames. */
static int take_frames(char *addr, size_t first, size_t pages, struct frame *frames)
{
	uint64_t *entries = calloc(pages, sizeof(*entries));
	int ret = entries ? 0 : -ENOMEM;

	addr += first * page_size();
	if (!ret && madvise(addr, pages * page_size(), MADV_POPULATE_WRITE))
		ret = -errno;
	ret = ret ?: pagemap_read(addr, pages * page_size(), entries);
	for (size_t i = 0; !ret && i < pages; i++)
		frames[i] = (struct frame) {
			.pfn = pagemap_pfn(entries[i]), .index = first + i,
		};
	free(entries);
	return ret;
}

/*
 * Make memory between two page frames come next: take whatever comes until @want pages of it
 * were among that, give these back and keep the others.
 */
static int prefer_frames(struct ground *g, uint64_t start, uint64_t end, size_t want)
{
	struct frame frames[FRAGMENT_PAGES];
	uint64_t entries[FRAGMENT_PAGES];
	size_t inside = 0;

	while (inside < want) {
		char *addr = map_frames(g, FRAGMENT_PAGES * page_size());

		if (!addr || g->nr_fragments == ARRAY_SIZE(g->fragment))
			return -ENOMEM;
		g->fragment[g->nr_fragments++] = addr;
		if (take_frames(addr, 0, FRAGMENT_PAGES, frames))
			return -ENOMEM;
		for (size_t i = 0; i < FRAGMENT_PAGES; i++)
			inside += frames[i].pfn >= start && frames[i].pfn < end;
	}

	for (int k = 0; k < g->nr_fragments; k++) {
		if (pagemap_read(g->fragment[k], FRAGMENT_PAGES * page_size(), entries))
			return -EIO;
		for (size_t i = 0; i < FRAGMENT_PAGES; i++)
			if (pagemap_pfn(entries[i]) >= start && pagemap_pfn(entries[i]) < end)
				madvise(g->fragment[k] + i * page_size(), page_size(),
					MADV_DONTNEED);
	}
	return 0;
}

/**
 * lru_drain() - empty the per-processor lists on which pages are on their way to the LRU
 *
 * The last pages that were faulted in still sit there, with a reference that some movers, and the
 * end of a uprobe, take for that of another user.  Any move_pages(2) empties the lists.
 *
 * Return: 0 or a negative errno.
 */
int lru_drain(void)
{
	const int nodes = 0;

	return syscall(SYS_move_pages, 0, 0UL, NULL, &nodes, NULL, MPOL_MF_MOVE) < 0 ? -errno : 0;
}

/**
 * regions_populate() - region_populate() for several
 * @regions: the regions
 * @nr: how many
 * @node: on which NUMA node; -1: wherever
 *
 * Return: 0 or a negative errno.
 */
int regions_populate(struct region **regions, int nr, int node)
{
	int ret = 0;

	for (int i = 0; !ret && i < nr; i++)
		ret = region_populate(regions[i], node);
	return ret ?: lru_drain();
}

/**
 * nodes_fill() - leave little free memory until settings_restore()
 * @leave: bytes on each node
 *
 * What is in the pool of huge pages costs no time to take.
 *
 * Return: 0 or a negative errno.
 */
int nodes_fill(size_t leave)
{
	int ret = 0;

	for (int node = 0; !ret && node < node_count(); node++) {
		size_t have = node_meminfo(node, "MemFree:");
		char path[128];
		long long nr;

		snprintf(path, sizeof(path),
			 "/sys/devices/system/node/node%d/hugepages/hugepages-%zukB/nr_hugepages",
			 node, pmd_size() >> 10);
		nr = file_number(path);
		if (nr >= 0 && have > leave)
			ret = setting_write(path, "%lld",
					    nr + (long long)((have - leave) / pmd_size()));
	}
	return ret;
}

/**
 * populate_inside() - populate regions from the page frames that a mandatory mover will empty
 * @g: the ground, which says which they are
 * @regions: the regions
 * @nr: how many
 *
 * Return: 0 or a negative errno.
 */
int populate_inside(struct ground *g, struct region **regions, int nr)
{
	size_t want = 0;
	int ret = 0;

	ground_release(g);
	for (int i = 0; !ret && i < nr; i++) {
		want += region_pages(regions[i]);
		ret = region_drop(regions[i]);
	}
	ret = ret ?: prefer_frames(g, g->vacate, g->vacate_end, want);
	return ret ?: regions_populate(regions, nr, g->node);
}

static const char *no_other_node(const struct ground *g)
{
	return g->other < 0 ? "no processor on another NUMA node" : NULL;
}

static void hugetlb_path(char *path, size_t len, int node, size_t size)
{
	snprintf(path, len, NODE_DIR "/hugepages/hugepages-%zukB/nr_hugepages", node, size >> 10);
}

/* Keep so many huge pages' worth of a node's free memory away from everybody: no page is cleared
 * for it, so this is the quick way to fill a node.
 */
static int hugetlb_take(struct ground *g, long nr)
{
	char path[PATH_MAX];
	long long have;

	hugetlb_path(path, sizeof(path), g->node, pmd_size());
	have = file_number(path);
	if (have < 0)
		return have;
	if (nr <= 0)
		return 0;
	if (!g->hugetlb_taken) {
		g->hugetlb_taken = true;
		g->hugetlb_before = have;
	}
	return setting_write(path, "%lld", have + nr);
}

static int hugetlb_give_back(struct ground *g)
{
	char path[PATH_MAX];

	if (!g->hugetlb_taken)
		return 0;
	g->hugetlb_taken = false;
	hugetlb_path(path, sizeof(path), g->node, pmd_size());
	return setting_write(path, "%lld", g->hugetlb_before);
}

/**
 * watermarks_lower() - have little memory kept free until settings_restore()
 *
 * The watermarks are high for the sake of THP, and raised whenever a size of THP is enabled.  Near
 * them compaction does not try, and beyond them the OOM killer comes.
 *
 * Return: 0 or a negative errno.
 */
int watermarks_lower(void)
{
	return setting_write("/proc/sys/vm/watermark_boost_factor", "0") ?:
	       setting_write("/proc/sys/vm/min_free_kbytes", "4096");
}

/**
 * free_huge_blocks() - count the free blocks of at least the size of a huge page
 * @node: the node
 *
 * Return: the number.
 */
long free_huge_blocks(int node)
{
	size_t order = __builtin_ctzl(pmd_size() / page_size());
	char buf[8192], *line = buf, *save;
	long blocks = 0;

	if (file_read("/proc/buddyinfo", buf, sizeof(buf)) < 0)
		return 0;
	for (line = strtok_r(buf, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *counts = strstr(line, "zone");
		size_t column = 0;
		int its_node, skip;

		if (sscanf(line, "Node %d,", &its_node) != 1 || its_node != node || !counts ||
		    sscanf(counts, "zone %*s%n", &skip))
			continue;
		for (counts += skip; *counts; column++) {
			long count = strtol(counts, &counts, 10);

			if (column >= order)
				blocks += count << (column - order);
			counts += strspn(counts, " ");
		}
	}
	return blocks;
}

/*
 * Narrow a CMA area down to its largest free part: drivers may have taken some of
 * it at boot.  The file "bitmap" has decimal 32-bit words.
 */
static void cma_free_part(const char *dir, uint64_t *start, uint64_t *end)
{
	uint64_t base = *start, pages = *end - *start, unit, bit = 0;
	uint64_t run = 0, best = 0, best_at = 0;
	char path[PATH_MAX];
	FILE *f;
	unsigned long word;

	snprintf(path, sizeof(path), "%s/order_per_bit", dir);
	unit = 1ULL << file_number(path);
	snprintf(path, sizeof(path), "%s/bitmap", dir);
	f = fopen(path, "r");
	while (f && fscanf(f, "%lu", &word) == 1) {
		for (int i = 0; i < 32 && bit * unit < pages; i++, bit++) {
			run = word >> i & 1 ? 0 : run + 1;
			if (run > best) {
				best = run;
				best_at = bit + 1 - run;
			}
		}
	}
	if (f)
		fclose(f);
	*start = base + best_at * unit;
	*end = *start + best * unit;
}

/* The largest CMA area: its directory in debugfs and its free page frames. */
static bool cma_find(char *dir_path, size_t len, uint64_t *start, uint64_t *end)
{
	long long best = 32 * MIB / page_size() - 1;
	DIR *dir = opendir(CMA_DIR);
	struct dirent *entry;
	char path[PATH_MAX];

	*end = 0;
	while (dir && (entry = readdir(dir))) {
		long long base, count;

		snprintf(path, sizeof(path), CMA_DIR "/%s/base_pfn", entry->d_name);
		base = file_number(path);
		snprintf(path, sizeof(path), CMA_DIR "/%s/count", entry->d_name);
		count = file_number(path);
		if (base < 0 || count <= best)
			continue;
		best = count;
		*start = base;
		*end = base + count;
		snprintf(dir_path, len, CMA_DIR "/%.100s", entry->d_name);
	}
	if (dir)
		closedir(dir);
	if (*end)
		cma_free_part(dir_path, start, end);
	return *end;
}

/* Memory from CMA areas would come first in a full node: let the area be in use. */
static void cma_take(struct ground *g)
{
	char dir[160], path[PATH_MAX], count[32];
	uint64_t start, end;

	if (g->cma_taken || !cma_find(dir, sizeof(dir), &start, &end))
		return;
	snprintf(count, sizeof(count), "%llu", (unsigned long long)(end - start));
	snprintf(path, sizeof(path), "%s/alloc", dir);
	g->cma_taken = !file_write(path, "%s", count);
	snprintf(path, sizeof(path), "%s/free", dir);
	if (g->cma_taken)
		setting_on_restore(path, count);
}

/* --------------------------------------------------------------------------------- compaction */

static int by_pfn(const void *a, const void *b)
{
	const struct frame *x = a, *y = b;

	return (x->pfn > y->pfn) - (x->pfn < y->pfn);
}

/*
 * Of these frames of the pool keep one per page block: the rest are holes.  A pipe holds a
 * reference to each of those that stay, so that they can't be moved themselves.
 */
static int make_holes(struct ground *g, const struct frame *frames, size_t pages)
{
	size_t block = pmd_size() / page_size(), pool_pages = g->pool_size / page_size();
	char *drop = calloc(pool_pages, 1);
	uint64_t last = UINT64_MAX;
	int ret = 0;

	if (!drop || pipe2(g->pipe, O_CLOEXEC | O_NONBLOCK))
		return -ENOMEM;
	fcntl(g->pipe[1], F_SETPIPE_SZ, MIB);
	for (size_t i = 0; i < pages; i++) {
		struct iovec page = {
			.iov_base = g->pool + frames[i].index * page_size(),
			.iov_len = page_size(),
		};

		drop[frames[i].index] = frames[i].pfn / block == last;
		last = frames[i].pfn / block;
		if (!drop[frames[i].index] && vmsplice(g->pipe[1], &page, 1, 0) < 0)
			ret = -errno;
	}
	for (size_t i = 0, k; i < pool_pages; i = k + 1) {
		for (k = i; k < pool_pages && drop[k]; k++)
			;
		if (k > i)
			madvise(g->pool + i * page_size(), (k - i) * page_size(), MADV_DONTNEED);
	}
	free(drop);
	return ret;
}

/*
 * Compaction moves pages from the low end of a zone into holes at its high end, and never into
 * entirely free blocks.  So: take memory at both ends, put the regions where the lowest page
 * frames of it are, and leave only holes of the highest.
 */
static int place_low(struct ground *g, struct region **regions, int nr)
{
	size_t total = 0, pages, low, high, holes;
	struct frame *frames;
	uint64_t middle;
	int ret = 0;

	ground_release(g);
	for (int i = 0; !ret && i < nr; i++) {
		total += regions[i]->size;
		ret = region_drop(regions[i]);
	}
	/* The background has a mover of its own below. */
	setting_write("/proc/sys/vm/compaction_proactiveness", "0");
	cma_take(g);
	ret = ret ?: hugetlb_give_back(g) ?: watermarks_lower() ?: compact_node(g);
	if (ret)
		return ret;

	/* Enough holes for what else is movable below them, too. */
	low = (total + 2 * pmd_size()) / page_size();
	holes = 3 * total + node_meminfo(g->node, "FilePages:") +
		node_meminfo(g->node, "AnonPages:");
	pages = low + holes / page_size();
	g->pool_size = pages * page_size();
	frames = calloc(pages, sizeof(*frames));
	g->pool = map_frames(g, g->pool_size);
	ret = frames && g->pool ? 0 : -ENOMEM;
	ret = ret ?: take_frames(g->pool, 0, low, frames);
	/* What is in the middle is in the way. */
	ret = ret ?: hugetlb_take(g, free_huge_blocks(g->node) -
					   (long)(holes / pmd_size()) - SPARE_BLOCKS);
	ret = ret ?: take_frames(g->pool, low, pages - low, frames + low);
	if (ret)
		goto out;
	qsort(frames, pages, sizeof(*frames), by_pfn);

	for (size_t i = 0; i < low; i++)
		madvise(g->pool + frames[i].index * page_size(), page_size(), MADV_DONTNEED);
	ret = prefer_frames(g, 0, frames[low].pfn, total / page_size());
	ret = ret ?: regions_populate(regions, nr, g->node);
	/*
	 * No hole in the lower half: compaction would begin there, with what it takes for a block
	 * that is almost free, and never come back to what is below (fast_find_migrateblock()).
	 */
	middle = (frames[0].pfn + frames[pages - 1].pfn) / 2;
	for (high = low; high < pages && frames[high].pfn < middle; high++)
		;
	ret = ret ?: make_holes(g, frames + high, pages - high);
out:
	free(frames);
	return ret;
}

/**
 * compact_node() - have all memory of the ground's node compacted
 * @g: the ground
 *
 * Return: 0 or a negative errno.
 */
int compact_node(const struct ground *g)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), NODE_DIR "/compact", g->node);
	return file_write(path, "1");
}

static const char *compact_memory_missing(struct ground *g)
{
	(void)g;
	return access("/proc/sys/vm/compact_memory", W_OK) ? "no CONFIG_COMPACTION" : NULL;
}

static int compact_memory_push(struct ground *g, struct region **regions, int nr)
{
	(void)g;
	(void)regions;
	(void)nr;
	return file_write("/proc/sys/vm/compact_memory", "1");
}

const struct mover compact_memory = {
	.name = "compact_memory",
	.counter = "nomigrate_skip_compaction",
	.missing = compact_memory_missing,
	.place = place_low,
	.push = compact_memory_push,
};

static const char *direct_compaction_missing(struct ground *g)
{
	char path[PATH_MAX];

	hugetlb_path(path, sizeof(path), g->node, pmd_size());
	if (access(path, W_OK))
		return "no hugetlb pages to fill the node with";
	return compact_memory_missing(g);
}

/* With no large free block left, only compaction can make one. */
static int place_low_and_fill(struct ground *g, struct region **regions, int nr)
{
	int ret = place_low(g, regions, nr);

	/* A few of these requests already need compaction: not before the snapshot. */
	return ret ?: hugetlb_take(g, free_huge_blocks(g->node) - 1);
}

/*
 * Ask for more than there is: compaction then looks everywhere before it gives up.  It backs off
 * after failures, and forgets which blocks it found useless only after some: so ask repeatedly.
 */
static int direct_compaction_push(struct ground *g, struct region **regions, int nr)
{
	(void)regions;
	(void)nr;
	return hugetlb_take(g, free_huge_blocks(g->node) + g->pool_size / pmd_size());
}

const struct mover direct_compaction = {
	.name = "direct compaction",
	.counter = "nomigrate_skip_compaction",
	.missing = direct_compaction_missing,
	.place = place_low_and_fill,
	.push = direct_compaction_push,
};

static const char *kcompactd_missing(struct ground *g)
{
	if (access("/proc/sys/vm/compaction_proactiveness", W_OK))
		return "no proactive compaction";
	return direct_compaction_missing(g);
}

static bool kcompactd_ran(void *arg)
{
	return vmstat("compact_daemon_migrate_scanned") > *(long long *)arg;
}

static int kcompactd_push(struct ground *g, struct region **regions, int nr)
{
	long long before = vmstat("compact_daemon_migrate_scanned");

	(void)g;
	(void)regions;
	(void)nr;
	/* Writing it wakes kcompactd up, even if the value is the same. */
	setting_write("/proc/sys/vm/compaction_proactiveness", "100");
	return poll_until(kcompactd_ran, &before, 2) ? 0 : -ETIME;
}

const struct mover kcompactd = {
	.name = "kcompactd",
	.counter = "nomigrate_skip_compaction",
	.missing = kcompactd_missing,
	.place = place_low_and_fill,
	.push = kcompactd_push,
};

/* ----------------------------------------------------------------------------- NUMA balancing */

/**
 * numa_scan_fast() - switch NUMA balancing on, with the shortest possible periods
 *
 * Return: 0 or a negative errno.
 */
int numa_scan_fast(void)
{
	return setting_write(NUMA_DIR "/scan_delay_ms", "10") ?:
	       setting_write(NUMA_DIR "/scan_period_min_ms", "10") ?:
	       setting_write(NUMA_DIR "/scan_period_max_ms", "20") ?:
	       setting_write(NUMA_DIR "/scan_size_mb", "512") ?:
	       setting_write("/proc/sys/kernel/numa_balancing", "1");
}

/**
 * numa_scan_stop() - switch NUMA balancing off; hints that were placed stay
 *
 * Return: 0 or a negative errno.
 */
int numa_scan_stop(void)
{
	return setting_write("/proc/sys/kernel/numa_balancing", "0");
}

static const char *numa_balancing_missing(struct ground *g)
{
	if (access("/proc/sys/kernel/numa_balancing", W_OK) || access(NUMA_DIR, F_OK))
		return "no CONFIG_NUMA_BALANCING (or no debugfs)";
	return no_other_node(g);
}

static int numa_balancing_place(struct ground *g, struct region **regions, int nr)
{
	return task_pin(0, g->cpu) ?: regions_populate(regions, nr, g->node) ?: numa_scan_fast();
}

static int numa_balancing_push(struct ground *g, struct region **regions, int nr)
{
	double end = now() + 0.1;

	(void)g;
	do {
		for (int i = 0; i < nr; i++)
			region_touch(regions[i]);
	} while (now() < end);
	return 0;
}

const struct mover numa_balancing = {
	.name = "NUMA balancing",
	.counter = "nomigrate_skip_numa_balancing",
	.missing = numa_balancing_missing,
	.place = numa_balancing_place,
	.push = numa_balancing_push,
};

/* ----------------------------------------------------- contiguous allocation, memory unplug */

static void on_alarm(int sig)
{
	(void)sig;
}

/**
 * write_bounded() - a write that ends with -EINTR instead of trying forever
 * @path: the file
 * @value: what to write
 * @seconds: how long it may take
 *
 * Return: 0 or a negative errno.
 */
int write_bounded(const char *path, const char *value, int seconds)
{
	struct sigaction action = { .sa_handler = on_alarm }, old;
	int ret;

	sigaction(SIGALRM, &action, &old);
	alarm(seconds);
	ret = file_write(path, "%s", value);
	alarm(0);
	sigaction(SIGALRM, &old, NULL);
	return ret;
}

static const char *cma_missing(struct ground *g)
{
	uint64_t start, end;

	if (!cma_find(g->path, sizeof(g->path), &g->vacate, &g->vacate_end))
		return "no CMA area of at least 32 MiB in debugfs";
	for (int node = 0; node < node_count(); node++)
		if (node_pfn_range(node, &start, &end) && g->vacate >= start && g->vacate < end)
			g->node = node;
	return NULL;
}

/*
 * Movable memory comes from CMA areas as long as these are more than half of what is free: fill
 * the node to the point where that begins, from where on every second page does.  Not beyond it:
 * huge pages would come from there, too, and CMA has to find others for them.
 */
static int cma_place(struct ground *g, struct region **regions, int nr)
{
	size_t area = (g->vacate_end - g->vacate) * page_size();
	size_t have = node_meminfo(g->node, "MemFree:"), leave = 2 * area;
	int ret = watermarks_lower();

	if (!ret && have > leave)
		ret = hugetlb_take(g, (have - leave) / pmd_size());
	return ret ?: populate_inside(g, regions, nr);
}

static int cma_push(struct ground *g, struct region **regions, int nr)
{
	char path[PATH_MAX];

	(void)regions;
	(void)nr;
	snprintf(path, sizeof(path), "%s/alloc", g->path);
	return file_write(path, "%llu", (unsigned long long)(g->vacate_end - g->vacate));
}

static void cma_undo(struct ground *g)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/free", g->path);
	file_write(path, "%llu", (unsigned long long)(g->vacate_end - g->vacate));
}

const struct mover cma_alloc = {
	.name = "CMA alloc",
	.counter = "nomigrate_forced",
	.missing = cma_missing,
	.place = cma_place,
	.push = cma_push,
	.undo = cma_undo,
};

/*
 * Make one memory block that holds nothing into a ZONE_MOVABLE of its own: movable memory of the
 * node then comes from there first, and nothing else does.
 */
static const char *memory_offline_missing(struct ground *g)
{
	uint64_t start, end, block;
	char buf[64];

	if (file_read(BLOCK_DIR "/block_size_bytes", buf, sizeof(buf)) < 0)
		return "no memory hotplug";
	block = strtoull(buf, NULL, 16) / page_size();
	if (!node_pfn_range(g->node, &start, &end))
		return "the node has no memory blocks";
	for (uint64_t nr = end / block; nr-- > start / block;) {
		char path[128];

		snprintf(path, sizeof(path), BLOCK_DIR "/memory%llu/state", (unsigned long long)nr);
		if (write_bounded(path, "offline", 30))
			continue;
		/* Put back in reverse order: leave the movable zone, then join the normal one. */
		setting_on_restore(path, "online");
		setting_on_restore(path, "offline");
		if (file_write(path, "online_movable"))
			continue;
		g->vacate = nr * block;
		g->vacate_end = (nr + 1) * block;
		snprintf(g->path, sizeof(g->path), "%s", path);
		return NULL;
	}
	return "INCONCLUSIVE: no memory block can be taken offline";
}

static int memory_offline_push(struct ground *g, struct region **regions, int nr)
{
	(void)regions;
	(void)nr;
	return write_bounded(g->path, "offline", 120);
}

static void memory_offline_undo(struct ground *g)
{
	file_write(g->path, "online_movable");
}

const struct mover memory_offline = {
	.name = "memory offline",
	.counter = "nomigrate_forced",
	.missing = memory_offline_missing,
	.place = populate_inside,
	.push = memory_offline_push,
	.undo = memory_offline_undo,
};

static int gigantic_set(struct ground *g, long long nr)
{
	char path[PATH_MAX];
	int ret;

	hugetlb_path(path, sizeof(path), g->node, GIB);
	ret = setting_write(path, "%lld", nr);
	if (ret)
		return ret;
	return file_number(path) == nr ? 0 : -ENOMEM;
}

static bool gigantic_at(uint64_t pfn)
{
	return kpageflags(pfn) & KPF_COMPOUND_HEAD && kpageflags(pfn) & KPF_HUGE &&
	       kpageflags(pfn + GIB / page_size() - 1) & KPF_HUGE;
}

/* Ask for one, to see where it comes from. */
static const char *gigantic_missing(struct ground *g)
{
	uint64_t start, end, step = GIB / page_size();
	char path[PATH_MAX], cmdline[4096];
	struct utsname kernel;

	if (file_read("/proc/cmdline", cmdline, sizeof(cmdline)) >= 0 &&
	    strstr(cmdline, "page_table_check=on") &&
	    !uname(&kernel) && !strncmp(kernel.release, "6.12", 4))
		return "6.12 has a BUG in __page_table_check_zero() for pages of 1 GiB";
	hugetlb_path(path, sizeof(path), g->node, GIB);
	if (access(path, W_OK) || !node_pfn_range(g->node, &start, &end))
		return "no gigantic pages of 1 GiB";
	if (gigantic_set(g, 1))
		return "INCONCLUSIVE: no room for a gigantic page";
	for (uint64_t pfn = (start + step - 1) / step * step; pfn + step <= end; pfn += step) {
		if (gigantic_at(pfn)) {
			g->vacate = pfn;
			g->vacate_end = pfn + step;
		}
	}
	gigantic_set(g, 0);
	return g->vacate_end ? NULL : "the gigantic page was not found";
}

/* Its memory was freed last, and is allocated first. */
static int gigantic_place(struct ground *g, struct region **regions, int nr)
{
	int ret = gigantic_set(g, 1) ?: gigantic_set(g, 0);

	return ret ?: populate_inside(g, regions, nr);
}

static int gigantic_push(struct ground *g, struct region **regions, int nr)
{
	int ret;

	(void)regions;
	(void)nr;
	ret = gigantic_set(g, 1);
	if (ret || gigantic_at(g->vacate))
		return ret;
	gigantic_set(g, 0);
	return -ESTALE;
}

static void gigantic_undo(struct ground *g)
{
	gigantic_set(g, 0);
}

const struct mover gigantic_page = {
	.name = "gigantic page",
	.counter = "nomigrate_forced",
	.missing = gigantic_missing,
	.place = gigantic_place,
	.push = gigantic_push,
	.undo = gigantic_undo,
};

/* --------------------------------------------------------------------------- asked for by tasks */

static const char *two_nodes_missing(struct ground *g)
{
	return no_other_node(g);
}

static int asked_for_place(struct ground *g, struct region **regions, int nr)
{
	g->here = g->node;
	return regions_populate(regions, nr, g->node);
}

static int move_pages_one(const struct region *r, int node)
{
	size_t nr = r->size / r->folio;
	void **addrs = calloc(nr, sizeof(*addrs));
	int *nodes = calloc(nr, sizeof(*nodes)), *status = calloc(nr, sizeof(*status));
	int ret = -ENOMEM;

	if (addrs && nodes && status) {
		/* One address for each folio: it cannot be isolated twice. */
		for (size_t i = 0; i < nr; i++) {
			addrs[i] = r->addr + i * r->folio;
			nodes[i] = node;
		}
		ret = syscall(SYS_move_pages, 0, nr, addrs, nodes, status, MPOL_MF_MOVE);
		if (ret < 0)
			ret = -errno;
		/* Positive: so many were not moved. */
		for (size_t i = 0; !ret && i < nr; i++)
			if (status[i] != node)
				ret = status[i] < 0 ? status[i] : -EAGAIN;
		if (ret > 0)
			ret = -EBUSY;
	}
	free(addrs);
	free(nodes);
	free(status);
	return ret;
}

static int there(const struct ground *g)
{
	return g->here == g->node ? g->other : g->node;
}

static int move_pages_push(struct ground *g, struct region **regions, int nr)
{
	int ret = 0;

	for (int i = 0; !ret && i < nr; i++)
		ret = move_pages_one(regions[i], there(g));
	g->here = there(g);
	return ret;
}

const struct mover move_pages_syscall = {
	.name = "move_pages",
	.counter = "nomigrate_forced",
	.missing = two_nodes_missing,
	.place = asked_for_place,
	.push = move_pages_push,
};

static int migrate_pages_push(struct ground *g, struct region **regions, int nr)
{
	unsigned long from = 1UL << g->here, to = 1UL << there(g);
	long ret;

	(void)regions;
	(void)nr;
	ret = syscall(SYS_migrate_pages, 0, 8 * sizeof(from), &from, &to);
	g->here = there(g);
	return ret < 0 ? -errno : 0;
}

const struct mover migrate_pages_syscall = {
	.name = "migrate_pages",
	.counter = "nomigrate_forced",
	.missing = two_nodes_missing,
	.place = asked_for_place,
	.push = migrate_pages_push,
};

static int mbind_push(struct ground *g, struct region **regions, int nr)
{
	int ret = 0;

	for (int i = 0; !ret && i < nr; i++)
		ret = range_bind(regions[i]->addr, regions[i]->size, there(g),
				 MPOL_MF_MOVE | MPOL_MF_STRICT);
	g->here = there(g);
	return ret;
}

const struct mover mbind_move = {
	.name = "mbind",
	.counter = "nomigrate_forced",
	.missing = two_nodes_missing,
	.place = asked_for_place,
	.push = mbind_push,
};

static const char *cpuset_missing(struct ground *g)
{
	char path[PATH_MAX];

	snprintf(g->path, sizeof(g->path), CGROUP_DIR "/migrate_defer");
	file_write(CGROUP_DIR "/cgroup.subtree_control", "+cpuset");
	if (mkdir(g->path, 0755) && errno != EEXIST)
		return "no cgroup v2 on " CGROUP_DIR;
	setting_on_restore(g->path, NULL);
	snprintf(path, sizeof(path), "%s/cpuset.mems", g->path);
	return access(path, W_OK) ? "no cpuset controller in cgroup v2" : no_other_node(g);
}

static int cpuset_place(struct ground *g, struct region **regions, int nr)
{
	char path[PATH_MAX];
	int ret;

	snprintf(path, sizeof(path), "%s/cpuset.mems", g->path);
	ret = file_write(path, "%d", g->node);
	snprintf(path, sizeof(path), "%s/cgroup.procs", g->path);
	return ret ?: file_write(path, "0") ?: asked_for_place(g, regions, nr);
}

struct arrival {
	struct region **regions;
	int nr;
	int node;
};

static bool all_arrived(void *arg)
{
	const struct arrival *a = arg;

	for (int i = 0; i < a->nr; i++)
		if (region_nodes(a->regions[i], a->node) != (int)region_pages(a->regions[i]))
			return false;
	return true;
}

/* The kernel moves the pages from a work item: wait for it. */
static int cpuset_push(struct ground *g, struct region **regions, int nr)
{
	struct arrival arrival = { regions, nr, there(g) };
	char path[PATH_MAX];
	int ret;

	snprintf(path, sizeof(path), "%s/cpuset.mems", g->path);
	ret = file_write(path, "%d", there(g));
	g->here = there(g);
	if (ret)
		return ret;
	return poll_until(all_arrived, &arrival, 5) ? 0 : -ETIME;
}

const struct mover cpuset_migrate = {
	.name = "cpuset",
	.counter = "nomigrate_forced",
	.missing = cpuset_missing,
	.place = cpuset_place,
	.push = cpuset_push,
};
