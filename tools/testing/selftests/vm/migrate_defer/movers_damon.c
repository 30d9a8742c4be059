// SPDX-License-Identifier: GPL-2.0
/* DAMON, which acts on what it finds hot or cold: see movers.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "movers.h"

#define DAMON	"/sys/kernel/mm/damon/admin/kdamonds"
#define CONTEXT	DAMON "/0/contexts/0"
#define SCHEME	CONTEXT "/schemes/0"

/**
 * damon_missing() - see struct mover
 * @g: the ground
 *
 * Return: why there is no DAMON, or it has nowhere to move pages to; NULL if it can.
 */
const char *damon_missing(struct ground *g)
{
	if (access(DAMON "/nr_kdamonds", W_OK))
		return "no CONFIG_DAMON_SYSFS";
	return g->other < 0 ? "no other NUMA node" : NULL;
}

/**
 * damon_setup() - prepare DAMON, for one range
 * @operations: what the addresses are: "fvaddr" of this process, "paddr" physical ones
 * @action: what it does with all of the range, used or not; NULL: nothing
 *
 * Return: 0 or a negative errno.
 */
int damon_setup(const char *operations, const char *action)
{
	static const char * const settings[][2] = {
		{ CONTEXT "/monitoring_attrs/intervals/sample_us", "1000" },
		{ CONTEXT "/monitoring_attrs/intervals/aggr_us", "20000" },
		{ CONTEXT "/targets/nr_targets", "1" },
		{ CONTEXT "/targets/0/regions/nr_regions", "1" },
	};
	/* Cold or not, whatever is there */
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
	if (action)
		ret = ret ?: file_write(SCHEME "/action", "%s", action);
	for (size_t i = 0; !ret && action && i < ARRAY_SIZE(scheme); i++)
		ret = file_write(scheme[i][0], "%s", scheme[i][1]);
	if (!ret && strcmp(operations, "paddr"))
		ret = file_write(CONTEXT "/targets/0/pid_target", "%d", getpid());
	return ret;
}

/**
 * damon_range() - tell DAMON which range
 * @start: first address
 * @end: one after the last
 *
 * Return: 0 or a negative errno.
 */
int damon_range(uint64_t start, uint64_t end)
{
	return file_write(CONTEXT "/targets/0/regions/0/start", "%llu",
			  (unsigned long long)start) ?:
	       file_write(CONTEXT "/targets/0/regions/0/end", "%llu", (unsigned long long)end);
}

/**
 * damon_regions() - tell DAMON into how many regions it may cut the range
 * @nr: how many, at least 3
 *
 * Return: 0 or a negative errno.
 */
int damon_regions(unsigned int nr)
{
	return file_write(CONTEXT "/monitoring_attrs/nr_regions/min", "%u", nr) ?:
	       file_write(CONTEXT "/monitoring_attrs/nr_regions/max", "%u", nr);
}

/**
 * damon_target() - tell DAMON where to move pages to
 * @node: a NUMA node
 *
 * Return: 0 or a negative errno.
 */
int damon_target(int node)
{
	return file_write(SCHEME "/target_nid", "%d", node);
}

/**
 * damon_on() - have DAMON begin
 *
 * To be ended by damon_off(): settings can't be put back while it runs.
 *
 * Return: 0 or a negative errno.
 */
int damon_on(void)
{
	return file_write(DAMON "/0/state", "on");
}

/**
 * damon_off() - end that, if it has begun
 */
void damon_off(void)
{
	file_write(DAMON "/0/state", "off");
}

/**
 * damon_pid() - which thread it is, while it runs
 *
 * Return: the PID.
 */
pid_t damon_pid(void)
{
	return file_number(DAMON "/0/pid");
}

/**
 * damon_stat() - a statistic of the scheme, since damon_on()
 * @name: which
 *
 * Return: the number.
 */
long long damon_stat(const char *name)
{
	char path[256];

	file_write(DAMON "/0/state", "update_schemes_stats");
	snprintf(path, sizeof(path), SCHEME "/stats/%s", name);
	return file_number(path);
}

static int damon_place(struct ground *g, struct region **regions, int nr)
{
	int ret = regions_populate(regions, nr, g->node) ?:
		  damon_setup("paddr", "migrate_cold");
	uint64_t start = UINT64_MAX, end = 0;

	for (int i = 0; !ret && i < nr; i++) {
		const struct region *r = regions[i];

		for (size_t offset = 0; !ret && offset < r->size; offset += page_size()) {
			uint64_t entry, at;

			ret = pagemap_read(r->addr + offset, page_size(), &entry);
			at = pagemap_pfn(entry) * page_size();
			start = at < start ? at : start;
			end = at + page_size() > end ? at + page_size() : end;
		}
	}
	return ret ?: damon_range(start, end) ?: damon_target(g->other);
}

/* Whether it has applied the scheme to some part of the range. */
static bool damon_tried(void *arg)
{
	(void)arg;
	return damon_stat("nr_tried") > 0;
}

/* From the first look at the range until all of it has been treated once, at least */
static int damon_push(struct ground *g, struct region **regions, int nr)
{
	int ret = damon_on();

	(void)g;
	(void)regions;
	(void)nr;
	if (ret)
		return ret;
	ret = poll_until(damon_tried, NULL, 5) ? 0 : -ETIME;
	damon_off();
	return ret;
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
 * @operations: what the addresses are, see damon_setup()
 * @action: what it does with them; NULL: nothing
 * @start: the first of them
 * @end: one after the last
 *
 * To be ended by damon_off().
 *
 * Return: 0 or a negative errno.
 */
int damon_watch(const char *operations, const char *action, uint64_t start, uint64_t end)
{
	/* Of each of its regions it looks at one page at a time. */
	return damon_setup(operations, action) ?:
	       file_write(CONTEXT "/monitoring_attrs/nr_regions/max", "1000") ?:
	       file_write(CONTEXT "/monitoring_attrs/nr_regions/min", "500") ?:
	       damon_range(start, end) ?: damon_on();
}
