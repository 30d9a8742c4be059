// SPDX-License-Identifier: GPL-2.0
/*
 * Neither khugepaged nor the shrinkers that split huge pages touch a marked range.
 *
 * What they do to a file is seen in the page tables of all who map it, and stays to be seen until
 * somebody faults: so nobody here touches a marked region before its pagemap has been compared.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "harness.h"
#include "movers_test.h"

#define REGION_SIZE	(4 * MIB)
#define ROUNDS		4	/* of the shrinkers, after they have proved themselves */
#define RACES		400
#define RACE_SECONDS	20
#define ENOUGH		20	/* races that were close enough */
#define CONCLUSIVE	5	/* and so many there have to be */
#define MAPPINGS	16	/* of the file, so that it takes khugepaged a while */

#define ISOLATE		"huge_memory/mm_collapse_huge_page_isolate"
#define THP_64K		"/sys/kernel/mm/transparent_hugepage/hugepages-64kB"
#define THP_2M		"/sys/kernel/mm/transparent_hugepage/hugepages-2048kB"
#define SPLIT		"/sys/kernel/debug/split_huge_pages"

/* The pagemap of another process against the snapshot of this one. */
static struct diff compare_in(pid_t pid, const struct region *r)
{
	uint64_t *entries = calloc(region_pages(r), sizeof(*entries));
	size_t len = region_pages(r) * sizeof(*entries);
	struct diff diff = { 0 };
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (!entries || fd < 0 ||
	    pread(fd, entries, len, (uintptr_t)r->addr / page_size() * sizeof(*entries)) != len) {
		perror("# pagemap of the peer");
		abort();
	}
	for (size_t i = 0; i < region_pages(r); i++) {
		if (!(r->before[i] & PM_PRESENT))
			continue;
		diff.pages++;
		if (!(entries[i] & PM_PRESENT))
			diff.absent++;
		else if (pagemap_pfn(entries[i]) != pagemap_pfn(r->before[i]))
			diff.moved++;
	}
	close(fd);
	free(entries);
	return diff;
}

/* Until the mover has taken most pages of the control away, or the time is up. */
static struct diff push_until_absent(const struct mover *mover, struct ground *g,
				     const struct region *control)
{
	double deadline = now() + SECONDS;
	struct diff diff;

	do {
		mover->push(g, NULL, 0);
		diff = region_compare(control);
	} while (2 * diff.absent < diff.pages && now() < deadline);
	return diff;
}

/* And then until it has met the mark, and some more. */
static void push_more(const struct mover *mover, struct ground *g, long long before)
{
	double deadline = now() + SECONDS;

	while (vmstat(mover->counter) == before && now() < deadline)
		mover->push(g, NULL, 0);
	for (int i = 0; i < ROUNDS; i++)
		mover->push(g, NULL, 0);
}

/* ---------------------------------------------------------------------- khugepaged, one process */

FIXTURE(collapse)
{
	struct ground ground;
};

FIXTURE_SETUP(collapse)
{
	const char *why;

	settings_restore();
	why = missing(&self->ground, &khugepaged, MEM_ANON, FOLIO_4K);
	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN_PARENT(collapse)
{
	settings_restore();
}

/*
 * The small pages of a marked region stay, and khugepaged does not even empty its page tables to
 * look at them more closely, which it does before it knows whether it can go on.
 */
TEST_F_TIMEOUT(collapse, marked_range_is_not_collapsed, TIMEOUT)
{
	struct region control, marked, *regions[] = { &control, &marked };
	struct watch isolated;
	long long allocated;

	for (int i = 0; i < 2; i++)
		ASSERT_EQ(region_map(regions[i], MEM_ANON, FOLIO_4K, REGION_SIZE), 0);
	ASSERT_EQ(region_mark(&marked), 0);
	ASSERT_EQ(watch_open(&isolated, ISOLATE), 0);
	place(_metadata, &khugepaged, &self->ground, regions, 2);
	ASSERT_EQ(region_snapshot(&control), 0);
	ASSERT_EQ(region_snapshot(&marked), 0);

	push(_metadata, &khugepaged, &self->ground, regions, 2, 0);

	/* It does not even get a huge page, only to throw it away. */
	allocated = vmstat("thp_collapse_alloc");
	for (int i = 0; i < EXTRA_PUSHES; i++)
		khugepaged.push(&self->ground, regions, 2);
	EXPECT_EQ(vmstat("thp_collapse_alloc"), allocated);
	expect_untouched(_metadata, "marked region", region_compare(&marked));
	EXPECT_GT(watch_count(&isolated, "scan_pfn=", &control), 0);
	EXPECT_EQ(watch_count(&isolated, "scan_pfn=", &marked), 0);
	EXPECT_EQ(region_corrupt(&marked), 0);
	EXPECT_EQ(region_corrupt(&control), 0);
}

/*
 * The same of smaller huge pages, for which khugepaged takes the whole page table away: since 7.2,
 * where it has learnt to make them.
 */
TEST_F_TIMEOUT(collapse, marked_range_is_not_collapsed_to_64k, TIMEOUT)
{
	struct region control, marked, *regions[] = { &control, &marked };
	struct watch isolated;

	if (access(THP_64K "/stats/collapse_alloc", R_OK))
		SKIP(return, "khugepaged of this kernel makes no huge pages of 64 KiB");
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(region_map(regions[i], MEM_ANON, FOLIO_4K, REGION_SIZE), 0);
	ASSERT_EQ(region_mark(&marked), 0);
	ASSERT_EQ(watch_open(&isolated, ISOLATE), 0);
	place(_metadata, &khugepaged, &self->ground, regions, 2);
	ASSERT_EQ(setting_write(THP_64K "/enabled", "madvise"), 0);
	ASSERT_EQ(setting_write(THP_2M "/enabled", "never"), 0);
	ASSERT_EQ(region_snapshot(&control), 0);
	ASSERT_EQ(region_snapshot(&marked), 0);

	push(_metadata, &khugepaged, &self->ground, regions, 2, 0);

	EXPECT_EQ(huge_mapped(control.addr, control.size), 0);
	expect_untouched(_metadata, "marked region", region_compare(&marked));
	EXPECT_GT(watch_count(&isolated, "scan_pfn=", &control), 0);
	EXPECT_EQ(watch_count(&isolated, "scan_pfn=", &marked), 0);
	EXPECT_EQ(region_corrupt(&marked), 0);
	EXPECT_EQ(region_corrupt(&control), 0);
}

/* Of one VMA that khugepaged works on, it leaves alone what is marked. */
TEST_F_TIMEOUT(collapse, only_marked_part_stays, TIMEOUT)
{
	size_t huge = pmd_size();
	struct region control, mixed, *regions[] = { &control, &mixed };
	struct diff before, after;

	ASSERT_EQ(region_map(&control, MEM_ANON, FOLIO_4K, REGION_SIZE), 0);
	ASSERT_EQ(region_map(&mixed, MEM_ANON, FOLIO_4K, 3 * huge), 0);
	ASSERT_EQ(madvise(mixed.addr + huge, huge, MADV_NOMIGRATE), 0);
	place(_metadata, &khugepaged, &self->ground, regions, 2);
	ASSERT_EQ(region_snapshot(&control), 0);
	ASSERT_EQ(region_snapshot(&mixed), 0);

	push(_metadata, &khugepaged, &self->ground, regions, 2, 0);

	expect_untouched(_metadata, "marked part", region_compare_part(&mixed, huge, huge));
	before = region_compare_part(&mixed, 0, huge);
	after = region_compare_part(&mixed, 2 * huge, huge);
	before.pages += after.pages;
	before.moved += after.moved;
	assert_conclusive(_metadata, &khugepaged, "the unmarked part of the region", before);

	/* What was deferred is done when the mark goes. */
	ASSERT_EQ(madvise(mixed.addr + huge, huge, MADV_DOMIGRATE), 0);
	for (double end = now() + LONG_SECONDS; now() < end && !before.absent;) {
		khugepaged.push(&self->ground, regions, 2);
		before = region_compare_part(&mixed, huge, huge);
		before.absent = before.moved == before.pages;
	}
	EXPECT_EQ(before.moved, before.pages);
	EXPECT_EQ(region_corrupt(&mixed), 0);
}

/* ------------------------------------------------------------------------- khugepaged and files */

FIXTURE(collapse_file)
{
	struct ground ground;
};

FIXTURE_VARIANT(collapse_file)
{
	bool peer_marks;	/* and not this process, which is then the one that is scanned */
	size_t part;		/* how much of the region is marked; 0: all */
};

FIXTURE_VARIANT_ADD(collapse_file, scanned_in_peer)
{
	.peer_marks = false,
};

FIXTURE_VARIANT_ADD(collapse_file, marked_in_peer)
{
	.peer_marks = true,
};

/* Enough to keep the whole huge page's worth of the file as it is. */
FIXTURE_VARIANT_ADD(collapse_file, scanned_in_peer_one_page_marked)
{
	.peer_marks = false, .part = FOLIO_4K,
};

FIXTURE_SETUP(collapse_file)
{
	const char *why;

	settings_restore();
	why = missing(&self->ground, &khugepaged_file, MEM_SHMEM, FOLIO_2M);
	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN_PARENT(collapse_file)
{
	settings_restore();
}

/* Regions of this process that the other one is to treat. */
struct share {
	struct region *regions[2];
	size_t part;
	bool mark;
};

static int mark_parts(struct region *r, size_t part)
{
	if (!part)
		return region_mark(r);
	/* Of each huge page a page in the middle */
	for (size_t offset = r->size / 4; offset < r->size; offset += pmd_size())
		if (madvise(r->addr + offset, part, MADV_NOMIGRATE))
			return -errno;
	return 0;
}

static int offer(struct region **regions)
{
	for (int i = 0; i < 2; i++)
		if (madvise(regions[i]->addr, regions[i]->size, MADV_HUGEPAGE))
			return -errno;
	return 0;
}

static int join(void *arg)
{
	struct share *share = arg;

	region_touch(share->regions[0]);
	region_touch(share->regions[1]);
	return share->mark ? mark_parts(share->regions[1], share->part) : offer(share->regions);
}

/*
 * khugepaged replaces the pages of a file for all who map it, and leaves their page tables empty:
 * not if one of them has marked it, whichever process khugepaged came from.  Decided before
 * anything is unmapped, so the one without a mark keeps its mapping as well.
 */
TEST_F_TIMEOUT(collapse_file, shared_pages_stay, TIMEOUT)
{
	const struct mover *mover = &khugepaged_file;
	struct region control, marked, *regions[] = { &control, &marked };
	struct share share = {
		.regions = { &control, &marked }, .part = variant->part,
		.mark = variant->peer_marks,
	};
	long long before = vmstat(mover->counter);
	struct peer peer;
	struct diff diff;

	for (int i = 0; i < 2; i++)
		ASSERT_EQ(region_map(regions[i], MEM_SHMEM, FOLIO_4K, REGION_SIZE), 0);
	place(_metadata, mover, &self->ground, regions, 2);
	if (!variant->peer_marks)
		ASSERT_EQ(mark_parts(&marked, variant->part), 0);
	/* madvise() of a part has split a VMA, and nothing else. */
	ASSERT_EQ(region_snapshot(&control), 0);
	ASSERT_EQ(region_snapshot(&marked), 0);
	ASSERT_EQ(peer_start(&peer, join, &share), 0);
	if (variant->peer_marks)
		ASSERT_EQ(offer(regions), 0);

	diff = push_until_absent(mover, &self->ground, &control);
	if (2 * diff.absent < diff.pages)
		TH_LOG("INCONCLUSIVE: only %zu of %zu pages of the control were taken away",
		       diff.absent, diff.pages);
	ASSERT_GE(2 * diff.absent, diff.pages);
	push_more(mover, &self->ground, before);

	EXPECT_GT(vmstat(mover->counter), before);
	expect_untouched(_metadata, "marked region here", region_compare(&marked));
	expect_untouched(_metadata, "marked region in the peer", compare_in(peer.pid, &marked));
	EXPECT_EQ(region_corrupt(&marked), 0);
	EXPECT_EQ(region_corrupt(&control), 0);
	peer_stop(&peer);
}

/*
 * A huge page of a file that a marked range maps in small parts: khugepaged would empty the page
 * table, so that the next fault maps all of it.
 */
TEST_F_TIMEOUT(collapse, page_table_of_huge_page_stays, TIMEOUT)
{
	struct region control, marked, *regions[] = { &control, &marked };
	long long before = vmstat(khugepaged_file.counter);
	struct diff diff;

	if (region_missing(MEM_SHMEM, FOLIO_2M))
		SKIP(return, "%s", region_missing(MEM_SHMEM, FOLIO_2M));
	for (int i = 0; i < 2; i++) {
		struct region *r = regions[i];

		ASSERT_EQ(region_map(r, MEM_SHMEM, FOLIO_2M, REGION_SIZE), 0);
		ASSERT_EQ(region_populate(r, self->ground.node), 0);
		ASSERT_EQ(region_large_pages(r), region_pages(r))
			TH_LOG("INCONCLUSIVE: there were not enough huge pages");
		ASSERT_EQ(madvise(r->addr, r->size, MADV_NOHUGEPAGE), 0);
		ASSERT_EQ(madvise(r->addr, r->size, MADV_DONTNEED), 0);
		region_touch(r);
	}
	ASSERT_EQ(region_mark(&marked), 0);
	ASSERT_EQ(region_snapshot(&control), 0);
	ASSERT_EQ(region_snapshot(&marked), 0);
	ASSERT_EQ(region_large_pages(&marked), region_pages(&marked));
	/* Nothing to populate, but khugepaged is made fast. */
	ASSERT_EQ(khugepaged.place(&self->ground, regions, 0), 0);
	ASSERT_EQ(offer(regions), 0);

	diff = push_until_absent(&khugepaged, &self->ground, &control);
	if (2 * diff.absent < diff.pages)
		TH_LOG("INCONCLUSIVE: only %zu of %zu pages of the control were taken away",
		       diff.absent, diff.pages);
	ASSERT_GE(2 * diff.absent, diff.pages);
	push_more(&khugepaged, &self->ground, before);

	EXPECT_GT(vmstat(khugepaged_file.counter), before);
	expect_untouched(_metadata, "marked region", region_compare(&marked));
	EXPECT_EQ(region_corrupt(&marked), 0);
}

/* The same file as program text, of which a huge page is mapped in small parts. */
static int map_as_text(struct region *r, int node)
{
#ifdef __aarch64__
	static const uint32_t nop = 0xd503201f;
#else
	static const unsigned char nop = 0x90;
#endif
	int ret = region_map(r, MEM_SHMEM, FOLIO_2M, pmd_size()) ?: region_populate(r, node);

	if (ret)
		return ret;
	memcpy(r->addr, &nop, sizeof(nop));
	if (mmap(r->addr, r->size, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, r->fd, 0) ==
	    MAP_FAILED || madvise(r->addr, r->size, MADV_NOHUGEPAGE))
		return -errno;
	region_touch(r);
	return region_snapshot(r) ?: (madvise(r->addr, r->size, MADV_HUGEPAGE) ? -errno : 0);
}

/* Probes the first instruction of the region in this process, until it is closed. */
static int probe_open(const struct region *r)
{
	char path[64];
	struct perf_event_attr attr = {
		.type = file_number("/sys/bus/event_source/devices/uprobe/type"),
		.size = sizeof(attr),
		.config1 = (uintptr_t)path,
	};

	snprintf(path, sizeof(path), "/proc/self/fd/%d", r->fd);
	return syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

/* The end of a probe is left to a work item. */
static bool probe_is_gone(void *arg)
{
	return !region_compare(arg).moved;
}

/*
 * When a probe goes, its page is that of the file again, and the kernel takes the chance to empty
 * the page table, so that the next fault, which is its own, maps the whole huge page: that is not
 * what anybody has asked for.
 */
TEST_F_TIMEOUT(collapse, end_of_probe_is_no_collapse, TIMEOUT)
{
	struct region control, marked, *regions[] = { &control, &marked };
	size_t huge[2];

	if (access("/sys/bus/event_source/devices/uprobe/type", R_OK))
		SKIP(return, "no CONFIG_UPROBE_EVENTS");
	if (region_missing(MEM_SHMEM, FOLIO_2M))
		SKIP(return, "%s", region_missing(MEM_SHMEM, FOLIO_2M));
	ASSERT_EQ(khugepaged_wake(), 0);
	for (int i = 0; i < 2; i++) {
		int probe;

		ASSERT_EQ(map_as_text(regions[i], self->ground.node), 0);
		ASSERT_EQ(region_large_pages(regions[i]), region_pages(regions[i]))
			TH_LOG("INCONCLUSIVE: there were not enough huge pages");
		if (i)
			ASSERT_EQ(region_mark(regions[i]), 0);
		probe = probe_open(regions[i]);
		ASSERT_GE(probe, 0);
		/* A page with a breakpoint instead of the file's */
		ASSERT_EQ(region_compare(regions[i]).moved, 1);
		ASSERT_EQ(huge_mapped(regions[i]->addr, regions[i]->size), 0);
		ASSERT_EQ(lru_drain(), 0);
		close(probe);
		EXPECT_TRUE(poll_until(probe_is_gone, regions[i], SECONDS));
		huge[i] = huge_mapped(regions[i]->addr, regions[i]->size);
	}
	EXPECT_LE(region_compare(&marked).absent, 1);
	if (!huge[0])
		TH_LOG("INCONCLUSIVE: the huge page of the unmarked region is mapped as before");
	ASSERT_EQ(huge[0], control.size);
	EXPECT_EQ(huge[1], 0);
}

static int offer_one(void *arg)
{
	struct region *r = arg;

	region_touch(r);
	return madvise(r->addr, r->size, MADV_HUGEPAGE) ? -errno : 0;
}

/* And map it more often: all mappings of a page go before any of the next page does. */
static int offer_one_often(void *arg)
{
	struct region *r = arg;

	for (int i = 0; i < MAPPINGS; i++)
		if (mmap(NULL, r->size, PROT_READ, MAP_SHARED | MAP_POPULATE, r->fd, 0) ==
		    MAP_FAILED)
			return -errno;
	return offer_one(arg);
}

/*
 * The mark comes while khugepaged is taking pages of the file away: those that are there when
 * madvise() returns stay.
 */
TEST_F_TIMEOUT(collapse, mark_during_collapse_of_file, TIMEOUT)
{
	size_t pages = pmd_size() / page_size(), lost = 0, moved = 0;
	int conclusive = 0, races = 0, gone = 0;
	double end = now() + RACE_SECONDS;

	if (region_missing(MEM_SHMEM, FOLIO_2M))
		SKIP(return, "%s", region_missing(MEM_SHMEM, FOLIO_2M));
	for (; races < RACES && now() < end && conclusive < ENOUGH; races++) {
		struct region r, *regions[] = { &r };
		double deadline = now() + 1 + SECONDS;
		size_t present = 0;
		bool begun = false;
		struct diff diff;
		struct peer peer;

		ASSERT_EQ(region_map(&r, MEM_SHMEM, FOLIO_4K, pmd_size()), 0);
		ASSERT_EQ(khugepaged_file.place(&self->ground, regions, 1), 0);
		ASSERT_EQ(region_snapshot(&r), 0);
		ASSERT_EQ(peer_start(&peer, offer_one_often, &r), 0);
		/*
		 * Pages are taken away from the first to the last: wait for one of them.  Who does
		 * not sleep meanwhile keeps khugepaged out, from the lock of the page table or from
		 * the only thread that emulates processors.
		 */
		while (!begun && now() < deadline) {
			size_t which = races * 61 % pages;
			uint64_t entry;

			ASSERT_EQ(pagemap_read(r.addr + which * page_size(), page_size(), &entry),
				  0);
			begun = !(entry & PM_PRESENT);
			if (!begun)
				usleep(100);
		}
		ASSERT_EQ(region_mark(&r), 0);
		ASSERT_EQ(pagemap_read(r.addr, r.size, r.before), 0);
		for (size_t i = 0; i < pages; i++)
			present += !!(r.before[i] & PM_PRESENT);

		for (int i = 0; i < 2; i++)
			khugepaged_file.push(&self->ground, regions, 1);
		diff = region_compare(&r);
		lost += diff.absent;
		moved += diff.moved;
		conclusive += present && present < pages;
		gone += !present;
		EXPECT_EQ(region_corrupt(&r), 0);
		peer_stop(&peer);
		region_unmap(&r);
	}
	TH_LOG("%d races: %d too late; of the pages that were there %zu went, %zu moved", races,
	       gone, lost, moved);
	if (conclusive < CONCLUSIVE)
		TH_LOG("INCONCLUSIVE: in only %d of them some pages were gone and some were left",
		       conclusive);
	EXPECT_GE(conclusive, CONCLUSIVE);
	EXPECT_EQ(lost, 0);
	EXPECT_EQ(moved, 0);
}

/* What mlock() has brought in is mapped again by the mark, if khugepaged was there before it. */
TEST_F_TIMEOUT(collapse, mark_maps_locked_pages_again, TIMEOUT)
{
	struct region r, *regions[] = { &r };
	struct peer peer;
	struct diff diff;

	if (region_missing(MEM_SHMEM, FOLIO_2M))
		SKIP(return, "%s", region_missing(MEM_SHMEM, FOLIO_2M));
	ASSERT_EQ(region_map(&r, MEM_SHMEM, FOLIO_4K, pmd_size()), 0);
	ASSERT_EQ(khugepaged_file.place(&self->ground, regions, 1), 0);
	ASSERT_EQ(mlock(r.addr, r.size), 0);
	ASSERT_EQ(region_snapshot(&r), 0);
	ASSERT_EQ(peer_start(&peer, offer_one, &r), 0);
	diff = push_until_absent(&khugepaged_file, &self->ground, &r);
	if (2 * diff.absent < diff.pages)
		TH_LOG("INCONCLUSIVE: only %zu of %zu pages were taken away", diff.absent,
		       diff.pages);
	ASSERT_GE(2 * diff.absent, diff.pages);

	ASSERT_EQ(region_mark(&r), 0);
	EXPECT_EQ(region_compare(&r).absent, 0);
	EXPECT_EQ(region_corrupt(&r), 0);
	peer_stop(&peer);
}

/* ---------------------------------------------------------------------------- collapse by DAMON */

#define DAMON_SIZE	(32 * MIB)	/* takes it long enough to see it begin */

/* kdamond's MADV_COLLAPSE of a range; why there is none, or NULL */
static const char *damon_collapses(struct ground *g, const void *addr, size_t len)
{
	const char *why = damon_missing(g);
	uint64_t start = (uintptr_t)addr;

	if (why)
		return why;
	if (damon_setup("fvaddr", "collapse"))
		return "DAMON of this kernel does not collapse";
	/* Each advice is to be about some huge pages. */
	if (damon_regions(3) || damon_range(start, start + len))
		return "DAMON refuses the range";
	return NULL;
}

/* That it begins is seen by a page that is no longer where it was. */
static bool first_page_moved(void *arg)
{
	const struct region *r = arg;
	struct diff diff = region_compare_part(r, 0, page_size());

	return diff.moved || diff.absent;
}

/*
 * A collapse unmaps the pages of a file from all who map it.  DAMON gives the advice for a mapping
 * without a mark: that it merely optimises is no news to the one that has a mark.
 */
TEST_F_TIMEOUT(collapse, damon_leaves_files_alone, TIMEOUT)
{
	struct region r;
	long long before;
	const char *why;
	char *alias;

	why = damon_collapses(&self->ground, NULL, DAMON_SIZE) ?:
	      region_missing(MEM_SHMEM, FOLIO_2M);
	if (why)
		SKIP(return, "%s", why);
	for (int mark = 1; mark >= 0; mark--) {
		uint64_t start;

		ASSERT_EQ(region_map(&r, MEM_SHMEM, FOLIO_4K, DAMON_SIZE), 0);
		ASSERT_EQ(region_populate(&r, self->ground.node), 0);
		/* At the same distance from a huge page's alignment, or there is no collapse */
		alias = mmap(NULL, r.size + pmd_size(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			     0);
		ASSERT_NE(alias, MAP_FAILED);
		alias += -(uintptr_t)alias % pmd_size();
		ASSERT_EQ(mmap(alias, r.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, r.fd,
			       0), alias);
		if (mark)
			ASSERT_EQ(region_mark(&r), 0);
		region_touch(&r);
		ASSERT_EQ(region_snapshot(&r), 0);
		start = (uintptr_t)alias;
		before = vmstat(damon.counter);
		ASSERT_EQ(damon_range(start, start + r.size), 0);
		ASSERT_EQ(damon.push(&self->ground, NULL, 0), 0);
		if (mark) {
			expect_untouched(_metadata, "marked region", region_compare(&r));
			EXPECT_GT(vmstat(damon.counter), before);
		} else {
			struct diff diff = region_compare(&r);

			if (2 * (diff.moved + diff.absent) < diff.pages)
				TH_LOG("INCONCLUSIVE: DAMON collapsed only %zu of %zu pages",
				       diff.moved + diff.absent, diff.pages);
			EXPECT_GE(2 * (diff.moved + diff.absent), diff.pages);
		}
		EXPECT_EQ(region_corrupt(&r), 0);
		ASSERT_EQ(munmap(alias, r.size), 0);
		region_unmap(&r);
	}
}

/*
 * A long range takes one collapse after the other, and mmap_lock is dropped in between.  When it
 * gets marked, what has not been collapsed until then is left as it is.
 */
TEST_F_TIMEOUT(collapse, damon_stops_at_mark, TIMEOUT)
{
	size_t half = DAMON_SIZE / 2;
	struct region r;
	struct diff diff;
	const char *why;

	why = damon_collapses(&self->ground, NULL, DAMON_SIZE);
	if (why)
		SKIP(return, "%s", why);
	/* For khugepaged; the advice does not care. */
	ASSERT_EQ(setting_write(THP_2M "/enabled", "never"), 0);
	ASSERT_EQ(region_map(&r, MEM_ANON, FOLIO_4K, DAMON_SIZE), 0);
	ASSERT_EQ(region_populate(&r, self->ground.node), 0);
	ASSERT_EQ(madvise(r.addr, r.size, MADV_HUGEPAGE), 0);
	ASSERT_EQ(region_snapshot(&r), 0);
	ASSERT_EQ(damon_range((uintptr_t)r.addr, (uintptr_t)r.addr + r.size), 0);
	/* It gets little of the processor before the mark is there. */
	ASSERT_EQ(task_pin(0, 0), 0);
	ASSERT_EQ(damon_on(), 0);
	ASSERT_EQ(task_pin(damon_pid(), 0), 0);
	ASSERT_EQ(setpriority(PRIO_PROCESS, damon_pid(), 19), 0);
	for (double end = now() + LONG_SECONDS; !first_page_moved(&r) && now() < end;)
		;
	ASSERT_EQ(region_mark(&r), 0);
	EXPECT_TRUE(first_page_moved(&r))
		TH_LOG("INCONCLUSIVE: DAMON did not begin");
	diff = region_compare_part(&r, half, half);
	if (2 * diff.moved > diff.pages)
		TH_LOG("INCONCLUSIVE: the mark came after %zu of %zu pages", diff.moved,
		       diff.pages);
	EXPECT_LE(2 * diff.moved, diff.pages);
	ASSERT_EQ(region_snapshot(&r), 0);
	sleep(2);
	damon_off();
	expect_untouched(_metadata, "what was left", region_compare(&r));
	EXPECT_EQ(region_corrupt(&r), 0);
}

/* ---------------------------------------------------------------------------- splits, anonymous */

FIXTURE(split)
{
	struct ground ground;
};

FIXTURE_VARIANT(split)
{
	const struct mover *mover;
	bool peer_marks;	/* a child that shares the pages, and not this process */
};

FIXTURE_VARIANT_ADD(split, partly_mapped)
{
	.mover = &deferred_split,
};

FIXTURE_VARIANT_ADD(split, partly_mapped_peer_marks)
{
	.mover = &deferred_split, .peer_marks = true,
};

FIXTURE_VARIANT_ADD(split, underused)
{
	.mover = &underused_split,
};

FIXTURE_VARIANT_ADD(split, underused_peer_marks)
{
	.mover = &underused_split, .peer_marks = true,
};

FIXTURE_SETUP(split)
{
	const char *why;

	settings_restore();
	why = missing(&self->ground, variant->mover, MEM_ANON, FOLIO_2M);
	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN_PARENT(split)
{
	settings_restore();
}

static int mark_in_peer(void *arg)
{
	struct region *r = arg;

	return region_mark(r);
}

static bool nothing_large(void *arg)
{
	file_write("/proc/sys/vm/drop_caches", "2");
	return !region_compound_pages(arg);
}

/* A shrinker that splits the control's huge pages leaves the marked ones whole and mapped. */
TEST_F_TIMEOUT(split, marked_huge_pages_stay_whole, TIMEOUT)
{
	const struct mover *mover = variant->mover;
	struct region control, marked, *regions[] = { &control, &marked };
	struct breaks control_breaks, marked_breaks;
	long long before = vmstat(mover->counter);
	double deadline = now() + SECONDS;
	struct peer peer = { .pid = -1 };
	size_t large, huge;

	for (int i = 0; i < 2; i++)
		ASSERT_EQ(region_map(regions[i], MEM_ANON, FOLIO_2M, REGION_SIZE), 0);
	ASSERT_EQ(mover->place(&self->ground, regions, 2), 0);
	ASSERT_EQ(variant->peer_marks ? peer_start(&peer, mark_in_peer, &marked) :
		  region_mark(&marked), 0);
	/* Not all of a partly mapped page is present. */
	for (int i = 0; i < 2; i++)
		region_snapshot(regions[i]);
	large = region_compound_pages(&marked);
	huge = huge_mapped(marked.addr, marked.size);
	ASSERT_GT(large, 0);
	ASSERT_EQ(breaks_open(&control_breaks, control.addr, control.size), 0);
	ASSERT_EQ(breaks_open(&marked_breaks, marked.addr, marked.size), 0);

	do
		mover->push(&self->ground, regions, 2);
	while (region_compound_pages(&control) && now() < deadline);
	if (region_compound_pages(&control))
		TH_LOG("INCONCLUSIVE: %s left %zu pages of the control huge", mover->name,
		       region_compound_pages(&control));
	ASSERT_EQ(region_compound_pages(&control), 0);
	/* Only where it was mapped in small parts is the event to be seen. */
	if (!huge)
		ASSERT_GT(breaks_read(&control_breaks), 0);
	for (int i = 0; i < ROUNDS; i++)
		mover->push(&self->ground, regions, 2);

	EXPECT_GT(vmstat(mover->counter), before);
	EXPECT_EQ(region_compound_pages(&marked), large);
	expect_untouched(_metadata, "marked region", region_compare(&marked));
	if (variant->peer_marks)
		expect_untouched(_metadata, "marked region in the peer",
				 compare_in(peer.pid, &marked));
	EXPECT_EQ(breaks_read(&marked_breaks), 0);
	/* A huge page that is unmapped, and not split after all, is mapped in small parts then. */
	EXPECT_EQ(huge_mapped(marked.addr, marked.size), huge);
	/* What was dropped or cleared reads as zeroes in both. */
	EXPECT_EQ(region_corrupt(&marked), region_corrupt(&control));
	peer_stop(&peer);

	/* Deferred, not forgotten */
	if (mover == &deferred_split && !variant->peer_marks) {
		ASSERT_EQ(region_unmark(&marked), 0);
		EXPECT_TRUE(poll_until(nothing_large, &marked, LONG_SECONDS));
	}
}

/* -------------------------------------------------------------------------------- splits, files */

FIXTURE(unused)
{
	struct ground ground;
};

FIXTURE_VARIANT(unused)
{
	bool peer_marks;
};

FIXTURE_VARIANT_ADD(unused, marked)
{
	.peer_marks = false,
};

FIXTURE_VARIANT_ADD(unused, peer_marks)
{
	.peer_marks = true,
};

FIXTURE_SETUP(unused)
{
	const char *why;

	settings_restore();
	why = missing(&self->ground, &deferred_split, MEM_SHMEM, FOLIO_2M);
	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN_PARENT(unused)
{
	settings_restore();
}

/* The last huge page of the file has one page before the end of the file. */
static int map_beyond_end(struct region *r)
{
	size_t end = pmd_size() + page_size();
	int ret = region_map(r, MEM_SHMEM, FOLIO_2M, 2 * pmd_size());

	if (ret || ftruncate(r->fd, end))
		return ret ?: -errno;
	for (size_t offset = 0; offset < end; offset += page_size())
		r->addr[offset] = 1 + offset / page_size() % 100;
	region_snapshot(r);
	return 0;
}

static int touch_and_mark(void *arg)
{
	struct region **regions = arg;

	for (int i = 0; i < 2; i++)
		for (size_t offset = 0; offset <= pmd_size(); offset += page_size())
			(void)*(volatile char *)(regions[i]->addr + offset);
	return region_mark(regions[1]);
}

/*
 * Under pressure shmem splits a huge page that is partly beyond the end of its file, and so
 * takes it out of all page tables: not if one of them is marked.
 */
TEST_F_TIMEOUT(unused, marked_huge_page_stays_whole, TIMEOUT)
{
	const struct mover *mover = &deferred_split;
	struct region control, marked, *regions[] = { &control, &marked };
	long long before = vmstat(mover->counter);
	struct peer peer = { .pid = -1 };
	double deadline = now() + SECONDS;
	size_t last = pmd_size() / page_size(), wrong = 0, large;
	struct diff diff;

	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(map_beyond_end(regions[i]), 0);
		/* The last one is a huge page. */
		ASSERT_NE(kpageflags(pagemap_pfn(regions[i]->before[last]) + last - 1) &
			  KPF_COMPOUND_TAIL, 0)
			TH_LOG("INCONCLUSIVE: there were not enough huge pages");
	}
	large = region_compound_pages(&marked);
	ASSERT_EQ(variant->peer_marks ? peer_start(&peer, touch_and_mark, regions) :
		  region_mark(&marked), 0);
	expect_untouched(_metadata, "marked region, to begin with", region_compare(&marked));

	do {
		mover->push(&self->ground, regions, 2);
		diff = region_compare(&control);
	} while (!diff.absent && now() < deadline);
	if (!diff.absent)
		TH_LOG("INCONCLUSIVE: the huge page of the control was not split");
	ASSERT_GT(diff.absent, 0);
	for (int i = 0; i < ROUNDS; i++)
		mover->push(&self->ground, regions, 2);

	EXPECT_GT(vmstat(mover->counter), before);
	EXPECT_EQ(region_compound_pages(&marked), large);
	expect_untouched(_metadata, "marked region", region_compare(&marked));
	if (variant->peer_marks)
		expect_untouched(_metadata, "marked region in the peer",
				 compare_in(peer.pid, &marked));
	for (size_t page = 0; page <= last; page++)
		wrong += marked.addr[page * page_size()] != 1 + page % 100;
	EXPECT_EQ(wrong, 0);
	peer_stop(&peer);
}

/*
 * Where such a huge page has to be split, what is beyond the end goes from the file: no entry waits
 * for it to be mapped again.
 */
TEST_F_TIMEOUT(unused, split_drops_what_is_beyond, TIMEOUT)
{
	size_t last = pmd_size() / page_size(), wrong = 0, waiting = 0;
	struct region control, marked, *regions[] = { &control, &marked };
	struct peer peer = { .pid = -1 };

	if (access(SPLIT, W_OK))
		SKIP(return, "no debugfs to split huge pages with");
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(map_beyond_end(regions[i]), 0);
	ASSERT_NE(kpageflags(pagemap_pfn(marked.before[last]) + last - 1) & KPF_COMPOUND_TAIL, 0)
		TH_LOG("INCONCLUSIVE: there were not enough huge pages");
	ASSERT_EQ(variant->peer_marks ? peer_start(&peer, touch_and_mark, regions) :
		  region_mark(&marked), 0);
	ASSERT_EQ(file_write(SPLIT, "%d,0x%lx,0x%lx", getpid(), (unsigned long)marked.addr,
			     (unsigned long)marked.addr + marked.size), 0);
	EXPECT_EQ(region_compound_pages(&marked), 0);
	ASSERT_EQ(pagemap_read(marked.addr, marked.size, marked.before), 0);
	for (size_t page = 0; page < region_pages(&marked); page++)
		waiting += !!(marked.before[page] & PM_SWAP);
	EXPECT_EQ(waiting, 0);
	for (size_t page = 0; page <= last; page++)
		wrong += marked.addr[page * page_size()] != 1 + page % 100;
	EXPECT_EQ(wrong, 0);
	peer_stop(&peer);
}

/* --------------------------------------------------------------- what DAMON gives advice about */

FIXTURE(advice)
{
	struct ground ground;
};

FIXTURE_SETUP(advice)
{
	const char *why;

	settings_restore();
	why = missing(&self->ground, &damon, MEM_ANON, FOLIO_2M);
	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN_PARENT(advice)
{
	damon_off();
	settings_restore();
}

static bool advised(void *arg)
{
	const struct region *r = arg;

	return vmflag_bytes(r->addr, r->size, "nh") == r->size;
}

/*
 * DAMON can be told to give advice about memory of a process, at addresses that it makes up: that
 * splits VMAs, and huge pages with them.
 */
TEST_F_TIMEOUT(advice, of_damon_is_not_taken, TIMEOUT)
{
	struct region control, marked, *regions[] = { &control, &marked };
	long long before = vmstat(damon.counter);
	uint64_t start = UINT64_MAX, end = 0;

	for (int i = 0; i < 2; i++) {
		uint64_t addr;

		ASSERT_EQ(region_map(regions[i], MEM_ANON, FOLIO_2M, REGION_SIZE), 0);
		ASSERT_EQ(region_populate(regions[i], self->ground.node), 0);
		addr = (uintptr_t)regions[i]->addr;
		start = addr < start ? addr : start;
		end = addr + REGION_SIZE > end ? addr + REGION_SIZE : end;
	}
	ASSERT_EQ(region_mark(&marked), 0);
	ASSERT_EQ(vmflag_bytes(control.addr, control.size, "nh"), 0);
	ASSERT_EQ(damon_watch("fvaddr", "nohugepage", start, end), 0);
	if (!poll_until(advised, &control, 2 * SECONDS))
		TH_LOG("INCONCLUSIVE: no advice about the unmarked region");
	damon_off();

	ASSERT_TRUE(advised(&control));
	EXPECT_EQ(vmflag_bytes(marked.addr, marked.size, "nh"), 0);
	EXPECT_GT(vmstat(damon.counter), before);
}

TEST_HARNESS_MAIN
