// SPDX-License-Identifier: GPL-2.0
/*
 * Each allocation of each operation fails once: the first, then the second, until there are no
 * more.  The operation says so with the right error, or does without; nothing is lost, and the
 * counters are right.  See Documentation/fault-injection/fault-injection.rst, "fail-nth".
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "movers.h"
#include "sva.h"

#ifndef MPOL_MF_MOVE
#define MPOL_MF_MOVE	2
#endif

#define PAGES		64
#define SPAN		(PAGES * page_size())
#define ENOUGH		2	/* without so many failures it has shown nothing */
#define MOST		20000	/* there is no end */
#define DEBUGFS		"/sys/kernel/debug"

/**
 * struct scene - the memory that an operation is about
 * @r:		a region of which SPAN bytes are mapped and populated
 * @part:	a part of it, which begins and ends inside
 * @len:	its length
 * @copy:	another with the same contents, for KSM
 * @ground:	where moves go to
 * @device:	see sva_open(), or 0
 * @flags:	see sva_bind()
 */
struct scene {
	struct region r;
	char *part;
	size_t len;
	struct region copy;
	struct ground ground;
	int device;
	unsigned int flags;
};

/**
 * struct deed - an operation
 * @before:	what it needs, or NULL
 * @run:	the operation itself: 0 or a negative errno
 * @after:	take back what it has made, if it succeeded, or NULL
 * @error:	what it may say besides -ENOMEM if an allocation fails
 * @undone:	nothing is marked if it fails
 */
struct deed {
	int (*before)(struct scene *s);
	int (*run)(struct scene *s);
	void (*after)(struct scene *s);
	int error;
	bool undone;
};

static int mark_part(struct scene *s)
{
	return madvise(s->part, s->len, MADV_NOMIGRATE) ? -errno : 0;
}

static int unmark_part(struct scene *s)
{
	return madvise(s->part, s->len, MADV_DOMIGRATE) ? -errno : 0;
}

static int mark_all(struct scene *s)
{
	return madvise(s->r.addr, SPAN, MADV_NOMIGRATE) ? -errno : 0;
}

/* A huge page of a file, mapped as one */
static int map_huge(struct scene *s)
{
	struct region *r = &s->r;
	int ret;

	/* A call that has failed may have split the VMA. */
	if (madvise(r->addr, r->size, MADV_DONTFORK) || madvise(r->addr, r->size, MADV_DOFORK))
		return -errno;
	ret = collapse.push(&s->ground, &r, 1);
	if (ret)
		return ret;
	return huge_mapped(s->r.addr, s->r.size) == s->r.size ? 0 : -ENOENT;
}

/* Here and in copy pages are equal, and merged. */
static int merge(struct scene *s)
{
	struct region *both[] = { &s->r, &s->copy };

	for (int i = 0; i < 2; i++) {
		if (madvise(both[i]->addr, SPAN, MADV_UNMERGEABLE))
			return -errno;
		for (size_t page = 0; page < PAGES; page++)
			*(uint64_t *)(both[i]->addr + page * page_size()) = ksm_word(page);
		if (madvise(both[i]->addr, SPAN, MADV_MERGEABLE))
			return -errno;
	}
	for (double end = now() + 120; now() < end; usleep(10000))
		if (ksm_pages(&s->r) >= PAGES)
			return 0;
	return -ETIME;
}

static int mark_other(struct scene *s)
{
	struct iovec vec = { s->part, s->len };
	ssize_t ret = process_advise(getpid(), &vec, 1, MADV_NOMIGRATE);

	return ret < 0 ? ret : 0;
}

static int protect(struct scene *s)
{
	return mprotect(s->part, s->len, PROT_READ) ? -errno : 0;
}

static void unprotect(struct scene *s)
{
	mprotect(s->part, s->len, PROT_READ | PROT_WRITE);
}

/* A hole in the middle */
static int unmap(struct scene *s)
{
	return munmap(s->part, page_size()) ? -errno : 0;
}

static void map_again(struct scene *s)
{
	size_t page = (s->part - s->r.addr) / page_size();

	if (mmap(s->part, page_size(), PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == s->part)
		*(uint64_t *)s->part = ksm_word(page);
}

static int move_away(struct scene *s)
{
	void *to = s->copy.addr;

	return mremap(s->part, s->len, s->len, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to ? 0 :
	       -errno;
}

static void move_back(struct scene *s)
{
	if (mremap(s->copy.addr, s->len, s->len, MREMAP_MAYMOVE | MREMAP_FIXED, s->part) != s->part)
		perror("# mremap");
	if (mmap(s->copy.addr, s->len, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != s->copy.addr)
		perror("# mmap");
}

static size_t wrong_pages(const struct scene *s)
{
	size_t wrong = 0;

	for (size_t page = 0; page < PAGES; page++)
		wrong += *(volatile uint64_t *)(s->r.addr + page * page_size()) != ksm_word(page);
	return wrong;
}

/* The child has copies of what is marked. */
static int fork_off(struct scene *s)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		return -errno;
	if (!pid)
		_exit(!!wrong_pages(s));
	if (waitpid(pid, &status, 0) != pid)
		return -errno;
	return status ? -EIO : 0;
}

/* Pages that can't be moved say so one by one. */
static int move_pages_of(struct scene *s)
{
	int to = region_nodes(&s->r, s->ground.node) ? s->ground.other : s->ground.node;
	void *pages[PAGES];
	int nodes[PAGES], status[PAGES];

	for (size_t i = 0; i < PAGES; i++) {
		pages[i] = s->r.addr + i * page_size();
		nodes[i] = to;
	}
	return syscall(SYS_move_pages, 0, PAGES, pages, nodes, status, MPOL_MF_MOVE) < 0 ?
	       -errno : 0;
}

static int open_device(struct scene *s)
{
	/* The kernel's own way to bind where there is one */
	if (!s->device) {
		s->flags = sva_missing() ? SVA_TESTDEV_BIND_DIRECT : 0;
		s->device = sva_open();
	}
	return s->device < 0 ? s->device : mark_all(s);
}

static int bind_device(struct scene *s)
{
	int pasid = sva_bind(s->device, s->flags);

	return pasid < 0 ? pasid : 0;
}

static void unbind_device(struct scene *s)
{
	sva_unbind(s->device);
}

FIXTURE(fail_nth) {
	struct scene s;
};

FIXTURE_VARIANT(fail_nth) {
	struct deed deed;
	bool needs_device;
	bool huge_file;
};

FIXTURE_VARIANT_ADD(fail_nth, mark) {
	.deed = { .run = mark_part, .error = -EAGAIN, .undone = true },
};

/* There is no page table to be had for its small entries. */
FIXTURE_VARIANT_ADD(fail_nth, mark_part_of_huge_page) {
	.deed = { .before = map_huge, .run = mark_part, .error = -EAGAIN, .undone = true },
	.huge_file = true,
};

FIXTURE_VARIANT_ADD(fail_nth, mark_merged) {
	.deed = { .before = merge, .run = mark_part, .error = -EAGAIN },
};

FIXTURE_VARIANT_ADD(fail_nth, mark_by_process_madvise) {
	.deed = { .run = mark_other, .error = -EAGAIN, .undone = true },
};

FIXTURE_VARIANT_ADD(fail_nth, unmark) {
	.deed = { .before = mark_all, .run = unmark_part, .error = -EAGAIN },
};

FIXTURE_VARIANT_ADD(fail_nth, mprotect) {
	.deed = { .before = mark_all, .run = protect, .after = unprotect },
};

FIXTURE_VARIANT_ADD(fail_nth, munmap) {
	.deed = { .before = mark_all, .run = unmap, .after = map_again },
};

FIXTURE_VARIANT_ADD(fail_nth, mremap) {
	.deed = { .before = mark_all, .run = move_away, .after = move_back },
};

FIXTURE_VARIANT_ADD(fail_nth, fork) {
	.deed = { .before = mark_all, .run = fork_off },
};

FIXTURE_VARIANT_ADD(fail_nth, move_pages) {
	.deed = { .before = mark_all, .run = move_pages_of },
};

FIXTURE_VARIANT_ADD(fail_nth, bind) {
	.deed = { .before = open_device, .run = bind_device, .after = unbind_device },
	.needs_device = true,
};

static const char *injection_missing(void)
{
	static const char * const settings[][2] = {
		{ DEBUGFS "/failslab/verbose", "0" },
		{ DEBUGFS "/failslab/ignore-gfp-wait", "N" },
		{ DEBUGFS "/fail_page_alloc/verbose", "0" },
		{ DEBUGFS "/fail_page_alloc/ignore-gfp-wait", "N" },
		{ DEBUGFS "/fail_page_alloc/ignore-gfp-highmem", "N" },
		{ DEBUGFS "/fail_page_alloc/min-order", "0" },
	};

	if (access("/proc/thread-self/fail-nth", W_OK))
		return "no CONFIG_FAULT_INJECTION";
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
		if (setting_write(settings[i][0], "%s", settings[i][1]))
			return "no CONFIG_FAILSLAB, or no CONFIG_FAIL_PAGE_ALLOC";
	return NULL;
}

FIXTURE_SETUP(fail_nth)
{
	struct scene *s = &self->s;
	const char *why;

	settings_restore();
	why = ground_init(&s->ground) ?: kernel_has_advice() ? NULL : "no MADV_NOMIGRATE";
	why = why ?: injection_missing() ?: move_pages_syscall.missing(&s->ground) ?:
	      ksm.missing(&s->ground);
	if (!why && variant->huge_file)
		why = region_missing(MEM_SHMEM, pmd_size());
	if (!why && variant->needs_device && sva_missing())
		why = sva_direct_missing();
	if (why)
		SKIP(return, "%s", why);
	ASSERT_OK(ksm_fast());
	ASSERT_OK(region_map(&s->r, variant->huge_file ? MEM_SHMEM : MEM_ANON,
			     variant->huge_file ? pmd_size() : page_size(), SPAN));
	if (variant->huge_file)
		ASSERT_OK(region_populate(&s->r, -1));
	ASSERT_OK(region_map(&s->copy, MEM_ANON, page_size(), SPAN));
	for (size_t page = 0; page < PAGES; page++)
		*(uint64_t *)(s->r.addr + page * page_size()) = ksm_word(page);
	s->part = s->r.addr + 8 * page_size();
	s->len = 8 * page_size();
}

FIXTURE_TEARDOWN_PARENT(fail_nth)
{
	settings_restore();
}

#define RSEQ_ORIG_SIZE	32

/*
 * On its way back to user space the kernel writes the processor into the restartable sequence of
 * a task that has been interrupted.  After fork() that takes a copy of the page, and if this is
 * the allocation that fails, SIGSEGV (rseq_handle_notify_resume()).
 */
static int rseq_unregister(void)
{
	/* Of the size that it was registered with, whatever struct rseq is like by now */
	unsigned int size = __rseq_size < RSEQ_ORIG_SIZE ? RSEQ_ORIG_SIZE : __rseq_size;
	void *area = (char *)__builtin_thread_pointer() + __rseq_offset;

	if (!__rseq_size)
		return 0;
	return syscall(SYS_rseq, area, size, RSEQ_FLAG_UNREGISTER, RSEQ_SIG) ? -errno : 0;
}

TEST_F_TIMEOUT(fail_nth, nothing_is_lost, 1800)
{
	const struct deed *deed = &variant->deed;
	int failed = 0, injected = 0, fd;
	struct scene *s = &self->s;

	ASSERT_OK(rseq_unregister());
	fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	for (int nth = 1; nth <= MOST; nth++) {
		char text[16];
		bool reached;
		int ret;

		if (deed->before)
			ASSERT_OK(deed->before(s));
		snprintf(text, sizeof(text), "%d", nth);
		ASSERT_EQ(strlen(text), pwrite(fd, text, strlen(text), 0));
		ret = deed->run(s);
		ASSERT_LT(0, pread(fd, text, sizeof(text) - 1, 0));
		reached = !atoi(text);
		ASSERT_EQ(1, pwrite(fd, "0", 1, 0));

		EXPECT_TRUE(!ret || (reached && (ret == deed->error || ret == -ENOMEM)))
			TH_LOG("allocation %d: %s", nth, strerror(-ret));
		EXPECT_EQ(marked_kb(getpid()), vmflag_bytes(s->r.addr, SPAN, "nm") / 1024 +
					       vmflag_bytes(s->copy.addr, SPAN, "nm") / 1024);
		if (ret && deed->undone)
			EXPECT_EQ(0, marked_kb(getpid()));
		if (!ret && deed->after)
			deed->after(s);
		EXPECT_EQ(0, wrong_pages(s));
		ASSERT_EQ(0, madvise(s->r.addr, SPAN, MADV_DOMIGRATE));
		EXPECT_EQ(0, marked_kb(getpid()));
		injected += reached;
		failed += !!ret;
		if (!reached)
			break;
		ASSERT_LT(nth, MOST);
	}
	TH_LOG("%d allocations failed, and with them the operation %d times", injected, failed);
	EXPECT_LE(ENOUGH, injected);
	EXPECT_EQ(0, file_number(MARKED_KB));
}

FIXTURE(fork) {
	struct region r;
};

FIXTURE_VARIANT(fork) {
	size_t folio;
};

FIXTURE_VARIANT_ADD(fork, base_pages) {
	.folio = 4096,
};

FIXTURE_VARIANT_ADD(fork, huge_page) {
	.folio = 2 * MIB,
};

FIXTURE_SETUP(fork)
{
	const char *why;

	settings_restore();
	why = kernel_has_advice() ? NULL : "no MADV_NOMIGRATE";
	why = why ?: injection_missing() ?: region_missing(MEM_ANON, variant->folio);
	if (why)
		SKIP(return, "%s", why);
	ASSERT_OK(region_map(&self->r, MEM_ANON, variant->folio, 2 * MIB));
	ASSERT_OK(region_populate(&self->r, node_of_cpu(0)));
	ASSERT_OK(rseq_unregister());
}

FIXTURE_TEARDOWN_PARENT(fork)
{
	settings_restore();
}

/* fork() does without what it allocates for a mark: it fails as often as without one. */
TEST_F_TIMEOUT(fork, copies_cannot_fail, 1800)
{
	int fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	int injected[2] = { 0 }, failed[2] = { 0 };
	struct region *r = &self->r;

	ASSERT_LE(0, fd);
	for (int mark = 0; mark <= 1; mark++) {
		bool reached = true;

		if (mark)
			ASSERT_OK(region_mark(r));
		for (int nth = 1; reached && nth <= MOST; nth++) {
			char text[16];
			int status;
			pid_t pid;

			/* What was shared is the parent's alone again. */
			for (size_t at = 0; at < r->size; at += page_size())
				*(volatile char *)(r->addr + at) =
					*(volatile char *)(r->addr + at);
			snprintf(text, sizeof(text), "%d", nth);
			ASSERT_EQ(strlen(text), pwrite(fd, text, strlen(text), 0));
			pid = fork();
			if (!pid)
				_exit(region_corrupt(r) > 0);
			ASSERT_LT(0, pread(fd, text, sizeof(text) - 1, 0));
			reached = !atoi(text);
			ASSERT_EQ(1, pwrite(fd, "0", 1, 0));
			if (pid > 0) {
				ASSERT_EQ(pid, waitpid(pid, &status, 0));
				EXPECT_EQ(0, status);
			}
			injected[mark] += reached;
			failed[mark] += pid < 0;
		}
	}
	TH_LOG("unmarked: %d allocations failed, and fork() %d times; marked: %d and %d",
	       injected[0], failed[0], injected[1], failed[1]);
	EXPECT_LE(injected[0] + region_pages(r) / 2, injected[1]);
	/* Memory for the slabs may have to be allocated, or may be there. */
	EXPECT_LE(failed[1], failed[0] + PAGES / 4);
	EXPECT_EQ(0, region_corrupt(r));
}

TEST_HARNESS_MAIN
