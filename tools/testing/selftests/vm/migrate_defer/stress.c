// SPDX-License-Identifier: GPL-2.0
/*
 * Some processes do at random all that one may do with memory, marked and unmarked, while all
 * movers are at work.  What is in memory stays right, what is marked stays where it is unless the
 * events say that it was forced to move, and counters are what they should be.
 *
 * In the environment:
 *   STRESS_SECONDS=n	how long
 *   STRESS_SEED=n	what is random, as printed by an earlier run: each thread draws the same
 *			operations, between which others come at other times
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "movers.h"
#include "stress.h"
#include "sva.h"

#define SECONDS		20
#define STRETCH		10	/* times that at most, where everything is slow */
#define HUGETLB_PAGES	"16"
#define LOG_KB		"8192"
#define EPOCHS		20	/* without so many of them it has shown nothing */
#define ENABLED		"/sys/kernel/mm/migrate_defer/enabled"
#define UNMARK_SECONDS	120	/* until an address space that is not used any more is gone */
#define DAMON_BYTES	(64 * MIB)

/**
 * struct agent - a process that moves pages, or has them moved
 * @name:	in words
 * @missing:	why the machine does not have it, or NULL
 * @work:	what it does once; may sleep
 */
struct agent {
	const char *name;
	const char *(*missing)(struct ground *g);
	void (*work)(struct ground *g);
};

static const char *group;

static const char *nothing_missing(struct ground *g)
{
	(void)g;
	return NULL;
}

/* A little at a time: marks do not hold when reclaim gets desperate. */
static const char *reclaim_missing(struct ground *g)
{
	int slow;

	if (swapon(SWAP, 0))
		return "no swap";
	if (!slow_node_missing(&slow))
		setting_write("/sys/kernel/mm/numa/demotion_enabled", "1");
	(void)g;
	return group ? NULL : "no memory controller in cgroup v2";
}

static void reclaim_work(struct ground *g)
{
	char path[160];

	(void)g;
	snprintf(path, sizeof(path), "%s/memory.reclaim", group);
	file_write(path, "1M");
	usleep(20000);
}

/* Splits huge pages that are partly mapped, too. */
static void shrink_work(struct ground *g)
{
	(void)g;
	file_write("/proc/sys/vm/drop_caches", "3");
	usleep(200000);
}

static const char *damon_agent_missing(struct ground *g)
{
	return damon_missing(g) ?: damon_setup("paddr", "migrate_cold") ? "DAMON does not work" :
	       NULL;
}

static bool damon_tried(void *arg)
{
	(void)arg;
	return damon_stat("nr_tried") > 0;
}

/* Some memory of a node to another, wherever that is */
static void damon_agent_work(struct ground *g)
{
	uint64_t first, last, at;
	int from = random() % 2 ? g->node : g->other;

	if (!node_pfn_range(from, &first, &last))
		return;
	at = first * page_size() + random() % ((last - first) * page_size() / DAMON_BYTES) *
	     DAMON_BYTES;
	if (damon_range(at, at + DAMON_BYTES) ||
	    damon_target(from == g->node ? g->other : g->node) || damon_on())
		return;
	poll_until(damon_tried, NULL, 1);
	damon_off();
}

static const char *cma_agent_missing(struct ground *g)
{
	return cma_alloc.missing(g);
}

static void cma_work(struct ground *g)
{
	if (!cma_alloc.push(g, NULL, 0))
		cma_alloc.undo(g);
	usleep(200000);
}

static const char *offline_missing(struct ground *g)
{
	return memory_offline.missing(g);
}

static void offline_work(struct ground *g)
{
	if (!memory_offline.push(g, NULL, 0))
		memory_offline.undo(g);
	usleep(200000);
}

static const struct agent agents[] = {
	{ "reclaim and demotion", reclaim_missing, reclaim_work },
	{ "shrinkers", nothing_missing, shrink_work },
	{ "DAMON", damon_agent_missing, damon_agent_work },
	{ "CMA", cma_agent_missing, cma_work },
	{ "memory offline", offline_missing, offline_work },
};

/* What has been done, by /proc/vmstat */
static const char * const counters[] = {
	"compact_isolated", "compact_success", "numa_pte_updates", "numa_pages_migrated",
	"thp_collapse_alloc", "thp_split_page", "ksm_swpin_copy", "cow_ksm", "pswpin", "pswpout",
	"pgdemote_direct", "pgdemote_proactive", "pgmigrate_success", "pgmigrate_fail",
	"nomigrate_skip_compaction", "nomigrate_skip_numa_balancing", "nomigrate_skip_khugepaged",
	"nomigrate_skip_ksm", "nomigrate_skip_demotion", "nomigrate_skip_damon",
	"nomigrate_skip_thp_split", "nomigrate_skip_fork", "nomigrate_skip_aging",
	"nomigrate_forced", "nomigrate_prefault", "nomigrate_override",
};

/**
 * struct log - the forced moves
 * @watch:	the event
 * @pipe:	where they can be read
 * @line:	what was read
 * @len:	how much of it
 */
struct log {
	struct watch watch;
	int pipe;
	char line[65536];
	size_t len;
};

static int log_open(struct log *log)
{
	char path[160];
	int ret = watch_open(&log->watch, "migrate_defer/forced");

	if (ret)
		return ret;
	snprintf(path, sizeof(path), "%s/buffer_size_kb", log->watch.dir);
	ret = file_write(path, LOG_KB);
	snprintf(path, sizeof(path), "%s/trace_pipe", log->watch.dir);
	log->pipe = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	return ret ?: log->pipe < 0 ? -errno : 0;
}

/* "... forced: reason=... pid=1 address=0x2000 pages=3 result=0" */
static void log_take(const char *line, double when)
{
	const char *at = strstr(line, " pid=");
	unsigned long address, pages;
	int pid;

	if (strstr(line, "LOST"))
		stress_add(&stress->lost, 1);
	if (!at || sscanf(at, " pid=%d address=%li pages=%lu", &pid, &address, &pages) != 3)
		return;
	for (unsigned int actor = 0; actor < NR_ACTORS; actor++) {
		size_t first = (address - (uintptr_t)stress->arena) / page_size();

		if (pid != stress->actor[actor] || address < (uintptr_t)stress->arena)
			continue;
		/* A part of a huge page may have been mapped elsewhere: then it says too much. */
		for (size_t i = first; i < first + pages && i < NR_SLOTS * SLOT_PAGES; i++)
			stress->named[actor][i] = when;
	}
}

/* Whoever waits for what has happened up to now may go on. */
static void log_drain(struct log *log)
{
	double when = now();
	char *end;

	for (;;) {
		ssize_t len = read(log->pipe, log->line + log->len,
				   sizeof(log->line) - 1 - log->len);

		if (len <= 0)
			break;
		log->len += len;
		log->line[log->len] = 0;
		while ((end = strchr(log->line, '\n'))) {
			*end = 0;
			log_take(log->line, now());
			log->len -= end + 1 - log->line;
			memmove(log->line, end + 1, log->len + 1);
		}
	}
	stress->drained = when;
}

FIXTURE(stress) {
	struct ground ground[ARRAY_SIZE(agents)];
	struct region object[NR_OBJECTS];
	pid_t agent[ARRAY_SIZE(agents)];
	pid_t compaction;
	struct log log;
	long long before[ARRAY_SIZE(counters)];
	long long forced;
	long long marked;
};

FIXTURE_VARIANT(stress) {
	bool heeded;
};

FIXTURE_VARIANT_ADD(stress, heeded) { .heeded = true };

/* Otherwise it would notice. */
FIXTURE_VARIANT_ADD(stress, not_heeded) { .heeded = false };

static uint64_t seed_of_this_run(void)
{
	const char *env = getenv("STRESS_SEED");
	uint64_t seed = getpid();

	if (!env && getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		perror("# getrandom");
	return env ? strtoull(env, NULL, 0) : seed;
}

static int object_create(struct region *r, enum stress_object object)
{
	static const enum mem_kind kinds[NR_OBJECTS] = {
		[OBJECT_SHMEM] = MEM_SHMEM, [OBJECT_SHMEM_HUGE] = MEM_SHMEM,
		[OBJECT_FILE] = MEM_FILE_SHARED, [OBJECT_CONSTANT] = MEM_FILE_SHARED,
	};
	const char *why = region_missing(kinds[object], page_size());
	int ret;

	if (why)
		return -ENODEV;
	ret = region_map(r, kinds[object], page_size(), SLOT_SIZE);
	if (ret)
		return ret;
	for (size_t page = 0; page < region_pages(r); page++)
		*(uint64_t *)(r->addr + page * page_size()) = stress_word(page);
	if (fsync(r->fd))
		return -errno;
	stress->fd[object] = r->fd;
	return munmap(r->addr, r->size) ? -errno : 0;
}

FIXTURE_SETUP(stress)
{
	struct ground *g = &self->ground[0];
	pthread_rwlockattr_t attr;
	const char *why;
	char *arena;

	settings_restore();
	why = ground_init(g) ?: kernel_has_advice() ? NULL : "no MADV_NOMIGRATE";
	if (why)
		SKIP(return, "%s", why);
	stress = mmap(NULL, sizeof(*stress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	ASSERT_NE(MAP_FAILED, stress);
	stress->seed = seed_of_this_run();
	TH_LOG("STRESS_SEED=%#llx", (unsigned long long)stress->seed);
	srandom(stress->seed);
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	for (unsigned int i = 0; i < NR_OBJECTS; i++) {
		pthread_rwlock_init(&stress->object_lock[i], &attr);
		ASSERT_OK(object_create(&self->object[i], i));
	}
	/* The kernel's own way to bind where there is one */
	stress->bind = !sva_missing() ? 0 : !sva_direct_missing() ? SVA_TESTDEV_BIND_DIRECT : -1;
	if (stress->bind < 0)
		TH_LOG("without a device: %s", sva_direct_missing());
	arena = mmap(NULL, (NR_SLOTS + 1) * SLOT_SIZE, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(MAP_FAILED, arena);
	stress->arena = arena + (-(uintptr_t)arena & (SLOT_SIZE - 1));
	ASSERT_OK(setting_write("/proc/sys/vm/nr_hugepages", HUGETLB_PAGES));
	self->marked = file_number(MARKED_KB);

	ASSERT_OK(log_open(&self->log));
	group = tier_group();
	ASSERT_OK(numa_scan_fast());
	ASSERT_OK(ksm_fast());
	ASSERT_OK(khugepaged.place(g, NULL, 0));
	if (!variant->heeded)
		ASSERT_OK(setting_write(ENABLED, "0"));
}

FIXTURE_TEARDOWN_PARENT(stress)
{
	for (size_t i = 0; i < ARRAY_SIZE(agents); i++)
		load_gone(self->agent[i]);
	damon_off();
	settings_restore();
	swapoff(SWAP);
}

static pid_t agent_start(const struct agent *agent, struct ground *g)
{
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		srandom(stress->seed + (agent - agents));
		while (!stress->stop)
			agent->work(g);
		_exit(0);
	}
	return pid;
}

static void print_tables(const long long *before)
{
	printf("# %-32s%12s%12s\n", "operation", "done", "failed");
	for (size_t op = 0; stress_op_name(op); op++)
		printf("# %-32s%12llu%12llu\n", stress_op_name(op),
		       (unsigned long long)stress->count[op].done,
		       (unsigned long long)stress->count[op].failed);
	printf("#\n# %-32s%12s\n", "counter", "difference");
	for (size_t i = 0; i < ARRAY_SIZE(counters); i++)
		if (vmstat(counters[i]) >= 0)
			printf("# %-32s%12lld\n", counters[i], vmstat(counters[i]) - before[i]);
	printf("#\n# %llu epochs, in which %llu pages were watched; of them %llu were forced to\n"
	       "# move (said late in %llu epochs), and %llu changed when one cannot tell\n",
	       (unsigned long long)stress->epochs, (unsigned long long)stress->watched,
	       (unsigned long long)stress->forced, (unsigned long long)stress->late,
	       (unsigned long long)stress->unknown);
}

static bool is_possible(size_t op)
{
	return stress->bind >= 0 || strcmp(stress_op_name(op), "device");
}

static bool marked_as_before(void *arg)
{
	return file_number(MARKED_KB) == *(long long *)arg;
}

static bool is_conclusive(bool heeded)
{
	for (size_t op = 0; heeded && stress_op_name(op); op++)
		if (is_possible(op) && !stress->count[op].done)
			return false;
	return stress->epochs > EPOCHS && (heeded || stress->broken);
}

TEST_F_TIMEOUT(stress, rules, 7200)
{
	const char *env = variant->heeded ? getenv("STRESS_SECONDS") : NULL;
	double start, seconds = env ? atof(env) : SECONDS;
	/* Without the marks it is over as soon as something has moved. */
	double at_least = variant->heeded ? seconds : 0;
	pid_t pid, waited = 0;
	int status;

	self->forced = vmstat("nomigrate_forced");
	for (size_t i = 0; i < ARRAY_SIZE(counters); i++)
		self->before[i] = vmstat(counters[i]);
	for (size_t i = 0; i < ARRAY_SIZE(agents); i++) {
		const char *why;

		if (i)
			self->ground[i] = self->ground[0];
		why = agents[i].missing(&self->ground[i]);
		if (why)
			TH_LOG("without %s: %s", agents[i].name, why);
		else
			self->agent[i] = agent_start(&agents[i], &self->ground[i]);
	}
	self->compaction = load_compaction();
	for (unsigned int i = 0; i < NR_ACTORS; i++) {
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid)
			stress_act(i);
		stress->actor[i] = pid;
	}
	/* An actor ends when it is told to; if it is killed, that is the end, too. */
	start = now();
	while (now() < start + at_least ||
	       (!is_conclusive(variant->heeded) && now() < start + STRETCH * seconds)) {
		waited = waitpid(-1, &status, WNOHANG);
		if (waited > 0)
			break;
		log_drain(&self->log);
		usleep(10000);
	}
	if (waited > 0)
		stress_broken("a process ended by itself: status %#x", status);
	stress->stop = true;
	load_stop(self->compaction);
	while ((pid = waitpid(-1, &status, 0)) > 0) {
		for (unsigned int i = 0; i < NR_ACTORS; i++)
			if (pid == stress->actor[i] && status)
				stress_broken("an actor ended with status %#x", status);
		for (size_t i = 0; i < ARRAY_SIZE(agents); i++)
			if (pid == self->agent[i])
				self->agent[i] = 0;
	}

	EXPECT_LT(EPOCHS, stress->epochs)
		TH_LOG("INCONCLUSIVE: there were few epochs");
	/* The last user of an address space may be the work that pre-faults. */
	EXPECT_TRUE(poll_until(marked_as_before, &self->marked, UNMARK_SECONDS));
	if (!variant->heeded) {
		EXPECT_LT(0, stress->broken)
			TH_LOG("INCONCLUSIVE: nobody moved a page that was watched");
		return;
	}
	print_tables(self->before);
	EXPECT_EQ(0, stress->broken)
		TH_LOG("%llu times, first: %s; STRESS_SEED=%#llx",
		       (unsigned long long)stress->broken, stress->how,
		       (unsigned long long)stress->seed);
	for (size_t op = 0; stress_op_name(op); op++) {
		if (!is_possible(op))
			continue;
		EXPECT_LT(0, stress->count[op].done)
			TH_LOG("INCONCLUSIVE: %s was never done", stress_op_name(op));
	}
	EXPECT_LT(self->forced, vmstat("nomigrate_forced"));
	EXPECT_TRUE(vmstat_in_order());
}

TEST_HARNESS_MAIN
