// SPDX-License-Identifier: GPL-2.0
/*
 * Reclaim where there is a slower memory tier: marked memory is neither demoted nor swapped out
 * in its place as long as there is other memory to be had, but it is before somebody is killed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/swap.h>
#include <unistd.h>

#include "harness.h"
#include "movers_test.h"

#define GROUP		"/sys/fs/cgroup/migrate_defer_tier"
#define OVERRIDE	"migrate_defer/override"

FIXTURE(tier)
{
	struct ground ground;
	int slow;
};

FIXTURE_SETUP(tier)
{
	const char *why;

	settings_restore();
	why = ground_init(&self->ground) ?: demotion.missing(&self->ground);
	if (why)
		SKIP(return, "%s", why);
	self->slow = file_number("/sys/module/slow_node/parameters/node");
	ASSERT_EQ(demotion.place(&self->ground, NULL, 0), 0);
	if (swapon(SWAP, 0))
		SKIP(return, "no swap on %s: %s", SWAP, strerror(errno));
}

FIXTURE_TEARDOWN_PARENT(tier)
{
	swapoff(SWAP);
	settings_restore();
}

static long long oom_kills(void)
{
	char buf[1024], *line;

	if (file_read(GROUP "/memory.events", buf, sizeof(buf)) < 0)
		return -1;
	line = strstr(buf, "oom_kill ");
	return line ? strtoll(line + strlen("oom_kill "), NULL, 10) : -1;
}

/*
 * A limit that is met by taking unmarked memory is met that way: it goes to the slow node and
 * from there to swap, while the marked region stays where it is.
 */
TEST_F_TIMEOUT(tier, unmarked_memory_goes_first, TIMEOUT)
{
	struct region control, marked, *regions[] = { &control, &marked };
	long long demoted, swapped, overridden, before = vmstat(demotion.counter);
	struct breaks breaks;
	struct diff diff;

	ASSERT_EQ(region_map(&control, MEM_ANON, FOLIO_4K, 24 * MIB), 0);
	ASSERT_EQ(region_map(&marked, MEM_ANON, FOLIO_4K, 4 * MIB), 0);
	/* The marked one is the older. */
	ASSERT_EQ(demotion.place(&self->ground, &regions[1], 1), 0);
	ASSERT_EQ(demotion.place(&self->ground, &regions[0], 1), 0);
	ASSERT_EQ(region_mark(&marked), 0);
	ASSERT_EQ(region_snapshot(&control), 0);
	ASSERT_EQ(region_snapshot(&marked), 0);
	ASSERT_EQ(breaks_open(&breaks, marked.addr, marked.size), 0);
	demoted = vmstat("pgdemote_direct");
	swapped = vmstat("pswpout");
	overridden = vmstat("nomigrate_override");

	/* In small steps, for which reclaim need not go to extremes. */
	for (size_t limit = 28; limit >= 16; limit--)
		ASSERT_EQ(file_write(GROUP "/memory.max", "%zu", limit * MIB), 0);

	overridden = vmstat("nomigrate_override") - overridden;
	demoted = vmstat("pgdemote_direct") - demoted;
	swapped = vmstat("pswpout") - swapped;
	diff = region_compare(&control);
	TH_LOG("%lld pages demoted, %lld swapped out, marked ones as a last resort %lld", demoted,
	       swapped, overridden);
	if (!diff.moved || !diff.absent)
		TH_LOG("INCONCLUSIVE: of the unmarked region %zu pages moved, %zu went to swap",
		       diff.moved, diff.absent);
	ASSERT_GT(diff.moved + diff.absent, 0);
	ASSERT_GT(demoted, 0);
	ASSERT_GT(swapped, 0);
	EXPECT_GT(vmstat(demotion.counter), before);
	/* Reclaim may come to its last priority all the same: then it says so. */
	diff = region_compare(&marked);
	EXPECT_LE(diff.moved + diff.absent, overridden);
	if (overridden)
		TH_LOG("INCONCLUSIVE if most of %zu marked pages were wanted", diff.pages);
	ASSERT_LT(2 * overridden, diff.pages);
	if (!overridden)
		EXPECT_EQ(breaks_read(&breaks), 0);
	ASSERT_EQ(file_write(GROUP "/memory.max", "max"), 0);
	/* Who isolates pages counts them, and who puts them back does so once. */
	EXPECT_TRUE(vmstat_in_order());
	EXPECT_EQ(region_corrupt(&marked), 0);
	EXPECT_EQ(region_corrupt(&control), 0);
}

/* With nothing but marked memory the limit is met all the same, and nobody is killed. */
TEST_F_TIMEOUT(tier, marked_memory_goes_before_oom, TIMEOUT)
{
	long long before = vmstat("nomigrate_override"), kills = oom_kills();
	long long forced = vmstat("nomigrate_forced");
	struct region marked, *regions[] = { &marked };
	struct watch override;
	struct diff diff;

	ASSERT_EQ(region_map(&marked, MEM_ANON, FOLIO_4K, 24 * MIB), 0);
	ASSERT_EQ(demotion.place(&self->ground, regions, 1), 0);
	ASSERT_EQ(region_mark(&marked), 0);
	ASSERT_EQ(region_snapshot(&marked), 0);
	EXPECT_EQ(watch_open(&override, OVERRIDE), 0);

	/* Returns when the limit is met, or after somebody was killed: that would be this one. */
	ASSERT_EQ(file_write(GROUP "/memory.max", "%zu", 16 * MIB), 0);
	EXPECT_LE(file_number(GROUP "/memory.current"), 16 * MIB);
	diff = region_compare(&marked);
	TH_LOG("of %zu pages %zu moved, %zu went to swap", diff.pages, diff.moved, diff.absent);
	/* Not straight to swap: what is there now was on the slow node first. */
	EXPECT_LE(diff.moved + diff.absent, vmstat("nomigrate_forced") - forced);
	EXPECT_EQ(oom_kills(), kills);
	EXPECT_GT(vmstat("nomigrate_override"), before);
	EXPECT_GT(watch_count(&override, NULL, NULL), 0);
	ASSERT_EQ(file_write(GROUP "/memory.max", "max"), 0);
	/* Who isolates pages counts them, and who puts them back does so once. */
	EXPECT_TRUE(vmstat_in_order());
	EXPECT_EQ(region_corrupt(&marked), 0);
}

TEST_HARNESS_MAIN
