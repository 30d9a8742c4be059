/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How tests use movers that merely optimise, see movers.h.  To be included after
 * harness.h.
 */
#ifndef _MOVERS_TEST_H
#define _MOVERS_TEST_H

#include "movers.h"

#define SECONDS		5	/* for a mover to prove itself, at one place */
#define LONG_SECONDS	120	/* seconds, for what has to come */
#define TIMEOUT		900
#define EXTRA_PUSHES	2	/* after the mover has proved itself */

#define FOLIO_4K	4096
#define FOLIO_64K	(64 * 1024)
#define FOLIO_2M	(2 * MIB)

/* Ends the test unless the mover moved most of the unmarked control region. */
static inline void assert_conclusive(struct __test_metadata *_metadata, const struct mover *mover,
				     const char *what, struct diff diff)
{
	if (!diff.pages || 2 * diff.moved < diff.pages)
		TH_LOG("INCONCLUSIVE: %s moved only %zu of %zu pages of %s", mover->name,
		       diff.moved, diff.pages, what);
	ASSERT_GT(diff.pages, 0);
	ASSERT_GE(2 * diff.moved, diff.pages);
}

static inline void expect_untouched(struct __test_metadata *_metadata, const char *what,
				    struct diff diff)
{
	if (diff.moved || diff.absent)
		TH_LOG("%s: %zu of %zu pages moved, %zu absent", what, diff.moved, diff.pages,
		       diff.absent);
	EXPECT_GT(diff.pages, 0);
	EXPECT_EQ(diff.moved, 0);
	EXPECT_EQ(diff.absent, 0);
}

/* Populates the regions where the mover will find them, in folios of the size they should have. */
static inline void place(struct __test_metadata *_metadata, const struct mover *mover,
			 struct ground *g, struct region **regions, int nr)
{
	ASSERT_EQ(mover->place(g, regions, nr), 0)
		TH_LOG("INCONCLUSIVE: could not place the regions");
	for (int i = 0; i < nr; i++) {
		size_t good = region_large_pages(regions[i]);

		if (2 * good < region_pages(regions[i]))
			TH_LOG("INCONCLUSIVE: only %zu of %zu pages are in folios of %zu bytes",
			       good, region_pages(regions[i]), regions[i]->folio);
		ASSERT_GE(2 * good, region_pages(regions[i]));
	}
}

/*
 * Provokes the mover until it has moved most of the first region, which is the control, and has
 * met marked pages, and then some more.  Returns how much its counter rose.
 *
 * Where direct compaction looks depends on what it found useless before: then the regions are
 * placed anew, as long as @again allows.
 */
static inline long long push(struct __test_metadata *_metadata, const struct mover *mover,
			     struct ground *g, struct region **regions, int nr, int again)
{
	long long before = vmstat(mover->counter);
	double deadline;
	struct diff diff;

	diff = push_until_moved(mover, g, regions, nr, regions[0], SECONDS);
	while (2 * diff.moved < diff.pages && again--) {
		for (int i = 1; i < nr; i++)
			expect_untouched(_metadata, "marked region", region_compare(regions[i]));
		place(_metadata, mover, g, regions, nr);
		for (int i = 0; i < nr; i++)
			ASSERT_EQ(region_snapshot(regions[i]), 0);
		diff = push_until_moved(mover, g, regions, nr, regions[0], SECONDS);
	}
	assert_conclusive(_metadata, mover, "the unmarked control region", diff);

	deadline = now() + SECONDS;
	while (vmstat(mover->counter) == before && now() < deadline)
		mover->push(g, regions, nr);
	for (int i = 0; i < EXTRA_PUSHES; i++)
		mover->push(g, regions, nr);
	EXPECT_GT(vmstat(mover->counter), before)
		TH_LOG("INCONCLUSIVE: %s met no marked page", mover->name);
	return vmstat(mover->counter) - before;
}

static inline const char *missing(struct ground *g, const struct mover *mover, enum mem_kind kind,
				  size_t folio)
{
	return ground_init(g) ?: mover->missing(g) ?: region_missing(kind, folio);
}

#endif /* _MOVERS_TEST_H */
