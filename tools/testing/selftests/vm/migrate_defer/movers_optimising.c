// SPDX-License-Identifier: GPL-2.0
/*
 * Movers that merely optimise leave a marked range alone, and nothing but that range.
 *
 * Each test proves on an unmarked control region in the same run that the mover really moves
 * pages.  Where it does not, the result says nothing: INCONCLUSIVE, which is a failure.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "harness.h"
#include "movers_test.h"

#define REGION_SIZE	(4 * MIB)
#define TRIES		5	/* places where a mover may prove itself */

/* ---------------------------------------------------------------------- one process, one mark */

FIXTURE(optimising)
{
	struct ground ground;
};

FIXTURE_VARIANT(optimising)
{
	const struct mover *mover;
	enum mem_kind kind;
	size_t folio;
};

/* Compaction only moves folios that are smaller than a page block: 64K, but not 2M. */
FIXTURE_VARIANT_ADD(optimising, compact_memory_anon_4k)
{
	.mover = &compact_memory, .kind = MEM_ANON, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(optimising, compact_memory_anon_64k)
{
	.mover = &compact_memory, .kind = MEM_ANON, .folio = FOLIO_64K,
};

FIXTURE_VARIANT_ADD(optimising, compact_memory_shmem_4k)
{
	.mover = &compact_memory, .kind = MEM_SHMEM, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(optimising, compact_memory_shmem_64k)
{
	.mover = &compact_memory, .kind = MEM_SHMEM, .folio = FOLIO_64K,
};

FIXTURE_VARIANT_ADD(optimising, compact_memory_shared_file_4k)
{
	.mover = &compact_memory, .kind = MEM_FILE_SHARED, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(optimising, direct_compaction_anon_4k)
{
	.mover = &direct_compaction, .kind = MEM_ANON, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(optimising, direct_compaction_shmem_4k)
{
	.mover = &direct_compaction, .kind = MEM_SHMEM, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(optimising, kcompactd_anon_4k)
{
	.mover = &kcompactd, .kind = MEM_ANON, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(optimising, numa_balancing_anon_4k)
{
	.mover = &numa_balancing, .kind = MEM_ANON, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(optimising, numa_balancing_anon_2m)
{
	.mover = &numa_balancing, .kind = MEM_ANON, .folio = FOLIO_2M,
};

FIXTURE_VARIANT_ADD(optimising, numa_balancing_shmem_4k)
{
	.mover = &numa_balancing, .kind = MEM_SHMEM, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(optimising, numa_balancing_shmem_2m)
{
	.mover = &numa_balancing, .kind = MEM_SHMEM, .folio = FOLIO_2M,
};

/* A dirty page of a file would not be moved to begin with. */
FIXTURE_VARIANT_ADD(optimising, numa_balancing_private_file_4k)
{
	.mover = &numa_balancing, .kind = MEM_FILE_PRIVATE, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(optimising, demotion_anon_4k)
{
	.mover = &demotion, .kind = MEM_ANON, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(optimising, demotion_anon_2m)
{
	.mover = &demotion, .kind = MEM_ANON, .folio = FOLIO_2M,
};

FIXTURE_VARIANT_ADD(optimising, demotion_shmem_4k)
{
	.mover = &demotion, .kind = MEM_SHMEM, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(optimising, damon_anon_4k)
{
	.mover = &damon, .kind = MEM_ANON, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(optimising, damon_anon_2m)
{
	.mover = &damon, .kind = MEM_ANON, .folio = FOLIO_2M,
};

FIXTURE_VARIANT_ADD(optimising, damon_shmem_4k)
{
	.mover = &damon, .kind = MEM_SHMEM, .folio = FOLIO_4K,
};

FIXTURE_SETUP(optimising)
{
	const char *why;

	settings_restore();
	why = missing(&self->ground, variant->mover, variant->kind, variant->folio);
	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN_PARENT(optimising)
{
	settings_restore();
}

/*
 * While the mover moves an unmarked region, a marked one next to it keeps every page: none gets
 * another page frame, none is unmapped even for a moment, none changes its contents.
 */
TEST_F_TIMEOUT(optimising, marked_range_stays, TIMEOUT)
{
	const struct mover *mover = variant->mover;
	struct region control, marked, *regions[] = { &control, &marked };
	struct breaks control_breaks, marked_breaks;

	for (int i = 0; i < 2; i++)
		ASSERT_EQ(region_map(regions[i], variant->kind, variant->folio, REGION_SIZE), 0);
	place(_metadata, mover, &self->ground, regions, 2);
	ASSERT_EQ(region_mark(&marked), 0);
	ASSERT_EQ(region_snapshot(&control), 0);
	ASSERT_EQ(region_snapshot(&marked), 0);
	ASSERT_EQ(breaks_open(&control_breaks, control.addr, control.size), 0);
	ASSERT_EQ(breaks_open(&marked_breaks, marked.addr, marked.size), 0);

	push(_metadata, mover, &self->ground, regions, 2, TRIES - 1);

	expect_untouched(_metadata, "marked region", region_compare(&marked));
	EXPECT_GT(breaks_read(&control_breaks), 0);
	EXPECT_EQ(breaks_read(&marked_breaks), 0);
	EXPECT_EQ(region_corrupt(&marked), 0);
	EXPECT_EQ(region_corrupt(&control), 0);
}

/*
 * Of a private mapping of a file the mark holds what has been written to.  The file's own pages are
 * moved, those of the control no less.
 */
TEST(private_file)
{
	struct region marked, *regions[] = { &marked };
	const struct mover *mover = &compact_memory;
	struct diff written, read;
	struct ground ground;
	const char *why;
	size_t half;

	settings_restore();
	why = missing(&ground, mover, MEM_FILE_PRIVATE, FOLIO_4K);
	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(region_map(&marked, MEM_FILE_PRIVATE, FOLIO_4K, REGION_SIZE), 0);
	half = marked.size / 2;
	place(_metadata, mover, &ground, regions, 1);
	for (size_t at = 0; at < half; at += page_size())
		*(volatile char *)(marked.addr + at) = *(volatile char *)(marked.addr + at);
	ASSERT_EQ(region_mark(&marked), 0);
	ASSERT_EQ(region_snapshot(&marked), 0);
	for (int i = 0; i < TRIES; i++) {
		mover->push(&ground, regions, 1);
		read = region_compare_part(&marked, half, marked.size - half);
		if (read.moved)
			break;
	}
	written = region_compare_part(&marked, 0, half);
	if (!read.moved)
		TH_LOG("INCONCLUSIVE: compaction has moved nothing");
	EXPECT_GT(read.moved, 0);
	EXPECT_EQ(written.moved, 0);
	EXPECT_EQ(written.absent, 0);
	EXPECT_EQ(region_corrupt(&marked), 0);
	settings_restore();
}

/* -------------------------------------------------------------------------- marked in part */

FIXTURE(neighbours)
{
	struct ground ground;
};

FIXTURE_VARIANT(neighbours)
{
	const struct mover *mover;
	enum mem_kind kind;
	size_t folio;
};

/*
 * Not for direct compaction, which is after whole page blocks: it has no use for pages that share
 * a block with marked ones.
 */
FIXTURE_VARIANT_ADD(neighbours, compact_memory_anon_4k)
{
	.mover = &compact_memory, .kind = MEM_ANON, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(neighbours, compact_memory_anon_64k)
{
	.mover = &compact_memory, .kind = MEM_ANON, .folio = FOLIO_64K,
};

FIXTURE_VARIANT_ADD(neighbours, compact_memory_shmem_4k)
{
	.mover = &compact_memory, .kind = MEM_SHMEM, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(neighbours, compact_memory_shared_file_4k)
{
	.mover = &compact_memory, .kind = MEM_FILE_SHARED, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(neighbours, numa_balancing_anon_4k)
{
	.mover = &numa_balancing, .kind = MEM_ANON, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(neighbours, numa_balancing_anon_2m)
{
	.mover = &numa_balancing, .kind = MEM_ANON, .folio = FOLIO_2M,
};

FIXTURE_VARIANT_ADD(neighbours, numa_balancing_shmem_4k)
{
	.mover = &numa_balancing, .kind = MEM_SHMEM, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(neighbours, demotion_anon_4k)
{
	.mover = &demotion, .kind = MEM_ANON, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(neighbours, damon_anon_4k)
{
	.mover = &damon, .kind = MEM_ANON, .folio = FOLIO_4K,
};

FIXTURE_SETUP(neighbours)
{
	const char *why;

	settings_restore();
	why = missing(&self->ground, variant->mover, variant->kind, variant->folio);
	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN_PARENT(neighbours)
{
	settings_restore();
}

/*
 * Only the marked half of a region stays: the other half, which shares the anon_vma or the file
 * with it, and a region whose mark was taken back are moved in the same run.
 */
TEST_F_TIMEOUT(neighbours, only_marked_part_stays, TIMEOUT)
{
	/* Boundaries inside the 512 page offsets that the kernel looks at first */
	const size_t quarter = variant->folio == FOLIO_2M ? pmd_size() : pmd_size() / 2;
	const struct mover *mover = variant->mover;
	struct region mixed, cleared, *regions[] = { &cleared, &mixed };
	struct diff left, right;

	ASSERT_EQ(region_map(&cleared, variant->kind, variant->folio, REGION_SIZE), 0);
	ASSERT_EQ(region_map(&mixed, variant->kind, variant->folio, 4 * quarter), 0);
	place(_metadata, mover, &self->ground, regions, 2);
	ASSERT_EQ(madvise(mixed.addr + quarter, 2 * quarter, MADV_NOMIGRATE), 0);
	ASSERT_EQ(region_mark(&cleared), 0);
	ASSERT_EQ(region_unmark(&cleared), 0);
	ASSERT_EQ(region_snapshot(&cleared), 0);
	ASSERT_EQ(region_snapshot(&mixed), 0);

	push(_metadata, mover, &self->ground, regions, 2, 0);

	expect_untouched(_metadata, "marked half",
			 region_compare_part(&mixed, quarter, 2 * quarter));
	region_touch(&mixed);
	left = region_compare_part(&mixed, 0, quarter);
	right = region_compare_part(&mixed, 3 * quarter, quarter);
	left.pages += right.pages;
	left.moved += right.moved;
	assert_conclusive(_metadata, mover, "the unmarked half of the region", left);
	EXPECT_EQ(region_corrupt(&mixed), 0);
	EXPECT_EQ(region_corrupt(&cleared), 0);
}

/* --------------------------------------------------------------------- one page, two processes */

enum sharing {
	SHARED_FILE_PEER_MARKS,		/* shmem, and the peer's mapping is marked */
	FORKED_PARENT_MARKS,		/* copy-on-write, marked after the fork */
	FORKED_CHILD_MARKS,		/* copy-on-write, only the child's mapping is marked */
};

FIXTURE(sharing)
{
	struct ground ground;
};

FIXTURE_VARIANT(sharing)
{
	const struct mover *mover;
	enum mem_kind kind;
	enum sharing sharing;
};

FIXTURE_VARIANT_ADD(sharing, compact_memory_shmem_peer_marks)
{
	.mover = &compact_memory, .kind = MEM_SHMEM, .sharing = SHARED_FILE_PEER_MARKS,
};

FIXTURE_VARIANT_ADD(sharing, compact_memory_file_peer_marks)
{
	.mover = &compact_memory, .kind = MEM_FILE_SHARED, .sharing = SHARED_FILE_PEER_MARKS,
};

FIXTURE_VARIANT_ADD(sharing, compact_memory_forked_parent_marks)
{
	.mover = &compact_memory, .kind = MEM_ANON, .sharing = FORKED_PARENT_MARKS,
};

FIXTURE_VARIANT_ADD(sharing, compact_memory_forked_child_marks)
{
	.mover = &compact_memory, .kind = MEM_ANON, .sharing = FORKED_CHILD_MARKS,
};

/* NUMA balancing itself leaves pages alone that are shared copy-on-write: only shmem here. */
FIXTURE_VARIANT_ADD(sharing, numa_balancing_shmem_peer_marks)
{
	.mover = &numa_balancing, .kind = MEM_SHMEM, .sharing = SHARED_FILE_PEER_MARKS,
};

FIXTURE_VARIANT_ADD(sharing, demotion_shmem_peer_marks)
{
	.mover = &demotion, .kind = MEM_SHMEM, .sharing = SHARED_FILE_PEER_MARKS,
};

FIXTURE_VARIANT_ADD(sharing, demotion_forked_child_marks)
{
	.mover = &demotion, .kind = MEM_ANON, .sharing = FORKED_CHILD_MARKS,
};

FIXTURE_VARIANT_ADD(sharing, damon_shmem_peer_marks)
{
	.mover = &damon, .kind = MEM_SHMEM, .sharing = SHARED_FILE_PEER_MARKS,
};

FIXTURE_VARIANT_ADD(sharing, damon_forked_child_marks)
{
	.mover = &damon, .kind = MEM_ANON, .sharing = FORKED_CHILD_MARKS,
};

FIXTURE_SETUP(sharing)
{
	const char *why;

	settings_restore();
	why = missing(&self->ground, variant->mover, variant->kind, FOLIO_4K);
	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN_PARENT(sharing)
{
	settings_restore();
}

static int child_map(void *arg)
{
	struct region **regions = arg;

	region_touch(regions[0]);
	region_touch(regions[1]);
	return 0;
}

static int child_map_and_mark(void *arg)
{
	struct region **regions = arg;

	return child_map(arg) ?: region_mark(regions[1]);
}

/*
 * A page that two processes map stays in both if only one of them has marked it, and the mover
 * does not even unmap it in the one that has not.
 */
TEST_F_TIMEOUT(sharing, shared_page_stays, TIMEOUT)
{
	const struct mover *mover = variant->mover;
	struct region control, marked, *regions[] = { &control, &marked };
	struct breaks control_breaks, marked_breaks;
	bool peer_marks = variant->sharing != FORKED_PARENT_MARKS;
	long long failed, skipped;
	struct peer peer;

	for (int i = 0; i < 2; i++)
		ASSERT_EQ(region_map(regions[i], variant->kind, FOLIO_4K, REGION_SIZE), 0);
	place(_metadata, mover, &self->ground, regions, 2);
	ASSERT_EQ(peer_start(&peer, peer_marks ? child_map_and_mark : child_map, regions), 0);
	if (!peer_marks)
		ASSERT_EQ(region_mark(&marked), 0);
	ASSERT_EQ(region_snapshot(&control), 0);
	ASSERT_EQ(region_snapshot(&marked), 0);
	/* The peer has both regions at the same addresses. */
	ASSERT_EQ(breaks_open(&control_breaks, control.addr, control.size), 0);
	ASSERT_EQ(breaks_open(&marked_breaks, marked.addr, marked.size), 0);

	failed = vmstat("pgmigrate_fail");

	skipped = push(_metadata, mover, &self->ground, regions, 2, 0);

	failed = vmstat("pgmigrate_fail") - failed;
	TH_LOG("%lld pages skipped, %lld migrations failed", skipped, failed);
	/* What is refused has not failed. */
	EXPECT_LT(failed, skipped / 2);
	expect_untouched(_metadata, "marked region", region_compare(&marked));
	EXPECT_GE(breaks_read(&control_breaks), region_pages(&control));
	EXPECT_EQ(breaks_read(&marked_breaks), 0);
	EXPECT_EQ(region_corrupt(&marked), 0);
	EXPECT_EQ(region_corrupt(&control), 0);
	peer_stop(&peer);
}

/* ----------------------------------------------------------------------- what compaction spends */

FIXTURE(isolation)
{
	struct ground ground;
};

FIXTURE_VARIANT(isolation)
{
	enum mem_kind kind;
	bool before_populate;
};

FIXTURE_VARIANT_ADD(isolation, anon)
{
	.kind = MEM_ANON, .before_populate = false,
};

FIXTURE_VARIANT_ADD(isolation, anon_marked_before_first_fault)
{
	.kind = MEM_ANON, .before_populate = true,
};

FIXTURE_VARIANT_ADD(isolation, shmem_marked_before_first_fault)
{
	.kind = MEM_SHMEM, .before_populate = true,
};

FIXTURE_SETUP(isolation)
{
	const char *why;

	settings_restore();
	why = missing(&self->ground, &compact_memory, variant->kind, FOLIO_4K);
	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN_PARENT(isolation)
{
	settings_restore();
}

/*
 * Compaction does not take marked pages off the LRU only to find that it must not move them, no
 * matter whether the mark was there before the first page: hardly any migration fails.
 */
TEST_F_TIMEOUT(isolation, marked_pages_are_not_isolated, TIMEOUT)
{
	struct region control, marked, *regions[] = { &control, &marked };
	long long failed, skipped;

	for (int i = 0; i < 2; i++)
		ASSERT_EQ(region_map(regions[i], variant->kind, FOLIO_4K, REGION_SIZE), 0);
	if (variant->before_populate)
		ASSERT_EQ(region_mark(&marked), 0);
	place(_metadata, &compact_memory, &self->ground, regions, 2);
	if (!variant->before_populate)
		ASSERT_EQ(region_mark(&marked), 0);
	ASSERT_EQ(region_snapshot(&control), 0);
	ASSERT_EQ(region_snapshot(&marked), 0);
	failed = vmstat("pgmigrate_fail");

	skipped = push(_metadata, &compact_memory, &self->ground, regions, 2, 0);

	failed = vmstat("pgmigrate_fail") - failed;
	TH_LOG("%lld pages skipped, %lld migrations failed", skipped, failed);
	expect_untouched(_metadata, "marked region", region_compare(&marked));
	EXPECT_GE(skipped, region_pages(&marked))
		TH_LOG("INCONCLUSIVE: compaction has not met all marked pages");
	EXPECT_LT(failed, region_pages(&marked) / 8);
}

/* ------------------------------------------------------------------------ partly mapped folios */

FIXTURE(partly_mapped)
{
	struct ground ground;
};

FIXTURE_SETUP(partly_mapped)
{
	const char *why;

	settings_restore();
	why = missing(&self->ground, &compact_memory, MEM_ANON, FOLIO_64K);
	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN_PARENT(partly_mapped)
{
	settings_restore();
}

/*
 * Compaction splits a large folio that is only partly mapped, and so unmaps it, before it tries
 * to move it: not if it is marked.
 */
TEST_F_TIMEOUT(partly_mapped, large_folio_is_not_split, TIMEOUT)
{
	struct region control, marked, *regions[] = { &control, &marked };
	struct breaks control_breaks, marked_breaks;
	size_t half = FOLIO_64K / 2, large;

	for (int i = 0; i < 2; i++)
		ASSERT_EQ(region_map(regions[i], MEM_ANON, FOLIO_64K, REGION_SIZE), 0);
	place(_metadata, &compact_memory, &self->ground, regions, 2);
	for (int i = 0; i < 2; i++) {
		for (size_t offset = half; offset < REGION_SIZE; offset += FOLIO_64K)
			ASSERT_EQ(madvise(regions[i]->addr + offset, half, MADV_DONTNEED), 0);
		EXPECT_EQ(region_snapshot(regions[i]), -ENODATA);
	}
	ASSERT_EQ(region_mark(&marked), 0);
	large = region_compound_pages(&marked);
	ASSERT_EQ(breaks_open(&control_breaks, control.addr, control.size), 0);
	ASSERT_EQ(breaks_open(&marked_breaks, marked.addr, marked.size), 0);

	push(_metadata, &compact_memory, &self->ground, regions, 2, 0);

	expect_untouched(_metadata, "marked region", region_compare(&marked));
	EXPECT_GT(breaks_read(&control_breaks), 0);
	EXPECT_EQ(breaks_read(&marked_breaks), 0);
	EXPECT_GT(large, 0);
	EXPECT_EQ(region_compound_pages(&marked), large);
	/* What was dropped reads as zeroes. */
	EXPECT_EQ(region_corrupt(&marked), region_pages(&marked) / 2);
}

/* --------------------------------------------------------------------------- marks switched off */

FIXTURE(switched)
{
	struct ground ground;
};

FIXTURE_VARIANT(switched)
{
	const struct mover *mover;
};

FIXTURE_VARIANT_ADD(switched, compact_memory) { .mover = &compact_memory };

FIXTURE_VARIANT_ADD(switched, numa_balancing) { .mover = &numa_balancing };

FIXTURE_VARIANT_ADD(switched, damon) { .mover = &damon };

FIXTURE_SETUP(switched)
{
	const char *why;

	settings_restore();
	why = missing(&self->ground, variant->mover, MEM_ANON, FOLIO_4K);
	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN_PARENT(switched)
{
	settings_restore();
}

/* The administrator has the last word, and it holds at once. */
TEST_F_TIMEOUT(switched, off_and_on, TIMEOUT)
{
	static const char path[] = "/sys/kernel/mm/migrate_defer/enabled";
	struct region control, marked, *regions[] = { &control, &marked };
	const struct mover *mover = variant->mover;
	long long before;
	struct diff diff;

	for (int i = 0; i < 2; i++)
		ASSERT_EQ(region_map(regions[i], MEM_ANON, FOLIO_4K, REGION_SIZE), 0);
	ASSERT_EQ(region_mark(&marked), 0);
	ASSERT_EQ(setting_write(path, "0"), 0);
	place(_metadata, mover, &self->ground, regions, 2);
	ASSERT_EQ(region_snapshot(&marked), 0);
	before = vmstat(mover->counter);
	diff = push_until_moved(mover, &self->ground, regions, 2, &marked, SECONDS);
	assert_conclusive(_metadata, mover, "the marked region, with marks switched off", diff);
	EXPECT_EQ(vmstat(mover->counter), before);
	EXPECT_EQ(vmflag_bytes(marked.addr, marked.size, "nm"), marked.size);

	ASSERT_EQ(setting_write(path, "1"), 0);
	place(_metadata, mover, &self->ground, regions, 2);
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(region_snapshot(regions[i]), 0);
	push(_metadata, mover, &self->ground, regions, 2, TRIES - 1);
	expect_untouched(_metadata, "marked region", region_compare(&marked));
}

/* --------------------------------------------------------------------------- the NUMA scanner */

FIXTURE(numa_scan)
{
	struct ground ground;
};

FIXTURE_SETUP(numa_scan)
{
	const char *why;

	settings_restore();
	why = missing(&self->ground, &numa_balancing, MEM_ANON, FOLIO_4K);
	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN_PARENT(numa_scan)
{
	settings_restore();
}

struct scan_job {
	struct ground *ground;
	bool mark;
	double seconds;		/* how long to run: in the control, how long it took */
	long long updates;
	long long wanted;
};

/* Runs until NUMA balancing has placed enough hints in this process, or the time is up. */
static int be_scanned(void *arg)
{
	struct region region, *regions[] = { &region };
	struct scan_job *job = arg;
	long long before;
	double start;
	int ret;

	ret = region_map(&region, MEM_ANON, FOLIO_4K, REGION_SIZE);
	if (!ret && job->mark)
		ret = region_mark(&region);
	ret = ret ?: numa_balancing.place(job->ground, regions, 1);
	before = vmstat("numa_pte_updates");
	start = now();
	do {
		numa_balancing.push(job->ground, regions, 1);
		job->updates = vmstat("numa_pte_updates") - before;
	} while (!ret && job->updates < job->wanted && now() < start + job->seconds);
	job->seconds = now() - start;
	return ret ?: numa_scan_stop();
}

/*
 * NUMA balancing places no hints in a process whose only large mapping is marked, and does so in
 * one where the same mapping is not.
 */
TEST_F_TIMEOUT(numa_scan, marked_range_is_not_scanned, TIMEOUT)
{
	struct scan_job *job = mmap(NULL, 2 * sizeof(*job), PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	long long pages = REGION_SIZE / page_size();
	struct peer peer;

	ASSERT_NE(job, MAP_FAILED);
	job[0] = (struct scan_job) {
		.ground = &self->ground, .seconds = TRIES * SECONDS, .wanted = pages,
	};
	ASSERT_EQ(peer_start(&peer, be_scanned, &job[0]), 0);
	peer_stop(&peer);
	if (job[0].updates < pages)
		TH_LOG("INCONCLUSIVE: %lld hints in an unmarked range of %lld pages",
		       job[0].updates, pages);
	ASSERT_GE(job[0].updates, pages);

	/* Three times as long as it took there */
	job[1] = (struct scan_job) {
		.ground = &self->ground, .mark = true, .seconds = 3 * job[0].seconds + 0.5,
		.wanted = pages,
	};
	ASSERT_EQ(peer_start(&peer, be_scanned, &job[1]), 0);
	peer_stop(&peer);
	TH_LOG("%lld hints unmarked, %lld marked (in %.1f s)", job[0].updates, job[1].updates,
	       job[1].seconds);
	/* The stack and the libraries are small, and other processes idle. */
	EXPECT_LT(job[1].updates, pages / 4);
}

TEST_HARNESS_MAIN
