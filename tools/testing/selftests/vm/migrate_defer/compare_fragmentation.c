// SPDX-License-Identifier: GPL-2.0
/*
 * What protected memory costs whoever wants huge pages: see compare.h.
 *
 * The experiment of the patch that introduced vm.compact_unevictable_allowed: a node is filled, a
 * share of it is protected in areas of 1 MiB, the rest is given back, and then huge pages are
 * wanted.  There the areas were contiguous in physical memory, too.  On a machine that has been
 * running for a while they are not: most trials have the pages of each area all over the node, so
 * that not one huge page is left over without compaction.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compare.h"

#define CHUNK		MIB
#define SPARE		(4 * MIB)
#define ROUNDS		8		/* of asking for huge pages */
#define EXTFRAG		"/sys/kernel/debug/extfrag/unusable_index"
#define HUGE_PAGES	"/sys/devices/system/node/node%d/hugepages/hugepages-%zukB/nr_hugepages"

static struct field {
	int node;
	char *addr;
	size_t size;
	uint64_t *frames;
} field;

/* Of all free memory of the node, the share that can't be had in huge pages, in per mille */
static long unusable_index(int node)
{
	size_t order = __builtin_ctzl(pmd_size() / page_size());
	char buf[8192], *save;

	if (file_read(EXTFRAG, buf, sizeof(buf)) < 0)
		return -1;
	for (char *line = strtok_r(buf, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *at = strstr(line, "zone");
		double index = 0;
		int its_node, skip;

		if (sscanf(line, "Node %d,", &its_node) != 1 || its_node != node || !at ||
		    sscanf(at, "zone %*s%n", &skip))
			continue;
		at += skip;
		for (size_t column = 0; column <= order; column++)
			index = strtod(at, &at);
		return 1000 * index + 0.5;
	}
	return -1;
}

/* Always the same order of pages, without any order in it */
static size_t *shuffled(size_t pages)
{
	size_t *order = calloc(pages, sizeof(*order));

	srandom(1);
	for (size_t i = 0; order && i < pages; i++) {
		size_t other = random() % (i + 1);

		order[i] = order[other];
		order[other] = i;
	}
	return order;
}

static int fill(bool scattered)
{
	const char *why = slow_node_online("online_kernel", &field.node);
	size_t pages, *order;
	int ret;

	if (why) {
		report_missing("%s", why);
		return -ENODEV;
	}
	/* The kernel has just set them for one more node.  Compaction is to wait for its turn. */
	ret = watermarks_lower() ?: setting_write("/proc/sys/vm/compaction_proactiveness", "0");
	if (ret)
		return ret;
	field.size = (node_meminfo(field.node, "MemFree:") - SPARE) / CHUNK * CHUNK;
	pages = field.size / page_size();
	field.addr = mmap(NULL, field.size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	field.frames = calloc(2 * pages, sizeof(*field.frames));
	order = shuffled(pages);
	if (field.addr == MAP_FAILED || !field.frames || !order ||
	    madvise(field.addr, field.size, MADV_NOHUGEPAGE))
		return -ENOMEM;
	ret = range_bind(field.addr, field.size, field.node, 0);
	for (size_t i = 0; !ret && i < pages; i++)
		field.addr[(scattered ? order[i] : i) * page_size()] = 1;
	free(order);
	return ret;
}

/* Whether a chunk is among the share that is protected: those are evenly spread. */
static bool chosen(size_t chunk, unsigned int share)
{
	return (chunk + 1) * share / 100 != chunk * share / 100;
}

/* @nr: how many chunks could be protected */
static int protect_share(unsigned int share, int (*protect)(void *addr, size_t len), int *nr)
{
	*nr = 0;
	for (size_t chunk = 0; chunk < field.size / CHUNK; chunk++) {
		int ret;

		if (!chosen(chunk, share))
			continue;
		ret = protect(field.addr + chunk * CHUNK, CHUNK);
		if (ret)
			return ret;
		++*nr;
	}
	for (size_t chunk = 0; chunk < field.size / CHUNK; chunk++)
		if (!chosen(chunk, share) &&
		    madvise(field.addr + chunk * CHUNK, CHUNK, MADV_DONTNEED))
			return -errno;
	return 0;
}

/* Ask until there is nothing more to be had: compaction backs off after failures. */
static long huge_pages(int node)
{
	long want = field.size / pmd_size(), got = 0, last = -1;
	char path[PATH_MAX];

	snprintf(path, sizeof(path), HUGE_PAGES, node, pmd_size() >> 10);
	for (int round = 0, idle = 0; round < ROUNDS && idle < 3; round++) {
		int ret = setting_write(path, "%ld", want);

		if (ret)
			return ret;
		got = file_number(path);
		idle = got > last ? 0 : idle + 1;
		last = got;
	}
	setting_write(path, "0");
	return got;
}

/**
 * order9_measure() - measure how many huge pages there are beside protected memory
 * @item: how much is protected, and where the pages of that lie
 * @setup: what is set for the whole system, or NULL
 * @protect: how it is protected
 * @overrule: what an administrator can do about it, or NULL
 *
 * Return: 0 or a negative errno.
 */
int order9_measure(const struct item *item, int (*setup)(void),
		   int (*protect)(void *addr, size_t len), int (*overrule)(void))
{
	struct ground ground;
	uint64_t *now;
	size_t pages, moved = 0, held = 0;
	long possible, got;
	const char *why = ground_init(&ground) ?: compact_memory.missing(&ground);
	int ret, chunks;

	if (why)
		return report_missing("%s", why);
	ret = fill(item->folio == page_size());
	if (ret)
		return ret == -ENODEV ? 0 : ret;
	pages = field.size / page_size();
	now = field.frames + pages;
	ret = protect_share(item->share, protect, &chunks);
	if (ret)
		return report_missing("only %d scattered areas could be protected: %s", chunks,
				      strerror(-ret));
	ret = pagemap_read(field.addr, field.size, field.frames);
	if (!ret && setup)
		ret = setup();
	if (ret)
		return ret;
	possible = node_meminfo(field.node, "MemFree:") / pmd_size();
	report_of("huge pages free without compaction", "huge pages", free_huge_blocks(field.node),
		  possible);
	report("unusable free space before compact_memory", "per mille",
	       unusable_index(field.node));

	ground.node = field.node;
	for (int i = 0; !ret && i < 2; i++)
		ret = compact_node(&ground);
	ret = ret ?: pagemap_read(field.addr, field.size, now);
	if (ret)
		return ret;
	for (size_t i = 0; i < pages; i++) {
		held += !!pagemap_pfn(field.frames[i]);
		moved += pagemap_pfn(field.frames[i]) != pagemap_pfn(now[i]);
	}
	report_of("huge pages free after compact_memory", "huge pages",
		  free_huge_blocks(field.node), possible);
	report("unusable free space after compact_memory", "per mille",
	       unusable_index(field.node));
	report_of("protected pages moved by compact_memory", "pages", moved, held);
	got = huge_pages(field.node);
	if (got < 0)
		return got;
	report_of("huge pages allocated", "huge pages", got, possible);
	if (!overrule)
		return 0;
	ret = overrule() ?: compact_node(&ground);
	got = ret ?: huge_pages(field.node);
	if (got < 0)
		return got;
	report_of("huge pages allocated once overruled", "huge pages", got, possible);
	return 0;
}

static int measure_fragmentation(const struct item *item, const struct rival *rival)
{
	return order9_measure(item, rival->system_setup, rival->protect, rival->overrule);
}

#define SCATTERED	4096		/* the pages of an area are on their own */
#define CONTIGUOUS	CHUNK

#define SHARE(name, percent, folio_) \
	{ .what = name, .measure = measure_fragmentation, .share = percent, .folio = folio_ }

static const struct item items[] = {
	SHARE("10 % protected", 10, SCATTERED),
	SHARE("25 % protected", 25, SCATTERED),
	SHARE("50 % protected", 50, SCATTERED),
	SHARE("50 % protected, every other MiB", 50, CONTIGUOUS),
	{ 0 }
};

const struct section fragmentation_section = { .name = "fragmentation", .items = items };
