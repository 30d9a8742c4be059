// SPDX-License-Identifier: GPL-2.0
/*
 * Movers that must succeed do so on a marked range exactly as on one that is not: each test has
 * both, and the mover has to move both, ten times out of ten.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"
#include "movers.h"

#define REGION_SIZE	(4 * MIB)
#define TRIES		10
#define TIMEOUT		600

#define OWNERS		64	/* of marks that have gone */

#define TRACE_INSTANCE	"/sys/kernel/tracing/instances/migrate_defer_test"

#define FOLIO_4K	4096
#define FOLIO_2M	(2 * MIB)

FIXTURE(mandatory)
{
	struct ground ground;
};

FIXTURE_VARIANT(mandatory)
{
	const struct mover *mover;
	enum mem_kind kind;
	size_t folio;
};

FIXTURE_VARIANT_ADD(mandatory, cma_anon_4k)
{
	.mover = &cma_alloc, .kind = MEM_ANON, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(mandatory, cma_shmem_4k)
{
	.mover = &cma_alloc, .kind = MEM_SHMEM, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(mandatory, offline_anon_4k)
{
	.mover = &memory_offline, .kind = MEM_ANON, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(mandatory, offline_anon_2m)
{
	.mover = &memory_offline, .kind = MEM_ANON, .folio = FOLIO_2M,
};

FIXTURE_VARIANT_ADD(mandatory, offline_shmem_4k)
{
	.mover = &memory_offline, .kind = MEM_SHMEM, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(mandatory, offline_shared_file_4k)
{
	.mover = &memory_offline, .kind = MEM_FILE_SHARED, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(mandatory, gigantic_page_anon_4k)
{
	.mover = &gigantic_page, .kind = MEM_ANON, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(mandatory, move_pages_anon_4k)
{
	.mover = &move_pages_syscall, .kind = MEM_ANON, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(mandatory, move_pages_anon_2m)
{
	.mover = &move_pages_syscall, .kind = MEM_ANON, .folio = FOLIO_2M,
};

FIXTURE_VARIANT_ADD(mandatory, move_pages_shmem_4k)
{
	.mover = &move_pages_syscall, .kind = MEM_SHMEM, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(mandatory, move_pages_shmem_2m)
{
	.mover = &move_pages_syscall, .kind = MEM_SHMEM, .folio = FOLIO_2M,
};

FIXTURE_VARIANT_ADD(mandatory, move_pages_shared_file_4k)
{
	.mover = &move_pages_syscall, .kind = MEM_FILE_SHARED, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(mandatory, move_pages_hugetlb)
{
	.mover = &move_pages_syscall, .kind = MEM_HUGETLB, .folio = FOLIO_2M,
};

FIXTURE_VARIANT_ADD(mandatory, mbind_anon_4k)
{
	.mover = &mbind_move, .kind = MEM_ANON, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(mandatory, mbind_shmem_4k)
{
	.mover = &mbind_move, .kind = MEM_SHMEM, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(mandatory, migrate_pages_anon_4k)
{
	.mover = &migrate_pages_syscall, .kind = MEM_ANON, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(mandatory, migrate_pages_anon_2m)
{
	.mover = &migrate_pages_syscall, .kind = MEM_ANON, .folio = FOLIO_2M,
};

FIXTURE_VARIANT_ADD(mandatory, cpuset_anon_4k)
{
	.mover = &cpuset_migrate, .kind = MEM_ANON, .folio = FOLIO_4K,
};

FIXTURE_SETUP(mandatory)
{
	const char *why;

	settings_restore();
	why = ground_init(&self->ground) ?: variant->mover->missing(&self->ground) ?:
	      region_missing(variant->kind, variant->folio);
	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN_PARENT(mandatory)
{
	settings_restore();
}

/* The mover succeeds, has moved what it had to, and all is mapped again with its contents. */
TEST_F_TIMEOUT(mandatory, moves_marked_as_unmarked, TIMEOUT)
{
	struct region unmarked, marked, *regions[] = { &unmarked, &marked };
	const struct mover *mover = variant->mover;
	size_t pages[2] = { 0 }, moved[2] = { 0 };
	struct ground *g = &self->ground;
	int succeeded = 0;
	long long forced;

	for (int i = 0; i < 2; i++)
		ASSERT_EQ(region_map(regions[i], variant->kind, variant->folio, REGION_SIZE), 0);
	forced = vmstat(mover->counter);
	for (int try = 0; try < TRIES; try++) {
		int ret = mover->place(g, regions, 2);
		struct diff diff[2];

		if (ret)
			TH_LOG("INCONCLUSIVE: could not place the regions: %s", strerror(-ret));
		ASSERT_EQ(ret, 0);
		ASSERT_EQ(region_mark(&marked), 0);
		for (int i = 0; i < 2; i++)
			ASSERT_EQ(region_snapshot(regions[i]), 0);
		ret = mover->push(g, regions, 2);
		ASSERT_NE(ret, -ESTALE)
			TH_LOG("INCONCLUSIVE: %s took other memory", mover->name);
		if (ret)
			TH_LOG("%s: try %d: %s", mover->name, try + 1, strerror(-ret));
		for (int i = 0; i < 2; i++) {
			diff[i] = compare_must_move(g, regions[i]);
			EXPECT_EQ(region_compare(regions[i]).absent, 0);
			EXPECT_EQ(region_corrupt(regions[i]), 0);
		}
		if (mover->undo)
			mover->undo(g);
		succeeded += !ret;
		for (int i = 0; i < 2; i++) {
			pages[i] += diff[i].pages;
			moved[i] += diff[i].moved;
		}
	}
	forced = vmstat(mover->counter) - forced;
	TH_LOG("%d of %d succeeded; moved %zu of %zu unmarked pages, %zu of %zu marked", succeeded,
	       TRIES, moved[0], pages[0], moved[1], pages[1]);
	EXPECT_EQ(succeeded, TRIES);
	for (int i = 0; i < 2; i++) {
		EXPECT_GT(pages[i], 0);
		EXPECT_EQ(moved[i], pages[i]);
	}
	EXPECT_GE(forced, moved[1]);
}

FIXTURE(gently)
{
	struct ground ground;
};

FIXTURE_SETUP(gently)
{
	const char *why;

	settings_restore();
	why = ground_init(&self->ground);
	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN_PARENT(gently)
{
	intercept_stop();
	settings_restore();
	rmdir(TRACE_INSTANCE);
}

static int trace_migration(void)
{
	if (mkdir(TRACE_INSTANCE, 0755) && errno != EEXIST)
		return -errno;
	return file_write(TRACE_INSTANCE "/buffer_size_kb", "4096") ?:
	       file_write(TRACE_INSTANCE "/events/migrate/set_migration_pte/enable", "1") ?:
	       file_write(TRACE_INSTANCE "/events/migrate/remove_migration_pte/enable", "1");
}

/* How many pages of a region were away at the same time, at most. */
static int most_away(const struct region *r)
{
	FILE *trace = fopen(TRACE_INSTANCE "/trace", "r");
	int away = 0, most = 0;
	char line[512];

	while (trace && fgets(line, sizeof(line), trace)) {
		const char *event = strstr(line, "_migration_pte: addr=");
		char *addr;

		if (!event)
			continue;
		addr = (char *)strtoul(strchr(event, '=') + 1, NULL, 16);
		if (addr < r->addr || addr >= r->addr + r->size)
			continue;
		/* set_... or remove_... */
		away += event[-1] == 't' ? 1 : -1;
		if (away > most)
			most = away;
	}
	if (trace)
		fclose(trace);
	return most;
}

/* Marked pages are away one at a time, others by the batch. */
TEST_F_TIMEOUT(gently, one_at_a_time, TIMEOUT)
{
	struct region unmarked, marked, *regions[] = { &unmarked, &marked };
	const char *why = move_pages_syscall.missing(&self->ground);
	int away[2];

	if (why)
		SKIP(return, "%s", why);
	if (access("/sys/kernel/tracing/events/migrate/set_migration_pte", F_OK))
		SKIP(return, "no tracefs, or no events for migration entries");
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(region_map(regions[i], MEM_ANON, FOLIO_4K, REGION_SIZE), 0);
	ASSERT_EQ(move_pages_syscall.place(&self->ground, regions, 2), 0)
		TH_LOG("INCONCLUSIVE: could not place the regions");
	ASSERT_EQ(region_mark(&marked), 0);
	ASSERT_EQ(trace_migration(), 0);
	ASSERT_EQ(move_pages_syscall.push(&self->ground, regions, 2), 0);
	for (int i = 0; i < 2; i++)
		away[i] = most_away(regions[i]);
	TH_LOG("pages away at the same time: unmarked %d, marked %d", away[0], away[1]);
	EXPECT_LT(1, away[0]);
	EXPECT_EQ(1, away[1]);
}

/* Marked pages that are no neighbours, so that the kernel keeps a list of its own for each */
static int marked_once(void)
{
	size_t len = 2 * OWNERS * page_size();
	char *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED || madvise(mem, len, MADV_NOMIGRATE))
		return -errno;
	for (size_t at = 0; at < len; at += 2 * page_size()) {
		if (munmap(mem + at + page_size(), page_size()))
			return -errno;
		*(volatile char *)(mem + at) = 1;
	}
	return munmap(mem, len) ? -errno : 0;
}

/*
 * What the kernel knew marked memory by it uses again for other memory (an anon_vma), which is
 * moved by the batch all the same.
 */
TEST_F_TIMEOUT(gently, hint_goes_with_its_owner, TIMEOUT)
{
	struct region r, *regions[] = { &r };
	const char *why = move_pages_syscall.missing(&self->ground);
	int away;

	if (why)
		SKIP(return, "%s", why);
	if (access("/sys/kernel/tracing/events/migrate/set_migration_pte", F_OK))
		SKIP(return, "no tracefs, or no events for migration entries");
	/* It keeps what is free for whoever comes next on the same processor. */
	ASSERT_EQ(task_pin(0, self->ground.cpu), 0);
	ASSERT_EQ(marked_once(), 0);
	ASSERT_EQ(region_map(&r, MEM_ANON, FOLIO_4K, REGION_SIZE), 0);
	ASSERT_EQ(move_pages_syscall.place(&self->ground, regions, 1), 0)
		TH_LOG("INCONCLUSIVE: could not place the region");
	ASSERT_EQ(trace_migration(), 0);
	ASSERT_EQ(move_pages_syscall.push(&self->ground, regions, 1), 0);
	away = most_away(&r);
	TH_LOG("pages away at the same time: %d", away);
	EXPECT_LT(1, away);
}

/* Nor does a mark that is gone keep them from the batch, while other memory is marked. */
TEST_F_TIMEOUT(gently, hint_outlives_the_mark, TIMEOUT)
{
	struct region r, other, *regions[] = { &r };
	const char *why = move_pages_syscall.missing(&self->ground);
	int away;

	if (why)
		SKIP(return, "%s", why);
	if (access("/sys/kernel/tracing/events/migrate/set_migration_pte", F_OK))
		SKIP(return, "no tracefs, or no events for migration entries");
	ASSERT_EQ(region_map(&other, MEM_SHMEM, FOLIO_4K, REGION_SIZE), 0);
	ASSERT_EQ(region_mark(&other), 0);
	ASSERT_EQ(region_map(&r, MEM_SHMEM, FOLIO_4K, REGION_SIZE), 0);
	ASSERT_EQ(move_pages_syscall.place(&self->ground, regions, 1), 0)
		TH_LOG("INCONCLUSIVE: could not place the region");
	ASSERT_EQ(region_mark(&r), 0);
	ASSERT_EQ(region_unmark(&r), 0);
	ASSERT_EQ(trace_migration(), 0);
	ASSERT_EQ(move_pages_syscall.push(&self->ground, regions, 1), 0);
	away = most_away(&r);
	TH_LOG("pages away at the same time: %d", away);
	EXPECT_LT(1, away);
}

/* Two regions of clean pages of files, which cma_alloc() finds; the second is marked. */
static void clean_in_the_way(struct __test_metadata *_metadata, struct ground *g,
			     struct region **regions)
{
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(region_map(regions[i], MEM_FILE_SHARED, FOLIO_4K, REGION_SIZE), 0);
	ASSERT_EQ(cma_alloc.place(g, regions, 2), 0)
		TH_LOG("INCONCLUSIVE: could not place the regions");
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(fsync(regions[i]->fd), 0);
	ASSERT_EQ(region_mark(regions[1]), 0);
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(region_snapshot(regions[i]), 0);
}

/*
 * Clean pages of a file are dropped by alloc_contig_range(), but not if they are marked; those of
 * which a mark has gone are.
 */
TEST_F_TIMEOUT(gently, clean_pages_are_not_dropped, TIMEOUT)
{
	struct region unmarked, marked, *regions[] = { &unmarked, &marked };
	const char *why = cma_alloc.missing(&self->ground) ?:
			  region_missing(MEM_FILE_SHARED, FOLIO_4K);
	struct ground *g = &self->ground;
	struct diff diff[2];

	if (why)
		SKIP(return, "%s", why);
	clean_in_the_way(_metadata, g, regions);
	ASSERT_EQ(region_mark(&unmarked), 0);
	ASSERT_EQ(region_unmark(&unmarked), 0);
	ASSERT_EQ(cma_alloc.push(g, regions, 2), 0);
	for (int i = 0; i < 2; i++)
		diff[i] = compare_must_move(g, regions[i]);
	cma_alloc.undo(g);
	TH_LOG("of the pages in the way: unmarked %zu of %zu dropped, marked %zu of %zu",
	       diff[0].absent, diff[0].pages, diff[1].absent, diff[1].pages);
	EXPECT_LT(0, diff[0].absent);
	EXPECT_LT(0, diff[1].pages);
	EXPECT_EQ(diff[1].pages, diff[1].moved);
}

/*
 * Where the file system has its pages stay, as buffers under write-back do, those that are marked
 * are dropped in the end, so that alloc_contig_range() succeeds as without a mark.
 */
TEST_F_TIMEOUT(gently, what_cannot_move_is_dropped, TIMEOUT)
{
	const struct intercept move = {
		.symbol = "buffer_migrate_folio", .count = INT_MAX, .value = -EAGAIN,
	};
	struct region unmarked, marked, *regions[] = { &unmarked, &marked };
	const char *why = cma_alloc.missing(&self->ground) ?:
			  region_missing(MEM_FILE_SHARED, FOLIO_4K);
	struct ground *g = &self->ground;
	struct diff diff;

	if (why)
		SKIP(return, "%s", why);
	clean_in_the_way(_metadata, g, regions);
	ASSERT_EQ(intercept_start(&move), 0);
	EXPECT_EQ(cma_alloc.push(g, regions, 2), 0);
	EXPECT_GT(intercept_hits(), 0);
	diff = compare_must_move(g, &marked);
	cma_alloc.undo(g);
	TH_LOG("of %zu marked pages in the way %zu dropped; %lld refusals to move one", diff.pages,
	       diff.absent, intercept_hits());
	EXPECT_LT(0, diff.pages);
	EXPECT_EQ(diff.pages, diff.absent);
	for (int i = 0; i < 2; i++)
		EXPECT_EQ(region_corrupt(regions[i]), 0);
}

TEST_HARNESS_MAIN
