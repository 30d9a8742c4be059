// SPDX-License-Identifier: GPL-2.0
/*
 * Who looks for idle memory clears accessed bits, and an IOMMU that can't set them itself then
 * faults on each page: not on a marked range of an address space that a device is bound to.
 *
 * Reclaim does so with pages that it is about to take, and is not meant here: against it there is
 * mlock().
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"
#include "movers_test.h"
#include "sva.h"

#define REGION_SIZE	(2 * MIB)
#define HUGETLB_SIZE	(16 * MIB)
#define ENOUGH		8	/* faults, of base pages or huge ones */
#define LRU_GEN		"/sys/kernel/mm/lru_gen/enabled"
#define LRU_GEN_DEBUG	"/sys/kernel/debug/lru_gen"
#define IDLE_BITMAP	"/sys/kernel/mm/page_idle/bitmap"

/**
 * struct ager - something that clears accessed bits
 * @missing: why the machine doesn't have it, or NULL if it does
 * @start:   begin, if it takes time; or NULL
 * @push:    have the bits of two regions cleared once; 0 or a negative errno
 * @stop:    what ends what @start began
 */
struct ager {
	const char *(*missing)(void);
	int (*start)(struct region **regions);
	int (*push)(struct region **regions);
	void (*stop)(void);
};

/* ----------------------------------------------------------------------------------- clear_refs */

static const char *clear_refs_missing(void)
{
	return access("/proc/self/clear_refs", W_OK) ? "no CONFIG_PROC_PAGE_MONITOR" : NULL;
}

static int clear_refs_push(struct region **regions)
{
	(void)regions;
	return file_write("/proc/self/clear_refs", "1");
}

static const struct ager clear_refs = {
	.missing = clear_refs_missing, .push = clear_refs_push,
};

/* --------------------------------------------------------------------------- idle page tracking */

static const char *page_idle_missing(void)
{
	return access(IDLE_BITMAP, W_OK) ? "no CONFIG_IDLE_PAGE_TRACKING" : NULL;
}

static int page_idle_push(struct region **regions)
{
	int fd = open(IDLE_BITMAP, O_RDWR | O_CLOEXEC), ret = fd < 0 ? -errno : 0;

	for (int i = 0; !ret && i < 2; i++) {
		for (size_t page = 0; !ret && page < region_pages(regions[i]); page++) {
			uint64_t pfn = pagemap_pfn(regions[i]->before[page]);
			uint64_t word = 1ULL << pfn % 64;

			/* Setting a page idle clears its accessed bits. */
			if (pwrite(fd, &word, sizeof(word), pfn / 64 * 8) != sizeof(word))
				ret = -errno;
		}
	}
	if (fd >= 0)
		close(fd);
	return ret;
}

static const struct ager page_idle = {
	.missing = page_idle_missing, .push = page_idle_push,
};

/* ---------------------------------------------------------------------------------------- DAMON */

static const char *damon_sysfs_missing(void)
{
	return access("/sys/kernel/mm/damon/admin", F_OK) ? "no CONFIG_DAMON_SYSFS" : NULL;
}

static int damon_vaddr_start(struct region **regions)
{
	uint64_t a = (uintptr_t)regions[0]->addr, b = (uintptr_t)regions[1]->addr;

	return damon_watch("fvaddr", NULL, a < b ? a : b, (a < b ? b : a) + regions[0]->size);
}

static int damon_paddr_start(struct region **regions)
{
	uint64_t start = UINT64_MAX, end = 0;

	for (int i = 0; i < 2; i++) {
		for (size_t page = 0; page < region_pages(regions[i]); page++) {
			uint64_t at = pagemap_pfn(regions[i]->before[page]) * page_size();

			start = at < start ? at : start;
			end = at + page_size() > end ? at + page_size() : end;
		}
	}
	return damon_watch("paddr", NULL, start, end);
}

/* DAMON is at work all the time: give it a few of its rounds. */
static int damon_push(struct region **regions)
{
	(void)regions;
	usleep(50000);
	return 0;
}

static const struct ager damon_vaddr = {
	.missing = damon_sysfs_missing, .start = damon_vaddr_start, .push = damon_push,
	.stop = damon_off,
};

static const struct ager damon_paddr = {
	.missing = damon_sysfs_missing, .start = damon_paddr_start, .push = damon_push,
	.stop = damon_off,
};

/* -------------------------------------------------------------------------------- multi-gen LRU */

static const char *lru_gen_missing(void)
{
	char buf[32];

	if (access(LRU_GEN_DEBUG, W_OK) || file_read(LRU_GEN, buf, sizeof(buf)) < 0)
		return "no CONFIG_LRU_GEN (or no debugfs)";
	return strtoul(buf, NULL, 16) & 2 ?
	       NULL : "the multi-gen LRU does not walk page tables on this processor";
}

/* A new generation on each node, of the memory cgroup that is listed first: the root. */
static int lru_gen_push(struct region **regions)
{
	unsigned int memcg, node;
	unsigned long seq, last[16] = { 0 };
	FILE *f = fopen(LRU_GEN_DEBUG, "re");
	char line[512];
	int seen = 0, at = -1, ret = 0;
	unsigned int first = 0;

	(void)regions;
	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "memcg %u", &memcg) == 1) {
			if (seen++)
				break;
			first = memcg;
		} else if (sscanf(line, " node %u", &node) == 1) {
			at = node < ARRAY_SIZE(last) ? (int)node : -1;
		} else if (at >= 0 && sscanf(line, " %lu", &seq) == 1) {
			last[at] = seq;
		}
	}
	fclose(f);
	for (size_t i = 0; !ret && i < ARRAY_SIZE(last); i++)
		if (last[i])
			ret = file_write(LRU_GEN_DEBUG, "+ %u %zu %lu 1 1", first, i, last[i]);
	return ret;
}

static const struct ager lru_gen = {
	.missing = lru_gen_missing, .push = lru_gen_push,
};

/* ------------------------------------------------------------------------------------- the test */

FIXTURE(aging) {
	struct ground ground;
	struct region control;
	struct region marked;
	int fd;
};

FIXTURE_VARIANT(aging) {
	const struct ager *ager;
	enum mem_kind kind;
	size_t folio;
};

FIXTURE_VARIANT_ADD(aging, clear_refs) { .ager = &clear_refs, .folio = FOLIO_4K };

FIXTURE_VARIANT_ADD(aging, clear_refs_2m) { .ager = &clear_refs, .folio = FOLIO_2M };

FIXTURE_VARIANT_ADD(aging, page_idle) { .ager = &page_idle, .folio = FOLIO_4K };

FIXTURE_VARIANT_ADD(aging, page_idle_2m) { .ager = &page_idle, .folio = FOLIO_2M };

FIXTURE_VARIANT_ADD(aging, damon_vaddr) { .ager = &damon_vaddr, .folio = FOLIO_4K };

FIXTURE_VARIANT_ADD(aging, damon_vaddr_2m) { .ager = &damon_vaddr, .folio = FOLIO_2M };

/* DAMON takes the entry of a hugetlb page away to clear the bit. */
FIXTURE_VARIANT_ADD(aging, damon_vaddr_hugetlb) {
	.ager = &damon_vaddr, .kind = MEM_HUGETLB, .folio = FOLIO_2M,
};

FIXTURE_VARIANT_ADD(aging, damon_paddr) { .ager = &damon_paddr, .folio = FOLIO_4K };

FIXTURE_VARIANT_ADD(aging, lru_gen) { .ager = &lru_gen, .folio = FOLIO_4K };

FIXTURE_VARIANT_ADD(aging, lru_gen_2m) { .ager = &lru_gen, .folio = FOLIO_2M };

FIXTURE_SETUP(aging)
{
	struct region *regions[] = { &self->control, &self->marked };
	const char *why;

	settings_restore();
	why = sva_missing() ?: ground_init(&self->ground) ?: variant->ager->missing() ?:
	      region_missing(variant->kind, variant->folio);
	if (why)
		SKIP(return, "%s", why);
	for (int i = 0; i < 2; i++) {
		ASSERT_OK(region_map(regions[i], variant->kind, variant->folio,
				     variant->kind == MEM_HUGETLB ? HUGETLB_SIZE :
				     REGION_SIZE));
		ASSERT_OK(region_populate(regions[i], self->ground.node));
		ASSERT_OK(region_snapshot(regions[i]));
	}
	self->fd = sva_open_bound(0);
	ASSERT_LE(0, self->fd);
	ASSERT_OK(region_mark(&self->marked));
}

FIXTURE_TEARDOWN_PARENT(aging)
{
	settings_restore();
}

/* The I/O page faults of a device that reads all pages anew, for accessed bits that are clear. */
static int old_pages(int fd, const struct region *r, uint64_t *old)
{
	struct sva_testdev_job job = sva_job(SVA_TESTDEV_READ, r->addr, r->size, 1);
	struct sva_testdev_stats stats;
	int ret = sva_run(fd, &job, &stats);

	*old += stats.causes[SVA_TESTDEV_OLD];
	return ret;
}

/* Pages of the control become old, those of the marked region don't. */
TEST_F_TIMEOUT(aging, marked_pages_stay_young, TIMEOUT)
{
	struct region *regions[] = { &self->control, &self->marked };
	long long skipped = vmstat("nomigrate_skip_aging");
	uint64_t control = 0, marked = 0, none = 0;
	double deadline = now() + 2 * SECONDS;
	int rounds = 0;

	for (int i = 0; i < 2; i++)
		ASSERT_OK(old_pages(self->fd, regions[i], &none));
	if (variant->ager->start)
		ASSERT_OK(variant->ager->start(regions));
	while ((control < ENOUGH || rounds < 4) && now() < deadline) {
		ASSERT_OK(variant->ager->push(regions));
		ASSERT_OK(sva_evict(self->fd));
		ASSERT_OK(old_pages(self->fd, &self->control, &control));
		ASSERT_OK(old_pages(self->fd, &self->marked, &marked));
		rounds++;
	}
	if (variant->ager->stop)
		variant->ager->stop();
	TH_LOG("%d rounds: %llu faults on the control, %llu on the marked region", rounds,
	       (unsigned long long)control, (unsigned long long)marked);
	if (!control)
		TH_LOG("INCONCLUSIVE: no page of the control became old");
	ASSERT_LT(0, control);
	EXPECT_EQ(0, marked);
	EXPECT_LT(skipped, vmstat("nomigrate_skip_aging"));
	close(self->fd);
}

/* ----------------------------------------------------------------------- bound after the aging */

FIXTURE(bound) {
	struct region control;
	struct region marked;
};

FIXTURE_VARIANT(bound) {
	size_t folio;
};

FIXTURE_VARIANT_ADD(bound, base_pages) { .folio = FOLIO_4K };

/*
 * Blocks of contiguous entries, of which the CPU makes only one young: the kernel takes all of
 * them for young, and a device takes each for what it is.
 */
FIXTURE_VARIANT_ADD(bound, partly_used_blocks) { .folio = FOLIO_64K };

FIXTURE_SETUP(bound)
{
	struct region *regions[] = { &self->control, &self->marked };
	const char *why;

	settings_restore();
	why = sva_missing() ?: page_idle_missing() ?: region_missing(MEM_ANON, variant->folio);
	if (why)
		SKIP(return, "%s", why);
	for (int i = 0; i < 2; i++) {
		ASSERT_OK(region_map(regions[i], MEM_ANON, variant->folio, REGION_SIZE));
		ASSERT_OK(region_populate(regions[i], -1));
		ASSERT_OK(region_snapshot(regions[i]));
	}
}

FIXTURE_TEARDOWN_PARENT(bound)
{
	settings_restore();
}

/* A device that is bound when marked pages are old finds none. */
TEST_F_TIMEOUT(bound, finds_no_old_page, TIMEOUT)
{
	struct region *regions[] = { &self->control, &self->marked };
	uint64_t control = 0, marked = 0;
	int fd;

	ASSERT_OK(region_mark(&self->marked));
	ASSERT_OK(page_idle_push(regions));
	for (int i = 0; i < 2; i++)
		for (size_t at = 0; variant->folio > page_size() && at < regions[i]->size;
		     at += variant->folio)
			*(volatile char *)(regions[i]->addr + at);
	fd = sva_open_bound(0);
	ASSERT_LE(0, fd);
	ASSERT_OK(old_pages(fd, &self->control, &control));
	ASSERT_OK(old_pages(fd, &self->marked, &marked));
	TH_LOG("%llu faults on the control, %llu on the marked region",
	       (unsigned long long)control, (unsigned long long)marked);
	close(fd);
	EXPECT_EQ(0, marked);
	/* Where software sets the bit, it does so for the whole block. */
	if (!control && variant->folio > page_size())
		SKIP(return, "the processor does not set accessed bits");
	EXPECT_LE(REGION_SIZE / variant->folio * 3 / 4, control);
}

TEST_HARNESS_MAIN
