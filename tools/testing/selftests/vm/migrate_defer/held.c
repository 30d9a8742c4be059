// SPDX-License-Identifier: GPL-2.0
/*
 * Where memory runs out, of the system or of a memory cgroup: nobody is killed because of a mark.
 * What a mark keeps from being given back comes back before, and fork() does without copies.
 *
 * This comes last: what has been short of memory is in pieces.
 */
#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "movers_test.h"

#define GROUP		CGROUP "/migrate_defer_held"
#define LAST_RESORT	"/sys/kernel/mm/migrate_defer/last_resort"
#define MAX_PTES_NONE	"/sys/kernel/mm/transparent_hugepage/khugepaged/max_ptes_none"
#define NOBODY		65534
#define LIMIT		MIB
#define HELD		(96 * MIB)
#define ROOM		(32 * MIB)
#define WANTED		(80 * MIB)

/* The first page of each folio, which is marked, says which it is. */
static void sign(const struct region *r)
{
	for (size_t at = 0; at < r->size; at += r->folio)
		*(volatile size_t *)(r->addr + at) = at + 1;
}

static size_t wrong_signs(const struct region *r)
{
	size_t wrong = 0;

	for (size_t at = 0; at < r->size; at += r->folio)
		wrong += *(volatile size_t *)(r->addr + at) != at + 1;
	return wrong;
}

/* Marks a page of each folio, as far as the limit goes.  Returns how many. */
static int mark_first_pages(const struct region *r)
{
	int marked = 0;

	for (size_t at = 0; at < r->size; at += r->folio)
		marked += !madvise(r->addr + at, page_size(), MADV_NOMIGRATE);
	return marked;
}

/* Gives the rest of each folio back. */
static void give_back(const struct region *r)
{
	for (size_t at = 0; at < r->size; at += r->folio)
		madvise(r->addr + at + page_size(), r->folio - page_size(), MADV_DONTNEED);
}

/* A child that uses so much memory.  Returns whether it lives. */
static bool lives_with(size_t size)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		char *mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (mem == MAP_FAILED || madvise(mem, size, MADV_NOHUGEPAGE) ||
		    file_write("/proc/self/oom_score_adj", "1000"))
			_exit(1);
		for (size_t at = 0; at < size; at += page_size())
			mem[at] = 1;
		_exit(0);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && !status;
}

FIXTURE(group)
{
	struct region region;
};

FIXTURE_VARIANT(group)
{
	size_t folio;
	bool underused;
};

FIXTURE_VARIANT_ADD(group, partly_mapped_2m) { .folio = FOLIO_2M };

FIXTURE_VARIANT_ADD(group, partly_mapped_64k) { .folio = FOLIO_64K };

FIXTURE_VARIANT_ADD(group, underused_2m) { .folio = FOLIO_2M, .underused = true };

FIXTURE_SETUP(group)
{
	struct region *r = &self->region;
	const char *why;

	settings_restore();
	why = kernel_has_advice() ? region_missing(MEM_ANON, variant->folio) : "no MADV_NOMIGRATE";
	why = why ?: cgroup_enter(GROUP);
	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(file_write(GROUP "/memory.swap.max", "0"), 0);
	ASSERT_EQ(file_write(GROUP "/memory.max", "%zu", HELD + ROOM), 0);
	/* A huge page is underused from so many pages of zeroes on. */
	ASSERT_EQ(setting_write(MAX_PTES_NONE, "256"), 0);

	ASSERT_EQ(region_map(r, MEM_ANON, variant->folio, HELD), 0);
	memset(r->addr, 0, r->size);
	sign(r);
	if (region_large_pages(r) < region_pages(r) * 3 / 4)
		TH_LOG("INCONCLUSIVE: there were not enough large folios");
	ASSERT_GE(region_large_pages(r), region_pages(r) * 3 / 4);
	ASSERT_EQ(mark_first_pages(r), r->size / r->folio);
	if (!variant->underused)
		give_back(r);
}

FIXTURE_TEARDOWN_PARENT(group)
{
	settings_restore();
}

/* What marked pages hold of their folios makes room for others. */
TEST_F_TIMEOUT(group, comes_back, TIMEOUT)
{
	long long override = vmstat("nomigrate_override");

	EXPECT_TRUE(lives_with(WANTED));
	EXPECT_EQ(file_line(GROUP "/memory.events", "oom_kill ", 1), 0);
	override = vmstat("nomigrate_override") - override;
	TH_LOG("%lld pages in spite of the mark", override);
	EXPECT_GT(override, 0);
	EXPECT_EQ(wrong_signs(&self->region), 0);
	EXPECT_EQ(vmflag_bytes(self->region.addr, self->region.size, "nm"),
		  self->region.size / variant->folio * page_size());
}

/* Not if the administrator says so: then it is the mark that has somebody killed. */
TEST_F_TIMEOUT(group, is_held, TIMEOUT)
{
	long long override = vmstat("nomigrate_override");

	ASSERT_EQ(setting_write(LAST_RESORT, "0"), 0);
	EXPECT_FALSE(lives_with(WANTED));
	EXPECT_GT(file_line(GROUP "/memory.events", "oom_kill ", 1), 0);
	EXPECT_EQ(vmstat("nomigrate_override"), override);
	EXPECT_EQ(wrong_signs(&self->region), 0);
}

/* Reclaim that somebody has asked for is not the last resort. */
TEST_F_TIMEOUT(group, wishes_do_not_count, TIMEOUT)
{
	long long override = vmstat("nomigrate_override");

	file_write(GROUP "/memory.reclaim", "%zu", HELD / 2);
	file_write("/proc/sys/vm/drop_caches", "3");
	EXPECT_EQ(vmstat("nomigrate_override"), override);
	EXPECT_GE(file_number(GROUP "/memory.current"), HELD);
}

/* The worst that somebody without rights can do, to the whole system */
TEST(system_lives_on)
{
	size_t size = file_line("/proc/meminfo", "MemAvailable:", 1024);
	long long kills = vmstat("oom_kill"), override = vmstat("nomigrate_override");
	struct rlimit limit = { .rlim_cur = LIMIT, .rlim_max = LIMIT };
	struct region r;
	int marked;

	settings_restore();
	if (!kernel_has_advice() || region_missing(MEM_ANON, FOLIO_2M))
		SKIP(return, "%s", region_missing(MEM_ANON, FOLIO_2M) ?: "no MADV_NOMIGRATE");
	ASSERT_EQ(region_map(&r, MEM_ANON, FOLIO_2M, size / 2 / pmd_size() * pmd_size()), 0);
	memset(r.addr, 0, r.size);
	sign(&r);
	ASSERT_EQ(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
	ASSERT_EQ(setgroups(0, NULL) || setgid(NOBODY) || setuid(NOBODY) ||
		  prctl(PR_SET_DUMPABLE, 1), 0);
	marked = mark_first_pages(&r);
	EXPECT_LE(marked, LIMIT / page_size());
	give_back(&r);
	EXPECT_TRUE(lives_with(size / 5 * 4));
	EXPECT_EQ(vmstat("oom_kill"), kills);
	TH_LOG("%d pages marked; %lld pages taken in spite of the mark", marked,
	       vmstat("nomigrate_override") - override);
	EXPECT_EQ(wrong_signs(&r), 0);
}

/* As many huge pages as are to be had, for a pool */
static long long huge_pages_had(void)
{
	const char *path = "/proc/sys/vm/nr_hugepages";
	long long before = file_number(path), had;

	file_write("/proc/sys/vm/compact_memory", "1");
	file_write(path, "%lld", before + file_line("/proc/meminfo", "MemTotal:", 1024) /
				 (long long)pmd_size());
	had = file_number(path) - before;
	file_write(path, "%lld", before);
	return had;
}

enum holder {
	UNPROTECTED,
	LOCKED,
	MARKED,
};

static int rest_is_given_back(struct region *r, enum holder how)
{
	memset(r->addr, 0, r->size);
	sign(r);
	if (how == MARKED && mark_first_pages(r) != LIMIT / page_size())
		return -EDQUOT;
	for (size_t at = 0; how == LOCKED && at < LIMIT / page_size() * r->folio; at += r->folio)
		if (mlock(r->addr + at, page_size()))
			return -errno;
	give_back(r);
	return 0;
}

/*
 * With a limit of 1 MiB a user can have one page in each of 256 page blocks stay where it is: so
 * many huge pages nobody gets, and no more.  Reclaim gets back what the mark does not count.
 */
TEST(limit_bounds_what_is_held)
{
	static const char * const names[] = { "unprotected", "mlock()", "marked" };
	long long most = LIMIT / page_size(), had[ARRAY_SIZE(names)];
	struct rlimit limit = { .rlim_cur = LIMIT, .rlim_max = LIMIT };

	settings_restore();
	if (!kernel_has_advice() || region_missing(MEM_ANON, FOLIO_2M))
		SKIP(return, "%s", region_missing(MEM_ANON, FOLIO_2M) ?: "no MADV_NOMIGRATE");
	/* Drops what lay about before. */
	huge_pages_had();
	for (int how = 0; how < ARRAY_SIZE(names); how++) {
		long long available = file_line("/proc/meminfo", "MemAvailable:", 1024), held;
		int ready[2], go[2], status;
		struct region r;
		char byte = 0;
		pid_t pid;

		/* Some more than may be marked */
		ASSERT_EQ(region_map(&r, MEM_ANON, FOLIO_2M, (most + 8) * pmd_size()), 0);
		ASSERT_EQ(pipe(ready), 0);
		ASSERT_EQ(pipe(go), 0);
		pid = fork();
		ASSERT_GE(pid, 0);
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (setrlimit(RLIMIT_MEMLOCK, &limit) || setgroups(0, NULL) ||
			    setgid(NOBODY) || setuid(NOBODY) || rest_is_given_back(&r, how) ||
			    write(ready[1], &byte, 1) != 1 || read(go[0], &byte, 1) != 1)
				_exit(1);
			_exit(wrong_signs(&r) > 0);
		}
		close(ready[1]);
		ASSERT_EQ(read(ready[0], &byte, 1), 1)
			TH_LOG("%s: more or less than the limit", names[how]);
		held = available - file_line("/proc/meminfo", "MemAvailable:", 1024);
		had[how] = huge_pages_had();
		ASSERT_EQ(write(go[1], &byte, 1), 1);
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
		EXPECT_EQ(status, 0);
		close(ready[0]);
		close(go[0]);
		close(go[1]);
		region_unmap(&r);
		TH_LOG("1 MiB %s: holds %lld MiB, until reclaim comes; %lld huge pages to be had",
		       names[how], held / (long long)MIB, had[how]);
	}
	/* What else lies about makes a difference from one time to the next, too. */
	EXPECT_GE(had[MARKED], had[UNPROTECTED] - most - most / 2);
	settings_restore();
}

#define FORKS	10

/* fork() shares what it has no memory to copy. */
TEST(fork_shares)
{
	long long kills = vmstat("oom_kill"), yields;
	struct region r;
	int succeeded = 0;

	settings_restore();
	if (!kernel_has_advice() || region_missing(MEM_ANON, FOLIO_2M))
		SKIP(return, "%s", region_missing(MEM_ANON, FOLIO_2M) ?: "no MADV_NOMIGRATE");
	ASSERT_EQ(region_map(&r, MEM_ANON, FOLIO_2M,
			     file_line("/proc/meminfo", "MemAvailable:", 1024) * 6 / 10 /
			     pmd_size() * pmd_size()), 0);
	ASSERT_EQ(region_populate(&r, -1), 0);
	ASSERT_EQ(region_mark(&r), 0);
	yields = vmstat("nomigrate_yield");
	for (int i = 0; i < FORKS; i++) {
		int status;
		pid_t pid = fork();

		if (!pid)
			_exit(!!region_corrupt(&r));
		succeeded += pid > 0 && waitpid(pid, &status, 0) == pid && !status;
		for (size_t at = 0; at < r.size; at += page_size())
			*(volatile char *)(r.addr + at) = *(volatile char *)(r.addr + at);
	}
	EXPECT_EQ(succeeded, FORKS);
	EXPECT_GE(vmstat("nomigrate_yield"), yields + FORKS);
	EXPECT_EQ(vmstat("oom_kill"), kills);
	region_unmap(&r);
	settings_restore();
}

TEST_HARNESS_MAIN
