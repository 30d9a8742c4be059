// SPDX-License-Identifier: GPL-2.0
/* Movers that make huge pages, or split them: see movers.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "movers.h"

#define THP		"/sys/kernel/mm/transparent_hugepage"
#define KHUGEPAGED	THP "/khugepaged"
#define TRACING		"/sys/kernel/tracing"

/* -------------------------------------------------------------------------------- kernel events */

/**
 * watch_open() - record an event of the kernel from now on
 * @w: what to fill in
 * @event: the event, such as "huge_memory/mm_collapse_huge_page_isolate"
 *
 * Return: 0 or a negative errno.
 */
int watch_open(struct watch *w, const char *event)
{
	char path[160];

	if (access(TRACING "/events", F_OK))
		mount("tracefs", TRACING, "tracefs", 0, NULL);
	snprintf(w->dir, sizeof(w->dir), TRACING "/instances/migrate_defer_%d_%.30s", getpid(),
		 strchr(event, '/') + 1);
	if (mkdir(w->dir, 0700))
		return -errno;
	setting_on_restore(w->dir, NULL);
	snprintf(path, sizeof(path), "%s/events/%s/enable", w->dir, event);
	return file_write(path, "1");
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/**
 * watch_count() - how often the event was about a page that a region had at its snapshot
 * @w: the record; it is not emptied
 * @field: what stands before the page frame in the event's text, such as "scan_pfn="
 * @r: the region; NULL to count all events, whatever they are about
 *
 * Return: the number, or a negative errno.
 */
int watch_count(const struct watch *w, const char *field, const struct region *r)
{
	size_t pages = r ? region_pages(r) : 0;
	uint64_t *frames = calloc(pages + 1, sizeof(*frames)), pfn;
	char path[160], line[512], *at;
	int count = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/trace", w->dir);
	f = fopen(path, "re");
	if (!f || !frames) {
		count = f ? -ENOMEM : -errno;
		goto out;
	}
	for (size_t i = 0; i < pages; i++)
		frames[i] = pagemap_pfn(r->before[i]);
	qsort(frames, pages, sizeof(*frames), by_value);
	while (fgets(line, sizeof(line), f)) {
		at = r ? strstr(line, field) : line;
		if (*line == '#' || !at)
			continue;
		pfn = r ? strtoull(at + strlen(field), NULL, 0) : 0;
		count += !r || bsearch(&pfn, frames, pages, sizeof(*frames), by_value);
	}
out:
	if (f)
		fclose(f);
	free(frames);
	return count;
}

/**
 * watch_close() - stop recording
 * @w: the record
 */
void watch_close(struct watch *w)
{
	char path[160];

	/* The directory goes with the settings. */
	snprintf(path, sizeof(path), "%s/events/enable", w->dir);
	file_write(path, "0");
}

/**
 * huge_mapped() - how much of a range is mapped by huge entries of the page tables
 * @addr: its start
 * @len: its length
 *
 * Return: bytes.
 */
size_t huge_mapped(const void *addr, size_t len)
{
	struct page_region found[64];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = (uintptr_t)addr,
		.end = (uintptr_t)addr + len,
		.vec = (uintptr_t)found,
		.vec_len = ARRAY_SIZE(found),
		.category_mask = PAGE_IS_HUGE | PAGE_IS_PRESENT,
		.return_mask = PAGE_IS_HUGE,
	};
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), nr;
	size_t bytes = 0;

	nr = ioctl(fd, PAGEMAP_SCAN, &arg);
	for (int i = 0; i < nr; i++)
		bytes += found[i].end - found[i].start;
	close(fd);
	return bytes;
}

/* ----------------------------------------------------------------------------------- khugepaged */

static const char *khugepaged_missing(struct ground *g)
{
	(void)g;
	return access(KHUGEPAGED, F_OK) ? "no CONFIG_TRANSPARENT_HUGEPAGE" : NULL;
}

static int pmd_folios_allow(void)
{
	char path[160];
	int ret;

	snprintf(path, sizeof(path), THP "/hugepages-%zukB/enabled", pmd_size() >> 10);
	ret = setting_write(path, "madvise");
	snprintf(path, sizeof(path), THP "/hugepages-%zukB/shmem_enabled", pmd_size() >> 10);
	return ret ?: setting_write(path, "advise");
}

/* As fast as it can be while it still lets others run */
static int khugepaged_fast(void)
{
	return pmd_folios_allow() ?:
	       setting_write(KHUGEPAGED "/pages_to_scan", "65536") ?:
	       setting_write(KHUGEPAGED "/alloc_sleep_millisecs", "10") ?:
	       setting_write(KHUGEPAGED "/scan_sleep_millisecs", "10");
}

/**
 * khugepaged_wake() - have khugepaged begin a round now, and then wait
 *
 * Return: 0 or a negative errno.
 */
int khugepaged_wake(void)
{
	return setting_write(KHUGEPAGED "/scan_sleep_millisecs", "600000");
}

/* Small pages, which nobody may make huge yet: there is a snapshot to be taken. */
static int khugepaged_place(struct ground *g, struct region **regions, int nr)
{
	int ret = 0;

	for (int i = 0; !ret && i < nr; i++) {
		if (madvise(regions[i]->addr, regions[i]->size, MADV_NOHUGEPAGE))
			return -errno;
		ret = region_populate(regions[i], g->node);
	}
	return ret ?: khugepaged_fast();
}

static bool scanned(void *arg)
{
	return file_number(KHUGEPAGED "/full_scans") >= *(long long *)arg;
}

/* One whole round over all processes. */
static int khugepaged_file_push(struct ground *g, struct region **regions, int nr)
{
	long long want = file_number(KHUGEPAGED "/full_scans") + 2;

	(void)g;
	(void)regions;
	(void)nr;
	return poll_until(scanned, &want, 5) ? 0 : -ETIME;
}

static int khugepaged_push(struct ground *g, struct region **regions, int nr)
{
	for (int i = 0; i < nr; i++)
		if (madvise(regions[i]->addr, regions[i]->size, MADV_HUGEPAGE))
			return -errno;
	return khugepaged_file_push(g, regions, nr);
}

const struct mover khugepaged = {
	.name = "khugepaged",
	.counter = "nomigrate_skip_khugepaged",
	.missing = khugepaged_missing,
	.place = khugepaged_place,
	.push = khugepaged_push,
};

const struct mover khugepaged_file = {
	.name = "khugepaged, from whatever process",
	.counter = "nomigrate_skip_khugepaged",
	.missing = khugepaged_missing,
	.place = khugepaged_place,
	.push = khugepaged_file_push,
};

/* ------------------------------------------------------------------------- splitting huge pages */

static const char *split_missing(struct ground *g)
{
	(void)g;
	return access(THP "/shrink_underused", F_OK) ?
	       "no CONFIG_TRANSPARENT_HUGEPAGE (or no split of underused huge pages)" : NULL;
}

/*
 * Huge pages of which the first half is mapped; the kernel queues them for a split.  khugepaged,
 * which would fill the other half, must not find so many empty entries acceptable.
 */
static int deferred_split_place(struct ground *g, struct region **regions, int nr)
{
	int ret = setting_write(KHUGEPAGED "/max_ptes_none", "%zu",
				pmd_size() / page_size() / 2 - 1);

	for (int i = 0; !ret && i < nr; i++)
		ret = region_populate(regions[i], g->node);
	for (int i = 0; !ret && i < nr; i++) {
		struct region *r = regions[i];
		size_t half = r->folio / 2;

		if (2 * region_large_pages(r) < region_pages(r))
			return -ENODATA;
		for (size_t offset = half; !ret && offset < r->size; offset += r->folio)
			if (madvise(r->addr + offset, half, MADV_DONTNEED))
				ret = -errno;
	}
	return ret;
}

/* Huge pages that are mostly zeroes. */
static int underused_split_place(struct ground *g, struct region **regions, int nr)
{
	size_t filled = 8 * page_size();
	int ret = setting_write(THP "/shrink_underused", "1") ?:
		  setting_write(KHUGEPAGED "/max_ptes_none", "64");

	for (int i = 0; !ret && i < nr; i++)
		ret = region_populate(regions[i], g->node);
	for (int i = 0; !ret && i < nr; i++) {
		struct region *r = regions[i];

		if (2 * region_large_pages(r) < region_pages(r))
			return -ENODATA;
		for (size_t offset = 0; offset < r->size; offset += r->folio)
			memset(r->addr + offset + filled, 0, r->folio - filled);
	}
	return ret;
}

/* Have all shrinkers run. */
static int split_push(struct ground *g, struct region **regions, int nr)
{
	(void)g;
	(void)regions;
	(void)nr;
	return file_write("/proc/sys/vm/drop_caches", "2");
}

const struct mover deferred_split = {
	.name = "the split of partly mapped huge pages",
	.counter = "nomigrate_skip_thp_split",
	.missing = split_missing,
	.place = deferred_split_place,
	.push = split_push,
};

const struct mover underused_split = {
	.name = "the split of underused huge pages",
	.counter = "nomigrate_skip_thp_split",
	.missing = split_missing,
	.place = underused_split_place,
	.push = split_push,
};
