// SPDX-License-Identifier: GPL-2.0
/*
 * The oracle: all movers that merely optimise run at full force at once, while a device streams
 * over marked memory of several kinds, and over as much that is not marked.  Somebody else looks
 * at each page table entry again and again.  On what is marked the device takes no I/O page fault
 * and no entry changes, whoever of the movers might have tried; each of them has hit other memory.
 *
 * In the environment:
 *   ORACLE_SECONDS=n		how long, with each device
 *   ORACLE_MOVERS="a b c"	only these: compaction numa khugepaged ksm damon split fork demotion
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "movers.h"
#include "sva.h"

#define REGION_SIZE	(4 * MIB)
#if SVA_ALWAYS_HW_AD
#define SECONDS		20
#else
#define SECONDS		10	/* with each of the two devices */
#endif
#define NUMA_SECONDS	0.5	/* for a thread to scan, and to follow up the hints */
#define PATIENCE	600	/* more, for movers that have not proved themselves */
#define TIMEOUT		9000
#define FREE_BYTES	(320 * MIB)	/* on each node, when the run begins */
#define POOL_BYTES	(32 * MIB)	/* what a mover that needs memory of its own takes */
#define BUSY_US		1000	/* pause of the device after each pass */
#define IDLE_US		1000000	/* the same, on memory that is to look cold */
#define SAMPLE_US	5000
#define HURRY		-10	/* niceness of the movers: all the observers would starve them */
#define EQUAL_SEED	0x6f7261636c65ULL
#define FOLIO_4K	4096
#define FOLIO_2M	(2 * MIB)

#define THP		"/sys/kernel/mm/transparent_hugepage"
#define KHUGEPAGED	THP "/khugepaged"
#define OVERRIDE	"nomigrate_override"
#define KSM		"/sys/kernel/mm/ksm"

/* ------------------------------------------------------------------------- what may be moved */

/**
 * struct sort - a sort of memory, of which there is a marked region and an unmarked one
 * @name:	in words
 * @kind:	see region_map()
 * @folio:	the same
 * @stride:	distance of the words that the device accesses
 * @equal:	the device only reads, and other memory has the same contents: for KSM
 * @partial:	huge pages of which a part is not mapped any more: for the split
 * @unlocked:	marked, but not mlocked, and seldom used: for demotion, and the split of huge pages
 *		full of zeros; there is no swap, so nobody else has to do with it
 */
struct sort {
	const char *name;
	enum mem_kind kind;
	size_t folio;
	size_t stride;
	bool equal;
	bool partial;
	bool unlocked;
};

enum { ANON, EQUAL, UNLOCKED, PARTIAL, ZEROS, SHMEM, NR_SORTS };

static const struct sort sorts[NR_SORTS] = {
	[ANON] = { "anon 4K", MEM_ANON, FOLIO_4K, 4096, .equal = false },
	[EQUAL] = { "anon 4K equal", MEM_ANON, FOLIO_4K, 4096, .equal = true },
	[UNLOCKED] = { "anon 4K unlocked", MEM_ANON, FOLIO_4K, 4096, .unlocked = true },
	[PARTIAL] = { "anon 2M partial", MEM_ANON, FOLIO_2M, 4096, .partial = true },
	[ZEROS] = { "anon 2M zeros", MEM_ANON, FOLIO_2M, 65536, .unlocked = true },
	[SHMEM] = { "shmem 4K", MEM_SHMEM, FOLIO_4K, 4096, .equal = false },
};

struct user {
	const struct sort *sort;
	struct region r;
	bool marked;
	int fd;
	struct diff diff;
	struct sva_testdev_stats stats;
	struct sva_testdev_sample sample;
};

/* ---------------------------------------------------------------------------------- the movers */

/**
 * struct force - a mover at full force
 * @name:	for ORACLE_MOVERS
 * @counts:	what @count counts
 * @enough:	so many of them prove that it was at work
 * @victim:	the sort of memory of which it must have been at the unmarked region; NR_SORTS: any
 * @missing:	why the machine does not have it, or NULL
 * @begin:	switch it on, when everything is watched
 * @work:	what a process of its own does all the time after wait_go(), or NULL
 * @push:	what the process with the regions does again and again, or NULL
 * @count:	what it has done up to now
 */
struct force {
	const char *name;
	const char *counts;
	long long enough;
	unsigned int victim;
	const char *(*missing)(struct ground *g);
	int (*begin)(void);
	void (*work)(const struct ground *g);
	void (*push)(struct ground *g, struct user *users);
	long long (*count)(void);
};

/* Between which physical addresses a region lies, and where most of it is */
struct hull {
	uint64_t start;
	uint64_t end;
	int node;
};

/* What processes have to tell each other */
static struct {
	int ready;
	bool go;
	struct hull hull[2 * NR_SORTS];
	long long damon_pages;
	long long forks;
	long long merged;
} *shared;

/* In a worker: ready for all of it to begin. */
static void wait_go(void)
{
	__atomic_add_fetch(&shared->ready, 1, __ATOMIC_RELAXED);
	while (!shared->go)
		usleep(1000);
}

static bool all_ready(void *arg)
{
	return shared->ready >= *(int *)arg;
}

static char *pool_map(size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void touch_all(char *pool, size_t size)
{
	for (size_t at = 0; at < size; at += page_size())
		pool[at] = 1;
}

/* Sets the niceness of a kernel thread. */
static int thread_nice(const char *name, int nice)
{
	pid_t pid = kthread_find(name);

	if (pid < 0)
		return pid;
	return setpriority(PRIO_PROCESS, pid, nice) ? -errno : 0;
}

static const char *nothing_missing(struct ground *g)
{
	(void)g;
	return NULL;
}

static int nothing_to_begin(void)
{
	return 0;
}

/*
 * Scattered free pages, and everybody told to get together.  Compaction moves pages to the end of
 * the node: what this takes before the regions come lies beyond them, mostly.
 */
static void compaction_work(const struct ground *g)
{
	size_t size = 2 * POOL_BYTES;
	char *pool = pool_map(size);

	policy_bind(g->node);
	madvise(pool, size, MADV_NOHUGEPAGE);
	touch_all(pool, size);
	wait_go();
	for (unsigned int round = 0;; round++) {
		for (size_t at = 0; at < size; at += page_size())
			if ((at / page_size() + round) % 8)
				madvise(pool + at, page_size(), MADV_DONTNEED);
		file_write("/proc/sys/vm/compact_memory", "1");
		touch_all(pool, size);
	}
}

static long long compaction_count(void)
{
	return vmstat("compact_isolated");
}

struct numa_use {
	struct ground *ground;
	struct region *region[2 * NR_SORTS];
	int nr;
	int node;
};

static void *numa_use(void *arg)
{
	struct numa_use *use = arg;

	for (int cpu = 0; cpu < cpu_count(); cpu++)
		if (node_of_cpu(cpu) == use->node && !task_pin(0, cpu))
			break;
	for (double end = now() + NUMA_SECONDS; now() < end;)
		numa_balancing.push(use->ground, use->region, use->nr);
	return NULL;
}

/*
 * Use the memory now on this node, now on that.  By a new thread each time, which scans soon: the
 * next scan of the same one waits for 32 times what the last has taken (task_numa_work()).  Twice
 * on each node, as a page goes where two faults in a row came from (should_numa_migrate_memory()).
 */
static void numa_push(struct ground *g, struct user *users)
{
	static unsigned int round;
	struct numa_use use = {
		.ground = g, .node = round++ / 2 % 2 ? g->node : g->other,
	};
	pthread_t thread;

	for (size_t i = 0; i < 2 * NR_SORTS; i++)
		if (!users[i].sort->unlocked)
			use.region[use.nr++] = &users[i].r;
	if (!pthread_create(&thread, NULL, numa_use, &use))
		pthread_join(thread, NULL);
}

static long long numa_count(void)
{
	return vmstat("numa_pages_migrated");
}

static const char *khugepaged_missing(struct ground *g)
{
	(void)g;
	return access(KHUGEPAGED, F_OK) ? "no CONFIG_TRANSPARENT_HUGEPAGE" : NULL;
}

static int khugepaged_begin(void)
{
	return setting_write(THP "/hugepages-2048kB/enabled", "madvise") ?:
	       setting_write(THP "/hugepages-2048kB/shmem_enabled", "advise") ?:
	       setting_write(KHUGEPAGED "/defrag", "1") ?:
	       setting_write(KHUGEPAGED "/max_ptes_swap", "511") ?:
	       setting_write(KHUGEPAGED "/max_ptes_shared", "511") ?:
	       setting_write(KHUGEPAGED "/pages_to_scan", "65536") ?:
	       setting_write(KHUGEPAGED "/alloc_sleep_millisecs", "0") ?:
	       setting_write(KHUGEPAGED "/scan_sleep_millisecs", "0") ?:
	       thread_nice("khugepaged", HURRY);
}

static long long khugepaged_count(void)
{
	/* Not pages_collapsed, which counts those that are huge already again and again. */
	return vmstat("thp_collapse_alloc");
}

static int ksm_begin(void)
{
	return ksm_fast() ?: setting_write(KSM "/sleep_millisecs", "0") ?:
	       thread_nice("ksmd", HURRY);
}

/* They are merged only once, and this is the only process that has any. */
static void ksm_push(struct ground *g, struct user *users)
{
	long long merged = file_number("/proc/self/ksm_merging_pages");

	(void)g;
	(void)users;
	if (merged > shared->merged)
		shared->merged = merged;
}

static long long ksm_count(void)
{
	return shared->merged;
}

static int damon_begin(void)
{
	return damon_setup("paddr", "migrate_cold");
}

/* Whether the scheme was applied to what it found first, and then some. */
static bool damon_tried(void *arg)
{
	(void)arg;
	return damon_stat("nr_tried") > 4;
}

/* One region after the other to the other node, wherever it is. */
static void damon_work(const struct ground *g)
{
	wait_go();
	for (unsigned int i = 0;; i = (i + 1) % (2 * NR_SORTS)) {
		const struct hull *hull = &shared->hull[i];
		int to = hull->node == g->node ? g->other : g->node;

		if (!hull->end || damon_range(hull->start, hull->end) || damon_target(to) ||
		    damon_on()) {
			usleep(1000);
			continue;
		}
		setpriority(PRIO_PROCESS, damon_pid(), HURRY);
		poll_until(damon_tried, NULL, 1);
		shared->damon_pages += damon_stat("sz_applied") / (long long)page_size();
		damon_off();
	}
}

/* Tells the worker where the regions are by now. */
static void damon_push(struct ground *g, struct user *users)
{
	static uint64_t entries[REGION_SIZE / FOLIO_4K];

	for (size_t i = 0; i < 2 * NR_SORTS; i++) {
		const struct region *r = &users[i].r;
		uint64_t first = UINT64_MAX, last = 0;

		if (pagemap_read(r->addr, r->size, entries))
			continue;
		for (size_t page = 0; page < region_pages(r); page++) {
			uint64_t pfn = pagemap_pfn(entries[page]);

			if (!pfn)
				continue;
			first = pfn < first ? pfn : first;
			last = pfn > last ? pfn : last;
		}
		if (!last)
			continue;
		shared->hull[i].node = 2 * region_nodes(r, g->node) >= (int)region_pages(r) ?
				       g->node : g->other;
		shared->hull[i].start = first * page_size();
		shared->hull[i].end = (last + 1) * page_size();
	}
}

static long long damon_count(void)
{
	return shared->damon_pages;
}

static int split_begin(void)
{
	/* Huge pages that have more zeros than that are split. */
	int ret = setting_write(KHUGEPAGED "/max_ptes_none", "255");

	if (!access(THP "/shrink_underused", W_OK))
		ret = ret ?: setting_write(THP "/shrink_underused", "1");
	return ret;
}

/* Partly mapped huge pages, and everybody told to shrink. */
static void split_work(const struct ground *g)
{
	size_t huge = pmd_size(), size = 4 * huge;
	char *pool = pool_map(size + huge);

	(void)g;
	pool += -(uintptr_t)pool % huge;
	wait_go();
	for (;;) {
		madvise(pool, size, MADV_HUGEPAGE);
		touch_all(pool, size);
		for (size_t at = 0; at < size; at += huge)
			madvise(pool + at, huge / 2, MADV_DONTNEED);
		file_write("/proc/sys/vm/drop_caches", "2");
		madvise(pool, size, MADV_DONTNEED);
	}
}

static long long split_count(void)
{
	return vmstat("thp_split_page");
}

/* A child that writes a little */
static void fork_child(struct user *users)
{
	pid_t pid = fork();

	if (!pid) {
		for (size_t i = 0; i < 2 * NR_SORTS; i++)
			for (size_t page = 0; page < 8 && users[i].r.kind == MEM_ANON; page++)
				*sva_word(users[i].r.addr, 16 * page) = 1;
		_exit(0);
	}
	if (pid < 0)
		return;
	waitpid(pid, NULL, 0);
	shared->forks++;
}

/* Children, and other programs */
static void fork_push(struct ground *g, struct user *users)
{
	char * const argv[] = { "true", NULL };
	pid_t pid;

	(void)g;
	for (int i = 0; i < 4; i++)
		fork_child(users);
	/* They share the memory instead, and take much longer to start. */
	if (shared->forks % 16)
		return;
	if (!posix_spawnp(&pid, "true", NULL, NULL, argv, environ))
		waitpid(pid, NULL, 0);
	if (system("true"))
		printf("# system() failed\n");
}

static long long fork_count(void)
{
	return shared->forks;
}

static const char *group;

static const char *demotion_missing(struct ground *g)
{
	int slow;

	(void)g;
	if (access("/sys/kernel/mm/numa/demotion_enabled", W_OK))
		return "no memory tiers";
	group = tier_group();
	if (!group)
		return "no memory controller in cgroup v2";
	return slow_node_missing(&slow);
}

static int demotion_begin(void)
{
	return setting_write("/sys/kernel/mm/numa/demotion_enabled", "1");
}

/* Always asks for much less than can be had: marks do not hold when reclaim gets desperate. */
static void demotion_work(const struct ground *g)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/memory.reclaim", group);
	policy_bind(g->node);
	wait_go();
	for (;;) {
		char *pool = pool_map(POOL_BYTES);

		touch_all(pool, POOL_BYTES);
		for (int i = 0; i < 8; i++)
			file_write(path, "1M");
		munmap(pool, POOL_BYTES);
	}
}

static long long demotion_count(void)
{
	/* Linux 6.12 counts what memory.reclaim demotes as direct, and has no other name for it. */
	return vmstat("pgdemote_kswapd") + vmstat("pgdemote_direct") +
	       vmstat("pgdemote_khugepaged") + vmstat("pgdemote_proactive");
}

static const char *numa_missing(struct ground *g)
{
	return numa_balancing.missing(g);
}

static const char *compaction_missing(struct ground *g)
{
	return compact_memory.missing(g);
}

static const char *ksm_missing(struct ground *g)
{
	return ksm.missing(g);
}

enum {
	COMPACTION, NUMA, COLLAPSE, MERGE, DAMON, SPLIT, FORK, DEMOTION, NR_FORCES
};

static const struct force forces[NR_FORCES] = {
	[COMPACTION] = {
		.name = "compaction", .counts = "pages isolated",
		.enough = 256, .victim = NR_SORTS, .missing = compaction_missing,
		.begin = nothing_to_begin, .work = compaction_work, .count = compaction_count,
	},
	[NUMA] = {
		.name = "numa", .counts = "pages migrated",
		.enough = 512, .victim = ANON, .missing = numa_missing,
		.begin = numa_scan_fast, .push = numa_push, .count = numa_count,
	},
	[COLLAPSE] = {
		.name = "khugepaged", .counts = "huge pages made",
		.enough = 2, .victim = ANON, .missing = khugepaged_missing,
		.begin = khugepaged_begin, .count = khugepaged_count,
	},
	[MERGE] = {
		.name = "ksm", .counts = "pages merged",
		.enough = 512, .victim = EQUAL, .missing = ksm_missing,
		.begin = ksm_begin, .push = ksm_push, .count = ksm_count,
	},
	[DAMON] = {
		.name = "damon", .counts = "pages migrated",
		.enough = 1024, .victim = ANON, .missing = damon_missing,
		.begin = damon_begin, .work = damon_work, .push = damon_push,
		.count = damon_count,
	},
	[SPLIT] = {
		.name = "split", .counts = "huge pages split",
		.enough = 4, .victim = PARTIAL, .missing = khugepaged_missing,
		.begin = split_begin, .work = split_work, .count = split_count,
	},
	[FORK] = {
		.name = "fork", .counts = "children",
		.enough = 8, .victim = ANON, .missing = nothing_missing,
		.begin = nothing_to_begin, .push = fork_push, .count = fork_count,
	},
	[DEMOTION] = {
		.name = "demotion", .counts = "pages demoted",
		.enough = 512, .victim = UNLOCKED, .missing = demotion_missing,
		.begin = demotion_begin, .work = demotion_work, .count = demotion_count,
	},
};

/* Whether a list of words has a word. */
static bool has_word(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = list; (at = strstr(at, word)); at += len)
		if ((at == list || at[-1] == ' ') && (!at[len] || at[len] == ' '))
			return true;
	return false;
}

static size_t count_words(const char *list)
{
	size_t words = 0;

	for (const char *at = list; *(at += strspn(at, " ")); at += strcspn(at, " "))
		words++;
	return words;
}

/* ------------------------------------------------------------------------------------ the test */

/**
 * struct run - one run of it
 * @ground:	where the regions begin
 * @user:	the regions and who uses them, marked ones at even places
 * @twin:	has the same contents as the regions of the sort EQUAL
 * @active:	which movers take part
 * @nr_active:	how many
 * @worker:	their processes, or 0
 * @before:	what they had done before
 * @overrides:	how often marks did not hold because memory was short, before
 * @bind:	how the device is bound
 */
struct run {
	struct ground ground;
	struct user user[2 * NR_SORTS];
	struct region twin;
	bool active[NR_FORCES];
	size_t nr_active;
	pid_t worker[NR_FORCES];
	long long before[NR_FORCES];
	long long overrides;
	unsigned int bind;
};

FIXTURE(oracle) {
	struct run run;
};

FIXTURE_VARIANT(oracle) {
	bool hw_ad;
};

FIXTURE_VARIANT_ADD(oracle, hw_ad) { .hw_ad = true };

#if !SVA_ALWAYS_HW_AD
FIXTURE_VARIANT_ADD(oracle, no_hw_ad) { .hw_ad = false };
#endif

static pid_t worker_start(const struct force *force, const struct ground *g)
{
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		force->work(g);
	}
	return pid;
}

static void fill_equal(const struct region *r)
{
	memset(r->addr, 0, r->size);
	for (size_t i = 0; i < region_pages(r); i++)
		*sva_word(r->addr, i) = EQUAL_SEED + i * page_size() / sizeof(uint64_t);
}

static int user_map(struct user *user, const struct ground *g, bool huge)
{
	const struct sort *sort = user->sort;
	struct region *r = &user->r;
	int ret;

	ret = region_map(r, sort->kind, sort->folio, REGION_SIZE) ?: region_populate(r, g->node);
	if (ret)
		return ret;
	if (sort->equal) {
		fill_equal(r);
		return madvise(r->addr, r->size, MADV_MERGEABLE) ? -errno : 0;
	}
	memset(r->addr, 0, r->size);
	/* The page that comes in its place is not one of the huge page. */
	for (size_t at = 0; sort->partial && at < r->size; at += pmd_size()) {
		if (madvise(r->addr + at, page_size(), MADV_DONTNEED))
			return -errno;
		*(uint64_t *)(r->addr + at) = 0;
	}
	/* khugepaged is always at work, if slowly. */
	return madvise(r->addr, r->size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) ? -errno : 0;
}

/* The recipe */
static int user_protect(struct user *user)
{
	struct region *r = &user->r;

	if (!user->sort->unlocked && mlock(r->addr, r->size))
		return -errno;
	if (madvise(r->addr, r->size, MADV_POPULATE_WRITE))
		return -errno;
	return region_mark(r);
}

static int user_start(struct user *user, unsigned int bind, bool hw_ad)
{
	struct sva_testdev_job job = sva_job(user->sort->equal ? SVA_TESTDEV_READ :
								 SVA_TESTDEV_INCREMENT,
					     user->r.addr, user->r.size, 0);

	job.stride = user->sort->stride;
	job.flags = SVA_TESTDEV_JOB_VERIFY | (hw_ad ? SVA_TESTDEV_JOB_HW_AD : 0);
	job.seed = user->sort->equal ? EQUAL_SEED : 0;
	job.interval_us = user->sort->unlocked ? IDLE_US : BUSY_US;
	user->fd = sva_open_bound(bind);
	return user->fd < 0 ? user->fd : sva_start(user->fd, &job);
}

static bool user_has_passed(void *arg)
{
	struct user *user = arg;

	return sva_stats(user->fd, 0, &user->stats) || user->stats.passes;
}

/* From here on all is counted. */
static int user_watch(struct user *user)
{
	if (!poll_until(user_has_passed, user, TIMEOUT))
		return -ETIMEDOUT;
	return sva_stats(user->fd, SVA_TESTDEV_STATS_RESET, &user->stats) ?:
	       region_snapshot(&user->r) ?:
	       sva_sample_start(user->fd, user->r.addr, user->r.size, SAMPLE_US) ?:
	       sva_sample_wait_rounds(user->fd, 1);
}

static int user_read(struct user *user)
{
	return sva_stats(user->fd, 0, &user->stats) ?: sva_sample_read(user->fd, &user->sample);
}

/* How often somebody was at it. */
static uint64_t user_hits(const struct user *user)
{
	return user->sample.moved + user->sample.unmapped + user->sample.write_lost +
	       user->stats.faults;
}

static size_t user_wrong_counters(const struct user *user)
{
	const struct sva_testdev_stats *s = &user->stats;
	size_t words = user->r.size / user->sort->stride, wrong = 0;

	for (size_t i = 0; i < words && !user->sort->equal; i++)
		wrong += *(uint64_t *)(user->r.addr + i * user->sort->stride) !=
			 s->passes + (i < s->accesses - s->passes * words);
	return wrong;
}

/* Whether a mover has been at work, and where it should; what users saw was read before. */
static bool force_proven(const struct run *run, size_t i)
{
	uint64_t hits = 0;

	for (size_t k = 0; k < 2 * NR_SORTS; k++) {
		const struct user *user = &run->user[k];

		if (!user->marked && (forces[i].victim == NR_SORTS ||
				      user->sort == &sorts[forces[i].victim]))
			hits += user_hits(user);
	}
	return forces[i].count() - run->before[i] >= forces[i].enough && hits;
}

static bool proven(struct run *run)
{
	for (size_t i = 0; i < 2 * NR_SORTS; i++)
		if (user_read(&run->user[i]))
			return false;
	for (size_t i = 0; i < NR_FORCES; i++)
		if (run->active[i] && !force_proven(run, i))
			return false;
	/* All together leave nothing alone. */
	for (size_t i = 0; i < 2 * NR_SORTS; i++)
		if (!run->user[i].marked && run->nr_active == NR_FORCES &&
		    !user_hits(&run->user[i]))
			return false;
	return true;
}

static void print_tables(const struct run *run, double seconds)
{
	printf("# %-12s%16s  %s\n", "mover", "done", "what");
	for (size_t i = 0; i < NR_FORCES; i++)
		if (run->active[i])
			printf("# %-12s%16lld  %s\n", forces[i].name,
			       forces[i].count() - run->before[i], forces[i].counts);
	printf("#\n# What a device and an observer saw in %.0f s, of regions of %zu MiB, with the\n"
	       "# recipe and without:\n#\n", seconds, REGION_SIZE / MIB);
	printf("# %-18s%-8s%9s%9s%10s%9s%12s%12s%8s\n", "memory", "marked", "faults", "moved",
	       "unmapped", "r/o", "longest", "accesses", "wrong");
	for (size_t i = 0; i < 2 * NR_SORTS; i++) {
		const struct user *u = &run->user[i];

		printf("# %-18s%-8s%9llu%9llu%10llu%9llu%9llu us%12llu%8llu\n", u->sort->name,
		       u->marked ? "yes" : "no", u->stats.faults, u->sample.moved,
		       u->sample.unmapped, u->sample.write_lost, u->stats.stall_ns_max / 1000,
		       u->stats.accesses, u->stats.mismatches);
	}
	printf("#\n# TLB flushes of all regions: %llu, translations that they dropped: %llu\n",
	       run->user[0].stats.invalidations, run->user[0].stats.dropped);
	if (vmstat(OVERRIDE) > run->overrides)
		printf("# Memory was so short that marks did not hold: %lld times\n",
		       vmstat(OVERRIDE) - run->overrides);
}

FIXTURE_SETUP(oracle)
{
	const char *wanted = getenv("ORACLE_MOVERS"), *why;
	struct run *run = &self->run;
	size_t nr_wanted = 0;
	int nr_workers = 0;

	settings_restore();
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	ASSERT_NE(MAP_FAILED, shared);
	/* The kernel's own way to bind where there is one */
	why = sva_missing();
	if (why) {
		run->bind = SVA_TESTDEV_BIND_DIRECT;
		why = sva_direct_missing();
	}
	why = why ?: ground_init(&run->ground) ?: region_missing(MEM_ANON, FOLIO_2M);
	if (why)
		SKIP(return, "%s", why);

	ASSERT_EQ(0, setpriority(PRIO_PROCESS, 0, HURRY));
	ASSERT_OK(nodes_fill(FREE_BYTES));
	for (size_t i = 0; i < NR_FORCES; i++) {
		if (wanted && !has_word(wanted, forces[i].name))
			continue;
		nr_wanted++;
		why = forces[i].missing(&run->ground);
		if (why)
			printf("# %s is left out: %s\n", forces[i].name, why);
		run->active[i] = !why;
		run->nr_active += !why;
	}
	if (wanted)
		ASSERT_EQ(count_words(wanted), nr_wanted)
			TH_LOG("unknown movers among ORACLE_MOVERS=\"%s\"", wanted);
	if (!run->nr_active)
		SKIP(return, "none of the movers is there");

	/* Before there is anything that fork() would have to do with */
	for (size_t i = 0; i < NR_FORCES; i++) {
		if (!run->active[i] || !forces[i].work)
			continue;
		run->worker[i] = worker_start(&forces[i], &run->ground);
		ASSERT_LT(0, run->worker[i]);
		nr_workers++;
	}
	ASSERT_TRUE(poll_until(all_ready, &nr_workers, TIMEOUT));
	for (size_t i = 0; i < 2 * NR_SORTS; i++) {
		struct user *user = &run->user[i];

		user->sort = &sorts[i / 2];
		user->marked = !(i % 2);
		ASSERT_OK(user_map(user, &run->ground, run->active[COLLAPSE]));
		if (user->marked)
			ASSERT_OK(user_protect(user));
	}
	/* KSM must find something with the same contents that is not marked. */
	ASSERT_OK(region_map(&run->twin, MEM_ANON, FOLIO_4K, REGION_SIZE));
	fill_equal(&run->twin);
	ASSERT_EQ(0, madvise(run->twin.addr, run->twin.size, MADV_MERGEABLE));
}

FIXTURE_TEARDOWN_PARENT(oracle)
{
	for (size_t i = 0; i < NR_FORCES; i++)
		load_gone(self->run.worker[i]);
	thread_nice("khugepaged", 19);
	thread_nice("ksmd", 5);
	/* DAMON's settings can't be put back while it runs. */
	damon_off();
	settings_restore();
}

/*
 * Faults that are no mover's: where memory is not mlocked, reclaim clears accessed bits to see
 * whether it may take it, and a device may be unable to set them again.
 */
static uint64_t by_reclaim(const struct user *user)
{
	return user->sort->unlocked ? user->stats.causes[SVA_TESTDEV_OLD] : 0;
}

/* Nobody who merely optimises is noticed on marked memory. */
TEST_F_TIMEOUT(oracle, marked_memory_is_left_alone, TIMEOUT)
{
	const char *env = getenv("ORACLE_SECONDS");
	double seconds = env ? atof(env) : SECONDS, begin;
	struct run *run = &self->run;

	for (size_t i = 0; i < 2 * NR_SORTS; i++)
		ASSERT_OK(user_start(&run->user[i], run->bind, variant->hw_ad));
	for (size_t i = 0; i < 2 * NR_SORTS; i++)
		ASSERT_OK(user_watch(&run->user[i]));
	for (size_t i = 0; i < NR_FORCES; i++) {
		if (!run->active[i])
			continue;
		run->before[i] = forces[i].count();
		ASSERT_EQ(0, forces[i].begin())
			TH_LOG("%s can't be switched on", forces[i].name);
	}
	run->overrides = vmstat(OVERRIDE);
	shared->go = true;
	begin = now();
	do {
		for (size_t i = 0; i < NR_FORCES; i++)
			if (run->active[i] && forces[i].push)
				forces[i].push(&run->ground, run->user);
		usleep(1000);
		/* On a slow machine it takes longer until all movers have been there. */
	} while (now() - begin < seconds ||
		 (now() - begin < seconds + PATIENCE && !proven(run)));
	seconds = now() - begin;

	for (size_t i = 0; i < 2 * NR_SORTS; i++) {
		struct user *user = &run->user[i];

		user->diff = region_compare(&user->r);
		ASSERT_OK(sva_stop(user->fd));
		ASSERT_OK(sva_sample_stop(user->fd));
		ASSERT_OK(user_read(user));
	}
	for (size_t i = 0; i < NR_FORCES; i++) {
		if (run->worker[i] > 0) {
			kill(run->worker[i], SIGKILL);
			waitpid(run->worker[i], NULL, 0);
			run->worker[i] = 0;
		}
	}

	print_tables(run, seconds);
	for (size_t i = 0; i < NR_FORCES; i++) {
		if (!run->active[i])
			continue;
		EXPECT_TRUE(force_proven(run, i))
			TH_LOG("INCONCLUSIVE: %s has done too little, or nothing to what it should",
			       forces[i].name);
	}
	for (size_t i = 0; i < 2 * NR_SORTS; i++) {
		struct user *user = &run->user[i];

		EXPECT_EQ(0, user->stats.result);
		EXPECT_EQ(0, user->stats.mismatches)
			TH_LOG("%s: %s", user->sort->name, sva_describe(&user->stats));
		EXPECT_EQ(0, user_wrong_counters(user));
		EXPECT_LT(1, user->sample.rounds);
		if (!user->marked) {
			if (run->nr_active == NR_FORCES)
				EXPECT_LT(0, user_hits(user))
					TH_LOG("INCONCLUSIVE: nobody was at unmarked %s",
					       user->sort->name);
			continue;
		}
		EXPECT_EQ(by_reclaim(user), user->stats.faults)
			TH_LOG("marked %s: %s", user->sort->name, sva_describe(&user->stats));
		EXPECT_EQ(0, user->sample.moved);
		EXPECT_EQ(0, user->sample.unmapped);
		EXPECT_EQ(0, user->sample.write_lost);
		EXPECT_EQ(user->sample.pages, user->sample.present);
		EXPECT_EQ(user->sample.pages, user->sample.writable);
		EXPECT_EQ(0, user->diff.moved + user->diff.absent);
	}
}

TEST_HARNESS_MAIN
