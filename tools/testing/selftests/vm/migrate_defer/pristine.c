// SPDX-License-Identifier: GPL-2.0
/*
 * Memory of a process that no mover has been to is marked without a look at its page tables, and
 * whatever there would be to see keeps a process from counting as such.
 *
 * All that happens in programs that were started after the first mark of the system's life and
 * have not forked: each test starts this program anew, in a role, and looks at the numbers that
 * come back.
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../../../../mm/gup_test.h"
#include "harness.h"
#include "movers_test.h"
#include "sva.h"

#define REGION_SIZE	(2 * MIB)
#define TRIES		60	/* to mark while pages are on their way */
#define PROOF		8	/* and so often it has to be so */

/* What ends a role, instead of numbers, and why. */
static void must(const char *what, int ret)
{
	if (!ret)
		return;
	fprintf(stderr, "# %s: %s\n", what, strerror(-ret));
	exit(1);
}

static void say(long long number)
{
	printf("%lld\n", number);
	fflush(stdout);
}

static void map_folios(struct region *r, size_t folio, int node)
{
	must("map", region_map(r, MEM_ANON, folio, REGION_SIZE));
	must("populate", region_populate(r, node));
}

static void map(struct region *r, int node)
{
	map_folios(r, FOLIO_4K, node);
}

static void write_all(const struct region *r)
{
	for (size_t offset = 0; offset < r->size; offset += page_size())
		*(volatile char *)(r->addr + offset) = *(volatile char *)(r->addr + offset);
}

/* How many page faults it takes to write to all pages. */
static int write_faults(const struct region *r)
{
	struct faults faults;
	int count;

	must("faults", faults_open(&faults));
	write_all(r);
	count = faults_count(&faults, r->addr, r->size);
	faults_close(&faults);
	return count;
}

static void ground(struct ground *g)
{
	const char *why = ground_init(g);

	must(why, why ? -ENODEV : 0);
}

/* ------------------------------------------------------------------------------ accessed bits */

#define IDLE_BITMAP	"/sys/kernel/mm/page_idle/bitmap"
#define GUP_TEST	"/sys/kernel/debug/gup_test"

/* Clears the accessed bits of all pages (if @set), and says how many have it still clear. */
static int idle_pages(struct region *r, bool set)
{
	int fd = open(IDLE_BITMAP, O_RDWR | O_CLOEXEC), idle = 0;

	must(IDLE_BITMAP, fd < 0 ? -errno : 0);
	must("snapshot", region_snapshot(r));
	for (size_t page = 0; page < region_pages(r); page++) {
		uint64_t pfn = pagemap_pfn(r->before[page]), word = 1ULL << pfn % 64;
		off_t at = pfn / 64 * sizeof(word);

		if (set && pwrite(fd, &word, sizeof(word), at) != sizeof(word))
			must("idle", -errno);
		if (pread(fd, &word, sizeof(word), at) != sizeof(word))
			must("idle", -errno);
		idle += word >> pfn % 64 & 1;
	}
	close(fd);
	return idle;
}

/* After an event that other memory knows: idle pages before and after the mark */
static void idle_when_marked(void (*event)(struct region *other))
{
	struct region other, r;

	map(&other, -1);
	map(&r, -1);
	if (event)
		event(&other);
	say(idle_pages(&r, true));
	must("mark", region_mark(&r));
	say(idle_pages(&r, false));
}

static void role_untouched(void)
{
	idle_when_marked(NULL);
}

static void have_child(struct region *other)
{
	int status;
	pid_t pid = fork();

	(void)other;
	if (!pid)
		_exit(0);
	must("fork", pid < 0 || waitpid(pid, &status, 0) != pid ? -errno : 0);
}

static void role_forked(void)
{
	idle_when_marked(have_child);
}

static void have_mergeable(struct region *other)
{
	must("KSM", madvise(other->addr, other->size, MADV_MERGEABLE) ? -errno : 0);
	must("KSM", madvise(other->addr, other->size, MADV_UNMERGEABLE) ? -errno : 0);
}

static void role_mergeable(void)
{
	idle_when_marked(have_mergeable);
}

/* What comes back by swapoff() is old and read-only. */
static void have_swapped(struct region *other)
{
	size_t there = 0;

	must("swapon", swapon(SWAP, 0) ? -errno : 0);
	must("pageout", madvise(other->addr, other->size, MADV_PAGEOUT) ? -errno : 0);
	must("snapshot", pagemap_read(other->addr, other->size, other->before));
	/* One may be in a batch of the LRU, where MADV_PAGEOUT does not find it. */
	for (size_t i = 0; i < region_pages(other); i++)
		there += !!(other->before[i] & PM_PRESENT);
	must("still there", there == region_pages(other) ? -EBUSY : 0);
	must("swapoff", swapoff(SWAP) ? -errno : 0);
}

static void role_swapped(void)
{
	idle_when_marked(have_swapped);
}

/* Who is to read only has pages of his own instead of the zero page, mapped read-only. */
static void have_unshared(struct region *other)
{
	struct pin_longterm_test pin = {
		.addr = (uintptr_t)other->addr, .size = other->size,
	};
	int fd = open(GUP_TEST, O_RDWR | O_CLOEXEC);

	must(GUP_TEST, fd < 0 ? -errno : 0);
	must("drop", madvise(other->addr, other->size, MADV_DONTNEED) ? -errno : 0);
	must("read", madvise(other->addr, other->size, MADV_POPULATE_READ) ? -errno : 0);
	must("pin", ioctl(fd, PIN_LONGTERM_TEST_START, &pin) ? -errno : 0);
	close(fd);
}

static void role_unshared(void)
{
	idle_when_marked(have_unshared);
}

/*
 * A device that can't set accessed bits, bound after the mark: faults without and with it.
 * Of each large folio the CPU has used a page.
 */
static void bound(size_t folio)
{
	struct region r[2];
	int fd;

	for (int i = 0; i < 2; i++) {
		map_folios(&r[i], folio, -1);
		say(idle_pages(&r[i], true));
		for (size_t offset = 0; folio > page_size() && offset < r[i].size; offset += folio)
			*(volatile char *)(r[i].addr + offset);
	}
	must("mark", region_mark(&r[1]));
	fd = sva_open_bound(0);
	must("bind", fd < 0 ? fd : 0);
	for (int i = 0; i < 2; i++) {
		struct sva_testdev_job job = sva_job(SVA_TESTDEV_READ, r[i].addr, r[i].size, 1);
		struct sva_testdev_stats stats;

		must("job", sva_run(fd, &job, &stats));
		say(stats.causes[SVA_TESTDEV_OLD]);
	}
}

static void role_bound(void)
{
	bound(FOLIO_4K);
}

static void role_bound_large(void)
{
	bound(FOLIO_64K);
}

/* ------------------------------------------------------------------------------ NUMA balancing */

static void scan(struct ground *g, struct region *r, int nr)
{
	long long wanted = vmstat("numa_pte_updates");
	double deadline = now() + 4 * SECONDS;

	for (int i = 0; i < nr; i++) {
		struct region *regions[] = { &r[i] };

		/* On the other node: pages that are local already get no hint. */
		must("map", region_map(&r[i], MEM_ANON, FOLIO_4K, REGION_SIZE));
		must("place", numa_balancing.place(g, regions, 1));
		write_all(&r[i]);
		wanted += region_pages(&r[i]) * 3 / 4;
	}
	must("scan", numa_scan_fast());
	/* Scans are made on behalf of a running task. */
	while (now() < deadline && vmstat("numa_pte_updates") < wanted)
		for (volatile int i = 0; i < 100000; i++)
			;
	must("scan", numa_scan_stop());
}

/* Faults on hints, unmarked and marked, before anything else was scanned here */
static void role_scanned(void)
{
	struct ground g;
	struct region r[2];

	ground(&g);
	scan(&g, &r[1], 1);
	must("mark", region_mark(&r[1]));
	say(write_faults(&r[1]));
	scan(&g, &r[0], 1);
	say(write_faults(&r[0]));
}

/* The same of a child, which has the hints from its parent */
static void role_inherited(void)
{
	struct ground g;
	struct region r[2];
	int status;
	pid_t pid;

	ground(&g);
	scan(&g, r, 2);
	/* Writing would have to copy. */
	pid = fork();
	if (!pid) {
		struct faults faults;

		must("mark", region_mark(&r[0]));
		for (int i = 0; i < 2; i++) {
			must("faults", faults_open(&faults));
			region_touch(&r[i]);
			say(faults_count(&faults, r[i].addr, r[i].size));
			faults_close(&faults);
		}
		fflush(stdout);
		_exit(0);
	}
	must("fork", pid < 0 || waitpid(pid, &status, 0) != pid ? -errno : 0);
	must("child", status ? -EIO : 0);
}

/* ----------------------------------------------------------------------------------------- KSM */

static bool is_merging(void *arg)
{
	return ksm_pages(arg) > 0 && file_number("/sys/kernel/mm/ksm/pages_sharing") > 0;
}

static int have_merged(void *arg)
{
	const struct region *r = arg;

	if (madvise(r->addr, r->size, MADV_MERGEABLE))
		return -errno;
	return ksm_fast() ?: poll_until(is_merging, arg, LONG_SECONDS) ? ksm.push(NULL, NULL, 0) :
								       -ETIME;
}

/* Pages that KSM has made its own because a child wanted it, before and after the mark */
static void role_shared(void)
{
	struct region r, *regions[] = { &r };
	struct peer peer;
	struct ground g;

	ground(&g);
	must("map", region_map(&r, MEM_ANON, FOLIO_4K, REGION_SIZE));
	must("place", ksm.place(&g, regions, 1));
	must("merge", peer_start(&peer, have_merged, &r));
	must("KSM", file_write("/sys/kernel/mm/ksm/run", "0"));
	say(ksm_pages(&r));
	must("mark", region_mark(&r));
	say(ksm_pages(&r));
	peer_stop(&peer);
}

/* ----------------------------------------------------------------------------------- migration */

/*
 * Marks as soon as a page is on its way.  Says where the pages are, then how many were away
 * before and after the mark.
 */
static void moved(bool downwards)
{
	uint64_t start = UINT64_MAX, end = 0, *entries;
	double deadline = now() + SECONDS;
	size_t away = 0, pages;
	struct region r;
	struct ground g;

	ground(&g);
	must("map", region_map(&r, MEM_ANON, FOLIO_4K, REGION_SIZE));
	pages = region_pages(&r);
	/* The mover goes by page frames, which are handed out upwards. */
	must("policy", policy_bind(g.node));
	for (size_t i = 0; i < pages; i++)
		*(volatile char *)(r.addr + (downwards ? pages - 1 - i : i) * page_size()) = 1;
	must("policy", policy_default());
	must("snapshot", region_snapshot(&r));
	for (size_t i = 0; i < pages; i++) {
		uint64_t at = pagemap_pfn(r.before[i]) * page_size();

		start = at < start ? at : start;
		end = at + page_size() > end ? at + page_size() : end;
	}
	say(start);
	say(end);

	entries = calloc(pages, sizeof(*entries));
	must("memory", entries ? 0 : -ENOMEM);
	while (!away && now() < deadline) {
		must("pagemap", pagemap_read(r.addr, r.size, entries));
		for (size_t i = 0; i < pages; i++)
			away += !(entries[i] & PM_PRESENT);
	}
	must("mark", region_mark(&r));
	must("pagemap", pagemap_read(r.addr, r.size, entries));
	say(away);
	away = 0;
	for (size_t i = 0; i < pages; i++)
		away += !(entries[i] & PM_PRESENT);
	say(away);
}

static void role_moved_upwards(void)
{
	moved(false);
}

/*
 * From its end to its start, while the mark goes from the start to the end: pages that it has
 * found in place already are next.
 */
static void role_moved_downwards(void)
{
	moved(true);
}

/* --------------------------------------------------------------------------------------- roles */

static const struct {
	const char *name;
	void (*play)(void);
} roles[] = {
	{ "untouched", role_untouched },
	{ "forked", role_forked },
	{ "mergeable", role_mergeable },
	{ "swapped", role_swapped },
	{ "unshared", role_unshared },
	{ "bound", role_bound },
	{ "bound_large", role_bound_large },
	{ "scanned", role_scanned },
	{ "inherited", role_inherited },
	{ "shared", role_shared },
	{ "moved_upwards", role_moved_upwards },
	{ "moved_downwards", role_moved_downwards },
};

static int play(const char *role)
{
	for (size_t i = 0; i < ARRAY_SIZE(roles); i++) {
		if (!strcmp(role, roles[i].name)) {
			roles[i].play();
			settings_restore();
			return 0;
		}
	}
	return 2;
}

/**
 * struct actor - this program, started anew
 * @pid:	the process
 * @numbers:	what it says
 */
struct actor {
	pid_t pid;
	FILE *numbers;
};

static int actor_start(struct actor *actor, const char *role)
{
	char * const args[] = { "pristine", "role", (char *)role, NULL };
	posix_spawn_file_actions_t actions;
	int ends[2], ret;
	char *page;

	/* The first mark, unless there was one */
	page = mmap(NULL, page_size(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED || madvise(page, page_size(), MADV_NOMIGRATE) ||
	    munmap(page, page_size()) || pipe2(ends, O_CLOEXEC))
		return -errno;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
	ret = -posix_spawn(&actor->pid, "/proc/self/exe", &actions, NULL, args, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(ends[1]);
	actor->numbers = fdopen(ends[0], "r");
	return ret;
}

static long long actor_says(struct actor *actor)
{
	long long number;

	return fscanf(actor->numbers, "%lld", &number) == 1 ? number : -1;
}

/* Returns whether it came to its end. */
static bool actor_end(struct actor *actor)
{
	int status;

	fclose(actor->numbers);
	return waitpid(actor->pid, &status, 0) == actor->pid && !status;
}

/* --------------------------------------------------------------------------------------- tests */

FIXTURE(looks)
{
	struct actor actor;
};

FIXTURE_VARIANT(looks)
{
	const char *role;
	bool expected;
};

FIXTURE_VARIANT_ADD(looks, untouched) { .role = "untouched", .expected = false };

FIXTURE_VARIANT_ADD(looks, forked) { .role = "forked", .expected = true };

FIXTURE_VARIANT_ADD(looks, mergeable) { .role = "mergeable", .expected = true };

FIXTURE_VARIANT_ADD(looks, swapped) { .role = "swapped", .expected = true };

FIXTURE_VARIANT_ADD(looks, unshared) { .role = "unshared", .expected = true };

FIXTURE_SETUP(looks)
{
	settings_restore();
	if (geteuid())
		SKIP(return, "only root sees page frames");
	if (access(IDLE_BITMAP, W_OK))
		SKIP(return, "no CONFIG_IDLE_PAGE_TRACKING");
	/* What takes a second gets scanned. */
	numa_scan_stop();
}

FIXTURE_TEARDOWN_PARENT(looks)
{
	settings_restore();
}

/* Pages that are not looked at stay idle. */
TEST_F_TIMEOUT(looks, only_if_needed, TIMEOUT)
{
	int pages = REGION_SIZE / page_size();
	long long before, after;

	ASSERT_EQ(0, actor_start(&self->actor, variant->role));
	before = actor_says(&self->actor);
	after = actor_says(&self->actor);
	TH_LOG("%s: %lld pages idle, after the mark %lld", variant->role, before, after);
	EXPECT_GE(before, pages * 3 / 4);
	EXPECT_EQ(variant->expected, after == 0);
	EXPECT_EQ(!variant->expected, after >= pages * 3 / 4);
	EXPECT_TRUE(actor_end(&self->actor));
}

FIXTURE(pristine)
{
	struct ground ground;
	struct actor actor;
};

FIXTURE_SETUP(pristine)
{
	const char *why;

	settings_restore();
	why = ground_init(&self->ground) ?: region_missing(MEM_ANON, FOLIO_4K);
	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN_PARENT(pristine)
{
	damon_off();
	settings_restore();
}

#if !SVA_ALWAYS_HW_AD
static void no_old_page(struct __test_metadata *_metadata, struct actor *actor, const char *role,
			size_t folio)
{
	int folios = REGION_SIZE / folio;
	long long unmarked, marked;

	ASSERT_EQ(0, actor_start(actor, role));
	for (int i = 0; i < 2; i++)
		EXPECT_GE(actor_says(actor), folios * 3 / 4);
	unmarked = actor_says(actor);
	marked = actor_says(actor);
	TH_LOG("%lld I/O page faults on unmarked pages, %lld on marked ones", unmarked, marked);
	EXPECT_TRUE(actor_end(actor));
	EXPECT_EQ(0, marked);
	/* Where software sets the bit, it does so for the whole block. */
	if (!unmarked && folio > page_size())
		SKIP(return, "the processor does not set accessed bits");
	EXPECT_GE(unmarked, folios * 3 / 4);
}

static const char *bound_missing(void)
{
	return sva_missing() ?: access(IDLE_BITMAP, W_OK) ? "no CONFIG_IDLE_PAGE_TRACKING" : NULL;
}

/* A device that is bound later finds no old page among the marked ones. */
TEST_F_TIMEOUT(pristine, device_is_bound_later, TIMEOUT)
{
	const char *why = bound_missing();

	if (why)
		SKIP(return, "%s", why);
	no_old_page(_metadata, &self->actor, "bound", FOLIO_4K);
}

/*
 * Nor in a block of contiguous entries, of which the CPU has made only one young: the kernel takes
 * all of them for young, and a device takes each for what it is.
 */
TEST_F_TIMEOUT(pristine, partly_used_block, TIMEOUT)
{
	const char *why = bound_missing() ?: region_missing(MEM_ANON, FOLIO_64K);

	if (why)
		SKIP(return, "%s", why);
	no_old_page(_metadata, &self->actor, "bound_large", FOLIO_64K);
}
#endif

static void hints_are_repaired(struct __test_metadata *_metadata, struct ground *ground,
			       struct actor *actor, const char *role)
{
	long long marked, unmarked;

	/* Born where it will run, it has nothing else that NUMA balancing would move. */
	ASSERT_EQ(0, task_pin(0, ground->cpu));
	ASSERT_EQ(0, actor_start(actor, role));
	marked = actor_says(actor);
	unmarked = actor_says(actor);
	TH_LOG("%lld faults on hints unmarked, %lld marked", unmarked, marked);
	EXPECT_GT(unmarked, 0)
		TH_LOG("INCONCLUSIVE: the unmarked range had no hints either");
	EXPECT_EQ(0, marked);
	EXPECT_TRUE(actor_end(actor));
}

TEST_F_TIMEOUT(pristine, first_scan_counts, TIMEOUT)
{
	const char *why = numa_balancing.missing(&self->ground);

	if (why)
		SKIP(return, "%s", why);
	hints_are_repaired(_metadata, &self->ground, &self->actor, "scanned");
}

TEST_F_TIMEOUT(pristine, child_has_its_parents_hints, TIMEOUT)
{
	const char *why = numa_balancing.missing(&self->ground);

	if (why)
		SKIP(return, "%s", why);
	hints_are_repaired(_metadata, &self->ground, &self->actor, "inherited");
}

/* A page that parent and child share becomes KSM's if either wants it. */
TEST_F_TIMEOUT(pristine, child_has_merged, TIMEOUT)
{
	const char *why = ksm.missing(&self->ground);
	long long before, after;

	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(0, actor_start(&self->actor, "shared"));
	before = actor_says(&self->actor);
	after = actor_says(&self->actor);
	TH_LOG("%lld pages of the parent are KSM's, after the mark %lld", before, after);
	EXPECT_GT(before, 0);
	EXPECT_EQ(0, after);
	EXPECT_TRUE(actor_end(&self->actor));
	ASSERT_EQ(0, file_write("/sys/kernel/mm/ksm/run", "2"));
}

static void mark_while_moving(struct __test_metadata *_metadata, struct ground *ground,
			      const char *role)
{
	long long on_their_way = 0, left = 0;
	int tries = 0, active = 0;

	while (active < PROOF && tries++ < TRIES) {
		long long start, end, away;
		struct actor actor;

		ASSERT_EQ(0, actor_start(&actor, role));
		start = actor_says(&actor);
		end = actor_says(&actor);
		ASSERT_EQ(0, damon_setup("paddr", "migrate_cold"));
		ASSERT_EQ(0, damon_range(start, end));
		ASSERT_EQ(0, damon_target(ground->other));
		ASSERT_EQ(0, damon_on());
		away = actor_says(&actor);
		active += away > 0;
		on_their_way += away;
		left += actor_says(&actor);
		EXPECT_TRUE(actor_end(&actor));
		damon_off();
	}
	TH_LOG("%s, %d tries: %lld pages on their way in %d of them, %lld after the mark", role,
	       tries, on_their_way, active, left);
	if (active < PROOF)
		TH_LOG("INCONCLUSIVE: no page was on its way when the process looked");
	EXPECT_EQ(PROOF, active);
	EXPECT_EQ(0, left);
}

/*
 * The first migration of the process's life is waited for, and nothing more of it is unmapped
 * once the mark is set.
 */
TEST_F_TIMEOUT(pristine, first_migration_counts, TIMEOUT)
{
	const char *why = damon.missing(&self->ground);

	if (why)
		SKIP(return, "%s", why);
	mark_while_moving(_metadata, &self->ground, "moved_upwards");
	mark_while_moving(_metadata, &self->ground, "moved_downwards");
}

/* TEST_HARNESS_MAIN, but a role comes before anything forks. */
int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "role"))
		return play(argv[2]);
	return test_harness_run(argc, argv);
}
