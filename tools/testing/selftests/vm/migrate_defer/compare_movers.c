// SPDX-License-Identifier: GPL-2.0
/* What movers that merely optimise do to memory that is protected: see compare.h. */
#include <errno.h>

#include "compare.h"

#define REGION_SIZE	(4 * MIB)
#define PLACES		5	/* where a mover may prove itself */
#define SECONDS		5	/* at each of them */
#define EXTRA_PUSHES	2	/* after it has moved the control */

#define FOLIO_4K	4096
#define FOLIO_2M	(2 * MIB)

/* ---------------------------------------------------------------------------------------- fork */

/* Write to each page that was there at the snapshot, as a device would: contents stay. */
static void region_write(const struct region *r)
{
	for (size_t i = 0; i < region_pages(r); i++) {
		volatile char *byte = r->addr + i * page_size();

		if (r->before[i] & PM_PRESENT)
			*byte = *byte;
	}
}

static const char *fork_missing(struct ground *g)
{
	(void)g;
	return NULL;
}

static int fork_place(struct ground *g, struct region **regions, int nr)
{
	return regions_populate(regions, nr, g->node);
}

static int hold_still(void *arg)
{
	(void)arg;
	return 0;
}

/* The child is there while the parent goes on writing. */
static int fork_push(struct ground *g, struct region **regions, int nr)
{
	struct peer child;
	int ret = peer_start(&child, hold_still, NULL);

	(void)g;
	for (int i = 0; !ret && i < nr; i++)
		region_write(regions[i]);
	peer_stop(&child);
	return ret;
}

static const struct mover fork_mover = {
	.name = "fork",
	.missing = fork_missing,
	.place = fork_place,
	.push = fork_push,
};

/* -------------------------------------------------------------------------------------- trials */

/**
 * trial_missing() - prepare a trial
 * @t: the trial, with its mover and size of folios
 *
 * Return: why it can't be done, or NULL.
 */
const char *trial_missing(struct trial *t)
{
	return ground_init(&t->g) ?: t->mover->missing(&t->g) ?:
	       region_missing(MEM_ANON, t->folio);
}

/**
 * conclusive() - whether a mover has proved that it is at work
 * @t: the trial
 * @control: what it did to the control region
 *
 * A split leaves pages where they are.
 *
 * Return: whether.
 */
bool conclusive(const struct trial *t, const struct outcome *control)
{
	size_t met = t->mover == &deferred_split ? control->broken : control->diff.moved;

	return control->diff.pages && 2 * met >= control->diff.pages;
}

/* Some pages may not be there. */
static int snapshot(struct region *r)
{
	int ret = region_snapshot(r);

	return ret == -ENODATA ? 0 : ret;
}

/* What some movers are told only after the snapshot */
static int start(struct trial *t)
{
	int ret = 0;

	if (t->mover == &numa_balancing)
		ret = numa_scan_fast();
	if (t->mover == &ksm) {
		if (madvise(t->control.addr, t->control.size, MADV_MERGEABLE) ||
		    madvise(t->guarded.addr, t->guarded.size, MADV_MERGEABLE))
			ret = -errno;
		ret = ret ?: ksm_fast();
	}
	return ret ?: t->setup ? t->setup() : 0;
}

static int place_and_protect(struct trial *t, struct outcome *guarded)
{
	struct region *regions[] = { &t->control, &t->guarded };
	int ret = 0;

	for (int i = 0; !ret && i < 2; i++)
		ret = region_map(regions[i], MEM_ANON, t->folio, REGION_SIZE);
	ret = ret ?: t->mover->place(&t->g, regions, 2) ?: numa_scan_stop() ?:
	      snapshot(&t->guarded) ?: t->protect(t->guarded.addr, t->guarded.size);
	if (ret)
		return ret;
	guarded->left = region_compare(&t->guarded).moved;
	for (int i = 0; !ret && i < 2; i++) {
		/* Nothing is left over of what was there before the protection. */
		ret = snapshot(regions[i]);
		region_write(regions[i]);
		ret = ret ?: snapshot(regions[i]);
	}
	return ret;
}

/*
 * Migration entries are gone when the mover has done; whatever else keeps a device from writing
 * is a page fault of the processor as well.  Pages that are collapsed or merged move without
 * migration entries.
 */
static int look(const struct region *r, const struct breaks *breaks, struct faults *faults,
		struct outcome *outcome)
{
	long long entries = breaks_read(breaks), moved;
	int count = faults_count(faults, r->addr, r->size);

	outcome->diff = region_compare(r);
	moved = outcome->diff.moved + outcome->diff.absent;
	outcome->broken = (entries > moved ? entries : moved) + count;
	return count < 0 ? count : 0;
}

static int watch(struct trial *t, struct outcome *control, struct outcome *guarded)
{
	struct region *regions[] = { &t->control, &t->guarded };
	double deadline = now() + SECONDS;
	int extra = EXTRA_PUSHES, ret;
	struct breaks breaks[2];
	struct faults faults;

	ret = faults_open(&faults);
	for (int i = 0; !ret && i < 2; i++)
		ret = breaks_open(&breaks[i], regions[i]->addr, regions[i]->size);
	ret = ret ?: start(t);
	if (ret)
		return ret;
	do {
		t->mover->push(&t->g, regions, 2);
		for (int i = 0; i < 2; i++)
			region_write(regions[i]);
		ret = look(&t->control, &breaks[0], &faults, control);
	} while (!ret && (conclusive(t, control) ? extra-- : now() < deadline));
	ret = ret ?: look(&t->guarded, &breaks[1], &faults, guarded);
	for (int i = 0; i < 2; i++)
		breaks_close(&breaks[i]);
	faults_close(&faults);
	return ret;
}

/**
 * trial_run() - let a mover at two regions
 * @t: the trial
 * @control: what it did to the first
 * @guarded: what it did to the second
 *
 * Where direct compaction looks depends on what it found useless before: so try several places.
 *
 * Return: 0 or a negative errno.
 */
int trial_run(struct trial *t, struct outcome *control, struct outcome *guarded)
{
	int ret, places = PLACES;

	do {
		ret = place_and_protect(t, guarded) ?: watch(t, control, guarded);
		if (!ret)
			ret = t->release(t->guarded.addr, t->guarded.size);
		region_unmap(&t->control);
		region_unmap(&t->guarded);
	} while (!ret && !conclusive(t, control) && !t->setup && --places);
	return ret;
}

static int measure_mover(const struct item *item, const struct rival *rival)
{
	struct trial t = {
		.mover = item->mover, .folio = item->folio,
		.protect = rival_nothing, .release = rival_nothing,
	};
	const char *why = trial_missing(&t);
	struct outcome control = { 0 }, guarded = { 0 };
	int ret = 0;

	if (why)
		return report_missing("%s", why);
	/* Settings for the whole system may stop the mover: it has to prove itself before. */
	if (rival->system_setup) {
		ret = trial_run(&t, &control, &guarded);
		if (!ret && !conclusive(&t, &control))
			goto inconclusive;
	}
	t.setup = rival->system_setup;
	t.protect = rival->protect;
	t.release = rival->release;
	ret = ret ?: trial_run(&t, &control, &guarded);
	if (ret)
		return ret;
	if (!t.setup && !conclusive(&t, &control))
		goto inconclusive;
	report_of("moved", "pages", guarded.diff.moved + guarded.diff.absent, guarded.diff.pages);
	report("mappings broken", "times", guarded.broken);
	report_of("unprotected: moved", "pages", control.diff.moved + control.diff.absent,
		  control.diff.pages);
	report("unprotected: mappings broken", "times", control.broken);
	report_of("moved by protecting", "pages", guarded.left, guarded.diff.pages);
	return 0;

inconclusive:
	return report_missing("inconclusive: only %zu of %zu unprotected pages moved",
			      control.diff.moved, control.diff.pages);
}

#define MOVER(name, mover_, folio_) \
	{ .what = name, .measure = measure_mover, .mover = mover_, .folio = folio_ }

static const struct item items[] = {
	MOVER("compact_memory", &compact_memory, FOLIO_4K),
	MOVER("direct compaction", &direct_compaction, FOLIO_4K),
	MOVER("kcompactd", &kcompactd, FOLIO_4K),
	MOVER("NUMA balancing", &numa_balancing, FOLIO_4K),
	MOVER("khugepaged", &khugepaged, FOLIO_4K),
	MOVER("KSM", &ksm, FOLIO_4K),
	MOVER("DAMON", &damon, FOLIO_4K),
	MOVER("demotion", &demotion, FOLIO_4K),
	MOVER("split of partly mapped THP", &deferred_split, FOLIO_2M),
	MOVER("split of underused THP", &underused_split, FOLIO_2M),
	MOVER("fork", &fork_mover, FOLIO_4K),
	{ 0 }
};

const struct section movers_section = { .name = "movers", .items = items };
