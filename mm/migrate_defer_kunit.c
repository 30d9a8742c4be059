// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit test of MADV_NOMIGRATE's policy: each mover, with marks switched on and
 * off, with and without the right to take marked pages before the OOM killer.
 */

#include <kunit/test.h>
#include <linux/migrate_defer.h>

#include "migrate_defer.h"

/* What Documentation/mm/migrate_defer.rst promises. */
static const struct {
	enum migrate_defer_mover mover;
	enum migrate_reason reason;
	bool yields;
} promises[] = {
	{ MIGRATE_DEFER_COMPACTION,	MR_COMPACTION,		true },
	{ MIGRATE_DEFER_NUMA_BALANCING,	MR_NUMA_MISPLACED,	false },
	{ MIGRATE_DEFER_KHUGEPAGED,	MR_TYPES,		false },
	{ MIGRATE_DEFER_KSM,		MR_TYPES,		false },
	{ MIGRATE_DEFER_DEMOTION,	MR_DEMOTION,		true },
	{ MIGRATE_DEFER_DAMON,		MR_DAMON,		false },
	{ MIGRATE_DEFER_THP_SPLIT,	MR_TYPES,		true },
	{ MIGRATE_DEFER_FORK,		MR_TYPES,		false },
	{ MIGRATE_DEFER_AGING,		MR_TYPES,		false },
};

static void every_mover_is_tested(struct kunit *test)
{
	DECLARE_BITMAP(seen, NR_MIGRATE_DEFER_MOVERS) = {};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(promises); i++)
		__set_bit(promises[i].mover, seen);
	KUNIT_EXPECT_TRUE(test, bitmap_full(seen, NR_MIGRATE_DEFER_MOVERS));
}

static void mark_is_heeded(struct kunit *test)
{
	unsigned int i, last_resort;

	for (i = 0; i < ARRAY_SIZE(promises); i++) {
		for (last_resort = 0; last_resort <= 1; last_resort++) {
			KUNIT_EXPECT_EQ_MSG(test, MIGRATE_DEFER_LEAVE,
					    migrate_defer_decide(promises[i].mover,
								 false, true,
								 last_resort),
					    "mover %d, last_resort %u",
					    promises[i].mover, last_resort);
		}
	}
}

static void switched_off(struct kunit *test)
{
	unsigned int i, urgent, last_resort;

	for (i = 0; i < ARRAY_SIZE(promises); i++) {
		for (urgent = 0; urgent <= 1; urgent++) {
			for (last_resort = 0; last_resort <= 1; last_resort++) {
				KUNIT_EXPECT_EQ_MSG(test, MIGRATE_DEFER_IGNORE,
						    migrate_defer_decide(promises[i].mover,
									 urgent, false,
									 last_resort),
						    "mover %d, urgent %u, last_resort %u",
						    promises[i].mover, urgent,
						    last_resort);
			}
		}
	}
}

static void before_the_oom_killer(struct kunit *test)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(promises); i++) {
		enum migrate_defer_verdict expected = MIGRATE_DEFER_LEAVE;

		KUNIT_EXPECT_EQ_MSG(test, expected,
				    migrate_defer_decide(promises[i].mover, true,
							 true, false),
				    "mover %d, not allowed", promises[i].mover);
		if (promises[i].yields)
			expected = MIGRATE_DEFER_OVERRIDE;
		KUNIT_EXPECT_EQ_MSG(test, expected,
				    migrate_defer_decide(promises[i].mover, true,
							 true, true),
				    "mover %d, allowed", promises[i].mover);
	}
}

/* A migrate_pages() reason either is that of one mover here, or must succeed. */
static void reasons(struct kunit *test)
{
	enum migrate_defer_mover mover;
	unsigned int reason, i;

	for (reason = 0; reason < MR_TYPES; reason++) {
		bool optimises = false;

		for (i = 0; i < ARRAY_SIZE(promises); i++) {
			if (promises[i].reason != reason)
				continue;
			optimises = true;
			KUNIT_ASSERT_TRUE(test, migrate_reason_mover(reason, &mover));
			KUNIT_EXPECT_EQ(test, promises[i].mover, mover);
		}
		KUNIT_EXPECT_EQ_MSG(test, optimises,
				    migrate_reason_mover(reason, &mover),
				    "reason %u", reason);
		KUNIT_EXPECT_EQ_MSG(test, optimises,
				    !!(migrate_defer_ttu(reason) & TTU_HONOR_NOMIGRATE),
				    "reason %u", reason);
	}
}

static struct kunit_case migrate_defer_cases[] = {
	KUNIT_CASE(every_mover_is_tested),
	KUNIT_CASE(mark_is_heeded),
	KUNIT_CASE(switched_off),
	KUNIT_CASE(before_the_oom_killer),
	KUNIT_CASE(reasons),
	{}
};

static struct kunit_suite migrate_defer_suite = {
	.name = "migrate_defer",
	.test_cases = migrate_defer_cases,
};

kunit_test_suite(migrate_defer_suite);
