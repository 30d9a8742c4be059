// SPDX-License-Identifier: GPL-2.0
/*
 * KSM leaves marked pages alone, and setting a mark takes back what it has merged before.
 *
 * All regions have the same contents, so that there is always something to merge a page with.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/swap.h>
#include <sys/uio.h>
#include <unistd.h>

#include "harness.h"
#include "movers_test.h"

#define REGION_SIZE	(2 * MIB)
#define SWITCH		"/sys/kernel/mm/migrate_defer/enabled"

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE	67
#endif

static int mergeable(const struct region *r)
{
	return madvise(r->addr, r->size, MADV_MERGEABLE) ? -errno : 0;
}

static size_t wrong_contents(const struct region *r, bool zeroes)
{
	size_t wrong = 0;

	for (size_t at = 0; at < r->size; at += page_size())
		for (size_t i = 0; i < page_size(); i += sizeof(uint64_t))
			if (*(uint64_t *)(r->addr + at + i) !=
			    (zeroes ? 0 : ksm_word(at / page_size()))) {
				wrong++;
				break;
			}
	return wrong;
}

/* Writes what is there to all pages. */
static void write_pages(const struct region *r)
{
	for (size_t offset = 0; offset < r->size; offset += page_size())
		*(volatile char *)(r->addr + offset) = *(volatile char *)(r->addr + offset);
}

static bool is_merged(void *arg)
{
	const struct region *r = arg;

	return ksm_pages(r) >= (int)region_pages(r) / 2;
}

/* Ends the test unless KSM merges the region. */
static void assert_merged(struct __test_metadata *_metadata, struct region *r)
{
	if (!poll_until(is_merged, r, 4 * SECONDS))
		TH_LOG("INCONCLUSIVE: KSM has merged only %d of %zu pages of the unmarked region",
		       ksm_pages(r), region_pages(r));
	ASSERT_TRUE(is_merged(r));
}

/**
 * struct field - what the tests of KSM work on
 * @ground:	where its memory is
 * @control:	never marked
 * @marked:	marked, some time
 * @skipped:	the counter, before anything was mergeable
 */
struct field {
	struct ground ground;
	struct region control;
	struct region marked;
	long long skipped;
};

FIXTURE(ksm)
{
	struct field field;
};

FIXTURE_VARIANT(ksm)
{
	bool zeroes;		/* merge with the zero page */
};

FIXTURE_VARIANT_ADD(ksm, contents)
{
	.zeroes = false,
};

FIXTURE_VARIANT_ADD(ksm, zeroes)
{
	.zeroes = true,
};

FIXTURE_SETUP(ksm)
{
	struct field *f = &self->field;
	struct region *regions[] = { &f->control, &f->marked };
	const char *why;

	settings_restore();
	why = missing(&f->ground, &ksm, MEM_ANON, FOLIO_4K);
	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(setting_write("/sys/kernel/mm/ksm/use_zero_pages", "%d", variant->zeroes), 0);
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(region_map(regions[i], MEM_ANON, FOLIO_4K, REGION_SIZE), 0);
	ASSERT_EQ(ksm.place(&f->ground, regions, 2), 0);
	for (int i = 0; variant->zeroes && i < 2; i++)
		memset(regions[i]->addr, 0, regions[i]->size);
	f->skipped = vmstat(ksm.counter);
	ASSERT_EQ(ksm_fast(), 0);
}

FIXTURE_TEARDOWN_PARENT(ksm)
{
	settings_restore();
}

enum order {
	MARK_FIRST,		/* the mark, and then MADV_MERGEABLE */
	MARK_LAST,
	WHOLE_PROCESS,		/* prctl() makes all of it mergeable */
};

static void marked_stays(struct __test_metadata *_metadata, struct field *f, bool zeroes,
			 enum order order)
{
	struct region *control = &f->control, *marked = &f->marked;
	double deadline = now() + SECONDS;
	struct faults faults;

	ASSERT_EQ(region_snapshot(marked), 0);
	ASSERT_EQ(faults_open(&faults), 0);
	if (order == MARK_LAST)
		ASSERT_EQ(mergeable(marked), 0);
	ASSERT_EQ(region_mark(marked), 0);
	if (order == MARK_FIRST)
		ASSERT_EQ(mergeable(marked), 0);
	if (order == WHOLE_PROCESS)
		ASSERT_EQ(prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0), 0);
	/* Otherwise MADV_MERGEABLE is accepted, and remembered. */
	EXPECT_EQ(vmflag_bytes(marked->addr, marked->size, "mg"), marked->size);
	if (order != WHOLE_PROCESS)
		ASSERT_EQ(mergeable(control), 0);

	assert_merged(_metadata, control);
	while (vmstat(ksm.counter) == f->skipped && now() < deadline)
		ksm.push(&f->ground, NULL, 0);
	for (int i = 0; i < EXTRA_PUSHES; i++)
		ksm.push(&f->ground, NULL, 0);

	EXPECT_GT(vmstat(ksm.counter), f->skipped);
	EXPECT_EQ(ksm_pages(marked), 0);
	/* MARK_LAST: KSM may have merged some between the two advices, and they are new then. */
	if (order != MARK_LAST)
		expect_untouched(_metadata, "marked region", region_compare(marked));
	EXPECT_EQ(wrong_contents(marked, zeroes), 0);
	/* KSM write-protects a page before it tries to merge it. */
	write_pages(marked);
	EXPECT_EQ(faults_count(&faults, marked->addr, marked->size), 0);
	write_pages(control);
	EXPECT_GT(faults_count(&faults, control->addr, control->size), 0);
	faults_close(&faults);

	/* Deferred, not forgotten */
	ASSERT_EQ(region_unmark(marked), 0);
	EXPECT_TRUE(poll_until(is_merged, marked, LONG_SECONDS));
	EXPECT_EQ(wrong_contents(marked, zeroes), 0);
	EXPECT_EQ(wrong_contents(control, zeroes), 0);
}

/* A marked region is not merged, and MADV_MERGEABLE on it has its effect when the mark goes. */
TEST_F_TIMEOUT(ksm, mergeable_while_marked, TIMEOUT)
{
	marked_stays(_metadata, &self->field, variant->zeroes, MARK_FIRST);
}

TEST_F_TIMEOUT(ksm, marked_while_mergeable, TIMEOUT)
{
	marked_stays(_metadata, &self->field, variant->zeroes, MARK_LAST);
}

TEST_F_TIMEOUT(ksm, whole_process_mergeable, TIMEOUT)
{
	marked_stays(_metadata, &self->field, variant->zeroes, WHOLE_PROCESS);
}

/*
 * Pages that were merged are pages of the region's own when madvise() returns, and writable, even
 * while KSM goes on; those beyond the mark stay merged.
 */
TEST_F_TIMEOUT(ksm, mark_takes_merge_back, TIMEOUT)
{
	struct region *control = &self->field.control, *mixed = &self->field.marked;
	size_t half = mixed->size / 2;
	struct region part;
	struct faults faults;

	ASSERT_EQ(mergeable(control), 0);
	ASSERT_EQ(mergeable(mixed), 0);
	assert_merged(_metadata, control);
	assert_merged(_metadata, mixed);
	ASSERT_EQ(faults_open(&faults), 0);
	ASSERT_EQ(madvise(mixed->addr, half, MADV_NOMIGRATE), 0);

	part = *mixed;
	part.size = half;
	EXPECT_EQ(ksm_pages(&part), 0);
	/* Before anything has touched it */
	EXPECT_EQ(region_snapshot(&part), 0);
	write_pages(&part);
	EXPECT_EQ(faults_count(&faults, part.addr, part.size), 0);
	for (int i = 0; i < EXTRA_PUSHES; i++)
		ksm.push(&self->field.ground, NULL, 0);
	write_pages(&part);
	EXPECT_EQ(faults_count(&faults, part.addr, part.size), 0);
	EXPECT_EQ(ksm_pages(&part), 0);
	expect_untouched(_metadata, "marked part", region_compare(&part));
	part.addr += half;
	EXPECT_GE(ksm_pages(&part), (int)region_pages(&part) / 2);
	EXPECT_EQ(wrong_contents(mixed, variant->zeroes), 0);
	EXPECT_EQ(wrong_contents(control, variant->zeroes), 0);
	faults_close(&faults);
}

/* ------------------------------------------------------------------ huge pages of two processes */

FIXTURE(huge)
{
	struct ground ground;
};

FIXTURE_SETUP(huge)
{
	const char *why;

	settings_restore();
	why = missing(&self->ground, &ksm, MEM_ANON, FOLIO_2M);
	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN_PARENT(huge)
{
	settings_restore();
}

static int child_marks(void *arg)
{
	struct region *r = arg;

	return region_mark(r);
}

/* What is still a huge page, mapped as such. */
static bool still_huge(const struct region *r)
{
	return huge_mapped(r->addr, r->size) == r->size &&
	       region_large_pages(r) == region_pages(r);
}

static bool not_huge(void *arg)
{
	return !still_huge(arg);
}

/*
 * To merge a page KSM splits the huge page that it belongs to, and so unmaps it in all processes:
 * not if one of them has marked it, whom KSM does not look at.
 */
TEST_F_TIMEOUT(huge, shared_huge_page_is_not_split, TIMEOUT)
{
	struct region control, marked, *regions[] = { &control, &marked };
	struct peer peer;

	for (int i = 0; i < 2; i++)
		ASSERT_EQ(region_map(regions[i], MEM_ANON, FOLIO_2M, REGION_SIZE), 0);
	ASSERT_EQ(ksm.place(&self->ground, regions, 2), 0);
	for (int i = 0; i < 2; i++) {
		/* The first page is like no other: it is for another one that KSM splits. */
		*(uint64_t *)regions[i]->addr = 1 + i;
		ASSERT_TRUE(still_huge(regions[i]))
			TH_LOG("INCONCLUSIVE: there were not enough huge pages");
	}
	ASSERT_EQ(peer_start(&peer, child_marks, &marked), 0);
	ASSERT_EQ(region_snapshot(&marked), 0);
	ASSERT_EQ(mergeable(&control), 0);
	ASSERT_EQ(mergeable(&marked), 0);
	ASSERT_EQ(ksm_fast(), 0);

	if (!poll_until(not_huge, &control, 4 * SECONDS))
		TH_LOG("INCONCLUSIVE: KSM has not split the unmarked huge page");
	ASSERT_FALSE(still_huge(&control));
	for (int i = 0; i < EXTRA_PUSHES; i++)
		ksm.push(&self->ground, NULL, 0);
	EXPECT_TRUE(still_huge(&marked));
	expect_untouched(_metadata, "marked region", region_compare(&marked));
	EXPECT_EQ(wrong_contents(&marked, false), 1);
	peer_stop(&peer);
}

/* --------------------------------------------------------- small pages, of two processes or one */

FIXTURE(small)
{
	struct ground ground;
	struct region control;
	struct region marked;
};

FIXTURE_SETUP(small)
{
	const char *why;

	settings_restore();
	why = missing(&self->ground, &ksm, MEM_ANON, FOLIO_4K);
	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(region_map(&self->control, MEM_ANON, FOLIO_4K, REGION_SIZE), 0);
	ASSERT_EQ(region_map(&self->marked, MEM_ANON, FOLIO_4K, REGION_SIZE), 0);
}

FIXTURE_TEARDOWN_PARENT(small)
{
	intercept_stop();
	task_pin(kthread_find("ksmd"), -1);
	settings_restore();
	swapoff(SWAP);
}

static bool has_moved(void *arg)
{
	struct diff diff = region_compare(arg);

	return 2 * diff.moved >= diff.pages;
}

/*
 * A page that is shared copy-on-write with somebody who has marked it is not made a KSM page: its
 * rmap would lead to those only whom KSM scans, and nobody could move it any more.
 */
TEST_F_TIMEOUT(small, shared_page_is_not_merged, TIMEOUT)
{
	struct region *regions[] = { &self->control, &self->marked };
	struct peer peer;

	ASSERT_EQ(ksm.place(&self->ground, regions, 2), 0);
	ASSERT_EQ(peer_start(&peer, child_marks, &self->marked), 0);
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(region_snapshot(regions[i]), 0);
		ASSERT_EQ(mergeable(regions[i]), 0);
	}
	ASSERT_EQ(ksm_fast(), 0);

	if (!poll_until(has_moved, &self->control, 4 * SECONDS))
		TH_LOG("INCONCLUSIVE: KSM has not merged the unmarked region");
	ASSERT_TRUE(has_moved(&self->control));
	for (int i = 0; i < EXTRA_PUSHES; i++)
		ksm.push(&self->ground, NULL, 0);
	expect_untouched(_metadata, "marked region", region_compare(&self->marked));
	EXPECT_EQ(wrong_contents(&self->marked, false), 0);
	peer_stop(&peer);
}

/* Each page of two regions has its like in the other one only. */
static void place_pairs(struct __test_metadata *_metadata, struct ground *g,
			struct region **regions)
{
	ASSERT_EQ(ksm.place(g, regions, 2), 0);
	for (int i = 0; i < 2; i++) {
		for (size_t page = 0; page < region_pages(regions[i]); page++)
			*(uint64_t *)(regions[i]->addr + page * page_size()) = 1 + page;
		ASSERT_EQ(region_snapshot(regions[i]), 0);
		ASSERT_EQ(mergeable(regions[i]), 0);
	}
}

static bool is_remembered(void *arg)
{
	return file_number("/sys/kernel/mm/ksm/pages_unshared") >=
	       (long long)region_pages(arg) * 3 / 4;
}

/*
 * KSM remembers the pages of a whole round, and merges them when it meets their likes: not those
 * that have been marked meanwhile.
 */
TEST_F_TIMEOUT(small, remembered_page_is_not_merged, TIMEOUT)
{
	struct region *first = &self->control, *second = &self->marked;
	struct region *regions[] = { first, second };

	/* In the order of addresses, which is KSM's */
	if (first->addr > second->addr) {
		first = &self->marked;
		second = &self->control;
	}
	for (int mark = 0; mark <= 1; mark++) {
		int merged;

		place_pairs(_metadata, &self->ground, regions);
		ASSERT_EQ(ksm_fast(), 0);
		/* Slow enough for the mark to come between one region and the other */
		ASSERT_EQ(setting_write("/sys/kernel/mm/ksm/pages_to_scan", "32"), 0);
		ASSERT_EQ(setting_write("/sys/kernel/mm/ksm/sleep_millisecs", "10"), 0);
		/* It is so for a part of one scan only. */
		ASSERT_TRUE(poll_until(is_remembered, first, 4 * SECONDS))
			TH_LOG("INCONCLUSIVE: nobody looked while most pages were remembered");
		if (mark)
			ASSERT_EQ(region_mark(first), 0);
		merged = ksm_pages(first);
		if (2 * merged > (int)region_pages(first))
			TH_LOG("INCONCLUSIVE: most pages were merged by then");
		ASSERT_LE(2 * merged, (int)region_pages(first));
		ASSERT_EQ(region_snapshot(first), 0);

		for (int i = 0; i < EXTRA_PUSHES; i++)
			ksm.push(&self->ground, NULL, 0);
		if (!mark) {
			ASSERT_GE(2 * ksm_pages(first), (int)region_pages(first));
			/* All as before, for the next round */
			ASSERT_EQ(file_write("/sys/kernel/mm/ksm/run", "2"), 0);
			continue;
		}
		EXPECT_EQ(ksm_pages(first), 0);
		expect_untouched(_metadata, "marked region", region_compare(first));
	}
}

/*
 * While marks are switched off KSM merges marked pages, too.  It takes that back when they count
 * again: it does not look after marked pages, and they could not be moved any more.
 */
TEST_F_TIMEOUT(small, merged_while_switched_off, TIMEOUT)
{
	struct region *control = &self->control, *marked = &self->marked;
	struct region *regions[] = { control, marked };
	int other = self->ground.other;

	ASSERT_EQ(ksm.place(&self->ground, regions, 2), 0);
	ASSERT_EQ(region_mark(marked), 0);
	ASSERT_EQ(setting_write(SWITCH, "0"), 0);
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(mergeable(regions[i]), 0);
	ASSERT_EQ(ksm_fast(), 0);
	assert_merged(_metadata, marked);

	ASSERT_EQ(setting_write(SWITCH, "1"), 0);
	for (int i = 0; i < EXTRA_PUSHES; i++)
		ksm.push(&self->ground, NULL, 0);
	EXPECT_EQ(ksm_pages(marked), 0);
	EXPECT_GE(ksm_pages(control), (int)region_pages(control) / 2);
	EXPECT_EQ(wrong_contents(marked, false), 0);
	if (other < 0)
		return;
	EXPECT_EQ(range_bind(marked->addr, marked->size, other, MPOL_MF_STRICT | MPOL_MF_MOVE), 0);
	EXPECT_EQ(region_nodes(marked, other), (int)region_pages(marked));
}

static bool is_merging(void *arg)
{
	return ksm_pages(arg) > 0 && file_number("/sys/kernel/mm/ksm/pages_sharing") > 0;
}

static int merge_own(void *arg)
{
	return mergeable(arg) ?: ksm_fast() ?: poll_until(is_merging, arg, LONG_SECONDS) ?
	       ksm.push(NULL, NULL, 0) : -ETIME;
}

/* A page that parent and child share becomes KSM's if either wants it: the mark takes it back. */
TEST_F_TIMEOUT(small, merged_by_child, TIMEOUT)
{
	struct region *r = &self->marked, *regions[] = { r };
	struct peer child;

	ASSERT_EQ(ksm.place(&self->ground, regions, 1), 0);
	ASSERT_EQ(peer_start(&child, merge_own, r), 0);
	ASSERT_EQ(file_write("/sys/kernel/mm/ksm/run", "0"), 0);
	if (ksm_pages(r) <= 0)
		TH_LOG("INCONCLUSIVE: no page of the parent has become one of KSM's");
	ASSERT_GT(ksm_pages(r), 0);
	ASSERT_EQ(region_mark(r), 0);
	EXPECT_EQ(ksm_pages(r), 0);
	EXPECT_EQ(wrong_contents(r, false), 0);
	peer_stop(&child);
	ASSERT_EQ(file_write("/sys/kernel/mm/ksm/run", "2"), 0);
}

#define WINDOW_MS	2000

static int child_merges(void *arg)
{
	return mergeable(arg);
}

static bool is_intercepted(void *arg)
{
	return intercept_hits() == 1;
}

/*
 * The same where the mark is set after KSM has asked about the page: between that and the moment
 * when it becomes KSM's its mapping is made read-only.
 */
TEST_F_TIMEOUT(small, marked_while_merged_by_child, TIMEOUT)
{
	const struct intercept write_protect = {
		.symbol = "page_vma_mapped_walk", .pid = kthread_find("ksmd"), .count = 1,
		.ms = WINDOW_MS,
	};
	struct region *r = &self->marked, *regions[] = { r };
	int other = self->ground.other;
	struct peer child;
	double begun;

	if (other < 0)
		SKIP(return, "there is one node only, nothing to move to");
	if (cpu_count() < 2)
		SKIP(return, "there is one processor only");
	/* While it is late KSM keeps its processor busy. */
	ASSERT_EQ(task_pin(write_protect.pid, cpu_count() - 1), 0);
	ASSERT_EQ(task_pin(0, 0), 0);
	/* The first mark of all waits for all processors. */
	ASSERT_EQ(region_mark(&self->control), 0);
	ASSERT_EQ(ksm.place(&self->ground, regions, 1), 0);
	ASSERT_EQ(peer_start(&child, child_merges, r), 0);
	ASSERT_EQ(intercept_start(&write_protect), 0);
	ASSERT_EQ(ksm_fast(), 0);
	ASSERT_TRUE(poll_until(is_intercepted, NULL, SECONDS));
	begun = now();
	ASSERT_EQ(region_mark(r), 0);
	if (now() - begun > WINDOW_MS / 1e3 / 2)
		TH_LOG("INCONCLUSIVE: the mark came too late");
	ASSERT_LT(now() - begun, WINDOW_MS / 1e3 / 2);
	for (int i = 0; i < EXTRA_PUSHES; i++)
		ksm.push(NULL, NULL, 0);
	/* A page of KSM's would stay: its rmap leads to the child only. */
	EXPECT_EQ(range_bind(r->addr, r->size, other, MPOL_MF_STRICT | MPOL_MF_MOVE_ALL), 0);
	EXPECT_EQ(region_nodes(r, other), (int)region_pages(r));
	EXPECT_EQ(wrong_contents(r, false), 0);
	peer_stop(&child);
	ASSERT_EQ(file_write("/sys/kernel/mm/ksm/run", "2"), 0);
}

#define GROUP	CGROUP "/migrate_defer_ksm"

/* Where there is no room for pages of its own the call fails: nobody is killed, nothing marked. */
TEST_F_TIMEOUT(small, no_room_to_unmerge, TIMEOUT)
{
	struct region *r = &self->marked, *regions[] = { r };
	const char *why = cgroup_enter(GROUP);

	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(ksm.place(&self->ground, regions, 1), 0);
	ASSERT_EQ(mergeable(r), 0);
	ASSERT_EQ(ksm_fast(), 0);
	assert_merged(_metadata, r);
	ASSERT_EQ(file_write("/sys/kernel/mm/ksm/run", "0"), 0);
	ASSERT_EQ(file_write(GROUP "/memory.swap.max", "0"), 0);
	ASSERT_EQ(file_write(GROUP "/memory.max", "%lld",
			     file_number(GROUP "/memory.current") + (long long)r->size / 4), 0);
	EXPECT_EQ(madvise(r->addr, r->size, MADV_NOMIGRATE), -1);
	EXPECT_EQ(errno, EAGAIN);
	EXPECT_EQ(vmflag_bytes(r->addr, r->size, "nm"), 0);
	EXPECT_EQ(file_line(GROUP "/memory.events", "oom_kill ", 1), 0);
	EXPECT_EQ(wrong_contents(r, false), 0);

	ASSERT_EQ(file_write(GROUP "/memory.max", "max"), 0);
	EXPECT_EQ(region_mark(r), 0);
	EXPECT_EQ(ksm_pages(r), 0);
	EXPECT_EQ(wrong_contents(r, false), 0);
	ASSERT_EQ(file_write("/sys/kernel/mm/ksm/run", "2"), 0);
}

static bool all_merged(void *arg)
{
	const struct region *r = arg;

	return ksm_pages(r) == (int)region_pages(r);
}

/*
 * A merged page that was on its way to swap when the mark was set comes back as one of the
 * region's own.
 */
TEST_F_TIMEOUT(small, merged_page_comes_back_from_swap, TIMEOUT)
{
	struct region *control = &self->control, *marked = &self->marked;
	struct region *regions[] = { control, marked }, part = *marked;
	struct iovec held = { .iov_base = part.addr, .iov_len = 64 * page_size() };

	part.size = held.iov_len;
	if (swapon(SWAP, 0))
		SKIP(return, "no swap on %s: %s", SWAP, strerror(errno));
	for (int mark = 0; mark <= 1; mark++) {
		struct diff diff;
		int hold[2];

		/* Each page has its like in the other region only... */
		place_pairs(_metadata, &self->ground, regions);
		ASSERT_EQ(ksm_fast(), 0);
		ASSERT_TRUE(poll_until(all_merged, marked, LONG_SECONDS));
		ASSERT_EQ(file_write("/sys/kernel/mm/ksm/run", "0"), 0);
		/* ... which leaves it: MADV_PAGEOUT is for pages that nobody else maps. */
		write_pages(control);
		ASSERT_EQ(region_snapshot(&part), 0);
		/* Reclaim can unmap it, but not free it. */
		ASSERT_EQ(pipe(hold), 0);
		ASSERT_GT(fcntl(hold[1], F_SETPIPE_SZ, held.iov_len), 0);
		ASSERT_EQ(vmsplice(hold[1], &held, 1, 0), (ssize_t)held.iov_len);
		ASSERT_EQ(madvise(part.addr, part.size, MADV_PAGEOUT), 0);
		ASSERT_EQ(region_compare(&part).absent, region_pages(&part));

		if (mark)
			ASSERT_EQ(region_mark(marked), 0);
		for (size_t page = 0; page < region_pages(&part); page++)
			EXPECT_EQ(*(uint64_t *)(part.addr + page * page_size()), 1 + page);
		diff = region_compare(&part);
		if (!mark && diff.moved)
			TH_LOG("INCONCLUSIVE: %zu merged pages were not there any more",
			       diff.moved);
		ASSERT_EQ(diff.moved, mark ? region_pages(&part) : 0);
		EXPECT_EQ(diff.absent, 0);
		close(hold[0]);
		close(hold[1]);
		ASSERT_EQ(file_write("/sys/kernel/mm/ksm/run", "2"), 0);
	}
}

TEST_HARNESS_MAIN
