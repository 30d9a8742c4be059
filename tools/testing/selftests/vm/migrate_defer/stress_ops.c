// SPDX-License-Identifier: GPL-2.0
/* The actors of the stress test: see stress.h. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stress.h"
#include "sva.h"

#ifndef MADV_COLD
#define MADV_COLD	20
#define MADV_PAGEOUT	21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#endif
#ifndef MPOL_MF_MOVE
#define MPOL_MF_MOVE	2
#endif
#define MPOL_DEFAULT	0
#define MPOL_PREFERRED	1

#define WORD_SEED	0x7374726573730000ULL
#define TELL		10	/* broken rules; the others are only counted */
#define PATIENCE	60	/* seconds, for a move that is under way */
#define DRAIN_SECONDS	120	/* for the log of it */
#define DEVICE_MS	120000
#define EPOCH_US	20000	/* how long an epoch may take */

/* What a page contains */
enum content {
	ZEROS,
	WORDS,
	EITHER,
};

/**
 * struct slot - a part of the arena
 * @kind:	what is mapped there
 * @addr:	where
 * @lock:	protects it
 * @content:	of private memory, by page
 */
struct slot {
	const struct slot_kind *kind;
	char *addr;
	pthread_mutex_t lock;
	uint8_t content[SLOT_PAGES];
};

/**
 * struct range - a part of a slot that an operation is about
 * @slot:	the slot
 * @first:	first page
 * @pages:	how many
 * @addr:	its address
 * @len:	its length
 */
struct range {
	struct slot *slot;
	size_t first;
	size_t pages;
	char *addr;
	size_t len;
};

/**
 * struct thread - who acts
 * @actor:	the process
 * @index:	which of its threads
 * @random:	state of the generator
 * @scratch:	where memory is moved to, of the size of a slot
 */
struct thread {
	unsigned int actor;
	unsigned int index;
	uint64_t random;
	char *scratch;
};

/* One beside the other, what differs as what does not */
const struct slot_kind slot_kinds[NR_SLOTS] = {
	{ "anon",		MEM_ANON,		false,	OBJECT_NONE },
	{ "anon 2",		MEM_ANON,		false,	OBJECT_NONE },
	{ "anon huge",		MEM_ANON,		true,	OBJECT_NONE },
	{ "anon huge 2",	MEM_ANON,		true,	OBJECT_NONE },
	{ "shmem",		MEM_SHMEM,		false,	OBJECT_SHMEM },
	{ "shmem huge",		MEM_SHMEM,		true,	OBJECT_SHMEM_HUGE },
	{ "file",		MEM_FILE_SHARED,	false,	OBJECT_FILE },
	{ "file, private",	MEM_FILE_PRIVATE,	false,	OBJECT_CONSTANT },
	{ "hugetlb",		MEM_HUGETLB,		true,	OBJECT_NONE },
};

struct stress *stress;
static struct slot slots[NR_SLOTS];
static int device = -1;
static pthread_mutex_t device_lock = PTHREAD_MUTEX_INITIALIZER;

/**
 * stress_broken() - note that a rule was broken
 * @fmt: how
 */
void stress_broken(const char *fmt, ...)
{
	char how[sizeof(stress->how)];
	uint64_t times;
	va_list args;

	va_start(args, fmt);
	vsnprintf(how, sizeof(how), fmt, args);
	va_end(args);
	times = stress_add(&stress->broken, 1);
	if (times == 1)
		memcpy(stress->how, how, sizeof(how));
	if (times <= TELL)
		fprintf(stderr, "# broken: %s\n", how);
}

/**
 * stress_word() - what is written to a page
 * @page: its place in the slot
 *
 * The same in each slot, for KSM; and as the device writes it.
 *
 * Return: the first word of the page.
 */
uint64_t stress_word(size_t page)
{
	return WORD_SEED + page * page_size() / sizeof(uint64_t);
}

static size_t slot_pages(void)
{
	return SLOT_SIZE / page_size();
}

/* xorshift64*: replayable, and each thread has its own. */
static uint64_t draw(struct thread *t)
{
	t->random ^= t->random >> 12;
	t->random ^= t->random << 25;
	t->random ^= t->random >> 27;
	return t->random * 0x2545f4914f6cdd1dULL >> 16;
}

static struct range draw_range(struct thread *t, struct slot *slot)
{
	struct range r = { .slot = slot, .pages = slot_pages() };

	if (slot->kind->kind != MEM_HUGETLB && draw(t) % 4) {
		r.first = draw(t) % slot_pages();
		r.pages = 1 + draw(t) % (slot_pages() - r.first);
	}
	r.addr = slot->addr + r.first * page_size();
	r.len = r.pages * page_size();
	return r;
}

static bool is_private(const struct slot *slot)
{
	return slot->kind->object == OBJECT_NONE;
}

static uint64_t *word_at(const struct slot *slot, size_t page)
{
	return (uint64_t *)(slot->addr + page * page_size());
}

static enum content content_of(const struct slot *slot, size_t page)
{
	if (is_private(slot))
		return slot->content[page];
	return slot->kind->object == OBJECT_CONSTANT ? WORDS : EITHER;
}

static size_t wrong_pages(const struct slot *slot)
{
	size_t wrong = 0;

	for (size_t page = 0; page < slot_pages(); page++) {
		uint64_t word = *(volatile uint64_t *)word_at(slot, page);
		bool good = word == stress_word(page);

		switch (content_of(slot, page)) {
		case EITHER:
			good |= !word;
			break;
		case ZEROS:
			good = !word;
			break;
		case WORDS:
			break;
		}
		wrong += !good;
	}
	return wrong;
}

static int slot_check(const struct slot *slot, const char *when)
{
	size_t wrong = wrong_pages(slot);

	if (wrong)
		stress_broken("%zu pages of %s are wrong %s", wrong, slot->kind->name, when);
	return 0;
}

/* Maps a slot anew: no mark, no lock, and what is private is empty. */
static int slot_map(struct slot *slot)
{
	const struct slot_kind *kind = slot->kind;
	int flags = MAP_FIXED, fd = -1;

	if (kind->object != OBJECT_NONE) {
		flags |= kind->object == OBJECT_CONSTANT ? MAP_PRIVATE : MAP_SHARED;
		fd = stress->fd[kind->object];
	} else if (kind->kind == MEM_HUGETLB) {
		/* Private ones could be taken away by a child. */
		flags |= MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB;
	} else {
		flags |= MAP_PRIVATE | MAP_ANONYMOUS;
	}
	if (mmap(slot->addr, SLOT_SIZE, PROT_READ | PROT_WRITE, flags, fd, 0) != slot->addr)
		return -errno;
	if (is_private(slot))
		memset(slot->content, ZEROS, sizeof(slot->content));
	if (kind->kind != MEM_HUGETLB)
		madvise(slot->addr, SLOT_SIZE, kind->huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	return 0;
}

static int advise(const struct range *r, int advice)
{
	return madvise(r->addr, r->len, advice) ? -errno : 0;
}

/* ------------------------------------------------------------------------------ the operations */

static int do_map(struct thread *t, struct slot *slot)
{
	int ret;

	(void)t;
	/* A huge page may not be there, and then there is nothing. */
	do
		ret = slot_map(slot);
	while (ret == -ENOMEM && !stress->stop && !usleep(1000));
	return ret;
}

static int do_write(struct thread *t, struct slot *slot)
{
	struct range r = draw_range(t, slot);

	for (size_t page = r.first; page < r.first + r.pages; page++) {
		*(volatile uint64_t *)word_at(slot, page) = stress_word(page);
		slot->content[page] = WORDS;
	}
	return 0;
}

static int do_read(struct thread *t, struct slot *slot)
{
	(void)t;
	return slot_check(slot, "at a look");
}

static int do_mark(struct thread *t, struct slot *slot)
{
	struct range r = draw_range(t, slot);

	return advise(&r, MADV_NOMIGRATE);
}

static int do_unmark(struct thread *t, struct slot *slot)
{
	struct range r = draw_range(t, slot);

	return advise(&r, MADV_DOMIGRATE);
}

/* For somebody else, whatever that is doing there */
static int do_mark_other(struct thread *t, struct slot *slot)
{
	struct range r = draw_range(t, slot);
	struct iovec vec = { r.addr, r.len };
	pid_t pid = stress->actor[(t->actor + 1) % NR_ACTORS];
	ssize_t ret = pid > 0 ? process_advise(pid, &vec, 1, MADV_NOMIGRATE) : -ESRCH;

	return ret < 0 ? ret : 0;
}

static int do_protect(struct thread *t, struct slot *slot)
{
	struct range r = draw_range(t, slot);
	int ret = mprotect(r.addr, r.len, draw(t) % 2 ? PROT_READ : PROT_NONE) ? -errno : 0;

	if (draw(t) % 2)
		usleep(draw(t) % 1000);
	if (mprotect(r.addr, r.len, PROT_READ | PROT_WRITE)) {
		ret = -errno;
		/* Nothing may be lost, but without memory for a VMA it may be out of reach. */
		do_map(t, slot);
	}
	return ret;
}

/* Away, and back */
static int do_remap(struct thread *t, struct slot *slot)
{
	struct range r = draw_range(t, slot);
	int flags = MREMAP_MAYMOVE | MREMAP_FIXED;

	/* One VMA at a time, and 6.12 does not know how to leave hugetlb where it was. */
	if (mremap(r.addr, r.len, r.len, flags, t->scratch) != t->scratch)
		return -errno;
	if (mremap(t->scratch, r.len, r.len, flags, r.addr) != r.addr) {
		stress_broken("%s does not go back: %s", slot->kind->name, strerror(errno));
		return -errno;
	}
	if (mmap(t->scratch, SLOT_SIZE, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != t->scratch)
		stress_broken("no scratch memory: %s", strerror(errno));
	return 0;
}

static int do_empty(struct thread *t, struct slot *slot)
{
	struct range r = draw_range(t, slot);
	int ret;

	/* Of what is shared, and of hugetlb, it only unmaps. */
	ret = advise(&r, MADV_DONTNEED);
	if (slot->kind->kind == MEM_ANON && !ret)
		memset(slot->content + r.first, ZEROS, r.pages);
	else if (slot->kind->kind == MEM_ANON)
		memset(slot->content + r.first, EITHER, r.pages);
	return ret;
}

static int do_punch(struct thread *t, struct slot *slot)
{
	struct range r = draw_range(t, slot);
	enum stress_object object = slot->kind->object;
	int ret;

	if (object == OBJECT_NONE || object == OBJECT_CONSTANT)
		return -EOPNOTSUPP;
	if (pthread_rwlock_trywrlock(&stress->object_lock[object]))
		return -EBUSY;
	ret = fallocate(stress->fd[object], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			r.first * page_size(), r.len) ? -errno : 0;
	pthread_rwlock_unlock(&stress->object_lock[object]);
	return ret;
}

static int do_pageout(struct thread *t, struct slot *slot)
{
	struct range r = draw_range(t, slot);

	return advise(&r, draw(t) % 4 ? MADV_PAGEOUT : MADV_COLD);
}

static int do_collapse(struct thread *t, struct slot *slot)
{
	struct range r = { .slot = slot, .addr = slot->addr, .len = SLOT_SIZE };
	enum stress_object object = slot->kind->object;
	int ret;

	(void)t;
	/* It is asked for, by one of those who share the pages. */
	if (object != OBJECT_NONE && pthread_rwlock_trywrlock(&stress->object_lock[object]))
		return -EBUSY;
	ret = advise(&r, MADV_COLLAPSE);
	if (object != OBJECT_NONE)
		pthread_rwlock_unlock(&stress->object_lock[object]);
	return ret;
}

static int do_merge(struct thread *t, struct slot *slot)
{
	struct range r = draw_range(t, slot);

	return advise(&r, draw(t) % 3 ? MADV_MERGEABLE : MADV_UNMERGEABLE);
}

static int do_move(struct thread *t, struct slot *slot)
{
	struct range r = draw_range(t, slot);
	int node = draw(t) % 2, nodes[SLOT_PAGES], status[SLOT_PAGES];
	void *pages[SLOT_PAGES];

	for (size_t i = 0; i < r.pages; i++) {
		pages[i] = r.addr + i * page_size();
		nodes[i] = node;
	}
	return syscall(SYS_move_pages, 0, r.pages, pages, nodes, status, MPOL_MF_MOVE) < 0 ?
	       -errno : 0;
}

static int do_bind(struct thread *t, struct slot *slot)
{
	struct range r = draw_range(t, slot);
	unsigned long nodes = 1UL << draw(t) % 2;
	int ret = syscall(SYS_mbind, r.addr, r.len, MPOL_PREFERRED, &nodes, 8 * sizeof(nodes),
			  MPOL_MF_MOVE) ? -errno : 0;

	syscall(SYS_mbind, r.addr, r.len, MPOL_DEFAULT, NULL, 0, 0);
	return ret;
}

static int do_lock(struct thread *t, struct slot *slot)
{
	struct range r = draw_range(t, slot);

	if (draw(t) % 2)
		return munlock(r.addr, r.len) ? -errno : 0;
	return mlock(r.addr, r.len) ? -errno : 0;
}

/* A child sees what was there, and what it writes nobody sees. */
static int do_fork(struct thread *t, struct slot *slot)
{
	bool writes = draw(t) % 2 && slot->kind->kind == MEM_ANON;
	int status;
	pid_t pid;

	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid) {
		size_t wrong = wrong_pages(slot);

		for (size_t page = 0; writes && page < slot_pages(); page += 7)
			*word_at(slot, page) = 1;
		_exit(!!wrong);
	}
	if (waitpid(pid, &status, 0) != pid)
		return -errno;
	if (WIFEXITED(status) && WEXITSTATUS(status))
		stress_broken("pages of %s are wrong in a child", slot->kind->name);
	return slot_check(slot, "after fork()");
}

/* By vfork(), and a program that ends at once */
static int do_exec(struct thread *t, struct slot *slot)
{
	char * const argv[] = { "true", NULL };
	pid_t pid;
	int ret;

	(void)t;
	(void)slot;
	ret = posix_spawnp(&pid, "true", NULL, NULL, argv, environ);
	if (!ret)
		waitpid(pid, NULL, 0);
	return -ret;
}

static int do_wander(struct thread *t, struct slot *slot)
{
	cpu_set_t all;

	(void)slot;
	CPU_ZERO(&all);
	CPU_SET(draw(t) % cpu_count(), &all);
	return sched_setaffinity(0, sizeof(all), &all) ? -errno : 0;
}

/* It is slow where each access is an I/O page fault, but gets on. */
static int device_wait(struct sva_testdev_stats *stats, int *result)
{
	uint64_t before;
	int ret;

	do {
		before = stats->accesses;
		ret = sva_wait(device, DEVICE_MS, result);
		sva_stats(device, 0, stats);
	} while (ret == -ETIMEDOUT && stats->accesses > before);
	return ret;
}

/* The device comes and goes, and does what a thread does. */
static int do_device(struct thread *t, struct slot *slot)
{
	struct sva_testdev_stats stats = { 0 };
	struct sva_testdev_job job;
	bool writes = draw(t) % 2, leave = draw(t) % 4, hw_ad = draw(t) % 2;
	int result = 0, ret = 0;

	if (stress->bind < 0)
		return -ENODEV;
	if (pthread_mutex_trylock(&device_lock))
		return -EBUSY;
	if (device < 0) {
		device = sva_open_bound(stress->bind);
		ret = device < 0 ? device : 0;
	}
	for (size_t page = 0; !writes && !ret && page < slot_pages(); page++)
		if (content_of(slot, page) != WORDS)
			ret = -ENODATA;
	if (!ret) {
		job = sva_job(writes ? SVA_TESTDEV_WRITE : SVA_TESTDEV_READ, slot->addr,
			      SLOT_SIZE, 1);
		job.stride = page_size();
		job.seed = WORD_SEED;
		job.flags = (writes ? 0 : SVA_TESTDEV_JOB_VERIFY) |
			    (hw_ad ? SVA_TESTDEV_JOB_HW_AD : 0);
		ret = sva_start(device, &job) ?: device_wait(&stats, &result);
		if (ret == -ETIMEDOUT) {
			stress_broken("the device does not get on in %s: %s", slot->kind->name,
				      sva_describe(&stats));
			sva_stop(device);
		}
		ret = ret ?: result;
		if (!ret && stats.mismatches)
			stress_broken("the device read %llu wrong words of %s", stats.mismatches,
				      slot->kind->name);
		/* It may have come only so far. */
		if (writes)
			memset(slot->content, ret ? EITHER : WORDS, sizeof(slot->content));
	}
	if (!leave && device >= 0) {
		close(device);
		device = -1;
	}
	pthread_mutex_unlock(&device_lock);
	return ret;
}

/* The counters are what the VMAs say, whatever has been done to those. */
static int do_count(struct thread *t, struct slot *slot)
{
	long long counted = -1, real = -2;

	(void)t;
	pthread_mutex_unlock(&slot->lock);
	for (size_t i = 0; i < NR_SLOTS; i++)
		pthread_mutex_lock(&slots[i].lock);
	/* Others mark, too, but do not unmark. */
	for (int tries = 0; tries < 10 && counted != real; tries++) {
		counted = marked_kb(getpid());
		real = vmflag_bytes(stress->arena, NR_SLOTS * SLOT_SIZE, "nm") >> 10;
	}
	if (counted != real)
		stress_broken("%lld KiB are counted, %lld KiB are marked", counted, real);
	for (size_t i = NR_SLOTS; i--; )
		if (&slots[i] != slot)
			pthread_mutex_unlock(&slots[i].lock);
	return 0;
}

static bool same(uint64_t before, uint64_t after)
{
	return before & after & PM_PRESENT && pagemap_pfn(before) == pagemap_pfn(after);
}

static bool all_present(void *arg)
{
	static __thread uint64_t entries[SLOT_PAGES];
	const struct range *r = arg;

	if (pagemap_read(r->addr, r->len, entries))
		return true;
	for (size_t i = 0; i < r->pages; i++)
		if (!(entries[i] & PM_PRESENT))
			return false;
	return true;
}

/**
 * struct changes - pages of an epoch that are elsewhere at its end
 * @range:	which are looked at
 * @before:	entries at its beginning
 * @after:	and at its end
 * @named:	when a forced move of each page was reported, last
 * @begin:	of the epoch
 */
struct changes {
	struct range *range;
	const uint64_t *before;
	const uint64_t *after;
	const double *named;
	double begin;
};

/* The first page that differs and was not reported to be moved, or the number of pages */
static size_t unnamed(const struct changes *c)
{
	size_t i = 0;

	while (i < c->range->pages &&
	       (same(c->before[i], c->after[i]) || c->named[i] >= c->begin))
		i++;
	return i;
}

static bool all_named(void *arg)
{
	const struct changes *c = arg;

	return unnamed(c) == c->range->pages;
}

static size_t changed(const struct range *r, const uint64_t *before, const uint64_t *after)
{
	size_t pages = 0;

	for (size_t i = 0; i < r->pages; i++)
		pages += !same(before[i], after[i]);
	return pages;
}

/*
 * Whether each page that differs was reported to be moved after the beginning.  A mover maps the
 * page, and then reports it; in between others may run for long.
 */
static void explain(struct thread *t, struct range *r, const uint64_t *before,
		    const uint64_t *after, double begin, uint64_t lost)
{
	static __thread uint64_t later[SLOT_PAGES];
	struct changes c = {
		.range = r, .before = before, .after = after, .begin = begin,
		.named = stress->named[t->actor] + (r->addr - stress->arena) / page_size(),
	};
	size_t pages = changed(r, before, after), first;
	double end;
	bool late;

	if (!pages)
		return;
	poll_until(all_present, r, PATIENCE);
	end = now();
	while (stress->drained < end && now() < end + DRAIN_SECONDS && !stress->stop)
		usleep(1000);
	late = !all_named(&c);
	if (late)
		poll_until(all_named, &c, PATIENCE);
	first = unnamed(&c);
	if (stress->drained < end || stress->lost != lost ||
	    pagemap_read(r->addr, r->len, later)) {
		stress_add(&stress->unknown, pages);
	} else if (first < r->pages) {
		stress_broken("page %zu of marked %s: %#llx, then %#llx; nobody said so",
			      r->first + first, r->slot->kind->name,
			      (unsigned long long)before[first], (unsigned long long)after[first]);
	} else if (late && changed(r, after, later)) {
		/* Which of the moves was reported? */
		stress_add(&stress->unknown, pages);
	} else {
		stress_add(&stress->forced, pages);
		stress_add(&stress->late, late);
	}
}

/*
 * What is marked, locked against reclaim, and populated stays where it is, unless the log of forced
 * moves says otherwise.
 */
static int do_epoch(struct thread *t, struct slot *slot)
{
	static __thread uint64_t before[SLOT_PAGES], after[SLOT_PAGES];
	struct range r = draw_range(t, slot);
	enum stress_object object = slot->kind->object;
	uint64_t lost = stress->lost;
	double begin;
	int ret;

	/* Nobody else changes the object. */
	if (object != OBJECT_NONE && pthread_rwlock_tryrdlock(&stress->object_lock[object]))
		return -EBUSY;
	ret = mlock(r.addr, r.len) ? -errno : 0;
	ret = ret ?: advise(&r, object == OBJECT_CONSTANT ? MADV_POPULATE_READ :
							    MADV_POPULATE_WRITE);
	begin = now();
	ret = ret ?: advise(&r, MADV_NOMIGRATE) ?: pagemap_read(r.addr, r.len, before);
	if (ret)
		goto out;
	if (draw(t) % 2)
		for (size_t page = r.first; page < r.first + r.pages; page++)
			(void)*(volatile uint64_t *)word_at(slot, page);
	usleep(draw(t) % EPOCH_US);
	ret = pagemap_read(r.addr, r.len, after);
	if (ret)
		goto out;
	explain(t, &r, before, after, begin, lost);
	stress_add(&stress->epochs, 1);
	stress_add(&stress->watched, r.pages);
	slot_check(slot, "after an epoch");
out:
	munlock(r.addr, r.len);
	if (draw(t) % 2)
		advise(&r, MADV_DOMIGRATE);
	if (object != OBJECT_NONE)
		pthread_rwlock_unlock(&stress->object_lock[object]);
	return ret;
}

static const struct {
	const char *name;
	int (*run)(struct thread *t, struct slot *slot);
	unsigned int weight;
} ops[] = {
	{ "map",	do_map,		4 },
	{ "write",	do_write,	20 },
	{ "read",	do_read,	8 },
	{ "mark",	do_mark,	16 },
	{ "unmark",	do_unmark,	8 },
	{ "mark other",	do_mark_other,	4 },
	{ "mprotect",	do_protect,	6 },
	{ "mremap",	do_remap,	6 },
	{ "madvise empty", do_empty,	6 },
	{ "punch hole",	do_punch,	4 },
	{ "pageout",	do_pageout,	6 },
	{ "collapse",	do_collapse,	4 },
	{ "mergeable",	do_merge,	6 },
	{ "move_pages",	do_move,	6 },
	{ "mbind",	do_bind,	4 },
	{ "mlock",	do_lock,	4 },
	{ "fork",	do_fork,	4 },
	{ "exec",	do_exec,	1 },
	{ "wander",	do_wander,	4 },
	{ "device",	do_device,	6 },
	{ "count",	do_count,	1 },
	{ "epoch",	do_epoch,	16 },
};

static_assert(ARRAY_SIZE(ops) <= MAX_OPS, "struct stress has no room for all operations");

/**
 * stress_op_name() - an operation
 * @op: its number
 *
 * Return: its name, or NULL if there are not so many.
 */
const char *stress_op_name(size_t op)
{
	return op < ARRAY_SIZE(ops) ? ops[op].name : NULL;
}

static size_t draw_op(struct thread *t)
{
	unsigned int sum = 0, at;
	size_t op = 0;

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
		sum += ops[i].weight;
	for (at = draw(t) % sum; at >= ops[op].weight; op++)
		at -= ops[op].weight;
	return op;
}

static void *act(void *arg)
{
	struct thread *t = arg;

	while (!stress->stop) {
		struct slot *slot = &slots[draw(t) % NR_SLOTS];
		size_t op = draw_op(t);
		int ret;

		if (pthread_mutex_trylock(&slot->lock))
			continue;
		ret = ops[op].run(t, slot);
		pthread_mutex_unlock(&slot->lock);
		if (ret)
			stress_add(&stress->count[op].failed, 1);
		else
			stress_add(&stress->count[op].done, 1);
	}
	return NULL;
}

/**
 * stress_act() - what an actor does, until stress->stop
 * @actor: which it is
 *
 * Its process has nothing else to do, and ends thereafter.
 */
void stress_act(unsigned int actor)
{
	struct thread threads[NR_THREADS];
	pthread_t ids[NR_THREADS];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (size_t i = 0; i < NR_SLOTS; i++) {
		slots[i].kind = &slot_kinds[i];
		slots[i].addr = stress->arena + i * SLOT_SIZE;
		pthread_mutex_init(&slots[i].lock, NULL);
		if (slot_map(&slots[i])) {
			stress_broken("no memory to begin with: %s", strerror(errno));
			_exit(1);
		}
	}
	for (unsigned int i = 0; i < NR_THREADS; i++) {
		char *scratch = mmap(NULL, 2 * SLOT_SIZE, PROT_NONE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		threads[i] = (struct thread) {
			.actor = actor,
			.index = i,
			.random = stress->seed * (1 + actor * NR_THREADS + i) | 1,
			.scratch = scratch + (-(uintptr_t)scratch & (SLOT_SIZE - 1)),
		};
		if (scratch == MAP_FAILED || pthread_create(&ids[i], NULL, act, &threads[i])) {
			stress_broken("no thread");
			_exit(1);
		}
	}
	for (unsigned int i = 0; i < NR_THREADS; i++)
		pthread_join(ids[i], NULL);
	for (size_t i = 0; i < NR_SLOTS; i++)
		slot_check(&slots[i], "at the end");
	_exit(0);
}
