// SPDX-License-Identifier: GPL-2.0
/*
 * What trace.sh records: marks a region, has compaction meet it and move_pages() move it, takes
 * the mark back.  Writes to the file that it is given what must be found in the trace.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "movers.h"

#define REGION_SIZE	(2 * MIB)
/* Where many tests have been, compaction may not come by at the first try. */
#define TRIES		5

static void die(const char *what)
{
	fprintf(stderr, "trace_workload: %s\n", what);
	exit(1);
}

static void must(const char *what, int ret)
{
	if (!ret)
		return;
	fprintf(stderr, "trace_workload: %s: %s\n", what, strerror(ret < 0 ? -ret : ret));
	exit(1);
}

static void init(struct ground *g, const struct mover *mover)
{
	const char *why = ground_init(g) ?: mover->missing(g);

	if (why)
		die(why);
}

/* Whether compaction has met @marked: it has moved @control, which lies beside it. */
static bool met_by_compaction(struct region *control, struct region *marked)
{
	struct region *regions[] = { control, marked };
	struct diff diff = {};
	struct ground g;

	init(&g, &compact_memory);
	for (int i = 0; i < 2; i++)
		must("map", region_map(regions[i], MEM_ANON, page_size(), REGION_SIZE));
	if (!compact_memory.place(&g, regions, 2)) {
		must("MADV_NOMIGRATE", region_mark(marked));
		must("pagemap", region_snapshot(marked));
		must("pagemap", region_snapshot(control));
		diff = push_until_moved(&compact_memory, &g, regions, 2, control, 30);
	}
	ground_release(&g);
	if (diff.pages && 2 * diff.moved >= diff.pages)
		return true;
	fprintf(stderr, "trace_workload: compaction has moved %zu of %zu pages of the control\n",
		diff.moved, diff.pages);
	for (int i = 0; i < 2; i++)
		region_unmap(regions[i]);
	return false;
}

int main(int argc, char **argv)
{
	struct region region, control, *regions[] = { &control, &region };
	long long skipped, forced;
	struct ground g;
	struct diff diff;
	int tries = 0;
	FILE *out;

	if (argc != 2)
		die("usage: trace_workload FILE");
	out = fopen(argv[1], "w");
	if (!out)
		must(argv[1], errno);

	/* Not mapped: fails with ENOMEM, and is traced all the same. */
	madvise((void *)page_size(), page_size(), MADV_NOMIGRATE);

	do {
		if (tries++ == TRIES)
			die("INCONCLUSIVE: compaction does not move an unmarked region");
		skipped = vmstat("nomigrate_skip_compaction");
	} while (!met_by_compaction(&control, &region));
	fprintf(out, "start: %lx\nend: %lx\npid: %d\npages: %zu\n", (unsigned long)region.addr,
		(unsigned long)region.addr + region.size, getpid(), region_pages(&region));
	for (size_t i = 0; i < region_pages(&region); i++)
		fprintf(out, "pfn: 0x%llx\n", (unsigned long long)pagemap_pfn(region.before[i]));
	fprintf(out, "skipped: %lld\n", vmstat("nomigrate_skip_compaction") - skipped);

	init(&g, &move_pages_syscall);
	must("place", move_pages_syscall.place(&g, regions, 2));
	must("pagemap", region_snapshot(&region));
	forced = vmstat("nomigrate_forced");
	must("move_pages", move_pages_syscall.push(&g, regions, 2));
	diff = region_compare(&region);
	fprintf(out, "moved: %zu\nforced: %lld\n", diff.moved, vmstat("nomigrate_forced") - forced);
	must("MADV_DOMIGRATE", region_unmark(&region));
	if (!diff.moved)
		die("move_pages() moved nothing");
	fprintf(out, "finished: 1\n");
	return fclose(out) ? 1 : 0;
}
