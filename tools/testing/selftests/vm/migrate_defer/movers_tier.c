// SPDX-License-Identifier: GPL-2.0
/* Movers between memory tiers: see movers.h. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "movers.h"

#define CGROUP		"/sys/fs/cgroup"
#define GROUP		CGROUP "/migrate_defer_tier"
#define MODULE		"/sys/module/slow_node/parameters/"

/* -------------------------------------------------------------------------------- slower memory */

/* The arguments are where modprobe looks for them, too: on the kernel's command line. */
static int slow_node_load(void)
{
	char line[4096], args[256] = "", *word, *save;
	size_t len = 0;

	if (!access(MODULE, F_OK))
		return 0;
	if (file_read("/proc/cmdline", line, sizeof(line)) < 0)
		return -ENOENT;
	for (word = strtok_r(line, " ", &save); word; word = strtok_r(NULL, " ", &save))
		if (!strncmp(word, "slow_node.", 10) && len < sizeof(args))
			len += snprintf(args + len, sizeof(args) - len, "%s ", word + 10);
	if (!len)
		return -ENODEV;
	return module_load("SLOW_NODE", "slow_node.ko", args);
}

/**
 * slow_node_online() - have a NUMA node of a slower memory tier until settings_restore()
 * @how: "online_movable", or "online_kernel" for memory that anybody may use
 * @node: which it is
 *
 * Return: why there is none, or NULL.
 */
const char *slow_node_online(const char *how, int *node)
{
	static char reason[PATH_MAX + 64];
	int ret = slow_node_load();

	if (ret == -ENODEV)
		return "no memory was kept for the module slow_node at boot (see slow_node.c)";
	ret = ret ?: setting_write("/sys/devices/system/memory/auto_online_blocks", "%s", how);
	ret = ret ?: file_write(MODULE "online", "1");
	if (ret) {
		snprintf(reason, sizeof(reason), "no slow node: %s: %s",
			 module_path("SLOW_NODE", "slow_node.ko"), strerror(-ret));
		return reason;
	}
	setting_on_restore(MODULE "online", "0");
	*node = file_number(MODULE "node");
	return NULL;
}

/**
 * slow_node_missing() - have such a node, of memory that is easily given back
 * @node: which it is
 *
 * Return: why there is none, or NULL.
 */
const char *slow_node_missing(int *node)
{
	return slow_node_online("online_movable", node);
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

static int demotion_place(struct ground *g, struct region **regions, int nr)
{
	return setting_write("/sys/kernel/mm/numa/demotion_enabled", "1") ?:
	       regions_populate(regions, nr, g->node);
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
