// SPDX-License-Identifier: GPL-2.0
/*
 * fork() copies marked pages for the child, as it does with pinned ones: the parent keeps its own,
 * writable.  An unmarked region of the same kind is write-protected in the same fork().
 */
#include <errno.h>
#include <linux/mempolicy.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "movers_test.h"

#define REGION_SIZE	(4 * MIB)
#define GROUP		CGROUP "/migrate_defer_fork"
#define SWITCH		"/sys/kernel/mm/migrate_defer/enabled"

/* One word of each page is written, so that it tells whose page it is. */
#define BY_PARENT	0x7061727265UL
#define BY_CHILD	0x6368696c64UL

static void write_words(const struct region *r, uint64_t value)
{
	for (size_t offset = 0; offset < r->size; offset += page_size())
		*(volatile uint64_t *)(r->addr + offset) = value;
}

static size_t wrong_words(const struct region *r, uint64_t value)
{
	size_t wrong = 0;

	for (size_t offset = 0; offset < r->size; offset += page_size())
		wrong += *(volatile uint64_t *)(r->addr + offset) != value;
	return wrong;
}

/* As they are, but pages of its own where they were those of a file, all of them dirty. */
static void own_pages(const struct region *r)
{
	for (size_t offset = 0; offset < r->size; offset += page_size())
		*(volatile uint64_t *)(r->addr + offset) =
			*(volatile uint64_t *)(r->addr + offset);
}

/**
 * struct child - a forked process that waits to be told to go on
 * @pid:	its number
 * @go:		a byte written here sends it to its second half
 */
struct child {
	pid_t pid;
	int go;
};

/* What the child finds wrong is its exit status. */
static int child_checks(struct region **regions, int go)
{
	char byte;
	int bad = 0;

	if (read(go, &byte, 1) != 1)
		return 100;
	/* The parent has written to its pages by now. */
	for (int i = 0; i < 2; i++) {
		bad |= region_corrupt(regions[i]) ? 1 : 0;
		bad |= vmflag_bytes(regions[i]->addr, regions[i]->size, "nm") ? 2 : 0;
		write_words(regions[i], BY_CHILD);
		bad |= wrong_words(regions[i], BY_CHILD) ? 4 : 0;
	}
	return bad;
}

static int child_start(struct child *child, struct region **regions)
{
	int go[2];

	if (pipe(go))
		return -errno;
	child->go = go[1];
	child->pid = fork();
	if (child->pid < 0)
		return -errno;
	if (!child->pid) {
		close(go[1]);
		_exit(child_checks(regions, go[0]));
	}
	close(go[0]);
	return 0;
}

static int child_end(struct child *child)
{
	int status;

	if (write(child->go, "", 1) != 1 || waitpid(child->pid, &status, 0) != child->pid)
		return -ECHILD;
	close(child->go);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

/* Huge pages for the copies, beside those that the regions have. */
static int hugetlb_spare(size_t bytes)
{
	const char *path = "/proc/sys/vm/nr_hugepages";

	return setting_write(path, "%lld", file_number(path) + (long long)(bytes / pmd_size()));
}

/* ----------------------------------------------------------------------- what both of them have */

FIXTURE(fork)
{
	struct ground ground;
	struct region control;
	struct region marked;
};

FIXTURE_VARIANT(fork)
{
	enum mem_kind kind;
	size_t folio;
};

FIXTURE_VARIANT_ADD(fork, anon_4k)
{
	.kind = MEM_ANON, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(fork, anon_64k)
{
	.kind = MEM_ANON, .folio = FOLIO_64K,
};

FIXTURE_VARIANT_ADD(fork, anon_2m)
{
	.kind = MEM_ANON, .folio = FOLIO_2M,
};

FIXTURE_VARIANT_ADD(fork, hugetlb)
{
	.kind = MEM_HUGETLB, .folio = FOLIO_2M,
};

FIXTURE_VARIANT_ADD(fork, private_file)
{
	.kind = MEM_FILE_PRIVATE, .folio = FOLIO_4K,
};

FIXTURE_SETUP(fork)
{
	struct region *regions[] = { &self->control, &self->marked };
	const char *why;

	settings_restore();
	why = ground_init(&self->ground) ?: region_missing(variant->kind, variant->folio);
	if (why)
		SKIP(return, "%s", why);
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(region_map(regions[i], variant->kind, variant->folio, REGION_SIZE), 0);
		ASSERT_EQ(region_populate(regions[i], self->ground.node), 0);
		own_pages(regions[i]);
		ASSERT_EQ(region_large_pages(regions[i]), region_pages(regions[i]))
			TH_LOG("INCONCLUSIVE: there were not enough large folios");
	}
	if (variant->kind == MEM_HUGETLB)
		ASSERT_EQ(hugetlb_spare(4 * REGION_SIZE), 0);
	ASSERT_EQ(region_mark(&self->marked), 0);
	ASSERT_EQ(region_snapshot(&self->control), 0);
	ASSERT_EQ(region_snapshot(&self->marked), 0);
}

FIXTURE_TEARDOWN_PARENT(fork)
{
	settings_restore();
}

/*
 * The parent's marked pages stay where they are, and writing to them takes no fault, neither while
 * the child is there nor afterwards.  The child has the contents as of the fork(), pages of its
 * own, and no mark.
 */
TEST_F_TIMEOUT(fork, parent_keeps_its_pages, TIMEOUT)
{
	struct region *regions[] = { &self->control, &self->marked };
	size_t huge = huge_mapped(self->marked.addr, self->marked.size);
	struct region *marked = &self->marked, *control = &self->control;
	long long skipped = vmstat("nomigrate_skip_fork");
	struct faults faults;
	struct child child;

	ASSERT_EQ(faults_open(&faults), 0);
	ASSERT_EQ(child_start(&child, regions), 0);
	/* Before anything is touched */
	expect_untouched(_metadata, "marked region", region_compare(marked));
	for (int i = 0; i < 2; i++)
		write_words(regions[i], BY_PARENT);
	if (!faults_count(&faults, control->addr, control->size))
		TH_LOG("INCONCLUSIVE: fork() did not write-protect the unmarked region");
	ASSERT_GT(faults_count(&faults, control->addr, control->size), 0);
	EXPECT_EQ(faults_count(&faults, marked->addr, marked->size), 0);
	expect_untouched(_metadata, "marked region", region_compare(marked));
	/* To split a huge entry is to take it away for a moment. */
	EXPECT_EQ(huge_mapped(marked->addr, marked->size), huge);
	EXPECT_GT(vmstat("nomigrate_skip_fork"), skipped);

	EXPECT_EQ(child_end(&child), 0);
	for (int i = 0; i < 2; i++)
		EXPECT_EQ(wrong_words(regions[i], BY_PARENT), 0);
	write_words(marked, BY_PARENT);
	EXPECT_EQ(faults_count(&faults, marked->addr, marked->size), 0);
	expect_untouched(_metadata, "marked region", region_compare(marked));
	EXPECT_EQ(vmflag_bytes(marked->addr, marked->size, "nm"), marked->size);
	faults_close(&faults);
}

/* The same where the mark is on a part: the boundary lies inside a huge page. */
TEST_F_TIMEOUT(fork, only_marked_part_stays, TIMEOUT)
{
	struct region *regions[] = { &self->control, &self->marked };
	struct region *mixed = &self->marked;
	size_t quarter = mixed->size / 4;
	struct faults faults;
	struct child child;

	if (variant->kind == MEM_HUGETLB)
		quarter = mixed->folio;
	ASSERT_EQ(madvise(mixed->addr, quarter, MADV_DOMIGRATE), 0);
	own_pages(mixed);
	ASSERT_EQ(faults_open(&faults), 0);
	ASSERT_EQ(child_start(&child, regions), 0);
	for (int i = 0; i < 2; i++)
		write_words(regions[i], BY_PARENT);
	if (!faults_count(&faults, mixed->addr, quarter))
		TH_LOG("INCONCLUSIVE: fork() did not write-protect the unmarked part");
	EXPECT_GT(faults_count(&faults, mixed->addr, quarter), 0);
	EXPECT_EQ(faults_count(&faults, mixed->addr + quarter, mixed->size - quarter), 0);
	expect_untouched(_metadata, "marked part",
			 region_compare_part(mixed, quarter, mixed->size - quarter));
	EXPECT_EQ(child_end(&child), 0);
	for (int i = 0; i < 2; i++)
		EXPECT_EQ(wrong_words(regions[i], BY_PARENT), 0);
	faults_close(&faults);
}

/* While marks are switched off, fork() write-protects the parent's marked pages like any others. */
TEST_F_TIMEOUT(fork, switched_off, TIMEOUT)
{
	struct region *regions[] = { &self->control, &self->marked };
	struct faults faults;
	struct child child;

	ASSERT_EQ(setting_write(SWITCH, "0"), 0);
	ASSERT_EQ(faults_open(&faults), 0);
	ASSERT_EQ(child_start(&child, regions), 0);
	for (int i = 0; i < 2; i++)
		write_words(regions[i], BY_PARENT);
	EXPECT_GT(faults_count(&faults, self->control.addr, self->control.size), 0);
	EXPECT_EQ(faults_count(&faults, self->marked.addr, self->marked.size),
		  faults_count(&faults, self->control.addr, self->control.size));
	EXPECT_EQ(child_end(&child), 0);
	for (int i = 0; i < 2; i++)
		EXPECT_EQ(wrong_words(regions[i], BY_PARENT), 0);
	faults_close(&faults);
}

/* ------------------------------------------------------------------------- fork() during a move */

#define FORKS		20
#define FORK_SECONDS	20

FIXTURE(moving)
{
	struct ground ground;
	struct region region;
	pid_t mover;
};

FIXTURE_VARIANT(moving)
{
	enum mem_kind kind;
	size_t folio;
};

FIXTURE_VARIANT_ADD(moving, anon_4k)
{
	.kind = MEM_ANON, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(moving, anon_2m)
{
	.kind = MEM_ANON, .folio = FOLIO_2M,
};

FIXTURE_VARIANT_ADD(moving, hugetlb_2m)
{
	.kind = MEM_HUGETLB, .folio = FOLIO_2M,
};

/* Has the parent's pages go from node to node. */
static void move_around(const struct ground *g, const struct region *r)
{
	size_t nr = r->size / r->folio;
	void **addrs = calloc(nr, sizeof(*addrs));
	int *nodes = calloc(nr, sizeof(*nodes)), *status = calloc(nr, sizeof(*status));

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (size_t i = 0; i < nr; i++)
		addrs[i] = r->addr + i * r->folio;
	for (int round = 0; ; round++) {
		for (size_t i = 0; i < nr; i++)
			nodes[i] = round % 2 ? g->node : g->other;
		syscall(SYS_move_pages, getppid(), nr, addrs, nodes, status, MPOL_MF_MOVE_ALL);
	}
}

FIXTURE_SETUP(moving)
{
	const char *why;

	settings_restore();
	why = missing(&self->ground, &move_pages_syscall, variant->kind, variant->folio);
	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(region_map(&self->region, variant->kind, variant->folio, REGION_SIZE), 0);
	/* On either node enough to move to, and to copy to */
	if (variant->kind == MEM_HUGETLB)
		ASSERT_EQ(hugetlb_spare(8 * REGION_SIZE), 0);
	ASSERT_EQ(region_populate(&self->region, self->ground.node), 0);
	ASSERT_EQ(region_mark(&self->region), 0);
	self->mover = fork();
	ASSERT_GE(self->mover, 0);
	if (!self->mover)
		move_around(&self->ground, &self->region);
}

FIXTURE_TEARDOWN(moving)
{
	if (self->mover > 0) {
		kill(self->mover, SIGKILL);
		waitpid(self->mover, NULL, 0);
	}
}

/*
 * Pages that a mover which must succeed has in hand at the time of the fork() are the parent's
 * alone as well, and writable when the move is over.
 */
TEST_F_TIMEOUT(moving, parent_keeps_its_pages, TIMEOUT)
{
	struct region *r = &self->region;
	double end = now() + FORK_SECONDS;
	size_t moved = 0, away = 0;
	int forks = 0, faulted = 0, wrong = 0;

	for (; forks < FORKS && now() < end; forks++) {
		struct faults faults;
		struct diff diff;
		int status, go[2];
		pid_t child;
		char byte;

		/* Not region_snapshot(): a page may be on its way. */
		ASSERT_EQ(pagemap_read(r->addr, r->size, r->before), 0);
		ASSERT_EQ(kill(self->mover, SIGCONT), 0);
		usleep(1000 * (forks % 8));
		ASSERT_EQ(pipe(go), 0);
		child = fork();
		if (!child) {
			close(go[1]);
			if (read(go[0], &byte, 1) < 0)
				_exit(2);
			/* As of the fork(): what the round before has written. */
			_exit(forks && wrong_words(r, forks));
		}
		ASSERT_GT(child, 0);
		ASSERT_EQ(kill(self->mover, SIGSTOP), 0);
		ASSERT_EQ(waitpid(self->mover, &status, WUNTRACED), self->mover);

		diff = region_compare(r);
		moved += diff.moved;
		away += diff.absent;
		ASSERT_EQ(faults_open(&faults), 0);
		write_words(r, forks + 1);
		faulted += faults_count(&faults, r->addr, r->size);
		faults_close(&faults);
		close(go[0]);
		close(go[1]);
		ASSERT_EQ(waitpid(child, &status, 0), child);
		wrong += !!status;
	}
	TH_LOG("%d forks, %zu pages moved: %d faults, %zu pages away, %d children in error",
	       forks, moved, faulted, away, wrong);
	if (moved < region_pages(r))
		TH_LOG("INCONCLUSIVE: hardly anything moved");
	ASSERT_GE(moved, region_pages(r));
	EXPECT_EQ(faulted, 0);
	EXPECT_EQ(away, 0);
	EXPECT_EQ(wrong, 0);
	EXPECT_EQ(wrong_words(r, forks), 0);
}

/* ------------------------------------------------------------------------- what the copies cost */

FIXTURE(accounting)
{
	struct ground ground;
	struct region region;
};

FIXTURE_VARIANT(accounting)
{
	size_t folio;
};

FIXTURE_VARIANT_ADD(accounting, base_pages)
{
	.folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(accounting, huge_pages)
{
	.folio = FOLIO_2M,
};

FIXTURE_SETUP(accounting)
{
	const char *why;

	settings_restore();
	why = ground_init(&self->ground) ?: region_missing(MEM_ANON, variant->folio);
	why = why ?: cgroup_enter(GROUP);
	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(region_map(&self->region, MEM_ANON, variant->folio, 16 * MIB), 0);
	ASSERT_EQ(region_populate(&self->region, -1), 0);
}

FIXTURE_TEARDOWN_PARENT(accounting)
{
	settings_restore();
}

struct usage {
	long long rss;		/* RssAnon of the child */
	long long private;	/* Private_Dirty of it */
	long long group;	/* what the memory cgroup has more */
};

/* fork(), and how much memory the child has at once. */
static int fork_usage(struct usage *shared)
{
	long long before = file_line(GROUP "/memory.stat", "anon ", 1);
	int status;
	pid_t pid = fork();

	if (!pid) {
		shared->rss = file_line("/proc/self/status", "RssAnon:", 1024);
		shared->private = file_line("/proc/self/smaps_rollup", "Private_Dirty:", 1024);
		shared->group = file_line(GROUP "/memory.stat", "anon ", 1) - before;
		_exit(0);
	}
	if (pid < 0)
		return -errno;
	return waitpid(pid, &status, 0) == pid && !status ? 0 : -ECHILD;
}

/* The copies are the child's: in its RSS, private, and charged to its memory cgroup. */
TEST_F_TIMEOUT(accounting, copies_are_accounted, TIMEOUT)
{
	struct usage *usage = mmap(NULL, 2 * sizeof(*usage), PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	long long size = self->region.size, before, after;

	ASSERT_NE(usage, MAP_FAILED);
	ASSERT_EQ(fork_usage(&usage[0]), 0);
	/* What the first child has shared is not the parent's alone before it is written to. */
	own_pages(&self->region);
	ASSERT_EQ(region_mark(&self->region), 0);
	before = file_line(GROUP "/memory.stat", "anon ", 1);
	ASSERT_EQ(fork_usage(&usage[1]), 0);
	after = file_line(GROUP "/memory.stat", "anon ", 1);
	for (int i = 0; i < 2; i++)
		TH_LOG("%s: RSS %lld, private %lld, in the memory cgroup %lld more",
		       i ? "marked" : "unmarked", usage[i].rss, usage[i].private, usage[i].group);
	/* A page that both map is in the RSS of both, but not private. */
	EXPECT_GE(usage[0].rss, size);
	EXPECT_LT(usage[0].private, size / 4);
	EXPECT_LT(usage[0].group, size / 4);
	EXPECT_GE(usage[1].rss, size);
	EXPECT_LT(usage[1].rss, size + size / 4);
	EXPECT_GE(usage[1].private, size);
	EXPECT_GE(usage[1].group, size - size / 4);
	EXPECT_LT(usage[1].group, size + size / 4);
	/* And go with it. */
	EXPECT_LT(after, before + size / 4);
}

/* fork() @forks times; returns how often it succeeded, and the child found all in order. */
static int forks_succeed(const struct region *r, int forks)
{
	int succeeded = 0;

	for (int i = 0; i < forks; i++) {
		int status;
		pid_t pid;

		own_pages(r);
		pid = fork();
		if (!pid)
			_exit(!!region_corrupt(r));
		succeeded += pid > 0 && waitpid(pid, &status, 0) == pid && !status;
	}
	return succeeded;
}

/*
 * Where the copies don't fit the pages are shared: fork() succeeds, nobody is killed, and the
 * parent's pages fault as those of an unmarked region.  With room for them all are copied.
 */
TEST_F_TIMEOUT(accounting, no_room_for_copies, TIMEOUT)
{
	struct region *r = &self->region;
	size_t pages = region_pages(r);

	ASSERT_EQ(region_mark(r), 0);
	ASSERT_EQ(file_write(GROUP "/memory.swap.max", "0"), 0);
	for (int room = 0; room <= 1; room++) {
		long long copied = vmstat("nomigrate_skip_fork");
		long long yields = vmstat("nomigrate_yield");
		struct faults faults;
		int count;

		ASSERT_EQ(file_write(GROUP "/memory.max", "%zu",
				     r->size * (room ? 7 : 3) / 2), 0);
		ASSERT_EQ(region_snapshot(r), 0);
		ASSERT_EQ(faults_open(&faults), 0);
		EXPECT_EQ(forks_succeed(r, FORKS), FORKS);
		own_pages(r);
		count = faults_count(&faults, r->addr, r->size);
		faults_close(&faults);
		copied = vmstat("nomigrate_skip_fork") - copied;
		yields = vmstat("nomigrate_yield") - yields;
		TH_LOG("%s room: %lld pages copied, %lld times shared, %d faults",
		       room ? "with" : "without", copied, yields, count);
		EXPECT_EQ(copied, room ? FORKS * pages : 0);
		EXPECT_EQ(yields, room ? 0 : FORKS);
		EXPECT_EQ(!count, room);
		if (room)
			expect_untouched(_metadata, "marked region", region_compare(r));
		EXPECT_EQ(region_corrupt(r), 0);
	}
	EXPECT_EQ(file_line(GROUP "/memory.events", "oom_kill ", 1), 0);
}

/* ---------------------------------------------------------------------- what cannot be copied */

#define BAD_PAGE	99

FIXTURE(unreadable)
{
	struct region region;
};

FIXTURE_VARIANT(unreadable)
{
	enum mem_kind kind;
	size_t folio;
};

FIXTURE_VARIANT_ADD(unreadable, anon_4k)
{
	.kind = MEM_ANON, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(unreadable, anon_2m)
{
	.kind = MEM_ANON, .folio = FOLIO_2M,
};

FIXTURE_VARIANT_ADD(unreadable, hugetlb_2m)
{
	.kind = MEM_HUGETLB, .folio = FOLIO_2M,
};

FIXTURE_SETUP(unreadable)
{
	const char *why;

	settings_restore();
	why = kernel_has_advice() ? region_missing(variant->kind, variant->folio) :
				    "no MADV_NOMIGRATE";
	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(region_map(&self->region, variant->kind, variant->folio, REGION_SIZE), 0);
	ASSERT_EQ(region_populate(&self->region, node_of_cpu(0)), 0);
	if (variant->kind == MEM_HUGETLB)
		ASSERT_EQ(hugetlb_spare(REGION_SIZE), 0);
	write_words(&self->region, BY_PARENT);
}

FIXTURE_TEARDOWN_PARENT(unreadable)
{
	intercept_stop();
	settings_restore();
}

/* fork() while a page is bad; the child, and then the parent, look at all the others. */
static int fork_unreadable(const struct region *r)
{
	size_t bad = BAD_PAGE * page_size(), size = page_size();
	struct region head = *r, tail = *r;
	int status;
	pid_t pid;

	if (r->kind == MEM_HUGETLB) {
		bad = 0;
		size = r->folio;
	}
	head.size = bad;
	tail.addr += bad + size;
	tail.size -= bad + size;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid)
		_exit(wrong_words(&head, BY_PARENT) + wrong_words(&tail, BY_PARENT) > 0);
	if (waitpid(pid, &status, 0) != pid || status)
		return -ECHILD;
	return wrong_words(&head, BY_PARENT) + wrong_words(&tail, BY_PARENT) ? -EIO : 0;
}

static bool has_more_bad_memory(void *than)
{
	return file_line("/proc/meminfo", "HardwareCorrupted:", 1) > *(long long *)than;
}

/*
 * A page on broken memory: copy_mc_user_highpage() says so and calls memory_failure().  fork()
 * copies nothing of an unmarked region, so that it succeeds; and so it does with a marked one.
 */
TEST_F_TIMEOUT(unreadable, is_shared, TIMEOUT)
{
	const struct intercept copy = {
		.symbol = "copy_mc_to_kernel", .pid = getpid(), .skip = BAD_PAGE, .count = 1,
		.value = page_size(),
	};
	long long corrupted = file_line("/proc/meminfo", "HardwareCorrupted:", 1);
	long long yields = vmstat("nomigrate_yield");
	int ret;

	ASSERT_EQ(region_mark(&self->region), 0);
	ret = intercept_start(&copy);
#ifndef __x86_64__
	if (ret == -ENOENT)
		SKIP(return, "this architecture does not survive broken memory in a copy");
#endif
	ASSERT_EQ(ret, 0);
	EXPECT_EQ(fork_unreadable(&self->region), 0);
	EXPECT_EQ(intercept_hits(), 1);
	EXPECT_EQ(vmstat("nomigrate_yield"), yields + 1);
	/* The page was taken for a bad one. */
	EXPECT_TRUE(poll_until(has_more_bad_memory, &corrupted, 10));
}

/* The same of a pool of huge pages: those that are free are copies, the rest is shared. */
TEST(no_huge_pages_for_copies)
{
	const char *path = "/proc/sys/vm/nr_hugepages";
	long long copied, yields;
	struct region r;

	settings_restore();
	if (!kernel_has_advice() || region_missing(MEM_HUGETLB, FOLIO_2M))
		SKIP(return, "%s", region_missing(MEM_HUGETLB, FOLIO_2M) ?: "no MADV_NOMIGRATE");
	ASSERT_EQ(region_map(&r, MEM_HUGETLB, FOLIO_2M, REGION_SIZE), 0);
	ASSERT_EQ(region_populate(&r, node_of_cpu(0)), 0);
	ASSERT_EQ(region_mark(&r), 0);
	for (int spare = 0; spare <= 1; spare++) {
		ASSERT_EQ(setting_write(path, "%lld", file_number(path) + spare -
					file_line("/proc/meminfo", "HugePages_Free:", 1)), 0);
		ASSERT_EQ(file_line("/proc/meminfo", "HugePages_Free:", 1), spare);
		copied = vmstat("nomigrate_skip_fork");
		yields = vmstat("nomigrate_yield");
		/* The child is gone before the parent writes: that needs no page. */
		EXPECT_EQ(forks_succeed(&r, FORKS), FORKS);
		EXPECT_EQ(vmstat("nomigrate_skip_fork") - copied, spare * FORKS);
		EXPECT_EQ(vmstat("nomigrate_yield") - yields, FORKS);
	}
	region_unmap(&r);
	settings_restore();
}

TEST_HARNESS_MAIN
