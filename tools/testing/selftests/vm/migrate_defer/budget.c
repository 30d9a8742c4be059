// SPDX-License-Identifier: GPL-2.0
/*
 * The count of marked memory is exact, whatever becomes of the VMAs: random calls on an arena,
 * and after each of them the count is what a model of the arena says.
 *
 * BUDGET_OPERATIONS=n: how many; BUDGET_SEED=n: which.  On a kernel with CONFIG_DEBUG_VM the end of
 * each process compares its count with its VMAs.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"
#include "migrate_defer.h"

#define PAGES		256		/* of the arena */
#define TIMEOUT		1800
#define LOOKS		20000
#define NOT_SEALED	100		/* exit status */

static char *arena;
static int shared;			/* memfd as long as the arena */
static char model[PAGES];		/* of each page: */
#define MAPPED	1
#define MARKED	2

static unsigned int registered, sealed;	/* how often a range was */

static uint64_t state;

/* xorshift64*, of which the same seed makes the same again */
static uint32_t random_below(uint32_t below)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (state * 0x2545f4914f6cdd1dULL >> 32) % below;
}

static char *page_at(size_t page)
{
	return arena + page * page_size();
}

static int model_marked(void)
{
	int marked = 0;

	for (size_t i = 0; i < PAGES; i++)
		marked += !!(model[i] & MARKED);
	return marked;
}

/* What begins at @page in one VMA, at most @want pages; the model's idea of it */
static size_t same(size_t page, size_t want)
{
	size_t len = 1;

	while (len < want && page + len < PAGES && model[page + len] == model[page])
		len++;
	return len;
}

static const char *op_map(size_t page, size_t len)
{
	static const int kinds[] = {
		MAP_PRIVATE | MAP_ANONYMOUS, MAP_SHARED | MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED,
	};
	int flags = kinds[random_below(ARRAY_SIZE(kinds))] | MAP_FIXED;

	if (mmap(page_at(page), len * page_size(), PROT_READ | PROT_WRITE, flags,
		 flags & MAP_ANONYMOUS ? -1 : shared,
		 flags & MAP_ANONYMOUS ? 0 : page * page_size()) == MAP_FAILED)
		return "mmap()";
	memset(model + page, MAPPED, len);
	return NULL;
}

static const char *op_unmap(size_t page, size_t len)
{
	if (munmap(page_at(page), len * page_size()))
		return "munmap()";
	memset(model + page, 0, len);
	return NULL;
}

/* What an advice does to the mapped part; whether that is all. */
static bool model_advise(size_t page, size_t len, int advice)
{
	bool hole = false;

	for (size_t i = page; i < page + len; i++) {
		if (!(model[i] & MAPPED))
			hole = true;
		else
			model[i] = MAPPED | (advice == MADV_NOMIGRATE ? MARKED : 0);
	}
	return !hole;
}

static int draw_advice(void)
{
	return random_below(3) ? MADV_NOMIGRATE : MADV_DOMIGRATE;
}

static const char *op_advise(size_t page, size_t len)
{
	int advice = draw_advice();
	int ret = madvise(page_at(page), len * page_size(), advice) ? errno : 0;

	return ret == (model_advise(page, len, advice) ? 0 : ENOMEM) ? NULL : "madvise()";
}

static const char *op_uring(size_t page, size_t len)
{
	int advice = draw_advice();
	int ret = uring_madvise(page_at(page), len * page_size(), advice);

	return ret == (model_advise(page, len, advice) ? 0 : -ENOMEM) ? NULL : "io_uring";
}

/* Several ranges, in any order; it ends with the first that has a hole. */
static const char *op_process(size_t page, size_t len)
{
	struct iovec ranges[4];
	size_t nr = 1 + random_below(ARRAY_SIZE(ranges)), done = 0;
	int advice = draw_advice();
	bool hole = false;
	ssize_t ret;

	for (size_t i = 0; i < nr; i++) {
		size_t skip = random_below(len), rest = len - skip;

		ranges[i].iov_base = page_at(page + skip);
		ranges[i].iov_len = (1 + random_below(rest)) * page_size();
	}
	ret = process_advise(getpid(), ranges, nr, advice);
	for (size_t i = 0; i < nr && !hole; i++) {
		hole = !model_advise(((char *)ranges[i].iov_base - arena) / page_size(),
				     ranges[i].iov_len / page_size(), advice);
		done += hole ? 0 : ranges[i].iov_len;
	}
	return ret == (done ?: -ENOMEM) ? NULL : "process_madvise()";
}

/* Faults are not waited for (UFFD_FEATURE_SIGBUS): nobody is there to handle them. */
static const char *op_userfaultfd(size_t page, size_t len)
{
	static int fd = -1;
	struct uffdio_range range = {
		.start = (uintptr_t)page_at(page), .len = len * page_size(),
	};
	struct uffdio_register reg = { .range = range };
	struct uffdio_writeprotect wp = { .range = range };

	if (fd < 0) {
		struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_SIGBUS };

		fd = syscall(SYS_userfaultfd, O_CLOEXEC);
		if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
			return "userfaultfd()";
	}
	if (!random_below(3)) {
		ioctl(fd, UFFDIO_UNREGISTER, &range);
		return NULL;
	}
	reg.mode = 1 + random_below(3);		/* missing, write-protected or both */
	wp.mode = random_below(2) ? UFFDIO_WRITEPROTECT_MODE_WP : 0;
	if (ioctl(fd, UFFDIO_REGISTER, &reg))
		return NULL;
	registered++;
	if (reg.mode & UFFDIO_REGISTER_MODE_WP)
		ioctl(fd, UFFDIO_WRITEPROTECT, &wp);
	return NULL;
}

/* What @work returns in a child, or -1 if that ended otherwise */
static int in_child(int (*work)(size_t page, size_t len), size_t page, size_t len)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(work(page, len));
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

static int seal(size_t page, size_t len)
{
	char *addr = page_at(page);
	size_t size = len * page_size();

	/* Not where there are holes */
	if (syscall(__NR_mseal, addr, size, 0))
		return NOT_SEALED;
	if (madvise(addr, size, MADV_NOMIGRATE) || marked_kb(0) != size / 1024)
		return 1;
	if (!munmap(addr, size) || errno != EPERM)
		return 2;
	if (!mprotect(addr, size, PROT_NONE) || errno != EPERM)
		return 3;
	if (marked_kb(0) != size / 1024)
		return 4;
	return madvise(addr, size, MADV_DOMIGRATE) || marked_kb(0) ? 5 : 0;
}

/* Memory that is sealed for ever (by a child) takes the advices, as they destroy nothing. */
static const char *op_seal(size_t page, size_t len)
{
	int ret;

	if (random_below(4))
		return NULL;
	ret = in_child(seal, page, len);
	sealed += !ret;
	return !ret || ret == NOT_SEALED ? NULL : "a child that has sealed memory";
}

static const char *op_protect(size_t page, size_t len)
{
	/* A hole makes it fail, after it has done a part. */
	mprotect(page_at(page), len * page_size(),
		 random_below(2) ? PROT_READ : PROT_READ | PROT_WRITE);
	return NULL;
}

static const char *op_touch(size_t page, size_t len)
{
	/* Fails at a hole, and where a mapping has grown beyond the end of the file. */
	madvise(page_at(page), len * page_size(), MADV_POPULATE_READ);
	return NULL;
}

/* Shrinks, grows in place, moves, is moved over, and is left empty where it was. */
static const char *op_remap(size_t page, size_t len)
{
	size_t to = random_below(PAGES), new_len = 1 + random_below(len + 4), tail;
	char was = model[page];
	int flags = 0;
	char *ret;

	if (!(was & MAPPED))
		return NULL;
	len = same(page, len);
	if (random_below(2)) {
		new_len = new_len < PAGES - to ? new_len : PAGES - to;
		/* Not onto itself */
		if (to < page + len && page < to + new_len)
			return NULL;
		flags = MREMAP_MAYMOVE | MREMAP_FIXED;
		if (new_len == len && random_below(2))
			flags |= MREMAP_DONTUNMAP;
	}
	ret = mremap(page_at(page), len * page_size(), new_len * page_size(), flags,
		     page_at(to));
	if (ret == MAP_FAILED) {
		/* It may be two VMAs, the next page may be taken, or the place was made free. */
		if (errno != EFAULT && errno != ENOMEM && errno != EINVAL)
			return "mremap()";
		return "";
	}
	if (flags & MREMAP_FIXED) {
		if (!(flags & MREMAP_DONTUNMAP))
			memset(model + page, 0, len);
		memset(model + to, was, new_len);
		return NULL;
	}
	if (new_len < len) {
		memset(model + page + new_len, 0, len - new_len);
	} else if (new_len > len) {
		tail = page + len;
		/* It may have grown beyond the arena. */
		if (tail + new_len - len > PAGES) {
			munmap(page_at(PAGES), (tail + new_len - len - PAGES) * page_size());
			new_len = PAGES - page;
		}
		memset(model + tail, was, new_len - len);
	}
	return NULL;
}

static int live_as_child(size_t page, size_t len)
{
	if (marked_kb(0))
		return 1;
	madvise(page_at(page), len * page_size(), MADV_NOMIGRATE);
	/* One that ends with marks, one that ends without memory of its own */
	if (random_below(2))
		return 0;
	execl("/bin/true", "true", NULL);
	return 2;
}

/* A child has no marks, and its end does no harm to ours. */
static const char *op_fork(size_t page, size_t len)
{
	if (random_below(8))
		return NULL;
	return in_child(live_as_child, page, len) ? "a child" : NULL;
}

/* Not to be copied: the child's sizes are told without it. */
static const char *op_dontfork(size_t page, size_t len)
{
	madvise(page_at(page), len * page_size(), random_below(2) ? MADV_DONTFORK : MADV_DOFORK);
	return NULL;
}

static const char *op_lock(size_t page, size_t len)
{
	if (random_below(2))
		mlock(page_at(page), len * page_size());
	else
		munlock(page_at(page), len * page_size());
	return NULL;
}

/* After a failure that may have done a part: what smaps says, which the count has to agree with */
static int model_read(void)
{
	FILE *smaps = fopen("/proc/self/smaps", "re");
	unsigned long from = 0, to = 0, a, b;
	char line[512];

	if (!smaps)
		return -errno;
	memset(model, 0, sizeof(model));
	while (fgets(line, sizeof(line), smaps)) {
		bool flags = !strncmp(line, "VmFlags:", 8);

		if (!flags) {
			if (sscanf(line, "%lx-%lx ", &a, &b) != 2)
				continue;
			from = a;
			to = b;
		}
		for (size_t i = 0; i < PAGES; i++)
			if ((unsigned long)page_at(i) >= from && (unsigned long)page_at(i) < to)
				model[i] = MAPPED | (flags && strstr(line, " nm") ? MARKED : 0);
	}
	fclose(smaps);
	return 0;
}

static const struct {
	const char *name;
	const char *(*run)(size_t page, size_t len);
	unsigned int weight;
} operations[] = {
	{ "mmap", op_map, 6 }, { "munmap", op_unmap, 3 }, { "madvise", op_advise, 8 },
	{ "mprotect", op_protect, 2 }, { "touch", op_touch, 2 }, { "mremap", op_remap, 6 },
	{ "fork", op_fork, 1 }, { "dontfork", op_dontfork, 1 }, { "mlock", op_lock, 1 },
	{ "io_uring", op_uring, 2 }, { "process_madvise", op_process, 4 },
	{ "userfaultfd", op_userfaultfd, 2 }, { "mseal", op_seal, 1 },
};

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *value = getenv(name);

	return value ? strtoull(value, NULL, 0) : otherwise;
}

FIXTURE(budget)
{
	long long system_kb;
};

FIXTURE_SETUP(budget)
{
	settings_restore();
	if (!kernel_has_advice())
		SKIP(return, "no MADV_NOMIGRATE");
	self->system_kb = file_number(MARKED_KB);
	ASSERT_GE(self->system_kb, 0);
	/* With nothing near it that a VMA could be merged with */
	arena = mmap(NULL, (3 * PAGES) * page_size(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
		     -1, 0);
	ASSERT_NE(arena, MAP_FAILED);
	ASSERT_EQ(munmap(arena, 3 * PAGES * page_size()), 0);
	arena += PAGES * page_size();
	shared = memfd_create("budget", MFD_CLOEXEC);
	ASSERT_GE(shared, 0);
	ASSERT_EQ(ftruncate(shared, PAGES * page_size()), 0);
}

FIXTURE_TEARDOWN_PARENT(budget)
{
	settings_restore();
}

TEST_F_TIMEOUT(budget, count_is_exact, TIMEOUT)
{
	uint64_t nr = number("BUDGET_OPERATIONS", 10000), seed = number("BUDGET_SEED", time(NULL));
	unsigned int done[ARRAY_SIZE(operations)] = { 0 }, failed = 0, weights = 0;

	TH_LOG("BUDGET_SEED=%llu", (unsigned long long)seed);
	state = seed * 2 + 1;
	for (size_t i = 0; i < ARRAY_SIZE(operations); i++)
		weights += operations[i].weight;
	for (uint64_t n = 0; n < nr; n++) {
		size_t page = random_below(PAGES);
		size_t len = 1 + random_below(PAGES - page < 32 ? PAGES - page : 32);
		unsigned int pick = random_below(weights);
		const char *wrong;
		size_t which = 0;

		while (pick >= operations[which].weight)
			pick -= operations[which++].weight;
		wrong = operations[which].run(page, len);
		done[which]++;
		if (wrong && !*wrong) {
			failed++;
			ASSERT_EQ(model_read(), 0);
			wrong = NULL;
		}
		ASSERT_EQ(wrong, NULL)
			TH_LOG("operation %llu: %s: %s", (unsigned long long)n, wrong,
			       strerror(errno));
		ASSERT_EQ(marked_kb(0), model_marked() * (long long)page_size() / 1024)
			TH_LOG("operation %llu: %s of %zu pages from %zu",
			       (unsigned long long)n, operations[which].name, len, page);
		/* And the model itself is right. */
		if (n % 256 == 0)
			ASSERT_EQ(vmflag_bytes(arena, PAGES * page_size(), "nm"),
				  model_marked() * page_size());
	}
	for (size_t i = 0; i < ARRAY_SIZE(operations); i++)
		TH_LOG("%s: %u", operations[i].name, done[i]);
	TH_LOG("calls of mremap() that failed: %u; registered %u, sealed %u times", failed,
	       registered, sealed);
	EXPECT_LT(0, registered);
	EXPECT_LT(0, sealed);
	EXPECT_EQ(file_number(MARKED_KB), self->system_kb + marked_kb(0));
	ASSERT_EQ(munmap(arena, PAGES * page_size()), 0);
	EXPECT_EQ(marked_kb(0), 0);
	EXPECT_EQ(file_number(MARKED_KB), self->system_kb);
}

/* While its protection changes, marked memory is not for a moment out of the count. */
static void *change_protection(void *stop)
{
	const size_t size = PAGES * page_size();

	while (!*(volatile bool *)stop) {
		mprotect(arena, size, PROT_READ);
		mprotect(arena, size, PROT_READ | PROT_WRITE);
	}
	return NULL;
}

TEST_F(budget, mprotect_meanwhile)
{
	const long long kb = PAGES * page_size() / 1024;
	unsigned int looks, gone = 0;
	volatile bool stop = false;
	pthread_t thread;

	ASSERT_EQ(mmap(arena, PAGES * page_size(), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), arena);
	ASSERT_EQ(madvise(arena, PAGES * page_size(), MADV_NOMIGRATE), 0);
	ASSERT_EQ(pthread_create(&thread, NULL, change_protection, (void *)&stop), 0);
	for (looks = 0; looks < LOOKS; looks++)
		gone += file_number(MARKED_KB) < self->system_kb + kb;
	stop = true;
	pthread_join(thread, NULL);
	TH_LOG("%u of %u looks at the count found less", gone, looks);
	EXPECT_EQ(gone, 0);
	ASSERT_EQ(munmap(arena, PAGES * page_size()), 0);
}

/* What brk() adds to a marked heap is not marked; what it takes away is given back. */
TEST_F(budget, heap)
{
	const long long kb = page_size() / 1024;
	uintptr_t end = (uintptr_t)sbrk(0);
	char *heap = (char *)((end + page_size() - 1) & -page_size());
	static const struct {
		int pages;
		int marked;
	} steps[] = { { 16, 16 }, { 32, 16 }, { 24, 16 }, { 8, 8 }, { 12, 8 }, { 0, 0 } };

	ASSERT_EQ(brk(heap + 16 * page_size()), 0);
	ASSERT_EQ(madvise(heap, 16 * page_size(), MADV_NOMIGRATE), 0);
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		ASSERT_EQ(brk(heap + steps[i].pages * page_size()), 0);
		/* Nothing here may call malloc(), which has memory there as well. */
		EXPECT_EQ(marked_kb(0), steps[i].marked * kb);
	}
}

/* What the end of a process gives back */
TEST_F(budget, end_of_process)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		char *mem = mmap(NULL, MIB, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		_exit(mem == MAP_FAILED || madvise(mem, MIB, MADV_NOMIGRATE) ||
		      file_number(MARKED_KB) != self->system_kb + (long long)(MIB / 1024));
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	/* The address space may outlive the process for a moment. */
	for (int i = 0; i < 100 && file_number(MARKED_KB) != self->system_kb; i++)
		usleep(10000);
	EXPECT_EQ(file_number(MARKED_KB), self->system_kb);
}

TEST_HARNESS_MAIN
