// SPDX-License-Identifier: GPL-2.0
/* Movers that are pointed at pages or addresses of the caller: see movers.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../../../../mm/gup_test.h"
#include "movers.h"

#define MEMORY_DIR	"/sys/devices/system/memory/"
#define THP		"/sys/kernel/mm/transparent_hugepage"

/*
 * While a huge page is split or collapsed, somebody who faults on it holds a reference for a
 * moment, and the mover gives up: so does this for unmarked memory.  A caller tries again.
 */
#define TRIES		1000
#define GUP_TEST	"/sys/kernel/debug/gup_test"

/* --------------------------------------------------------------------------- poisoned memory */

static const char *poison_missing(struct ground *g, const char *path)
{
	if (access(path, W_OK))
		return "no CONFIG_MEMORY_FAILURE";
	snprintf(g->path, sizeof(g->path), "%s", path);
	return NULL;
}

static const char *soft_offline_missing(struct ground *g)
{
	return poison_missing(g, MEMORY_DIR "soft_offline_page");
}

static const char *hard_offline_missing(struct ground *g)
{
	return poison_missing(g, MEMORY_DIR "hard_offline_page");
}

/* One page in the middle of the last region, in the middle of a large folio. */
static int poison_place(struct ground *g, struct region **regions, int nr)
{
	const struct region *r = regions[nr - 1];
	uint64_t entry;
	int ret = 0;

	for (int i = 0; !ret && i < nr; i++)
		ret = region_populate(regions[i], g->node);
	ret = ret ?: pagemap_read(poison_address(r), page_size(), &entry);
	if (ret)
		return ret;
	g->vacate = pagemap_pfn(entry);
	g->vacate_end = g->vacate + 1;
	return 0;
}

static int poison_push(struct ground *g, struct region **regions, int nr)
{
	int ret = -EBUSY;

	(void)regions;
	(void)nr;
	for (int try = 0; ret == -EBUSY && try < TRIES; try++)
		ret = file_write(g->path, "%#llx", (unsigned long long)g->vacate * page_size());
	return ret;
}

/**
 * poison_address() - the page that @soft_offline and @memory_failure are about
 * @r: the region
 *
 * Return: its address.
 */
char *poison_address(const struct region *r)
{
	return r->addr + r->size / 2 + r->folio / 2 / page_size() * page_size();
}

const struct mover soft_offline = {
	.name = "soft offline",
	.counter = "nomigrate_forced",
	.missing = soft_offline_missing,
	.place = poison_place,
	.push = poison_push,
};

const struct mover memory_failure = {
	.name = "memory failure",
	.counter = "nomigrate_forced",
	.missing = hard_offline_missing,
	.place = poison_place,
	.push = poison_push,
};

/* ------------------------------------------------------------------------------ MADV_COLLAPSE */

static const char *collapse_missing(struct ground *g)
{
	(void)g;
	return access(THP, F_OK) ?
	       "no CONFIG_TRANSPARENT_HUGEPAGE" : NULL;
}

static int collapse_place(struct ground *g, struct region **regions, int nr)
{
	/* Keeps khugepaged away, and is nothing to MADV_COLLAPSE. */
	int ret = setting_write(THP "/enabled", "never");

	g->vacate_end = 0;
	for (int i = 0; !ret && i < nr; i++) {
		struct region *r = regions[i];

		/* Small pages that may become large ones. */
		if (madvise(r->addr, r->size, MADV_NOHUGEPAGE))
			return -errno;
		ret = region_populate(r, g->node);
		if (!ret && madvise(r->addr, r->size, MADV_HUGEPAGE))
			ret = -errno;
	}
	return ret;
}

static int collapse_push(struct ground *g, struct region **regions, int nr)
{
	int tries = 0;

	(void)g;
	for (int i = 0; i < nr; i++)
		while (madvise(regions[i]->addr, regions[i]->size, MADV_COLLAPSE))
			/* EINVAL: a page was on its way just then. */
			if ((errno != EAGAIN && errno != EBUSY && errno != EINVAL) ||
			    ++tries == TRIES)
				return -errno;
	return 0;
}

static int collapse_by_peer_push(struct ground *g, struct region **regions, int nr)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(-collapse_push(g, regions, nr));
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -ECHILD;
	return -WEXITSTATUS(status);
}

const struct mover collapse = {
	.name = "MADV_COLLAPSE",
	.counter = "nomigrate_forced",
	.missing = collapse_missing,
	.place = collapse_place,
	.push = collapse_push,
};

const struct mover collapse_by_peer = {
	.name = "MADV_COLLAPSE by another process",
	.counter = "nomigrate_forced",
	.missing = collapse_missing,
	.place = collapse_place,
	.push = collapse_by_peer_push,
};

/* ------------------------------------------------------------------ long-term pins leave CMA */

static int pin_fd = -1;

static const char *longterm_pin_missing(struct ground *g)
{
	return access(GUP_TEST, W_OK) ? "no CONFIG_GUP_TEST (or no debugfs)" :
					cma_alloc.missing(g);
}

static int longterm_pin_place(struct ground *g, struct region **regions, int nr)
{
	return cma_alloc.place(g, regions, nr);
}

static int longterm_pin_push(struct ground *g, struct region **regions, int nr)
{
	struct pin_longterm_test pin = {
		.addr = (uintptr_t)regions[nr - 1]->addr,
		.size = regions[nr - 1]->size,
		.flags = PIN_LONGTERM_TEST_FLAG_USE_WRITE,
	};

	(void)g;
	pin_fd = open(GUP_TEST, O_RDWR | O_CLOEXEC);
	return pin_fd < 0 || ioctl(pin_fd, PIN_LONGTERM_TEST_START, &pin) ? -errno : 0;
}

static void longterm_pin_undo(struct ground *g)
{
	(void)g;
	if (pin_fd >= 0)
		close(pin_fd);
	pin_fd = -1;
}

const struct mover longterm_pin = {
	.name = "long-term pin",
	.counter = "nomigrate_forced",
	.missing = longterm_pin_missing,
	.place = longterm_pin_place,
	.push = longterm_pin_push,
	.undo = longterm_pin_undo,
};
