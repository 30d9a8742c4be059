// SPDX-License-Identifier: GPL-2.0
/*
 * Deferring is not denying: where compaction is the last step before the OOM killer, it takes
 * marked pages, and says so.  And how much somebody without rights can be in the way before.
 *
 * Memory is made small, and of what is left every third page belongs to a child, between holes: not
 * every other one, since compaction looks for free pages in steps of powers of two.  Then the
 * module page_order wants contiguous pages for the kernel.  All of this is on one node, of one
 * zone, without a CMA area, which the kernel could not use for itself: where compaction believes to
 * have made a block in one zone it does not go on to the next.
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

#define MODULE		"/sys/module/page_order/parameters"
#define SWITCHES	"/sys/kernel/mm/migrate_defer"
#define DEFRAG_MODE	"/proc/sys/vm/defrag_mode"
#define NODE		0
#define LEAVE		(256 * MIB)	/* there */
#define SPARE		(32 * MIB)	/* of it, which the child leaves to others */
#define ORDER		3		/* of the blocks that the kernel wants */
#define WANT		512		/* so many more than there are */
#define MUCH		3800		/* of 4175 or more: compaction has to be in earnest */
#define TRIES		3	/* of what depends on 6.12's compaction */
#define OVERRIDE	"migrate_defer/override"

#define STEP		(3 * page_size())	/* A page stays, two are holes. */

/**
 * struct board - the child's memory
 * @pid:	the child
 * @ask:	parent to child
 * @answer:	child to parent
 */
struct board {
	pid_t pid;
	int ask[2];
	int answer[2];
};

enum marking {
	MARK_ALL,
	MARK_WITHIN_LIMIT,	/* by somebody without rights */
};

/* Those that stay say which they are. */
static void board_fill(char *mem, size_t size)
{
	for (size_t at = 0; at < size; at += page_size())
		*(size_t *)(mem + at) = at;
	for (size_t at = 0; at < size; at += STEP)
		madvise(mem + at + page_size(), STEP - page_size(), MADV_DONTNEED);
}

/**
 * struct answer - what has become of the pages
 * @wrong:	with other contents
 * @moved:	in other page frames than at the beginning, as far as one may know them
 */
struct answer {
	size_t wrong;
	size_t moved;
};

static int board_look(const char *mem, size_t size, const uint64_t *was, uint64_t *is,
		      struct answer *answer)
{
	*answer = (struct answer){ 0 };
	for (size_t at = 0; at < size; at += STEP)
		answer->wrong += *(const volatile size_t *)(mem + at) != at;
	if (pagemap_read(mem, size, is))
		return -errno;
	for (size_t i = 0; i < size / page_size(); i += STEP / page_size())
		answer->moved += pagemap_pfn(is[i]) != pagemap_pfn(was[i]);
	return 0;
}

/*
 * As many pages as the limit allows, in as many different page blocks as there are: nothing else
 * spoils more of them.
 */
static int mark_sparsely(char *mem, size_t size)
{
	struct rlimit limit;
	size_t pages, step;

	if (getrlimit(RLIMIT_MEMLOCK, &limit))
		return -errno;
	pages = limit.rlim_cur / page_size();
	step = size / pages / STEP * STEP;
	step = step < STEP ? STEP : step;
	for (size_t at = 0; pages && at < size; at += step, pages--)
		if (madvise(mem + at, page_size(), MADV_NOMIGRATE))
			return -errno;
	return 0;
}

static int board_live(struct board *b, enum marking marking)
{
	size_t have = node_meminfo(NODE, "MemFree:");
	size_t size = have > SPARE ? (have - SPARE) / STEP * STEP : 0;
	size_t entries = size / page_size() * sizeof(uint64_t);
	uint64_t *frames[2];
	struct answer answer;
	char *mem, go;
	int ret = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	file_write("/proc/self/oom_score_adj", "1000");
	mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mem == MAP_FAILED || madvise(mem, size, MADV_NOHUGEPAGE))
		return 1;
	for (int i = 0; i < 2; i++) {
		frames[i] = mmap(NULL, entries, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
		if (frames[i] == MAP_FAILED)
			return 1;
	}
	if (marking == MARK_WITHIN_LIMIT) {
		struct rlimit limit = { .rlim_cur = 8 * MIB, .rlim_max = 8 * MIB };

		if (setrlimit(RLIMIT_MEMLOCK, &limit) || setgroups(0, NULL) ||
		    setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
			return 2;
		/* Both went with the rights; the latter is for its own pagemap. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_DUMPABLE, 1);
	}
	board_fill(mem, size);
	if (marking == MARK_ALL)
		ret = madvise(mem, size, MADV_NOMIGRATE);
	else if (marking == MARK_WITHIN_LIMIT)
		ret = mark_sparsely(mem, size);
	ret = ret ?: pagemap_read(mem, size, frames[0]);
	if (ret || write(b->answer[1], &size, sizeof(size)) != sizeof(size))
		return 3;
	while (read(b->ask[0], &go, 1) == 1) {
		if (board_look(mem, size, frames[0], frames[1], &answer) ||
		    write(b->answer[1], &answer, sizeof(answer)) != sizeof(answer))
			return 4;
	}
	return 0;
}

/* Bytes of its memory, or a negative errno */
static ssize_t board_start(struct board *b, enum marking marking)
{
	size_t size;
	pid_t pid;

	if (pipe(b->ask) || pipe(b->answer))
		return -errno;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid) {
		close(b->ask[1]);
		close(b->answer[0]);
		_exit(board_live(b, marking));
	}
	b->pid = pid;
	close(b->ask[0]);
	close(b->answer[1]);
	return read(b->answer[0], &size, sizeof(size)) == sizeof(size) ? (ssize_t)size : -ECHILD;
}

/* Pages that have moved; negative: contents are wrong, or it has been killed */
static ssize_t board_ask(struct board *b)
{
	struct answer answer;

	if (write(b->ask[1], "", 1) != 1 ||
	    read(b->answer[0], &answer, sizeof(answer)) != sizeof(answer))
		return -ECHILD;
	return answer.wrong ? -EIO : (ssize_t)answer.moved;
}

static void board_stop(struct board *b)
{
	close(b->ask[1]);
	close(b->answer[0]);
	kill(b->pid, SIGKILL);
	waitpid(b->pid, NULL, 0);
}

/*
 * Free blocks of 1 << ORDER pages that the kernel may have for itself on the node, without any
 * compaction, or a negative errno.  A line is "Node 0, zone Normal, type Movable 5 3 1 ...", by
 * order.
 */
static long blocks_free(void)
{
	static char buf[64 << 10];
	int ret = file_read("/proc/pagetypeinfo", buf, sizeof(buf));
	long blocks = 0;

	if (ret < 0)
		return ret;
	for (char *line = strtok(buf, "\n"); line; line = strtok(NULL, "\n")) {
		char zone[32], type[32];
		int node, at = 0;

		if (sscanf(line, "Node %d, zone %31[^,], type %31s %n",
			   &node, zone, type, &at) != 3 || !at || node != NODE ||
		    !strcmp(zone, "Movable") || !strcmp(type, "CMA") ||
		    !strcmp(type, "Isolate") || !strcmp(type, "HighAtomic"))
			continue;
		for (int order = 0, used; *(line += at); order++, at = used) {
			unsigned long count;

			if (sscanf(line, "%lu %n", &count, &used) != 1)
				break;
			blocks += order < ORDER ? 0 : count << (order - ORDER);
		}
	}
	return blocks;
}

FIXTURE(order)
{
	struct ground ground;
	struct board board;
	long want;
	long long kills;
	long long overridden;
};

FIXTURE_SETUP(order)
{
	const char *why;
	int ret;

	settings_restore();
	why = ground_init(&self->ground) ?: compact_memory.missing(&self->ground);
	if (why)
		SKIP(return, "%s", why);
	ret = module_load("PAGE_ORDER", "page_order.ko", "");
	if (ret && ret != -EEXIST)
		SKIP(return, "no module page_order: %s", strerror(-ret));
	signal(SIGPIPE, SIG_IGN);
	setting_on_restore(MODULE "/want", "0");
	ASSERT_EQ(setting_write(MODULE "/order", "%d", ORDER), 0);
	ASSERT_EQ(setting_write(MODULE "/mayfail", "0"), 0);
	/* With little memory left, watermarks for huge pages would decide instead. */
	ASSERT_EQ(setting_write("/proc/sys/vm/min_free_kbytes", "%d", 8192), 0);
	ASSERT_EQ(setting_write("/proc/sys/vm/watermark_boost_factor", "0"), 0);
	ASSERT_EQ(nodes_fill(LEAVE), 0);
	/* The child, too, and what the kernel allocates in our name */
	ASSERT_EQ(policy_bind(NODE), 0);
	self->kills = vmstat("oom_kill");
	self->overridden = vmstat("nomigrate_override");
}

FIXTURE_TEARDOWN_PARENT(order)
{
	settings_restore();
}

/*
 * The number of blocks that can only be had from the child's memory: where all of that is marked,
 * those that compaction makes out of the rest are there already.
 */
static long board_set_up(struct __test_metadata *_metadata, struct board *b, enum marking marking)
{
	ssize_t size = board_start(b, marking);
	long blocks;

	ASSERT_GT(size, 0);
	if (marking == MARK_ALL)
		ASSERT_EQ(file_write("/proc/sys/vm/compact_memory", "1"), 0);
	blocks = blocks_free();
	ASSERT_GE(blocks, 0);
	TH_LOG("%zd MiB, of which every third page is taken; %ld blocks are there already",
	       size >> 20, blocks);
	ASSERT_EQ(board_ask(b), 0);
	return blocks + WANT;
}

/* It gets what it wants, and nobody is killed. */
TEST_F_TIMEOUT(order, marks_give_way, TIMEOUT)
{
	struct watch override;

	self->want = board_set_up(_metadata, &self->board, MARK_ALL);
	ASSERT_EQ(watch_open(&override, OVERRIDE), 0);
	EXPECT_EQ(file_write(MODULE "/want", "%ld", self->want), 0);
	EXPECT_EQ(file_number(MODULE "/held"), self->want);
	/* See limit_is_low_enough: nothing is said about marks where compaction gives up. */
	ASSERT_EQ(vmstat("oom_kill"), self->kills)
		TH_LOG("INCONCLUSIVE: the OOM killer came");
	TH_LOG("%lld marked pages overridden, %zd moved",
	       vmstat("nomigrate_override") - self->overridden, board_ask(&self->board));
	EXPECT_GT(vmstat("nomigrate_override"), self->overridden);
	EXPECT_GT(board_ask(&self->board), 0);
	EXPECT_GT(watch_count(&override, NULL, NULL), 0);
	watch_close(&override);
	board_stop(&self->board);
}

/* Switched off, marks hold until the end: that is the OOM killer, or a failure. */
TEST_F_TIMEOUT(order, marks_hold, TIMEOUT)
{
	ASSERT_EQ(setting_write(SWITCHES "/last_resort", "0"), 0);
	self->want = board_set_up(_metadata, &self->board, MARK_ALL);
	ASSERT_EQ(setting_write(MODULE "/mayfail", "1"), 0);
	EXPECT_EQ(file_write(MODULE "/want", "%ld", self->want), -ENOMEM);
	EXPECT_EQ(vmstat("oom_kill"), self->kills);
	EXPECT_EQ(board_ask(&self->board), 0);

	ASSERT_EQ(setting_write(MODULE "/mayfail", "0"), 0);
	EXPECT_EQ(file_write(MODULE "/want", "%ld", self->want), 0);
	EXPECT_GT(vmstat("oom_kill"), self->kills);
	EXPECT_LT(board_ask(&self->board), 0);
	EXPECT_EQ(vmstat("nomigrate_override"), self->overridden);
	board_stop(&self->board);
}

/* Who can do without, and who wants a huge page, never gets marked pages. */
TEST_F_TIMEOUT(order, wishes_do_not_count, TIMEOUT)
{
	self->want = board_set_up(_metadata, &self->board, MARK_ALL);
	ASSERT_EQ(setting_write(MODULE "/mayfail", "1"), 0);
	EXPECT_EQ(file_write(MODULE "/want", "%ld", self->want), -ENOMEM);
	ASSERT_EQ(setting_write(MODULE "/order", "9"), 0);
	for (int mayfail = 0; mayfail <= 1; mayfail++) {
		ASSERT_EQ(setting_write(MODULE "/mayfail", "%d", mayfail), 0);
		EXPECT_EQ(file_write(MODULE "/want", "%ld", self->want), -ENOMEM);
	}
	EXPECT_EQ(vmstat("nomigrate_override"), self->overridden);
	EXPECT_EQ(vmstat("oom_kill"), self->kills);
	EXPECT_EQ(board_ask(&self->board), 0);
	board_stop(&self->board);
}

/*
 * With vm.defrag_mode the kernel first tries to empty a whole page block, so as not to take its
 * pages from one that is in use by movable memory.  That is a wish as well: marks hold until it
 * has taken what there is.
 */
TEST_F_TIMEOUT(order, whole_blocks_are_a_wish, TIMEOUT)
{
	long blocks;

	if (access(DEFRAG_MODE, W_OK))
		SKIP(return, "this kernel has no " DEFRAG_MODE);
	self->want = board_set_up(_metadata, &self->board, MARK_ALL);
	blocks = self->want - WANT;
	ASSERT_EQ(setting_write(DEFRAG_MODE, "1"), 0);
	EXPECT_EQ(file_write(MODULE "/want", "%ld", blocks / 2), 0);
	EXPECT_EQ(file_number(MODULE "/held"), blocks / 2);
	EXPECT_EQ(vmstat("nomigrate_override"), self->overridden);
	EXPECT_EQ(board_ask(&self->board), 0);

	/* Where it cannot, they give way as ever. */
	EXPECT_EQ(file_write(MODULE "/want", "%ld", self->want), 0);
	EXPECT_EQ(file_number(MODULE "/held"), self->want);
	ASSERT_EQ(vmstat("oom_kill"), self->kills)
		TH_LOG("INCONCLUSIVE: the OOM killer came");
	EXPECT_GT(vmstat("nomigrate_override"), self->overridden);
	EXPECT_GT(board_ask(&self->board), 0);
	board_stop(&self->board);
}

/* Neither is anything overridden where marks are switched off, for then anybody may take them. */
TEST_F_TIMEOUT(order, without_marks, TIMEOUT)
{
	self->want = board_set_up(_metadata, &self->board, MARK_ALL);
	ASSERT_EQ(setting_write(SWITCHES "/enabled", "0"), 0);
	EXPECT_EQ(file_write("/proc/sys/vm/compact_memory", "1"), 0);
	EXPECT_GT(board_ask(&self->board), 0);
	EXPECT_GE(blocks_free(), self->want);
	EXPECT_EQ(file_write(MODULE "/want", "%ld", self->want), 0);
	EXPECT_EQ(vmstat("nomigrate_override"), self->overridden);
	ASSERT_EQ(vmstat("oom_kill"), self->kills)
		TH_LOG("INCONCLUSIVE: the OOM killer came");
	EXPECT_GE(board_ask(&self->board), 0);
	board_stop(&self->board);
}

/*
 * The worst that somebody without rights can do: within RLIMIT_MEMLOCK, mark one page in as many
 * places as possible.  Each spoils one block at most, and others are to be had: marks need not give
 * way.  A few do where compaction ends early, which depends on where it finds free pages.  Without
 * its first pass before the OOM killer a third of them did.
 *
 * Now and then 6.12's compaction ends early again and again, for want of marked
 * pages or not.  The OOM killer then says nothing about marks: once more, with another child.
 */
TEST_F_TIMEOUT(order, limit_is_low_enough, TIMEOUT)
{
	long marked, without, with, pages;

	for (int tries = 1; ; tries++) {
		board_set_up(_metadata, &self->board, MARK_WITHIN_LIMIT);
		marked = file_number(SWITCHES "/marked_kb");
		pages = marked * 1024 / page_size();
		EXPECT_GT(marked, 7 * 1024);
		self->want = MUCH;
		EXPECT_EQ(file_write(MODULE "/want", "%ld", self->want), 0);
		EXPECT_EQ(file_number(MODULE "/held"), self->want);
		TH_LOG("%lld marked pages overridden",
		       vmstat("nomigrate_override") - self->overridden);
		if (vmstat("oom_kill") == self->kills || tries == TRIES)
			break;
		TH_LOG("the OOM killer came, try %d", tries);
		board_stop(&self->board);
		EXPECT_EQ(file_write(MODULE "/want", "0"), 0);
		self->kills = vmstat("oom_kill");
		self->overridden = vmstat("nomigrate_override");
	}
	EXPECT_LT(vmstat("nomigrate_override") - self->overridden, pages / 5);
	EXPECT_EQ(vmstat("oom_kill"), self->kills);
	EXPECT_GE(board_ask(&self->board), 0);
	EXPECT_EQ(file_write(MODULE "/want", "0"), 0);

	/* How many blocks it costs in all */
	EXPECT_EQ(file_write("/proc/sys/vm/compact_memory", "1"), 0);
	with = blocks_free();
	ASSERT_EQ(setting_write(SWITCHES "/enabled", "0"), 0);
	EXPECT_EQ(file_write("/proc/sys/vm/compact_memory", "1"), 0);
	without = blocks_free();
	TH_LOG("%ld KiB marked, a page in each of %ld places", marked, pages);
	TH_LOG("%ld free blocks of %d pages; %ld without marks", with, 1 << ORDER, without);
	EXPECT_GE(with, without - pages);
	EXPECT_GE(board_ask(&self->board), 0);
	board_stop(&self->board);
}

TEST_HARNESS_MAIN
