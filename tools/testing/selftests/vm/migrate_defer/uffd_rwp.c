// SPDX-License-Identifier: GPL-2.0
/*
 * Entries that userfaultfd has made inaccessible (UFFDIO_RWPROTECT) look like NUMA hints.  A mark
 * repairs those, but leaves these to their handler, which wants to hear of the next access.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "harness.h"
#include "movers.h"

#define FOLIO_4K	4096
#define FOLIO_2M	(2 * MIB)
#define REGION_SIZE	(4 * MIB)
#define SECONDS		60
#define TIMEOUT		300
#define ROUNDS		2	/* of KSM, after it has had the time */
#define SWITCH		"/sys/kernel/mm/migrate_defer/enabled"

/* For headers older than 7.3 */
#ifndef UFFDIO_REGISTER_MODE_RWP
#define UFFD_FEATURE_RWP		(1 << 17)
#define UFFD_FEATURE_RWP_ASYNC		(1 << 18)
#define UFFDIO_REGISTER_MODE_RWP	((__u64)1 << 3)
#define UFFDIO_RWPROTECT_MODE_RWP	((__u64)1 << 0)
struct uffdio_rwprotect {
	struct uffdio_range range;
	__u64 mode;
};

#define UFFDIO_RWPROTECT	_IOWR(UFFDIO, 0x09, struct uffdio_rwprotect)
#endif
#ifndef PAGE_IS_ACCESSED
#define PAGE_IS_ACCESSED	(1 << 9)
#endif

FIXTURE(rwp)
{
	struct region region;
	int uffd;
};

FIXTURE_VARIANT(rwp)
{
	enum mem_kind kind;
	size_t folio;
	bool aged;
};

FIXTURE_VARIANT_ADD(rwp, anon)
{
	.kind = MEM_ANON, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(rwp, anon_2m)
{
	.kind = MEM_ANON, .folio = FOLIO_2M,
};

FIXTURE_VARIANT_ADD(rwp, shmem)
{
	.kind = MEM_SHMEM, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(rwp, hugetlb)
{
	.kind = MEM_HUGETLB, .folio = FOLIO_2M,
};

FIXTURE_VARIANT_ADD(rwp, aged_hugetlb)
{
	.kind = MEM_HUGETLB, .folio = FOLIO_2M, .aged = true,
};

/* The kernel makes a page accessible at the first access, and nobody has to answer. */
static const char *rwp_open(int *uffd)
{
	struct uffdio_api api = {
		.api = UFFD_API, .features = UFFD_FEATURE_RWP | UFFD_FEATURE_RWP_ASYNC,
	};

	*uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (*uffd < 0 || ioctl(*uffd, UFFDIO_API, &api))
		return "userfaultfd of this kernel has no read-write protection";
	return NULL;
}

static int rwp_map(int uffd, struct region *r, enum mem_kind kind, size_t folio)
{
	int ret = region_map(r, kind, folio, REGION_SIZE);
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)r->addr, .len = r->size },
		.mode = UFFDIO_REGISTER_MODE_RWP,
	};

	if (ret)
		return ret;
	return ioctl(uffd, UFFDIO_REGISTER, &reg) ? -errno : 0;
}

FIXTURE_SETUP(rwp)
{
	const char *why;

	settings_restore();
	why = region_missing(variant->kind, variant->folio) ?:
	      (variant->aged && access("/sys/kernel/mm/damon", F_OK) ? "no CONFIG_DAMON_SYSFS" :
								      NULL) ?:
	      rwp_open(&self->uffd);
	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(rwp_map(self->uffd, &self->region, variant->kind, variant->folio), 0);
}

FIXTURE_TEARDOWN_PARENT(rwp)
{
	settings_restore();
}

static int protect(int uffd, const struct region *r)
{
	struct uffdio_rwprotect rwp = {
		.range = { .start = (uintptr_t)r->addr, .len = r->size },
		.mode = UFFDIO_RWPROTECT_MODE_RWP,
	};

	return ioctl(uffd, UFFDIO_RWPROTECT, &rwp) ? -errno : 0;
}

/* Bytes of the region that are accessible, as far as userfaultfd knows */
static ssize_t accessible(const struct region *r)
{
	struct page_region found[512];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = (uintptr_t)r->addr,
		.end = (uintptr_t)r->addr + r->size,
		.vec = (uintptr_t)found,
		.vec_len = ARRAY_SIZE(found),
		.category_mask = PAGE_IS_ACCESSED,
		.return_mask = PAGE_IS_ACCESSED,
	};
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), nr;
	ssize_t bytes = 0;

	nr = ioctl(fd, PAGEMAP_SCAN, &arg);
	if (nr < 0)
		bytes = -errno;
	for (int i = 0; i < nr; i++)
		bytes += found[i].end - found[i].start;
	close(fd);
	return bytes;
}

/* What was protected before the mark still is, and what is accessed is heard of: old pages, too. */
TEST_F(rwp, mark_leaves_it_protected)
{
	struct region *r = &self->region;

	ASSERT_EQ(region_populate(r, variant->kind == MEM_HUGETLB ? 0 : -1), 0);
	if (variant->aged) {
		/* DAMON is the only one that clears accessed bits of hugetlb pages. */
		ASSERT_EQ(damon_watch("fvaddr", NULL, (uintptr_t)r->addr,
				      (uintptr_t)r->addr + r->size), 0);
		sleep(1);
		damon_off();
	}
	ASSERT_EQ(accessible(r), r->size);
	ASSERT_EQ(protect(self->uffd, r), 0);
	ASSERT_EQ(accessible(r), 0);
	ASSERT_EQ(region_snapshot(r), 0);
	ASSERT_EQ(region_mark(r), 0);
	EXPECT_EQ(accessible(r), 0);
	EXPECT_EQ(region_compare(r).absent, 0);

	*(volatile char *)r->addr;
	EXPECT_EQ(accessible(r), variant->folio);
	EXPECT_EQ(region_compare(r).moved, 0);
	EXPECT_EQ(region_corrupt(r), 0);
	EXPECT_EQ(accessible(r), r->size);
}

/* So does what is moved in spite of the mark, and mapped ready for a device. */
TEST_F(rwp, forced_move_leaves_it_protected)
{
	struct region *r = &self->region, *regions[] = { r };
	struct ground g;
	const char *why = ground_init(&g) ?: move_pages_syscall.missing(&g);

	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(move_pages_syscall.place(&g, regions, 1), 0);
	ASSERT_EQ(region_mark(r), 0);
	ASSERT_EQ(protect(self->uffd, r), 0);
	ASSERT_EQ(region_snapshot(r), 0);
	ASSERT_EQ(move_pages_syscall.push(&g, regions, 1), 0);
	EXPECT_EQ(region_compare(r).moved, region_pages(r));
	EXPECT_EQ(region_compare(r).absent, 0);
	EXPECT_EQ(accessible(r), 0);
	EXPECT_EQ(region_corrupt(r), 0);
	ground_release(&g);
}

/* ---------------------------------------------------------------- what KSM has merged before */

FIXTURE(merged)
{
	struct ground ground;
	struct region region;
	int uffd;
};

FIXTURE_SETUP(merged)
{
	const char *why;

	settings_restore();
	why = ground_init(&self->ground) ?: ksm.missing(&self->ground) ?: rwp_open(&self->uffd);
	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(rwp_map(self->uffd, &self->region, MEM_ANON, FOLIO_4K), 0);
}

FIXTURE_TEARDOWN_PARENT(merged)
{
	settings_restore();
}

static int unregister(int uffd, const struct region *r)
{
	struct uffdio_range range = { .start = (uintptr_t)r->addr, .len = r->size };

	return ioctl(uffd, UFFDIO_UNREGISTER, &range) ? -errno : 0;
}

/* Ends the test unless KSM merges all of the first of two regions. */
static void merge(struct __test_metadata *_metadata, struct ground *g, struct region **regions)
{
	struct region *r = regions[0];

	for (int i = 0; i < 2; i++)
		ASSERT_EQ(madvise(regions[i]->addr, regions[i]->size, MADV_MERGEABLE), 0);
	ASSERT_EQ(ksm_fast(), 0);
	for (double end = now() + SECONDS; ksm_pages(r) < region_pages(r) && now() < end;)
		ksm.push(g, regions, 2);
	if (ksm_pages(r) < region_pages(r))
		TH_LOG("INCONCLUSIVE: only %d pages have been merged", ksm_pages(r));
	ASSERT_EQ(ksm_pages(r), region_pages(r));
}

/*
 * What KSM has merged and userfaultfd has made inaccessible can't be unmerged without an access:
 * no mark is set that would not hold, and ksmd does not forget where the page is mapped.
 */
TEST_F_TIMEOUT(merged, merged_pages_stay_known, TIMEOUT)
{
	struct region *r = &self->region, twin, *regions[] = { r, &twin };
	struct ground *g = &self->ground;

	ASSERT_EQ(region_map(&twin, MEM_ANON, FOLIO_4K, REGION_SIZE), 0);
	ASSERT_EQ(ksm.place(g, regions, 2), 0);
	merge(_metadata, g, regions);
	ASSERT_EQ(protect(self->uffd, r), 0);

	EXPECT_EQ(madvise(r->addr, r->size, MADV_NOMIGRATE), -1);
	EXPECT_EQ(errno, EAGAIN);
	EXPECT_EQ(vmflag_bytes(r->addr, r->size, "nm"), 0);
	EXPECT_EQ(accessible(r), 0);
	EXPECT_EQ(ksm_pages(r), region_pages(r));

	ASSERT_EQ(unregister(self->uffd, r), 0);
	EXPECT_EQ(region_mark(r), 0);
	EXPECT_EQ(ksm_pages(r), 0);
}

/*
 * Nor does ksmd forget what it has merged in a marked range while marks were switched off: it
 * takes that back, and where userfaultfd is in the way, when that is gone.
 */
TEST_F_TIMEOUT(merged, merged_while_switched_off, TIMEOUT)
{
	struct region *r = &self->region, twin, *regions[] = { r, &twin };
	struct ground *g = &self->ground;

	ASSERT_EQ(region_map(&twin, MEM_ANON, FOLIO_4K, REGION_SIZE), 0);
	ASSERT_EQ(ksm.place(g, regions, 2), 0);
	ASSERT_EQ(region_mark(r), 0);
	ASSERT_EQ(setting_write(SWITCH, "0"), 0);
	merge(_metadata, g, regions);
	ASSERT_EQ(protect(self->uffd, r), 0);

	ASSERT_EQ(setting_write(SWITCH, "1"), 0);
	for (int i = 0; i < ROUNDS; i++)
		ksm.push(g, regions, 2);
	EXPECT_EQ(accessible(r), 0);
	EXPECT_EQ(ksm_pages(r), region_pages(r));

	ASSERT_EQ(unregister(self->uffd, r), 0);
	for (int i = 0; i < ROUNDS; i++)
		ksm.push(g, regions, 2);
	EXPECT_EQ(ksm_pages(r), 0);
}

static bool is_merging(void *arg)
{
	(void)arg;
	return file_number("/sys/kernel/mm/ksm/pages_sharing") > 0;
}

static int merge_own(void *arg)
{
	const struct region *r = arg;

	if (madvise(r->addr, r->size, MADV_MERGEABLE))
		return -errno;
	return poll_until(is_merging, NULL, SECONDS) ? ksm.push(NULL, NULL, 0) : -ETIME;
}

/*
 * A page that is shared with a child becomes KSM's if the child wants it, also here, where nobody
 * has asked for it: the mark says that it could not be unmerged, and nothing has been accessed.
 */
TEST_F_TIMEOUT(merged, merged_by_child, TIMEOUT)
{
	struct region *r = &self->region, *regions[] = { r };
	struct ground *g = &self->ground;
	struct peer child;
	int ret;

	ASSERT_EQ(ksm.place(g, regions, 1), 0);
	ASSERT_EQ(ksm_fast(), 0);
	ret = peer_start(&child, merge_own, r);
	if (ret || ksm_pages(r) <= 0)
		TH_LOG("INCONCLUSIVE: no page of the parent has become one of KSM's");
	ASSERT_EQ(ret, 0);
	ASSERT_GT(ksm_pages(r), 0);
	ASSERT_EQ(protect(self->uffd, r), 0);

	EXPECT_EQ(madvise(r->addr, r->size, MADV_NOMIGRATE), -1);
	EXPECT_EQ(errno, EAGAIN);
	EXPECT_EQ(accessible(r), 0);

	ASSERT_EQ(unregister(self->uffd, r), 0);
	EXPECT_EQ(region_mark(r), 0);
	EXPECT_EQ(ksm_pages(r), 0);
	peer_stop(&child);
}

TEST_HARNESS_MAIN
