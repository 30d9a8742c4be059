// SPDX-License-Identifier: GPL-2.0
/* Movers between memory tiers, and DAMON: see movers.h. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "movers.h"

#define CGROUP		"/sys/fs/cgroup"
#define GROUP		CGROUP "/migrate_defer_tier"
#define MODULE		"/sys/module/slow_node/parameters/"
#define DAMON		"/sys/kernel/mm/damon/admin/kdamonds"

/* -------------------------------------------------------------------------------- slower memory */

/* Beside the test, as "make install" puts it, or SLOW_NODE */
static const char *module_path(void)
{
	static char path[PATH_MAX];
	const char *env = getenv("SLOW_NODE");
	ssize_t len;

	if (env)
		return env;
	len = readlink("/proc/self/exe", path, sizeof(path) - 64);
	if (len < 0)
		return "";
	path[len] = 0;
	sprintf(strrchr(path, '/'), "/slow_node.ko");
	return path;
}

/* The arguments are where modprobe looks for them, too: on the kernel's command line. */
static int module_load(void)
{
	char line[4096], args[256] = "", *word, *save;
	size_t len = 0;
	int fd, ret;

	if (!access(MODULE, F_OK))
		return 0;
	if (file_read("/proc/cmdline", line, sizeof(line)) < 0)
		return -ENOENT;
	for (word = strtok_r(line, " ", &save); word; word = strtok_r(NULL, " ", &save))
		if (!strncmp(word, "slow_node.", 10) && len < sizeof(args))
			len += snprintf(args + len, sizeof(args) - len, "%s ", word + 10);
	if (!len)
		return -ENODEV;
	fd = open(module_path(), O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = syscall(SYS_finit_module, fd, args, 0) ? -errno : 0;
	close(fd);
	return ret;
}

/**
 * slow_node_missing() - have a NUMA node of a slower memory tier until settings_restore()
 * @node: which it is
 *
 * Return: why there is none, or NULL.
 */
const char *slow_node_missing(int *node)
{
	static char reason[PATH_MAX + 64];
	int ret = module_load();

	if (ret == -ENODEV)
		return "no memory was kept for the module slow_node at boot (see slow_node.c)";
	ret = ret ?: setting_write("/sys/devices/system/memory/auto_online_blocks",
				   "online_movable");
	ret = ret ?: file_write(MODULE "online", "1");
	if (ret) {
		snprintf(reason, sizeof(reason), "no slow node: %s: %s", module_path(),
			 strerror(-ret));
		return reason;
	}
	setting_on_restore(MODULE "online", "0");
	*node = file_number(MODULE "node");
	return NULL;
}

/**
 * tier_group() - a memory cgroup until settings_restore(), which this process joins
 *
 * Return: its path, or NULL if there is none.
 */
const char *tier_group(void)
{
	file_write(CGROUP "/cgroup.subtree_control", "+memory");
	if (mkdir(GROUP, 0755) && errno != EEXIST)
		return NULL;
	setting_on_restore(GROUP, NULL);
	return file_write(GROUP "/cgroup.procs", "0") ? NULL : GROUP;
}

/* ------------------------------------------------------------------------------------- demotion */

static const char *demotion_missing(struct ground *g)
{
	int slow;

	(void)g;
	if (access("/sys/kernel/mm/numa/demotion_enabled", W_OK))
		return "no memory tiers";
	/* The group leaves last: by then nobody is in it. */
	if (!tier_group() || access(GROUP "/memory.reclaim", W_OK))
		return "no memory controller in cgroup v2 on " CGROUP;
	return slow_node_missing(&slow);
}

static int place(struct ground *g, struct region **regions, int nr)
{
	int ret = 0;

	for (int i = 0; !ret && i < nr; i++)
		ret = region_populate(regions[i], g->node);
	return ret;
}

static int demotion_place(struct ground *g, struct region **regions, int nr)
{
	return setting_write("/sys/kernel/mm/numa/demotion_enabled", "1") ?:
	       place(g, regions, nr);
}

/* Ask for all of it: what can't be had is no error here. */
static int demotion_push(struct ground *g, struct region **regions, int nr)
{
	size_t size = 0;

	(void)g;
	for (int i = 0; i < nr; i++)
		size += regions[i]->size;
	file_write(GROUP "/memory.reclaim", "%zu", size);
	return 0;
}

const struct mover demotion = {
	.name = "demotion",
	.counter = "nomigrate_skip_demotion",
	.missing = demotion_missing,
	.place = demotion_place,
	.push = demotion_push,
};

/* ---------------------------------------------------------------------------------------- DAMON */

/* Physical addresses that the regions lie between */
static uint64_t damon_start, damon_end;

static const char *damon_missing(struct ground *g)
{
	if (access(DAMON "/nr_kdamonds", W_OK))
		return "no CONFIG_DAMON_SYSFS";
	return g->other < 0 ? "no other NUMA node" : NULL;
}

#define CONTEXT	DAMON "/0/contexts/0"
#define SCHEME	CONTEXT "/schemes/0"

static int damon_place(struct ground *g, struct region **regions, int nr)
{
	/* Cold or not, whatever is there */
	static const char * const settings[][2] = {
		{ DAMON "/0/contexts/nr_contexts", "1" },
		{ CONTEXT "/operations", "paddr" },
		{ CONTEXT "/monitoring_attrs/intervals/sample_us", "1000" },
		{ CONTEXT "/monitoring_attrs/intervals/aggr_us", "20000" },
		{ CONTEXT "/targets/nr_targets", "1" },
		{ CONTEXT "/targets/0/regions/nr_regions", "1" },
		{ CONTEXT "/schemes/nr_schemes", "1" },
		{ SCHEME "/action", "migrate_cold" },
		{ SCHEME "/access_pattern/sz/max", "18446744073709551615" },
		{ SCHEME "/access_pattern/nr_accesses/max", "4294967295" },
		{ SCHEME "/access_pattern/age/max", "4294967295" },
	};
	int ret = place(g, regions, nr) ?: setting_write(DAMON "/nr_kdamonds", "1");

	damon_start = UINT64_MAX;
	damon_end = 0;
	for (int i = 0; !ret && i < nr; i++) {
		const struct region *r = regions[i];

		for (size_t offset = 0; !ret && offset < r->size; offset += page_size()) {
			uint64_t entry, at;

			ret = pagemap_read(r->addr + offset, page_size(), &entry);
			at = pagemap_pfn(entry) * page_size();
			if (at < damon_start)
				damon_start = at;
			if (at + page_size() > damon_end)
				damon_end = at + page_size();
		}
	}
	for (size_t i = 0; !ret && i < ARRAY_SIZE(settings); i++)
		ret = file_write(settings[i][0], "%s", settings[i][1]);
	ret = ret ?: file_write(CONTEXT "/targets/0/regions/0/start", "%llu",
				(unsigned long long)damon_start);
	ret = ret ?: file_write(CONTEXT "/targets/0/regions/0/end", "%llu",
				(unsigned long long)damon_end);
	return ret ?: file_write(SCHEME "/target_nid", "%d", g->other);
}

/* Whether it has applied the scheme to some region. */
static bool damon_tried(void *arg)
{
	(void)arg;
	file_write(DAMON "/0/state", "update_schemes_stats");
	return file_number(SCHEME "/stats/nr_tried") > 0;
}

/* From the first look at the range until all of it has been treated once, at least */
static int damon_push(struct ground *g, struct region **regions, int nr)
{
	int ret = file_write(DAMON "/0/state", "on");

	(void)g;
	(void)regions;
	(void)nr;
	if (ret)
		return ret;
	ret = poll_until(damon_tried, NULL, 5) ? 0 : -ETIME;
	return file_write(DAMON "/0/state", "off") ?: ret;
}

const struct mover damon = {
	.name = "DAMON",
	.counter = "nomigrate_skip_damon",
	.missing = damon_missing,
	.place = damon_place,
	.push = damon_push,
};

/**
 * damon_watch() - have DAMON look which pages are used
 * @operations: what the addresses are: "fvaddr" of this process, "paddr" physical ones
 * @action: what it does with all of them, used or not; NULL: nothing
 * @start: the first of them
 * @end: one after the last
 *
 * To be ended by damon_unwatch().
 *
 * Return: 0 or a negative errno.
 */
int damon_watch(const char *operations, const char *action, uint64_t start, uint64_t end)
{
	static const char * const settings[][2] = {
		{ CONTEXT "/monitoring_attrs/intervals/sample_us", "1000" },
		{ CONTEXT "/monitoring_attrs/intervals/aggr_us", "20000" },
		/* Of each region it looks at one page at a time. */
		{ CONTEXT "/monitoring_attrs/nr_regions/max", "1000" },
		{ CONTEXT "/monitoring_attrs/nr_regions/min", "500" },
		{ CONTEXT "/targets/nr_targets", "1" },
		{ CONTEXT "/targets/0/regions/nr_regions", "1" },
	};
	static const char * const scheme[][2] = {
		{ SCHEME "/access_pattern/sz/max", "18446744073709551615" },
		{ SCHEME "/access_pattern/nr_accesses/max", "4294967295" },
		{ SCHEME "/access_pattern/age/max", "4294967295" },
	};
	int ret = setting_write(DAMON "/nr_kdamonds", "1") ?:
		  file_write(DAMON "/0/contexts/nr_contexts", "1") ?:
		  file_write(CONTEXT "/operations", "%s", operations);

	for (size_t i = 0; !ret && i < ARRAY_SIZE(settings); i++)
		ret = file_write(settings[i][0], "%s", settings[i][1]);
	ret = ret ?: file_write(CONTEXT "/schemes/nr_schemes", "%d", !!action);
	if (action) {
		ret = ret ?: file_write(SCHEME "/action", "%s", action);
		for (size_t i = 0; !ret && i < ARRAY_SIZE(scheme); i++)
			ret = file_write(scheme[i][0], "%s", scheme[i][1]);
	}
	if (!ret && strcmp(operations, "paddr"))
		ret = file_write(CONTEXT "/targets/0/pid_target", "%d", getpid());
	ret = ret ?: file_write(CONTEXT "/targets/0/regions/0/start", "%llu",
				(unsigned long long)start);
	ret = ret ?: file_write(CONTEXT "/targets/0/regions/0/end", "%llu",
				(unsigned long long)end);
	return ret ?: file_write(DAMON "/0/state", "on");
}

/**
 * damon_unwatch() - end that
 */
void damon_unwatch(void)
{
	file_write(DAMON "/0/state", "off");
}
