// SPDX-License-Identifier: GPL-2.0
/*
 * What a device sees that streams over protected memory while everybody wants to move it, and over
 * memory that is not protected at the same time: see compare.h and sva_recipe.c.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/swap.h>
#include <unistd.h>

#include "compare.h"
#include "sva.h"

#define REGION_SIZE	(32 * MIB)
#define SECONDS		12
#define PATIENCE	75		/* until all movers have been there */
#define HINTS		1000		/* of NUMA balancing that unprotected memory has to meet */
#define FREE_BYTES	(320 * MIB)	/* on each node, when the run begins */

/* Counters of /proc/vmstat that show that the movers were at work */
static const char * const proof[] = {
	"compact_migrate_scanned", "pswpout", "thp_collapse_alloc",
};

struct user {
	struct region r;
	int fd;
	struct sva_testdev_stats stats;
	struct diff diff;
};

static int user_start(struct user *user, bool hardware_ad)
{
	struct sva_testdev_job job = sva_job(SVA_TESTDEV_INCREMENT, user->r.addr, user->r.size, 0);

	job.flags = SVA_TESTDEV_JOB_VERIFY | (hardware_ad ? SVA_TESTDEV_JOB_HW_AD : 0);
	job.interval_us = 1000;
	user->fd = sva_open_bound(0);
	if (user->fd < 0)
		return user->fd;
	return sva_start(user->fd, &job) ?: sva_wait_accesses(user->fd, region_pages(&user->r));
}

static int user_stop(struct user *user)
{
	int ret = sva_stop(user->fd) ?: sva_stats(user->fd, 0, &user->stats);

	user->diff = region_compare(&user->r);
	return ret ?: user->stats.result;
}

/* Whether some of the movers have not been at the unprotected memory yet */
static bool idle(const long long *before, struct user *control, const struct rival *rival,
		 bool huge)
{
	struct diff diff = region_compare(&control->r);

	for (size_t i = 0; i < ARRAY_SIZE(proof) - !huge; i++)
		if (vmstat(proof[i]) <= before[i])
			return true;
	if (4 * (diff.moved + diff.absent) < diff.pages ||
	    sva_stats(control->fd, 0, &control->stats))
		return true;
	/* A huge page has one hint; and there is none where the rival has stopped that. */
	return !huge && !rival->system_setup &&
	       control->stats.causes[SVA_TESTDEV_PROTNONE] < HINTS;
}

/* The memory is used now on this node, now on that. */
static void use(struct ground *g, struct region **regions, int nr, bool here)
{
	for (int cpu = 0; cpu < cpu_count(); cpu++)
		if ((node_of_cpu(cpu) == g->node) == here && !task_pin(0, cpu))
			break;
	numa_balancing.push(g, regions, nr);
}

static int place(struct ground *g, struct user *users, const struct rival *rival, bool huge)
{
	struct region *regions[] = { &users[0].r, &users[1].r };
	int ret = 0;

	for (int i = 0; !ret && i < 2; i++)
		ret = region_map(regions[i], MEM_ANON, page_size(), REGION_SIZE);
	ret = ret ?: huge ? khugepaged.place(g, regions, 2) : regions_populate(regions, 2, g->node);
	for (int i = 0; !ret && i < 2; i++)
		for (size_t page = 0; page < region_pages(regions[i]); page++)
			*sva_word(regions[i]->addr, page) = 0;
	ret = ret ?: rival->protect(users[1].r.addr, users[1].r.size);
	/* Not before it is protected: khugepaged may come at once. */
	for (int i = 0; !ret && huge && i < 2; i++)
		if (madvise(regions[i]->addr, regions[i]->size, MADV_HUGEPAGE))
			ret = -errno;
	return ret;
}

static void report_user(const char *whose, const struct user *user)
{
	const struct sva_testdev_stats *s = &user->stats;
	const struct { const char *metric, *unit; double value; } figures[] = {
		{ "I/O page faults", "faults", s->faults },
		{ "stall p50", "us", sva_stall_below(s, 0.5) },
		{ "stall p99", "us", sva_stall_below(s, 0.99) },
		{ "stall max", "us", s->stall_ns_max / 1000 },
		{ "accesses", "accesses", s->accesses },
		{ "wrong words", "words", s->mismatches },
	};
	char metric[64];

	for (size_t i = 0; i < ARRAY_SIZE(figures); i++) {
		snprintf(metric, sizeof(metric), "%s%s", whose, figures[i].metric);
		report(metric, figures[i].unit, figures[i].value);
	}
	for (int i = 0; i < SVA_TESTDEV_NR_CAUSES; i++) {
		snprintf(metric, sizeof(metric), "%sI/O page faults: %s", whose, sva_cause_name(i));
		report(metric, "faults", s->causes[i]);
	}
	snprintf(metric, sizeof(metric), "%smoved", whose);
	report_of(metric, "pages", user->diff.moved + user->diff.absent, user->diff.pages);
}

static int stream(const struct item *item, const struct rival *rival, bool hardware_ad)
{
	struct user users[2] = { { .fd = -1 }, { .fd = -1 } };
	struct region *regions[] = { &users[0].r, &users[1].r };
	long long before[ARRAY_SIZE(proof)];
	pid_t fragmenter, pressure;
	bool here = false, huge = item->folio > page_size();
	struct ground g;
	const char *why;
	double begin;
	bool missed;
	int ret;

	why = sva_missing() ?: ground_init(&g) ?: numa_balancing.missing(&g) ?:
	      compact_memory.missing(&g) ?: khugepaged.missing(&g);
	if (why)
		return report_missing("%s", why);
	if (swapon(SWAP, 0))
		return report_missing("no swap on %s: %s", SWAP, strerror(errno));
	ret = nodes_fill(FREE_BYTES);
	/* Before there is anything that fork() would write-protect */
	fragmenter = load_compaction();
	pressure = load_pressure();
	ret = ret ?: place(&g, users, rival, huge);
	for (int i = 0; !ret && i < 2; i++)
		ret = user_start(&users[i], hardware_ad);
	for (size_t i = 0; i < ARRAY_SIZE(proof); i++)
		before[i] = vmstat(proof[i]);
	ret = ret ?: numa_scan_fast();
	if (!ret && rival->system_setup)
		ret = rival->system_setup();
	for (int i = 0; !ret && i < 2; i++) {
		ret = region_snapshot(&users[i].r);
		if (ret == -ENODATA)
			ret = 0;
		ret = ret ?: sva_stats(users[i].fd, SVA_TESTDEV_STATS_RESET, &users[i].stats);
	}
	begin = now();
	while (!ret && (now() - begin < SECONDS ||
			(now() - begin < PATIENCE && idle(before, users, rival, huge)))) {
		use(&g, regions, 2, here);
		here = !here;
	}
	missed = !ret && idle(before, users, rival, huge);
	for (int i = 0; !ret && i < 2; i++)
		ret = user_stop(&users[i]);
	load_stop(fragmenter);
	load_stop(pressure);
	for (int i = 0; i < 2; i++) {
		close(users[i].fd);
		region_unmap(&users[i].r);
	}
	swapoff(SWAP);
	if (ret)
		return ret;
	if (missed)
		return report_missing("inconclusive: not all movers were there in time");
	report_user("", &users[1]);
	report_user("unprotected: ", &users[0]);
	return 0;
}

static int measure_streaming(const struct item *item, const struct rival *rival)
{
	return stream(item, rival, true);
}

/* Old pages, and clean ones on a write, are I/O page faults, too: as with SMMUv3 in 6.12. */
static int measure_without_ad(const struct item *item, const struct rival *rival)
{
	return stream(item, rival, false);
}

#define STREAMING(name, measure_, folio_) \
	{ .what = name, .measure = measure_, .folio = folio_, .seconds = 200 }

static const struct item items[] = {
	STREAMING("streaming", measure_streaming, 4096),
	STREAMING("streaming, with khugepaged, no hardware A/D", measure_without_ad, 2 * MIB),
	{ 0 }
};

const struct section device_section = { .name = "device", .items = items };
