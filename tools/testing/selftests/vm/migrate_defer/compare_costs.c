// SPDX-License-Identifier: GPL-2.0
/* What protecting memory costs, in instructions: see compare.h and instructions.h. */
#include <errno.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compare.h"
#include "instructions.h"

#define MAX_REPEATS	9

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static double median(uint64_t *values, int nr)
{
	qsort(values, nr, sizeof(*values), by_value);
	return values[nr / 2];
}

/* Populated memory of base pages, or NULL */
static char *map(size_t len)
{
	char *addr = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (addr == MAP_FAILED || madvise(addr, len, MADV_NOHUGEPAGE) ||
	    madvise(addr, len, MADV_POPULATE_WRITE))
		return NULL;
	return addr;
}

/* NUMA balancing as it is on most machines: marking has to look for what it has left behind. */
static int setup(const struct rival *rival)
{
	int ret = setting_write("/proc/sys/kernel/numa_balancing", "1");

	return ret ?: rival->system_setup ? rival->system_setup() : 0;
}

static const char *costs_missing(void)
{
	return counts_instructions() ? NULL :
	       "the counter does not count instructions: run under -icount shift=0";
}

static int measure_protect(const struct item *item, const struct rival *rival)
{
	uint64_t protect[MAX_REPEATS], release[MAX_REPEATS];
	int repeats = item->size > 64 * MIB ? 3 : MAX_REPEATS;
	const char *why = costs_missing();
	int ret;

	if (why)
		return report_missing("%s", why);
	ret = setup(rival);
	/* The first time does not count. */
	for (int i = -1; !ret && i < repeats; i++) {
		char *addr = map(item->size);
		uint64_t start, protected, released;

		if (!addr)
			return -ENOMEM;
		start = counter();
		ret = rival->protect(addr, item->size);
		protected = counter();
		ret = ret ?: rival->release(addr, item->size);
		released = counter();
		munmap(addr, item->size);
		if (i < 0)
			continue;
		protect[i] = protected - start;
		release[i] = released - protected;
	}
	if (ret)
		return ret;
	report("protect", "instructions", median(protect, repeats));
	report("release", "instructions", median(release, repeats));
	return 0;
}

/* A child that does nothing, from the call until it is gone */
static int measure_fork(const struct item *item, const struct rival *rival)
{
	const char *why = costs_missing();
	uint64_t values[MAX_REPEATS];
	char *addr;
	int ret;

	if (why)
		return report_missing("%s", why);
	ret = setup(rival);
	addr = map(item->size);
	if (!addr)
		return -ENOMEM;
	ret = ret ?: rival->protect(addr, item->size);
	for (int i = -1; !ret && i < MAX_REPEATS; i++) {
		uint64_t start = counter();
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		if (pid < 0 || waitpid(pid, NULL, 0) != pid)
			return -errno;
		if (i >= 0)
			values[i] = counter() - start;
	}
	if (ret)
		return ret;
	report("fork, and exit of the child", "instructions", median(values, MAX_REPEATS));
	return 0;
}

static const struct rival *its_rival;

static int live_protected(void *arg)
{
	size_t size = *(const size_t *)arg;
	char *addr = map(size);

	return addr ? its_rival->protect(addr, size) : -ENOMEM;
}

static int measure_exit(const struct item *item, const struct rival *rival)
{
	const char *why = costs_missing();
	uint64_t values[MAX_REPEATS];
	int ret;

	if (why)
		return report_missing("%s", why);
	ret = setup(rival);
	its_rival = rival;
	for (int i = -1; !ret && i < MAX_REPEATS; i++) {
		struct peer peer;
		uint64_t start;

		ret = peer_start(&peer, live_protected, (void *)&item->size);
		start = counter();
		peer_stop(&peer);
		if (i >= 0)
			values[i] = counter() - start;
	}
	if (ret)
		return ret;
	report("exit", "instructions", median(values, MAX_REPEATS));
	return 0;
}

#define COST(name, measure_, size_) \
	{ .what = name, .measure = measure_, .size = size_, .seconds = 600 }

static const struct item items[] = {
	COST("1 MiB", measure_protect, MIB),
	COST("64 MiB", measure_protect, 64 * MIB),
	COST("1 GiB", measure_protect, 1024 * MIB),
	COST("fork with 64 MiB", measure_fork, 64 * MIB),
	COST("exit with 64 MiB", measure_exit, 64 * MIB),
	{ 0 }
};

const struct section costs_section = { .name = "costs", .items = items };
