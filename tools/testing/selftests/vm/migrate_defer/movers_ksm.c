// SPDX-License-Identifier: GPL-2.0
/* KSM, which merges identical pages: see movers.h. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "movers.h"

#define KSM		"/sys/kernel/mm/ksm"

#define KPF_ZERO_PAGE	(1ULL << 24)

/* So many pages of a region differ from each other. */
#define CONTENTS	16

static const char *ksm_missing(struct ground *g)
{
	(void)g;
	return access(KSM "/run", W_OK) ? "no CONFIG_KSM" : NULL;
}

/**
 * ksm_word() - what the pages of regions that are placed for KSM consist of
 * @page: index of the page in its region, whichever that is
 *
 * Return: the word.
 */
uint64_t ksm_word(size_t page)
{
	return 0x6b736d0000000000ULL + page % CONTENTS;
}

static int ksm_place(struct ground *g, struct region **regions, int nr)
{
	int ret = 0;

	for (int i = 0; !ret && i < nr; i++) {
		struct region *r = regions[i];

		ret = region_populate(r, g->node);
		for (size_t at = 0; !ret && at < r->size; at += sizeof(uint64_t))
			*(uint64_t *)(r->addr + at) = ksm_word(at / page_size());
	}
	return ret;
}

/**
 * ksm_fast() - have KSM scan all the time
 *
 * Return: 0 or a negative errno.
 */
int ksm_fast(void)
{
	int ret = setting_write(KSM "/sleep_millisecs", "1") ?:
		  setting_write(KSM "/pages_to_scan", "4096");

	/* Pages that could not be merged would be left out for some rounds. */
	if (!access(KSM "/smart_scan", W_OK))
		ret = ret ?: setting_write(KSM "/smart_scan", "0");
	ret = ret ?: setting_write(KSM "/run", "1");
	/* Written before what it was: nothing stays merged. */
	if (!ret)
		setting_on_restore(KSM "/run", "2");
	return ret;
}

static bool scanned(void *arg)
{
	return file_number(KSM "/full_scans") >= *(long long *)arg;
}

/* A page is merged when it has not changed since the round before. */
static int ksm_push(struct ground *g, struct region **regions, int nr)
{
	long long want = file_number(KSM "/full_scans") + 3;

	(void)g;
	(void)regions;
	(void)nr;
	return poll_until(scanned, &want, 60) ? 0 : -ETIME;
}

/**
 * ksm_pages() - count the pages of a region that KSM has merged
 * @r: the region
 *
 * Those are mapped more than once, for no other process has them, or are the zero page now.
 * KPF_KSM is no help: 6.12 sets it for all anonymous pages.
 *
 * Return: the number, or a negative errno.
 */
int ksm_pages(const struct region *r)
{
	int fd = open("/proc/kpagecount", O_RDONLY | O_CLOEXEC), merged = 0;

	if (fd < 0)
		return -errno;
	for (size_t offset = 0; merged >= 0 && offset < r->size; offset += page_size()) {
		uint64_t entry, pfn, count;

		if (pagemap_read(r->addr + offset, page_size(), &entry))
			merged = -EIO;
		pfn = pagemap_pfn(entry);
		if (merged < 0 || !pfn)
			continue;
		if (pread(fd, &count, sizeof(count), pfn * sizeof(count)) != sizeof(count))
			merged = -EIO;
		else
			merged += count > 1 || kpageflags(pfn) & KPF_ZERO_PAGE;
	}
	close(fd);
	return merged;
}

const struct mover ksm = {
	.name = "KSM",
	.counter = "nomigrate_skip_ksm",
	.missing = ksm_missing,
	.place = ksm_place,
	.push = ksm_push,
};
