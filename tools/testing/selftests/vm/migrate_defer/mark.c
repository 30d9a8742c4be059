// SPDX-License-Identifier: GPL-2.0
/*
 * When MADV_NOMIGRATE returns, what was populated is mapped: also where setting the mark itself
 * has taken a mapping apart.  The same goes for what stays marked after MADV_DOMIGRATE of a part.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"
#include "movers_test.h"

#define PUD_SPAN	(1UL << 30)
#define HUGE_PAGES	4		/* of regions that are not used */

#ifndef MFD_HUGETLB
#define MFD_HUGETLB	4U
#endif

static void write_pages(char *addr, size_t len)
{
	for (size_t offset = 0; offset < len; offset += page_size())
		*(volatile char *)(addr + offset) = *(volatile char *)(addr + offset);
}

/* --------------------------------------------------------------------------- what is not mapped */

FIXTURE(unused)
{
	struct region region;
};

FIXTURE_VARIANT(unused)
{
	enum mem_kind kind;
};

FIXTURE_VARIANT_ADD(unused, shmem) { .kind = MEM_SHMEM, };

FIXTURE_VARIANT_ADD(unused, file) { .kind = MEM_FILE_SHARED, };

FIXTURE_VARIANT_ADD(unused, hugetlb) { .kind = MEM_HUGETLB, };

FIXTURE_SETUP(unused)
{
	const char *why = kernel_has_advice() ? region_missing(variant->kind, FOLIO_4K) :
						"no MADV_NOMIGRATE";

	if (why)
		SKIP(return, "%s", why);
	settings_restore();
	ASSERT_EQ(region_map(&self->region, variant->kind, FOLIO_4K, HUGE_PAGES * pmd_size()), 0);
	if (variant->kind == MEM_HUGETLB) {
		struct region *r = &self->region;

		/* Of the kind that is shared */
		ASSERT_EQ(setting_write("/proc/sys/vm/nr_hugepages", "%lld",
					file_number("/proc/sys/vm/nr_hugepages") + HUGE_PAGES), 0);
		r->fd = memfd_create("mark", MFD_CLOEXEC | MFD_HUGETLB);
		ASSERT_EQ(ftruncate(r->fd, r->size), 0);
		ASSERT_EQ(mmap(r->addr, r->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			       r->fd, 0), r->addr);
		memset(r->addr, 1, r->size);
	} else {
		ASSERT_EQ(region_populate(&self->region, -1), 0);
		ASSERT_EQ(fsync(self->region.fd), 0);
	}
}

FIXTURE_TEARDOWN_PARENT(unused)
{
	settings_restore();
}

/*
 * An advice maps no page of a file that is in memory but not mapped, and writes to none: neither
 * where nothing of it is mapped nor where every eighth page is, or every other page of hugetlb.
 */
TEST_F(unused, stays_unused)
{
	struct region *r = &self->region;
	size_t unit = variant->kind == MEM_HUGETLB ? pmd_size() : page_size();
	size_t step = variant->kind == MEM_HUGETLB ? 2 * unit : 8 * unit;
	const struct {
		size_t from;
		size_t to;
		int advice;
	} advices[] = {
		{ unit, r->size / 2, MADV_NOMIGRATE },
		{ 0, r->size, MADV_NOMIGRATE },
		{ r->size / 2 + unit, r->size / 2 + 2 * unit, MADV_DOMIGRATE },
	};

	for (int touch = 0; touch < 2; touch++) {
		struct file_state before, after;

		ASSERT_EQ(mmap(r->addr, r->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			       r->fd, 0), r->addr);
		/* Not by reading, which maps the pages around as well. */
		for (size_t at = 0; touch && at < r->size; at += step)
			*(volatile char *)(r->addr + at) = 1;
		ASSERT_EQ(file_state(r->fd, r->addr, r->size, &before), 0);
		ASSERT_EQ(!before.present, !touch);
		ASSERT_LT(before.present, region_pages(r));
		for (size_t i = 0; i < ARRAY_SIZE(advices); i++) {
			ASSERT_EQ(madvise(r->addr + advices[i].from,
					  advices[i].to - advices[i].from, advices[i].advice), 0);
			ASSERT_EQ(file_state(r->fd, r->addr, r->size, &after), 0);
			EXPECT_TRUE(file_state_same(&before, &after))
				TH_LOG("advice %zu: %zu pages are mapped, %zu kB are dirty", i,
				       after.present, after.dirty_kb);
		}
	}
}

/* ---------------------------------------------------------------------- boundary in a huge page */

FIXTURE(boundary)
{
	struct ground ground;
	struct region control;
	struct region region;
};

FIXTURE_VARIANT(boundary)
{
	enum mem_kind kind;
	bool clear;		/* MADV_DOMIGRATE of a part, and not MADV_NOMIGRATE */
	bool apart;		/* each huge page is a VMA of its own */
	size_t from;		/* the part that is marked in the end */
	size_t to;
};

FIXTURE_VARIANT_ADD(boundary, anon_begin)
{
	.kind = MEM_ANON, .from = FOLIO_2M / 2, .to = 2 * FOLIO_2M,
};

FIXTURE_VARIANT_ADD(boundary, anon_end)
{
	.kind = MEM_ANON, .from = 0, .to = FOLIO_2M + FOLIO_2M / 2,
};

FIXTURE_VARIANT_ADD(boundary, anon_clear_begin)
{
	.kind = MEM_ANON, .clear = true, .from = FOLIO_2M / 2, .to = 2 * FOLIO_2M,
};

FIXTURE_VARIANT_ADD(boundary, anon_clear_end)
{
	.kind = MEM_ANON, .clear = true, .from = 0, .to = FOLIO_2M + FOLIO_2M / 2,
};

/* Without the mark the huge entry of a file is not split but dropped. */
FIXTURE_VARIANT_ADD(boundary, shmem_begin)
{
	.kind = MEM_SHMEM, .from = FOLIO_2M / 2, .to = 2 * FOLIO_2M,
};

FIXTURE_VARIANT_ADD(boundary, shmem_begin_of_two)
{
	.kind = MEM_SHMEM, .apart = true, .from = FOLIO_2M / 2, .to = 2 * FOLIO_2M,
};

FIXTURE_VARIANT_ADD(boundary, shmem_end)
{
	.kind = MEM_SHMEM, .from = 0, .to = FOLIO_2M + FOLIO_2M / 2,
};

FIXTURE_VARIANT_ADD(boundary, shmem_inside)
{
	.kind = MEM_SHMEM, .from = FOLIO_2M / 4, .to = FOLIO_2M / 2,
};

FIXTURE_VARIANT_ADD(boundary, shmem_clear_begin)
{
	.kind = MEM_SHMEM, .clear = true, .from = FOLIO_2M / 2, .to = 2 * FOLIO_2M,
};

FIXTURE_VARIANT_ADD(boundary, shmem_clear_end)
{
	.kind = MEM_SHMEM, .clear = true, .from = 0, .to = FOLIO_2M + FOLIO_2M / 2,
};

FIXTURE_SETUP(boundary)
{
	struct region *regions[] = { &self->control, &self->region };
	const char *why;

	settings_restore();
	why = ground_init(&self->ground) ?: region_missing(variant->kind, FOLIO_2M);
	if (why)
		SKIP(return, "%s", why);
	for (int i = 0; i < 2; i++) {
		struct region *r = regions[i];

		ASSERT_EQ(region_map(r, variant->kind, FOLIO_2M, 2 * FOLIO_2M), 0);
		ASSERT_EQ(region_populate(r, -1), 0);
		ASSERT_EQ(region_snapshot(r), 0);
		ASSERT_EQ(huge_mapped(r->addr, r->size), r->size)
			TH_LOG("INCONCLUSIVE: there were not enough huge pages");
	}
}

FIXTURE_TEARDOWN_PARENT(boundary)
{
	settings_restore();
}

/* Pages are mapped as they were, also beyond the end: neither gone nor to be faulted on. */
TEST_F_TIMEOUT(boundary, marked_part_is_mapped, TIMEOUT)
{
	size_t len = variant->to - variant->from;
	struct region *r = &self->region, *c = &self->control;
	struct diff diff;
	struct faults faults;

	/* What any advice that splits the VMA does to the huge entry */
	ASSERT_EQ(madvise(c->addr + variant->from, len, MADV_DONTFORK), 0);
	ASSERT_LT(huge_mapped(c->addr, c->size), c->size);
	diff = region_compare_part(c, variant->from, len);
	if (variant->kind == MEM_SHMEM && !diff.absent)
		TH_LOG("INCONCLUSIVE: the split of the VMA has left the huge page mapped");
	ASSERT_TRUE(variant->kind != MEM_SHMEM || diff.absent);

	if (variant->apart)
		ASSERT_EQ(madvise(r->addr + FOLIO_2M, FOLIO_2M, MADV_DONTFORK), 0);
	if (variant->clear) {
		ASSERT_EQ(region_mark(r), 0);
		expect_untouched(_metadata, "marked region", region_compare(r));
	}
	ASSERT_EQ(faults_open(&faults), 0);
	if (!variant->clear) {
		ASSERT_EQ(madvise(r->addr + variant->from, len, MADV_NOMIGRATE), 0);
	} else {
		if (variant->from)
			ASSERT_EQ(madvise(r->addr, variant->from, MADV_DOMIGRATE), 0);
		if (variant->to < r->size)
			ASSERT_EQ(madvise(r->addr + variant->to, r->size - variant->to,
					  MADV_DOMIGRATE), 0);
	}
	ASSERT_EQ(vmflag_bytes(r->addr, r->size, "nm"), len);

	expect_untouched(_metadata, "all of it", region_compare(r));
	write_pages(r->addr, r->size);
	EXPECT_EQ(faults_count(&faults, r->addr, r->size), 0);
	EXPECT_EQ(region_corrupt(r), 0);
	faults_close(&faults);
}

/* ------------------------------------------------------------- page tables of several processes */

FIXTURE(shared_table)
{
	struct ground ground;
	char *addr;
	size_t size;
};

FIXTURE_SETUP(shared_table)
{
	const char *why;
	char *reserve;
	int fd;

	settings_restore();
	why = ground_init(&self->ground) ?: region_missing(MEM_HUGETLB, FOLIO_2M);
	if (!why && access("/proc/kpagecount", R_OK))
		why = "no CONFIG_PROC_PAGE_MONITOR";
	if (why)
		SKIP(return, "%s", why);
	self->size = 4 * FOLIO_2M;
	ASSERT_EQ(setting_write("/proc/sys/vm/nr_hugepages", "%lld",
				file_number("/proc/sys/vm/nr_hugepages") + 8), 0);
	reserve = mmap(NULL, 2 * PUD_SPAN, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);
	ASSERT_NE(reserve, MAP_FAILED);
	self->addr = (char *)(((uintptr_t)reserve + PUD_SPAN - 1) & -PUD_SPAN);
	fd = memfd_create("migrate_defer", MFD_CLOEXEC | MFD_HUGETLB);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(ftruncate(fd, PUD_SPAN), 0);
	ASSERT_EQ(mmap(self->addr, PUD_SPAN, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, 0), self->addr);
	close(fd);
}

FIXTURE_TEARDOWN_PARENT(shared_table)
{
	settings_restore();
}

struct table {
	char *addr;
	size_t size;
	bool mark;
};

static int touch_table(void *arg)
{
	struct table *table = arg;

	if (table->mark && madvise(table->addr, PUD_SPAN, MADV_NOMIGRATE))
		return -errno;
	write_pages(table->addr, table->size);
	return 0;
}

/* By how many page tables a page is mapped, whoever uses these. */
static long long mappings(const void *addr)
{
	int fd = open("/proc/kpagecount", O_RDONLY | O_CLOEXEC);
	uint64_t entry, count;

	if (fd < 0 || pagemap_read(addr, page_size(), &entry) ||
	    pread(fd, &count, sizeof(count), pagemap_pfn(entry) * sizeof(count)) != sizeof(count)) {
		perror("# kpagecount");
		abort();
	}
	close(fd);
	return count;
}

static size_t absent_pages(pid_t pid, const char *addr, size_t size)
{
	size_t pages = size / page_size(), absent = 0;
	uint64_t *entries = calloc(pages, sizeof(*entries));
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (!entries || fd < 0 ||
	    pread(fd, entries, pages * sizeof(*entries), (uintptr_t)addr / page_size() * 8) !=
	    pages * sizeof(*entries)) {
		perror("# pagemap");
		abort();
	}
	for (size_t i = 0; i < pages; i++)
		absent += !(entries[i] & PM_PRESENT);
	close(fd);
	free(entries);
	return absent;
}

/* With a peer, which touches all of it */
static void share_table(struct __test_metadata *_metadata, struct table *table, struct peer *peer)
{
	memset(table->addr, 1, table->size);
	ASSERT_EQ(peer_start(peer, touch_table, table), 0);
	if (mappings(table->addr) != 1)
		TH_LOG("INCONCLUSIVE: two processes don't share the page table");
	ASSERT_EQ(mappings(table->addr), 1);
}

/*
 * A page table that several processes share for a hugetlb file goes from all but one when a page
 * of it is moved.  A mark ends the sharing, and what was populated stays mapped, in both.
 */
TEST_F_TIMEOUT(shared_table, mark_ends_sharing, TIMEOUT)
{
	struct table table = { .addr = self->addr, .size = self->size };
	struct faults faults;
	struct peer peer;

	share_table(_metadata, &table, &peer);

	ASSERT_EQ(faults_open(&faults), 0);
	ASSERT_EQ(madvise(self->addr, PUD_SPAN, MADV_NOMIGRATE), 0);
	EXPECT_EQ(absent_pages(getpid(), self->addr, self->size), 0);
	EXPECT_EQ(absent_pages(peer.pid, self->addr, self->size), 0);
	EXPECT_EQ(mappings(self->addr), 2);
	write_pages(self->addr, self->size);
	EXPECT_EQ(faults_count(&faults, self->addr, self->size), 0);
	faults_close(&faults);
	peer_stop(&peer);
}

/* A mark on a part, whose boundary the shared table has to be given up for anyway. */
TEST_F_TIMEOUT(shared_table, mark_of_part_ends_sharing, TIMEOUT)
{
	struct table table = { .addr = self->addr, .size = self->size };
	size_t half = self->size / 2;
	struct faults faults;
	struct peer peer;

	share_table(_metadata, &table, &peer);

	ASSERT_EQ(faults_open(&faults), 0);
	ASSERT_EQ(madvise(self->addr + half, half, MADV_NOMIGRATE), 0);
	EXPECT_EQ(absent_pages(getpid(), self->addr + half, half), 0);
	EXPECT_EQ(absent_pages(peer.pid, self->addr, self->size), 0);
	write_pages(self->addr + half, half);
	EXPECT_EQ(faults_count(&faults, self->addr + half, half), 0);
	faults_close(&faults);
	peer_stop(&peer);
}

/* Two who mark the file before they use it don't come to share a page table either. */
TEST_F_TIMEOUT(shared_table, marked_ones_do_not_share, TIMEOUT)
{
	struct table table = { .addr = self->addr, .size = self->size, .mark = false };
	struct peer unmarked, marked;

	/* Without marks they do. */
	share_table(_metadata, &table, &unmarked);
	peer_stop(&unmarked);

	ASSERT_EQ(madvise(self->addr, PUD_SPAN, MADV_NOMIGRATE), 0);
	table.mark = true;
	ASSERT_EQ(peer_start(&marked, touch_table, &table), 0);
	EXPECT_EQ(mappings(self->addr), 2);
	peer_stop(&marked);
}

TEST_HARNESS_MAIN
