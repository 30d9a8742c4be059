// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * On-demand paging of soft RoCE: a registration that mirrors the page table instead of pinning the
 * memory.  What movers do to it depends on how the memory is protected, and movers that must
 * succeed do.  Only the kernel's own drivers take part, and rdma-core's library.
 *
 * RDMA_SECONDS=n in the environment: how long the movers are at work.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/swap.h>
#include <unistd.h>

#include "harness.h"
#include "movers.h"
#include "compare.h"
#include "rivals.h"
#include "traffic.h"

#define REGION_SIZE	(4 * MIB)
#define SECONDS		60
#define PATIENCE	600
#define ROUND_SECONDS	300	/* that reading and writing all of it once may take */
#define EVENTS		100	/* at least, of a registration of memory that may be moved */
#define TRIES		10
#define PUSHES		20	/* at most, until a mover comes to an end in the time it has */
#define TIMEOUT		3000
#define FREE_BYTES	(320 * MIB)	/* on each node, when the run begins */

/* --------------------------------------------------------------------- programs of other people */

FIXTURE(programs) {
	int gid_index;
	struct breaks registrations;
};

/* Before and after the number of the address */
FIXTURE_VARIANT(programs) {
	const char *program;
	const char *options;
};

FIXTURE_VARIANT_ADD(programs, ibv_rc_pingpong) {
	.program = "ibv_rc_pingpong -d " RXE " -g", .options = "-o -c -s 65536 -n 100",
};

FIXTURE_VARIANT_ADD(programs, ib_write_bw) {
	.program = "ib_write_bw -d " RXE " -x", .options = "--odp -F -s 65536 -n 100",
};

FIXTURE_VARIANT_ADD(programs, ib_read_bw) {
	.program = "ib_read_bw -d " RXE " -x", .options = "--odp -F -s 65536 -n 100",
};

FIXTURE_SETUP(programs)
{
	const char *why = rxe_missing();
	struct traffic t;

	/* It is what is tested: without it there is nothing to skip to. */
	ASSERT_EQ(NULL, why)
		TH_LOG("%s", why);
	ASSERT_EQ(0, traffic_open(&t, -1));
	self->gid_index = t.gid_index;
	traffic_close(&t);
	ASSERT_EQ(0, odp_count_open(&self->registrations, ODP_REGISTRATION, NULL, 1UL << 47));
}

FIXTURE_TEARDOWN(programs)
{
	breaks_close(&self->registrations);
}

/* Both ends of it, over loopback, exit with 0, and did register memory for on-demand paging. */
TEST_F_TIMEOUT(programs, run, TIMEOUT)
{
	char command[200];

	snprintf(command, sizeof(command), "./rxe.sh both %s %d %s", variant->program,
		 self->gid_index, variant->options);
	EXPECT_EQ(0, run(command));
	TH_LOG("%lld registrations", breaks_read(&self->registrations));
	EXPECT_LE(2, breaks_read(&self->registrations));
}

/* ------------------------------------------------------------------------- movers that optimise */

/* Counters of /proc/vmstat that show that the movers were at work */
static const char * const proof[] = {
	"compact_migrate_scanned", "numa_pages_migrated", "pswpout",
};

enum protection { NOTHING, LOCKED, PINNED, RECIPE, NR_PROTECTIONS };

static const struct {
	const char *name;
	const char *rival;
	int access;
} protections[] = {
	[NOTHING] = { "nothing", "nothing", IBV_ACCESS_ON_DEMAND },
	[LOCKED] = { "mlock()", "mlock", IBV_ACCESS_ON_DEMAND },
	[PINNED] = { "a pin", "nothing", 0 },
	[RECIPE] = { "the recipe", "recipe", IBV_ACCESS_ON_DEMAND },
};

struct user {
	struct region r;
	struct breaks faults;
	struct breaks invalidations;
	size_t moved;
};

FIXTURE(movers) {
	struct ground ground;
	struct user user[NR_PROTECTIONS];
	struct traffic traffic;
	pid_t fragmenter;
	pid_t pressure;
};

FIXTURE_VARIANT(movers) {
	bool overruled;
};

FIXTURE_VARIANT_ADD(movers, marked) {
	.overruled = false,
};

/* The administrator has the movers ignore the mark: what is claimed of it is seen to fail. */
FIXTURE_VARIANT_ADD(movers, overruled) {
	.overruled = true,
};

FIXTURE_SETUP(movers)
{
	const char *why = rxe_missing();

	ASSERT_EQ(NULL, why)
		TH_LOG("%s", why);
	settings_restore();
	why = ground_init(&self->ground) ?: numa_balancing.missing(&self->ground) ?:
	      compact_memory.missing(&self->ground);
	if (why)
		SKIP(return, "%s", why);
	if (swapon(SWAP, 0))
		SKIP(return, "no swap on %s: %s", SWAP, strerror(errno));
	ASSERT_EQ(0, nodes_fill(FREE_BYTES));
	/* Before there is anything that fork() would write-protect */
	self->fragmenter = load_compaction();
	self->pressure = load_pressure();
	ASSERT_EQ(0, traffic_open(&self->traffic, -1));
	for (int i = 0; i < NR_PROTECTIONS; i++) {
		struct region *r = &self->user[i].r;

		ASSERT_EQ(0, region_map(r, MEM_ANON, page_size(), REGION_SIZE));
		ASSERT_EQ(0, region_populate(r, self->ground.node));
		ASSERT_EQ(0, rival_find(protections[i].rival)->protect(r->addr, r->size));
		ASSERT_EQ(0, traffic_add(&self->traffic, r, protections[i].access));
	}
}

FIXTURE_TEARDOWN_PARENT(movers)
{
	settings_restore();
	swapoff(SWAP);
}

static bool in_reach(enum protection protection, bool overruled)
{
	return protection < PINNED || (protection == RECIPE && overruled);
}

/* All movers have been there, and have hit what was in reach. */
static bool proven(const struct user *user, const long long *before, bool overruled)
{
	for (size_t i = 0; i < ARRAY_SIZE(proof); i++)
		if (vmstat(proof[i]) <= before[i])
			return false;
	for (int i = 0; i < NR_PROTECTIONS; i++)
		if (in_reach(i, overruled) && (breaks_read(&user[i].faults) <= EVENTS ||
					       breaks_read(&user[i].invalidations) <= EVENTS))
			return false;
	return true;
}

/* A registration of memory under the recipe is left alone, those of other memory are not. */
TEST_F_TIMEOUT(movers, leave_the_registration_alone, TIMEOUT)
{
	const char *env = getenv("RDMA_SECONDS");
	double seconds = env ? atof(env) : SECONDS, begin;
	long long before[ARRAY_SIZE(proof)];
	bool overruled = variant->overruled;
	struct traffic *t = &self->traffic;
	struct user *user = self->user;
	unsigned long accesses, round;
	bool here = false, wait;
	int ret;

	for (int i = 0; i < NR_PROTECTIONS; i++) {
		/* The movers are at work: of the others something may be in swap. */
		ret = region_snapshot(&user[i].r);
		ASSERT_EQ(0, in_reach(i, overruled) && ret == -ENODATA ? 0 : ret);
	}
	if (overruled)
		ASSERT_EQ(0, rival_find("recipe")->overrule());
	ASSERT_EQ(0, traffic_start(t));
	ASSERT_TRUE(traffic_wait(t, 1, ROUND_SECONDS));
	for (size_t i = 0; i < ARRAY_SIZE(proof); i++)
		before[i] = vmstat(proof[i]);
	for (int i = 0; i < NR_PROTECTIONS; i++) {
		const struct region *r = &user[i].r;

		ASSERT_EQ(0, odp_count_open(&user[i].faults, ODP_FAULT, r->addr, r->size));
		ASSERT_EQ(0, odp_count_open(&user[i].invalidations, ODP_INVALIDATION, r->addr,
					    r->size));
	}
	accesses = t->targets[RECIPE].accesses;
	round = t->round;

	/* Use the memory now on this node, now on that. */
	ASSERT_EQ(0, numa_scan_fast());
	begin = now();
	do {
		struct region *regions[NR_PROTECTIONS];

		for (int i = 0; i < NR_PROTECTIONS; i++)
			regions[i] = &user[i].r;
		for (int cpu = 0; cpu < cpu_count(); cpu++)
			if ((node_of_cpu(cpu) == self->ground.node) == here && !task_pin(0, cpu))
				break;
		numa_balancing.push(&self->ground, regions, NR_PROTECTIONS);
		here = !here;
		/* On a slow machine it takes longer until all movers have been there. */
		wait = t->round == round || !proven(user, before, overruled);
	} while (!t->error && now() - begin < (wait && seconds < PATIENCE ? PATIENCE : seconds));
	seconds = now() - begin;
	accesses = t->targets[RECIPE].accesses - accesses;
	round = t->round - round;

	for (int i = 0; i < NR_PROTECTIONS; i++) {
		struct diff diff = region_compare(&user[i].r);

		user[i].moved = diff.moved + diff.absent;
	}
	printf("# Page faults and invalidations of a registration for RDMA in %.0f s of\n"
	       "# compaction, NUMA balancing and memory pressure.  Four ranges of %zu MiB are read\n"
	       "# and written meanwhile, and differ only in how they are protected (a pin: what a\n"
	       "# registration without on-demand paging is):\n#\n", seconds, REGION_SIZE / MIB);
	if (overruled)
		printf("# The administrator has overruled the mark.\n#\n");
	printf("# %-12s%10s%10s%16s%10s\n", "protection", "moved", "faults", "invalidations",
	       "refused");
	for (int i = 0; i < NR_PROTECTIONS; i++)
		printf("# %-12s%10zu%10lld%16lld%10lu\n", protections[i].name, user[i].moved,
		       breaks_read(&user[i].faults), breaks_read(&user[i].invalidations),
		       t->targets[i].refused);
	for (size_t i = 0; i < ARRAY_SIZE(proof); i++)
		printf("# %s: %lld\n", proof[i], vmstat(proof[i]) - before[i]);
	printf("# reads and writes of each: %lu, %lu rounds\n", accesses, round);
	for (size_t i = 0; i < ARRAY_SIZE(proof); i++) {
		EXPECT_LT(before[i], vmstat(proof[i]))
			TH_LOG("INCONCLUSIVE: %s", proof[i]);
	}
	EXPECT_LT(0, round)
		TH_LOG("INCONCLUSIVE: not all was read and written once");
	for (int i = 0; i < NR_PROTECTIONS; i++) {
		long long faults = breaks_read(&user[i].faults);
		long long invalidations = breaks_read(&user[i].invalidations);

		if (in_reach(i, overruled)) {
			EXPECT_LT(EVENTS, faults)
				TH_LOG("INCONCLUSIVE: %s", protections[i].name);
			EXPECT_LT(EVENTS, invalidations)
				TH_LOG("INCONCLUSIVE: %s", protections[i].name);
		} else {
			EXPECT_EQ(0, faults);
			EXPECT_EQ(0, invalidations);
			EXPECT_EQ(0, user[i].moved);
			EXPECT_EQ(0, t->targets[i].refused);
		}
	}

	load_stop(self->fragmenter);
	load_stop(self->pressure);
	EXPECT_EQ(0, traffic_stop(t));
	for (int i = 0; i < NR_PROTECTIONS; i++) {
		EXPECT_EQ(0, t->targets[i].wrong)
			TH_LOG("%s", protections[i].name);
		EXPECT_EQ(0, region_corrupt(&user[i].r));
		breaks_close(&user[i].faults);
		breaks_close(&user[i].invalidations);
	}
	traffic_close(t);
}

/* --------------------------------------------------------------------- movers that must succeed */

FIXTURE(forced) {
	struct ground ground;
	const struct mover *mover;
	struct region r;
};

FIXTURE_VARIANT(forced) {
	const char *what;	/* the mover, as the comparison with the rivals calls it */
	enum protection protection;
	bool leaves;		/* what is pinned leaves the memory that the mover wants first */
};

FIXTURE_VARIANT_ADD(forced, cma_over_odp) {
	.what = "CMA allocation", .protection = RECIPE,
};

FIXTURE_VARIANT_ADD(forced, cma_over_a_pin) {
	.what = "CMA allocation", .protection = PINNED, .leaves = true,
};

FIXTURE_VARIANT_ADD(forced, offline_movable_over_odp) {
	.what = "offline of a movable-zone block", .protection = RECIPE,
};

FIXTURE_VARIANT_ADD(forced, offline_movable_over_a_pin) {
	.what = "offline of a movable-zone block", .protection = PINNED, .leaves = true,
};

FIXTURE_VARIANT_ADD(forced, offline_kernel_over_odp) {
	.what = "offline of a kernel-zone block", .protection = RECIPE,
};

FIXTURE_VARIANT_ADD(forced, offline_kernel_over_a_pin) {
	.what = "offline of a kernel-zone block", .protection = PINNED,
};

FIXTURE_VARIANT_ADD(forced, move_pages_over_odp) {
	.what = "move_pages()", .protection = RECIPE,
};

FIXTURE_VARIANT_ADD(forced, move_pages_over_a_pin) {
	.what = "move_pages()", .protection = PINNED,
};

/* What it would report by: here only its movers are of use. */
void report(const char *metric, const char *unit, double value)
{
	(void)metric;
	(void)unit;
	(void)value;
}

void report_of(const char *metric, const char *unit, size_t value, size_t of)
{
	(void)metric;
	(void)unit;
	(void)value;
	(void)of;
}

int report_missing(const char *fmt, ...)
{
	(void)fmt;
	return 0;
}

static const struct mover *mover_find(const char *what)
{
	for (const struct item *item = forced_section.items; item->what; item++)
		if (!strcmp(item->what, what))
			return item->mover;
	return NULL;
}

FIXTURE_SETUP(forced)
{
	const char *why = rxe_missing();

	ASSERT_EQ(NULL, why)
		TH_LOG("%s", why);
	settings_restore();
	self->mover = mover_find(variant->what);
	ASSERT_NE(NULL, self->mover);
	why = ground_init(&self->ground) ?: self->mover->missing(&self->ground);
	if (why)
		SKIP(return, "%s", why);
	/* Page tables and the like can't be moved: have them come from another node. */
	ASSERT_LE(0, self->ground.cpu);
	ASSERT_EQ(0, task_pin(0, self->ground.cpu));
	ASSERT_EQ(0, region_map(&self->r, MEM_ANON, page_size(), REGION_SIZE));
}

FIXTURE_TEARDOWN_PARENT(forced)
{
	settings_restore();
}

static size_t count_inside(const struct ground *g, const struct region *r)
{
	size_t inside = 0;

	for (size_t page = 0; page < region_pages(r); page++)
		inside += must_move(g, r, page);
	return inside;
}

/* Forced moves succeed with a registration for on-demand paging in use, and not over a pin. */
TEST_F_TIMEOUT(forced, moves, TIMEOUT)
{
	const struct rival *rival = rival_find(protections[variant->protection].rival);
	size_t inside = 0, in_the_way = 0, moved = 0, wrong = 0;
	long long faults = 0, invalidations = 0;
	const struct mover *mover = self->mover;
	struct region *r = &self->r;
	struct ground *g = &self->ground;
	int succeeded = 0;

	for (int try = 0; try < TRIES; try++) {
		struct breaks fault, invalidation;
		struct traffic t;
		struct diff diff;
		int pushes = 0, ret = mover->place(g, &r, 1) ?: region_snapshot(r);

		if (ret)
			TH_LOG("INCONCLUSIVE: could not place the region: %s", strerror(-ret));
		ASSERT_EQ(0, ret);
		inside += count_inside(g, r);
		ASSERT_EQ(0, rival->protect(r->addr, r->size));
		ASSERT_EQ(0, traffic_open(&t, g->other));
		ASSERT_EQ(0, traffic_add(&t, r, protections[variant->protection].access));
		ASSERT_EQ(0, region_snapshot(r));
		in_the_way += count_inside(g, r);
		ASSERT_EQ(0, traffic_start(&t));
		ASSERT_TRUE(traffic_wait(&t, 1, ROUND_SECONDS));
		ASSERT_EQ(0, odp_count_open(&fault, ODP_FAULT, r->addr, r->size));
		ASSERT_EQ(0, odp_count_open(&invalidation, ODP_INVALIDATION, r->addr, r->size));

		/* To try over a pin would go on for ever. */
		do {
			ret = mover->push(g, &r, 1);
		} while (ret == -EINTR && variant->protection == RECIPE && ++pushes < PUSHES);
		diff = compare_must_move(g, r);
		/* Each page once more, wherever it is now. */
		EXPECT_TRUE(traffic_wait(&t, 2, ROUND_SECONDS));
		faults += breaks_read(&fault);
		invalidations += breaks_read(&invalidation);
		breaks_close(&fault);
		breaks_close(&invalidation);
		EXPECT_EQ(0, traffic_stop(&t));
		wrong += t.targets[0].wrong;
		EXPECT_EQ(0, region_corrupt(r));
		traffic_close(&t);
		if (mover->undo && !ret)
			mover->undo(g);
		ASSERT_EQ(0, rival->release(r->addr, r->size));
		if (ret && variant->protection == RECIPE)
			TH_LOG("%s: try %d: %s", mover->name, try + 1, strerror(-ret));
		succeeded += !ret;
		moved += diff.moved;
	}
	printf("# %s over %s: %d of %d succeeded\n"
	       "# pages in the way: %zu, after the registration %zu, moved %zu\n"
	       "# page faults of the registration: %lld, invalidations: %lld\n", variant->what,
	       variant->protection == RECIPE ? "on-demand paging, the recipe" : "a pin", succeeded,
	       TRIES, inside, in_the_way, moved, faults, invalidations);
	EXPECT_LT(0, inside)
		TH_LOG("INCONCLUSIVE: no page was in the way");
	EXPECT_EQ(0, wrong);
	if (variant->protection == RECIPE) {
		EXPECT_EQ(TRIES, succeeded);
		EXPECT_EQ(inside, in_the_way);
		EXPECT_EQ(in_the_way, moved);
		/* It was in use, and the counts work. */
		EXPECT_LE(moved, faults);
		EXPECT_LE(moved, invalidations);
	} else if (variant->leaves) {
		/* A pin has nothing in the way: all moved when it was made. */
		EXPECT_EQ(0, in_the_way);
		EXPECT_EQ(TRIES, succeeded);
	} else {
		EXPECT_EQ(0, succeeded);
		EXPECT_EQ(0, moved);
	}
}

TEST_HARNESS_MAIN
