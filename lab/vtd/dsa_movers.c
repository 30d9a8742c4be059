// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a DSA behind the kernel's intel-iommu and idxd sees of movers: it copies from one buffer to
 * another again and again, by turns with "block on fault" (a page that is not there is requested)
 * and without (what is left of the copy is done on the CPU, as libraries do).
 *
 * The users differ only in how they protect their buffers.  Each is a process with a work queue of
 * its own, all of them at the same time: what the device counts for a queue, its invalidations
 * included, is about that user.  They share the one engine of the device, which takes a descriptor
 * of each queue in turn: all are kept waiting by the page requests of any.
 *
 * An invalidation is no page request: the device translates again, and goes on.  There are some
 * under the recipe, too, as the rest of the process is not under it: where an unmapping is batched
 * (arch_tlbbatch_add_pending()), the device has to forget all of the address space.
 *
 * SVA_SECONDS=n in the environment: how long.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dsa_user.h"
#include "harness.h"
#include "movers.h"
#include "rivals.h"
#include "sva.h"

#define BUFFER_SIZE	(2 * MIB)
#define CHUNK_SIZE	(MIB / 8)	/* of a descriptor */
#define CHUNKS		(BUFFER_SIZE / CHUNK_SIZE)
#define SECONDS		15
#define PATIENCE	240
#define READY_SECONDS	600
#define REQUESTS	100	/* at least, on memory that may be moved */
#define PARTIAL		10	/* a descriptor has one at most */
#define TIMEOUT		9000
#define FREE_BYTES	(320 * MIB)	/* on each node, when the run begins */
#define TRIES		5

/* In the order of their work queues */
enum { NOTHING, LOCKED, PINNED, MARKED, RECIPE, NR_USERS };

static const char * const rival_names[NR_USERS] = {
	"nothing", "mlock", "pin_uring", "nomigrate", "recipe",
};

static const char * const labels[NR_USERS] = {
	"nothing", "mlock()", "pin", "MADV_NOMIGRATE", "the recipe",
};

/* Counters of /proc/vmstat that show that the movers were at work */
static const char * const proof[] = {
	"compact_migrate_scanned", "numa_pages_migrated", "pswpout",
};

static bool is_set(void *flag)
{
	return __atomic_load_n((bool *)flag, __ATOMIC_ACQUIRE);
}

static void set(bool *flag)
{
	__atomic_store_n(flag, true, __ATOMIC_RELEASE);
}

/* ---------------------------------------------------------------------------------- the copies */

/**
 * struct copy - a buffer that the device copies to another one
 * @src:	where from
 * @dst:	where to
 * @queue:	the work queue
 * @done:	descriptor and completion record: under the recipe, whatever is measured
 * @pass:	how often all has been copied
 * @wrong:	bytes that were not what they should have been
 */
struct copy {
	struct region src;
	struct region dst;
	struct queue queue;
	struct done *done;
	unsigned int pass;
	size_t wrong;
};

static int copy_map(struct copy *copy)
{
	return region_map(&copy->src, MEM_ANON, page_size(), BUFFER_SIZE) ?:
	       region_map(&copy->dst, MEM_ANON, page_size(), BUFFER_SIZE);
}

static int copy_protect(struct copy *copy, const struct rival *rival)
{
	return rival->protect(copy->src.addr, copy->src.size) ?:
	       rival->protect(copy->dst.addr, copy->dst.size);
}

static int copy_release(struct copy *copy, const struct rival *rival)
{
	return rival->release(copy->src.addr, copy->src.size) ?:
	       rival->release(copy->dst.addr, copy->dst.size);
}

static int copy_open(struct copy *copy, unsigned int wq)
{
	copy->done = mmap(NULL, page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);
	if (copy->done == MAP_FAILED)
		return -errno;
	return rival_find("recipe")->protect(copy->done, page_size()) ?:
	       queue_open(&copy->queue, wq);
}

/* Each pass copies another part of the source to a part of the destination. */
static char *source(const struct copy *copy, unsigned int pass, unsigned int chunk)
{
	return copy->src.addr + (chunk + pass) % CHUNKS * CHUNK_SIZE;
}

static size_t differing(const char *one, const char *other, size_t len)
{
	size_t n = 0;

	if (!memcmp(one, other, len))
		return 0;
	for (size_t i = 0; i < len; i++)
		n += one[i] != other[i];
	return n;
}

static int copy_chunk(struct copy *copy, unsigned int chunk, unsigned int flags)
{
	char *dst = copy->dst.addr + chunk * CHUNK_SIZE, *src = source(copy, copy->pass, chunk);
	unsigned int status, n = CHUNK_SIZE;

	copy->done->desc = move(dst, src, CHUNK_SIZE, flags);
	status = execute(&copy->queue, copy->done);
	if (!status)
		return -ETIMEDOUT;
	if (status != DSA_COMP_SUCCESS) {
		if (DSA_COMP_STATUS(status) != DSA_COMP_PAGE_FAULT_NOBOF ||
		    flags & IDXD_OP_FLAG_BOF)
			return -EIO;
		n = copy->done->record.bytes_completed;
		memcpy(dst + n, src + n, CHUNK_SIZE - n);
	}
	copy->wrong += differing(dst, src, CHUNK_SIZE);
	return 0;
}

/* Copy all twice, unless told to stop: each part once with and once without "block on fault". */
static int copy_twice(struct copy *copy, bool *stop)
{
	int ret = 0;

	for (int i = 0; i < 2; i++) {
		copy->pass++;
		for (unsigned int chunk = 0; !ret && !is_set(stop) && chunk < CHUNKS; chunk++)
			ret = copy_chunk(copy, chunk,
					 (chunk + i) % 2 ? FLAGS_RECORD : FLAGS_BLOCK);
	}
	return ret;
}

static struct dsa_counts since(const struct dsa_counts *before, const struct dsa_counts *after)
{
	return (struct dsa_counts) {
		.descriptors = after->descriptors - before->descriptors,
		.translations = after->translations - before->translations,
		.requests = after->requests - before->requests,
		.faults = after->faults - before->faults,
		.invalidations = after->invalidations - before->invalidations,
	};
}

/* --------------------------------------------------------------------------- movers of any kind */

/**
 * struct user - a user of the device, as its process and the test share it
 * @rival:	how it protects its buffers
 * @ready:	it has begun, or ended
 * @ret:	0, or the negative errno that it ended with
 * @counts:	what the device has counted
 * @moved:	pages that are not where they were at the beginning
 * @wrong:	bytes that were not what they should have been
 */
struct user {
	const struct rival *rival;
	bool ready;
	int ret;
	struct dsa_counts counts;
	size_t moved;
	size_t wrong;
};

struct shared {
	bool go;
	bool stop;
	struct user users[NR_USERS];
};

FIXTURE(movers) {
	struct ground ground;
	struct shared *shared;
	pid_t pids[NR_USERS];
	pid_t fragmenter;
	pid_t pressure;
};

/* Use the memory now on this node, now on that. */
static void change_node(void)
{
	int node = (int)(2 * now()) % 2;

	for (int cpu = 0; cpu < cpu_count(); cpu++)
		if (node_of_cpu(cpu) == node && !task_pin(0, cpu))
			break;
}

static size_t moved(const struct region *r)
{
	struct diff diff = region_compare(r);

	return diff.moved + diff.absent;
}

static int use(struct shared *shared, int wq, int node)
{
	struct user *user = &shared->users[wq];
	struct dsa_counts before, after;
	struct copy copy = { 0 };
	int ret;

	ret = copy_map(&copy) ?: region_populate(&copy.src, node) ?:
	      region_populate(&copy.dst, node) ?: copy_protect(&copy, user->rival) ?:
	      copy_open(&copy, wq) ?: copy_twice(&copy, &shared->stop) ?:
	      region_snapshot(&copy.src) ?: region_snapshot(&copy.dst);
	if (ret)
		return ret;
	set(&user->ready);
	while (!is_set(&shared->go))
		usleep(1000);
	if (!read_counts(wq, &before))
		return -EIO;
	while (!ret && !is_set(&shared->stop)) {
		change_node();
		ret = copy_twice(&copy, &shared->stop);
	}
	if (!read_counts(wq, &after))
		return -EIO;
	user->counts = since(&before, &after);
	user->moved = moved(&copy.src) + moved(&copy.dst);
	user->wrong = copy.wrong + region_corrupt(&copy.src) * page_size();
	return ret;
}

FIXTURE_SETUP(movers)
{
	struct queue_config configs[NR_USERS];
	const char *why;

	settings_restore();
	why = ground_init(&self->ground) ?: numa_balancing.missing(&self->ground) ?:
	      compact_memory.missing(&self->ground);
	for (int i = 0; !why && i < NR_USERS; i++) {
		const struct rival *rival = rival_find(rival_names[i]);

		why = rival->missing ? rival->missing() : NULL;
	}
	if (why)
		SKIP(return, "%s", why);
	why = dsa_missing();
	ASSERT_EQ(NULL, why)
		TH_LOG("%s", why);
	for (int i = 0; i < NR_USERS; i++)
		configs[i] = (struct queue_config) { .name = rival_names[i], .block = true };
	ASSERT_OK(configure(configs, NR_USERS));
	if (swapon(SWAP, 0))
		SKIP(return, "no swap on %s: %s", SWAP, strerror(errno));
	self->shared = mmap(NULL, sizeof(*self->shared), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->shared);
	ASSERT_OK(nodes_fill(FREE_BYTES));
	fflush(stdout);
	for (int i = 0; i < NR_USERS; i++) {
		pid_t pid;

		self->shared->users[i].rival = rival_find(rival_names[i]);
		pid = fork();
		ASSERT_LE(0, pid);
		/* Shared with the child, as there is a teardown in the parent. */
		if (pid) {
			self->pids[i] = pid;
			continue;
		}
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		self->shared->users[i].ret = use(self->shared, i, self->ground.node);
		set(&self->shared->users[i].ready);
		_exit(0);
	}
}

FIXTURE_TEARDOWN_PARENT(movers)
{
	unconfigure();
	settings_restore();
	swapoff(SWAP);
}

static void print_table(const struct user *users, double seconds)
{
	printf("# A DSA in %.0f s of compaction, NUMA balancing and memory pressure, copying for\n"
	       "# processes that differ only in how their two buffers of %zu MiB are protected:\n#\n",
	       seconds, BUFFER_SIZE / MIB);
	printf("# %-16s%7s%13s%10s%12s%15s%14s%7s\n", "protection", "moved", "descriptors",
	       "page", "partial", "invalidations", "translations", "wrong");
	printf("# %-16s%7s%13s%10s%12s%15s%14s%7s\n", "", "", "", "requests", "completions", "",
	       "", "bytes");
	for (int i = 0; i < NR_USERS; i++) {
		const struct dsa_counts *c = &users[i].counts;

		printf("# %-16s%7zu%13llu%10llu%12llu%15llu%14llu%7zu\n", labels[i],
		       users[i].moved, c->descriptors, c->requests, c->faults, c->invalidations,
		       c->translations, users[i].wrong);
	}
}

static bool hit(int wq, const struct dsa_counts *before)
{
	struct dsa_counts after, counts;

	if (!read_counts(wq, &after))
		return false;
	counts = since(before, &after);
	return counts.requests > REQUESTS && counts.faults > PARTIAL;
}

/* All movers have been there, and have hit what was in reach. */
static bool proven(const long long *before, const struct dsa_counts *counts)
{
	for (size_t i = 0; i < ARRAY_SIZE(proof); i++)
		if (vmstat(proof[i]) <= before[i])
			return false;
	return hit(NOTHING, &counts[NOTHING]) && hit(LOCKED, &counts[LOCKED]);
}

/* Under the recipe the device asks for no page, and completes what it has begun. */
TEST_F_TIMEOUT(movers, no_requests, TIMEOUT)
{
	const char *env = getenv("SVA_SECONDS");
	double seconds = env ? atof(env) : SECONDS, begin = now();
	struct user *users = self->shared->users;
	struct dsa_counts counts[NR_USERS];
	long long before[ARRAY_SIZE(proof)];
	bool conclusive;
	int status;

	for (int i = 0; i < NR_USERS; i++) {
		ASSERT_TRUE(poll_until(is_set, &users[i].ready, READY_SECONDS));
		ASSERT_EQ(0, users[i].ret)
			TH_LOG("%s: %s", labels[i], strerror(-users[i].ret));
		ASSERT_TRUE(read_counts(i, &counts[i]));
	}
	for (size_t i = 0; i < ARRAY_SIZE(proof); i++)
		before[i] = vmstat(proof[i]);
	TH_LOG("all users had begun after %.0f s", now() - begin);
	self->fragmenter = load_compaction();
	self->pressure = load_pressure();
	ASSERT_OK(numa_scan_fast());
	set(&self->shared->go);
	begin = now();
	do {
		usleep(100000);
		conclusive = proven(before, counts);
		/* On a slow machine it takes longer until all movers have been there. */
	} while (now() - begin < seconds || (!conclusive && now() - begin < PATIENCE));
	set(&self->shared->stop);
	seconds = now() - begin;
	for (int i = 0; i < NR_USERS; i++) {
		ASSERT_EQ(self->pids[i], waitpid(self->pids[i], &status, 0));
		EXPECT_EQ(0, status);
		EXPECT_EQ(0, users[i].ret)
			TH_LOG("%s: %s", labels[i], strerror(-users[i].ret));
		EXPECT_EQ(0, users[i].wrong);
	}
	load_stop(self->fragmenter);
	load_stop(self->pressure);
	print_table(users, seconds);
	for (size_t i = 0; i < ARRAY_SIZE(proof); i++)
		printf("# %s: %lld\n", proof[i], vmstat(proof[i]) - before[i]);
	EXPECT_TRUE(conclusive)
		TH_LOG("INCONCLUSIVE: the movers have not been everywhere in %.0f s", seconds);
	EXPECT_LT(0, users[RECIPE].counts.descriptors);
	EXPECT_EQ(0, users[RECIPE].counts.requests);
	EXPECT_EQ(0, users[RECIPE].counts.faults);
	EXPECT_EQ(0, users[RECIPE].moved);
}

/* --------------------------------------------------------------------- movers that must succeed */

FIXTURE(forced) {
	struct ground ground;
	struct copy copy;
};

FIXTURE_VARIANT(forced) {
	const struct mover *mover;
};

FIXTURE_VARIANT_ADD(forced, cma) { .mover = &cma_alloc };
FIXTURE_VARIANT_ADD(forced, move_pages) { .mover = &move_pages_syscall };

FIXTURE_SETUP(forced)
{
	static const struct queue_config config = { .name = "forced", .block = true };
	const char *why;

	settings_restore();
	why = ground_init(&self->ground) ?: variant->mover->missing(&self->ground) ?:
	      rival_find("recipe")->missing();
	if (why)
		SKIP(return, "%s", why);
	why = dsa_missing();
	ASSERT_EQ(NULL, why)
		TH_LOG("%s", why);
	ASSERT_OK(configure(&config, 1));
	ASSERT_OK(copy_map(&self->copy));
	ASSERT_OK(copy_open(&self->copy, 0));
}

FIXTURE_TEARDOWN_PARENT(forced)
{
	unconfigure();
	settings_restore();
}

/* A thread that copies until it is told to stop */
struct stream {
	struct copy *copy;
	unsigned int rounds;
	bool stop;
	int ret;
	pthread_t thread;
};

static void *stream_run(void *arg)
{
	struct stream *stream = arg;

	while (!stream->ret && !is_set(&stream->stop)) {
		stream->ret = copy_twice(stream->copy, &stream->stop);
		__atomic_add_fetch(&stream->rounds, 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

static bool stream_goes_on(struct stream *stream)
{
	unsigned int rounds = __atomic_load_n(&stream->rounds, __ATOMIC_ACQUIRE);
	double end = now() + WAIT_SECONDS;

	while (__atomic_load_n(&stream->rounds, __ATOMIC_ACQUIRE) < rounds + 2 && now() < end)
		usleep(1000);
	return now() < end;
}

/* What is copied while the pages move is right, and no page is missing afterwards. */
TEST_F_TIMEOUT(forced, right_and_no_requests_later, 900)
{
	struct region *regions[] = { &self->copy.src, &self->copy.dst };
	const struct rival *recipe = rival_find("recipe");
	const struct mover *mover = variant->mover;
	struct dsa_counts before, after, meanwhile = { 0 }, later;
	size_t must = 0, moved = 0;

	for (int try = 0; try < TRIES; try++) {
		struct stream stream = { .copy = &self->copy };
		int ret;

		ASSERT_OK(mover->place(&self->ground, regions, 2));
		ASSERT_OK(copy_protect(&self->copy, recipe));
		for (int i = 0; i < 2; i++)
			ASSERT_OK(region_snapshot(regions[i]));
		ASSERT_TRUE(read_counts(0, &before));
		ASSERT_EQ(0, pthread_create(&stream.thread, NULL, stream_run, &stream));
		EXPECT_TRUE(stream_goes_on(&stream));
		ret = mover->push(&self->ground, regions, 2);
		EXPECT_EQ(0, ret)
			TH_LOG("%s: try %d: %s", mover->name, try, strerror(-ret));
		EXPECT_TRUE(stream_goes_on(&stream));
		set(&stream.stop);
		ASSERT_EQ(0, pthread_join(stream.thread, NULL));
		EXPECT_EQ(0, stream.ret);
		ASSERT_TRUE(read_counts(0, &after));
		later = since(&before, &after);
		meanwhile.requests += later.requests;
		meanwhile.faults += later.faults;
		meanwhile.descriptors += later.descriptors;

		stream.stop = false;
		EXPECT_EQ(0, copy_twice(&self->copy, &stream.stop));
		ASSERT_TRUE(read_counts(0, &before));
		later = since(&after, &before);
		EXPECT_EQ(0, later.requests);
		EXPECT_EQ(0, later.faults);
		for (int i = 0; i < 2; i++) {
			struct diff diff = compare_must_move(&self->ground, regions[i]);

			must += diff.pages;
			moved += diff.moved;
		}
		EXPECT_EQ(0, self->copy.wrong);
		EXPECT_EQ(0, region_corrupt(&self->copy.src));
		if (mover->undo)
			mover->undo(&self->ground);
		ASSERT_OK(copy_release(&self->copy, recipe));
	}
	TH_LOG("%zu of %zu pages moved", moved, must);
	TH_LOG("%llu descriptors meanwhile: %llu page requests, %llu partial completions",
	       meanwhile.descriptors, meanwhile.requests, meanwhile.faults);
	EXPECT_LT(0, must);
	EXPECT_EQ(must, moved);
}

TEST_HARNESS_MAIN
