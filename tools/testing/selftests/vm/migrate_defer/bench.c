// SPDX-License-Identifier: GPL-2.0
/*
 * What MADV_NOMIGRATE costs, in instructions: run on one processor under QEMU's "-icount shift=0",
 * where the time that the counter of the processor tells is the number of instructions executed.
 *
 *	bench none|elsewhere|here [BENCHMARK]...
 *
 * "none": there is no mark in the system, "elsewhere": another process has marked memory, "here":
 * so is the memory that is worked on.  Each benchmark is a program of its own, started after the
 * first mark.  Prints one JSON object per benchmark and line.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../../../../mm/gup_test.h"
#include "instructions.h"
#include "movers.h"

#define GUP_TEST	"/sys/kernel/debug/gup_test"
#define UNEVICTABLE	"/proc/sys/vm/compact_unevictable_allowed"
#define OTHER_NODE	1	/* without a processor */
#define ELSEWHERE	(64 * MIB)
#define REPEATS		15

enum mode { NONE, ELSEWHERE_ONLY, HERE, NR_MODES };

static const char * const mode_name[NR_MODES] = { "none", "elsewhere", "here" };
static enum mode mode;

/**
 * struct bench - something whose instructions are counted
 * @name:	in the output
 * @unit:	what a value is
 * @modes:	bit mask of enum mode
 * @repeats:	how often, after a first time that doesn't count
 * @run:	do it once and return a value
 */
struct bench {
	const char *name;
	const char *unit;
	unsigned int modes;
	int repeats;
	double (*run)(void);
};

/* --------------------------------------------------------------------------- what is worked on */

static void mark(char *addr, size_t len)
{
	if (madvise(addr, len, MADV_NOMIGRATE))
		err(1, "MADV_NOMIGRATE");
}

static void populate(char *addr, size_t len)
{
	if (madvise(addr, len, MADV_POPULATE_WRITE))
		err(1, "MADV_POPULATE_WRITE");
}

/* Memory of base pages. */
static char *map(size_t len)
{
	char *addr = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (addr == MAP_FAILED || madvise(addr, len, MADV_NOHUGEPAGE))
		err(1, "mmap");
	return addr;
}

static char *map_marked_if_here(size_t len)
{
	char *addr = map(len);

	if (mode == HERE)
		mark(addr, len);
	return addr;
}

/**
 * struct hog - pages in the lower three quarters of a node that has nothing else
 * @node:	the node
 * @addr:	where it is mapped
 * @size:	length of the mapping, of which most is not populated
 * @pages:	pages of it that are
 */
struct hog {
	int node;
	char *addr;
	size_t size;
	size_t pages;
};

/* One page of @every, by page frames: so they lie wherever they came from. */
static void hog_take(struct hog *hog, unsigned int every)
{
	const char *why = slow_node_missing(&hog->node);
	uint64_t *entries, low = UINT64_MAX, high = 0;
	size_t pages;
	int ret;

	if (why)
		errx(1, "%s", why);
	hog->size = node_meminfo(hog->node, "MemFree:") - 4 * MIB;
	pages = hog->size / page_size();
	hog->addr = map(hog->size);
	entries = calloc(pages, sizeof(*entries));
	ret = entries ? range_bind(hog->addr, hog->size, hog->node, 0) : -ENOMEM;
	if (!ret)
		populate(hog->addr, hog->size);
	ret = ret ?: pagemap_read(hog->addr, hog->size, entries);
	if (ret)
		errx(1, "memory of node %d: %s", hog->node, strerror(-ret));
	for (size_t i = 0; i < pages; i++) {
		uint64_t pfn = pagemap_pfn(entries[i]);

		low = pfn < low ? pfn : low;
		high = pfn > high ? pfn : high;
	}
	hog->pages = 0;
	for (size_t i = 0; i < pages; i++) {
		uint64_t pfn = pagemap_pfn(entries[i]);

		if (pfn < low + (high - low) / 4 * 3 && pfn % every == 0)
			hog->pages++;
		else if (madvise(hog->addr + i * page_size(), page_size(), MADV_DONTNEED))
			err(1, "MADV_DONTNEED");
	}
	free(entries);
}

static void hog_give_back(struct hog *hog)
{
	munmap(hog->addr, hog->size);
	settings_restore();
}

static int mark_elsewhere(void *arg)
{
	char *addr = map(ELSEWHERE);

	(void)arg;
	populate(addr, ELSEWHERE);
	return madvise(addr, ELSEWHERE, MADV_NOMIGRATE) ? -errno : 0;
}

/* --------------------------------------------------------------- faults, mappings and processes */

static double touch(char *addr, size_t pages)
{
	uint64_t start = counter();

	for (size_t page = 0; page < pages; page++)
		((volatile char *)addr)[page * page_size()] = 1;
	return (double)(counter() - start) / pages;
}

static double fault_anon(void)
{
	char *addr = map_marked_if_here(4 * MIB);
	double value = touch(addr, 4 * MIB / page_size());

	munmap(addr, 4 * MIB);
	return value;
}

static double fault_shmem_once(void)
{
	int fd = memfd_create("bench", 0);
	double value;
	char *addr;

	if (fd < 0 || ftruncate(fd, 4 * MIB))
		err(1, "memfd");
	addr = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (addr == MAP_FAILED)
		err(1, "mmap");
	if (mode == HERE)
		mark(addr, 4 * MIB);
	value = touch(addr, 4 * MIB / page_size());
	munmap(addr, 4 * MIB);
	close(fd);
	return value;
}

/* The least of a few: about every other time there is work for new slabs among it. */
static double fault_shmem(void)
{
	double least = fault_shmem_once();

	for (int i = 0; i < 7; i++) {
		double value = fault_shmem_once();

		least = value < least ? value : least;
	}
	return least;
}

/*
 * System calls come one by one, and the median counts: now and then one pays for others, by a new
 * slab, by RCU callbacks or by the timer's interrupt.
 */
#define CALLS	501

static uint64_t samples[CALLS];

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static double median(void)
{
	qsort(samples, CALLS, sizeof(samples[0]), by_value);
	return samples[CALLS / 2];
}

static double mmap_munmap(void)
{
	for (int i = 0; i < CALLS; i++) {
		uint64_t start = counter();
		char *addr = mmap(NULL, 64 * 1024, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (addr == MAP_FAILED || munmap(addr, 64 * 1024))
			err(1, "mmap");
		samples[i] = counter() - start;
	}
	return median();
}

static double munmap_populated(void)
{
	char *addr = map_marked_if_here(4 * MIB);
	uint64_t start;

	populate(addr, 4 * MIB);
	start = counter();
	if (munmap(addr, 4 * MIB))
		err(1, "munmap");
	return (double)(counter() - start) / (4 * MIB / page_size());
}

/* Splits the VMA and merges it again. */
static double mprotect_split(void)
{
	char *addr = map_marked_if_here(3 * page_size());

	for (int i = 0; i < CALLS; i++) {
		uint64_t start = counter();

		if (mprotect(addr + page_size(), page_size(), PROT_READ) ||
		    mprotect(addr + page_size(), page_size(), PROT_READ | PROT_WRITE))
			err(1, "mprotect");
		samples[i] = counter() - start;
	}
	munmap(addr, 3 * page_size());
	return median();
}

static double mremap_resize(void)
{
	char *addr = map_marked_if_here(2 * page_size());

	for (int i = 0; i < CALLS; i++) {
		uint64_t start = counter();

		if (mremap(addr, 2 * page_size(), page_size(), 0) != addr ||
		    mremap(addr, page_size(), 2 * page_size(), 0) != addr)
			err(1, "mremap");
		samples[i] = counter() - start;
	}
	munmap(addr, 2 * page_size());
	return median();
}

static double brk_resize(void)
{
	for (int i = 0; i < CALLS; i++) {
		uint64_t start = counter();

		if (sbrk(65536) == (void *)-1 || sbrk(-65536) == (void *)-1)
			err(1, "brk");
		samples[i] = counter() - start;
	}
	return median();
}

#define FORKED	(64 * MIB)

static double fork_exit(void)
{
	char *addr = map_marked_if_here(FORKED);
	uint64_t start;
	pid_t pid;

	populate(addr, FORKED);
	start = counter();
	pid = fork();
	if (!pid)
		_exit(0);
	if (pid < 0 || waitpid(pid, NULL, 0) != pid)
		err(1, "fork");
	start = counter() - start;
	munmap(addr, FORKED);
	return (double)start / (FORKED / page_size());
}

static double fork_exec(void)
{
	static char * const args[] = { "bench", "exit", NULL }, * const environment[] = { NULL };
	uint64_t start = counter();
	pid_t pid = fork();

	if (!pid) {
		execve("/proc/self/exe", args, environment);
		_exit(1);
	}
	if (pid < 0 || waitpid(pid, NULL, 0) != pid)
		err(1, "fork");
	return counter() - start;
}

/* An advice that is not ours. */
static double madvise_other(void)
{
	char *addr = map_marked_if_here(16 * page_size());

	for (int i = 0; i < CALLS; i++) {
		uint64_t start = counter();

		if (madvise(addr, 16 * page_size(), MADV_RANDOM) ||
		    madvise(addr, 16 * page_size(), MADV_NORMAL))
			err(1, "madvise");
		samples[i] = counter() - start;
	}
	munmap(addr, 16 * page_size());
	return median();
}

/* -------------------------------------------------------------------------------------- movers */

static uint64_t compact(int node)
{
	const struct ground ground = { .node = node };
	uint64_t start = counter();
	int ret = compact_node(&ground);

	if (ret)
		errx(1, "compaction: %s", strerror(-ret));
	return counter() - start;
}

/* Of memory of which every third page is in use. */
static double compaction(void)
{
	long long moved = vmstat("pgmigrate_success");
	struct hog hog;
	double value;

	hog_take(&hog, 3);
	if (mode == HERE)
		mark(hog.addr, hog.size);
	value = (double)compact(hog.node) / hog.pages;
	moved = vmstat("pgmigrate_success") - moved;
	if (mode == HERE ? moved > 0 : moved < (long long)hog.pages / 2)
		errx(1, "compaction: %lld of %zu pages moved", moved, hog.pages);
	hog_give_back(&hog);
	return value;
}

/* What it costs compaction to go by pages that it doesn't take. */
static double compaction_passes(void (*protect)(char *addr, size_t len))
{
	long long moved, scanned;
	struct hog hog;
	double value;

	hog_take(&hog, 1);
	protect(hog.addr, hog.size);
	moved = vmstat("pgmigrate_success");
	scanned = vmstat("compact_migrate_scanned");
	value = (double)compact(hog.node) / hog.pages;
	moved = vmstat("pgmigrate_success") - moved;
	scanned = vmstat("compact_migrate_scanned") - scanned;
	if (moved || scanned < (long long)hog.pages)
		errx(1, "compaction: %lld pages moved and %lld scanned of %zu that it was to go by",
		     moved, scanned, hog.pages);
	hog_give_back(&hog);
	return value;
}

static void lock(char *addr, size_t len)
{
	/* Not what isn't there. */
	if (syscall(SYS_mlock2, addr, len, MLOCK_ONFAULT))
		err(1, "mlock2");
}

static double compaction_passes_unevictable(void)
{
	int ret = setting_write(UNEVICTABLE, "0");

	if (ret)
		errx(1, UNEVICTABLE ": %s", strerror(-ret));
	return compaction_passes(lock);
}

static double compaction_passes_marked(void)
{
	return compaction_passes(mark);
}

/*
 * The scan comes when the scheduler's tick wants it, and is by far the longest that anything
 * keeps a loop away from the processor.  The sentinel, never marked, tells that it was there.
 */
static double longest_scan(void)
{
	size_t size = 192 * MIB, pages = size / page_size(), sentinel = MIB / page_size();
	long long before = vmstat("numa_pte_updates"), hints = 0;
	uint64_t longest = 0;
	char *addr;

	/* A scan leaves out what is on the node of its processor already. */
	if (policy_bind(OTHER_NODE))
		errx(1, "no node %d", OTHER_NODE);
	addr = map_marked_if_here(size);
	populate(addr, size);
	populate(map(MIB), MIB);
	if (policy_default())
		errx(1, "no default policy");
	for (int i = 0; i < 100 && hints < sentinel; i++) {
		uint64_t last = counter(), end = last + 20000000;

		while (last < end) {
			uint64_t this = counter();

			if (this - last > longest)
				longest = this - last;
			last = this;
		}
		hints = vmstat("numa_pte_updates") - before;
	}
	if (hints < sentinel + (mode == HERE ? 0 : pages))
		errx(1, "%lld hints of %zu pages", hints, pages);
	return (double)longest / pages;
}

/* In a process of its own, which is scanned soon. */
static double numa_scan(void)
{
	int pipefd[2], ret = numa_scan_fast();
	double value;
	pid_t pid;

	if (ret || pipe(pipefd))
		errx(1, "NUMA balancing: %s", strerror(ret ? -ret : errno));
	pid = fork();
	if (!pid) {
		value = longest_scan();
		_exit(write(pipefd[1], &value, sizeof(value)) != sizeof(value));
	}
	close(pipefd[1]);
	if (pid < 0 || read(pipefd[0], &value, sizeof(value)) != sizeof(value))
		errx(1, "no NUMA scan");
	close(pipefd[0]);
	waitpid(pid, NULL, 0);
	settings_restore();
	return value;
}

static double contiguous_allocation(void)
{
	struct region region, *regions[] = { &region };
	struct diff diff;
	const char *why;
	struct ground g;
	uint64_t start;
	int ret;

	why = ground_init(&g) ?: cma_alloc.missing(&g);
	if (why)
		errx(1, "CMA: %s", why);
	ret = region_map(&region, MEM_ANON, page_size(), 4 * MIB) ?:
	      cma_alloc.place(&g, regions, 1) ?:
	      mode == HERE ? region_mark(&region) : 0;
	ret = ret ?: region_snapshot(&region);
	if (ret)
		errx(1, "CMA: %s", strerror(-ret));
	start = counter();
	ret = cma_alloc.push(&g, regions, 1);
	start = counter() - start;
	if (ret)
		errx(1, "CMA: %s", strerror(-ret));
	diff = compare_must_move(&g, &region);
	cma_alloc.undo(&g);
	settings_restore();
	region_unmap(&region);
	if (!diff.pages || diff.moved != diff.pages)
		errx(1, "CMA: %zu of %zu pages moved", diff.moved, diff.pages);
	return (double)start / diff.pages;
}

/* ---------------------------------------------------------------------------------- the advice */

#define LARGE	(1024 * MIB)

static double advice(size_t len)
{
	int ret = numa_scan_stop();
	char *addr = map(len);
	uint64_t start;

	if (ret)
		errx(1, "NUMA balancing: %s", strerror(-ret));
	populate(addr, len);
	start = counter();
	mark(addr, len);
	start = counter() - start;
	settings_restore();
	munmap(addr, len);
	return start;
}

static double mark_1m(void)
{
	return advice(MIB);
}

static double mark_1g(void)
{
	return advice(LARGE);
}

static double unmark_1g(void)
{
	char *addr = map(LARGE);
	uint64_t start;

	populate(addr, LARGE);
	mark(addr, LARGE);
	start = counter();
	if (madvise(addr, LARGE, MADV_DOMIGRATE))
		err(1, "MADV_DOMIGRATE");
	start = counter() - start;
	munmap(addr, LARGE);
	return start;
}

static double pin_1g(void)
{
	char *addr = map(LARGE);
	struct pin_longterm_test pin = {
		.addr = (uintptr_t)addr, .size = LARGE,
		.flags = PIN_LONGTERM_TEST_FLAG_USE_WRITE | PIN_LONGTERM_TEST_FLAG_USE_FAST,
	};
	int fd = open(GUP_TEST, O_RDWR | O_CLOEXEC);
	uint64_t start;

	if (fd < 0)
		err(1, GUP_TEST);
	populate(addr, LARGE);
	start = counter();
	if (ioctl(fd, PIN_LONGTERM_TEST_START, &pin))
		err(1, "PIN_LONGTERM_TEST_START");
	start = counter() - start;
	close(fd);
	munmap(addr, LARGE);
	return start;
}

#define ALWAYS		(1 << NONE | 1 << ELSEWHERE_ONLY | 1 << HERE)
#define UNMARKED	(1 << NONE | 1 << ELSEWHERE_ONLY)
#define MARKED		(1 << HERE)

static const struct bench benches[] = {
	{ "fault_anon", "per page", ALWAYS, REPEATS, fault_anon },
	{ "fault_shmem", "per page", ALWAYS, REPEATS, fault_shmem },
	{ "mmap_munmap", "per pair", UNMARKED, REPEATS, mmap_munmap },
	{ "munmap_populated", "per page", ALWAYS, REPEATS, munmap_populated },
	{ "mprotect_split", "per pair", ALWAYS, REPEATS, mprotect_split },
	{ "mremap_resize", "per pair", ALWAYS, REPEATS, mremap_resize },
	{ "brk_resize", "per pair", UNMARKED, REPEATS, brk_resize },
	{ "fork_exit", "per page", ALWAYS, 5, fork_exit },
	{ "fork_exec", "each", UNMARKED, REPEATS, fork_exec },
	{ "madvise_other", "per pair", ALWAYS, REPEATS, madvise_other },
	{ "compaction", "per page in use", ALWAYS, 5, compaction },
	{ "compaction_passes_unevictable", "per page", ALWAYS, 5, compaction_passes_unevictable },
	{ "compaction_passes_marked", "per page", MARKED, 5, compaction_passes_marked },
	{ "numa_scan", "per page", ALWAYS, 5, numa_scan },
	{ "contiguous_allocation", "per page moved", ALWAYS, 5, contiguous_allocation },
	{ "mark_1m", "of 1 MiB", MARKED, REPEATS, mark_1m },
	{ "mark_1g", "of 1 GiB", MARKED, 3, mark_1g },
	{ "unmark_1g", "of 1 GiB", MARKED, 3, unmark_1g },
	{ "pin_1g", "of 1 GiB", ALWAYS, 3, pin_1g },
};

static void measure(const struct bench *bench)
{
	printf("{\"benchmark\": \"%s\", \"mode\": \"%s\", ", bench->name, mode_name[mode]);
	printf("\"unit\": \"instructions %s\", \"values\": [", bench->unit);
	for (int i = -1; i < bench->repeats; i++) {
		double value = bench->run();

		if (i >= 0)
			printf("%s%.1f", i ? ", " : "", value);
	}
	printf("]}\n");
	fflush(stdout);
}

/* Start this program anew, with these arguments, and wait for it. */
static void start(const char *what, const char *with, const char *name)
{
	char * const args[] = { "bench", (char *)what, (char *)with, (char *)name, NULL };
	int ret, status = 0;
	pid_t pid;

	ret = posix_spawn(&pid, "/proc/self/exe", NULL, NULL, args, environ);
	if (ret)
		errx(1, "%s: %s", name, strerror(ret));
	if (waitpid(pid, &status, 0) != pid || status)
		errx(1, "%s failed", name);
}

int main(int argc, char **argv)
{
	bool only = argc == 4 && !strcmp(argv[1], "only");
	struct peer peer = { .pid = -1 };

	if (argc > 1 && !strcmp(argv[1], "exit"))
		return 0;
	argv += only;
	argc -= only;
	for (mode = 0; argc > 1 && mode < NR_MODES && strcmp(argv[1], mode_name[mode]); mode++)
		;
	if (argc < 2 || mode == NR_MODES)
		errx(1, "usage: bench none|elsewhere|here [BENCHMARK]...");
	if (!counts_instructions())
		errx(1, "the counter does not count instructions: run under -icount shift=0");
	if (!only && mode != NONE) {
		int ret = peer_start(&peer, mark_elsewhere, NULL);

		if (ret)
			errx(1, "marking elsewhere: %s", strerror(-ret));
	}
	for (size_t i = 0; i < ARRAY_SIZE(benches); i++) {
		bool wanted = argc == 2;

		for (int arg = 2; arg < argc; arg++)
			wanted |= !strcmp(argv[arg], benches[i].name);
		if (!wanted || !(benches[i].modes & 1 << mode))
			continue;
		if (only)
			measure(&benches[i]);
		else
			start("only", mode_name[mode], benches[i].name);
	}
	peer_stop(&peer);
	return 0;
}
