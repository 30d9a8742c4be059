// SPDX-License-Identifier: GPL-2.0
/*
 * What becomes of a process that has protected nothing, while another one has: see compare.h.
 * Here that other one is a child, and this process is its neighbour.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "compare.h"

#define PROTECTED	(64 * MIB)

static int live_protected(void *arg)
{
	const struct rival *rival = arg;
	char *addr = mmap(NULL, PROTECTED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);

	if (addr == MAP_FAILED || madvise(addr, PROTECTED, MADV_POPULATE_WRITE))
		return -errno;
	return rival->protect(addr, PROTECTED);
}

static int lock(void *addr, size_t len)
{
	return mlock(addr, len) ? -errno : 0;
}

static int unlock(void *addr, size_t len)
{
	return munlock(addr, len) ? -errno : 0;
}

/* Without the settings of the rival first: that the mover is at work */
static int measure_mover(const struct item *item, const struct rival *rival)
{
	bool locked = item->mover == &compact_memory;
	struct trial t = {
		.mover = item->mover,
		.folio = page_size(),
		.protect = locked ? lock : rival_nothing,
		.release = locked ? unlock : rival_nothing,
	};
	struct outcome control = { 0 }, its = { 0 };
	struct peer peer;
	const char *why;
	int ret;

	ret = peer_start(&peer, live_protected, (void *)rival);
	if (ret)
		return ret;
	why = trial_missing(&t);
	if (why)
		return report_missing("%s", why);
	ret = trial_run(&t, &control, &its);
	if (ret)
		return ret;
	if (!conclusive(&t, &control) || !conclusive(&t, &its))
		return report_missing("inconclusive: only %zu of %zu pages moved", its.diff.moved,
				      its.diff.pages);
	t.setup = rival->system_setup;
	if (t.setup)
		ret = trial_run(&t, &control, &its);
	if (ret)
		return ret;
	report_of("its pages moved", "pages", its.diff.moved + its.diff.absent, its.diff.pages);
	peer_stop(&peer);
	return 0;
}

static int measure_huge_pages(const struct item *item, const struct rival *rival)
{
	struct peer peer;
	int ret = peer_start(&peer, live_protected, (void *)rival);

	ret = ret ?: order9_measure(item, rival->system_setup, lock, NULL);
	peer_stop(&peer);
	return ret;
}

static const struct item items[] = {
	{ .what = "NUMA balancing of its memory", .measure = measure_mover,
	  .mover = &numa_balancing },
	{ .what = "compaction of its mlocked memory", .measure = measure_mover,
	  .mover = &compact_memory },
	{ .what = "huge pages beside its mlocked memory (25 %)", .measure = measure_huge_pages,
	  .share = 25, .folio = 4096 },
	{ 0 }
};

const struct section neighbour_section = { .name = "neighbour", .items = items };
