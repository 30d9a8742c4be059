// SPDX-License-Identifier: GPL-2.0
/*
 * Forced moves that fail.  Somebody holds a reference to some pages of a marked range, so that a
 * mover which must succeed cannot move them: it says so, what it unmapped for the attempt is mapped
 * again as it was, a device does not fault on it, and the attempt is reported, but not counted, as
 * a move.  Once the reference is gone the move succeeds.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "harness.h"
#include "movers.h"
#include "sva.h"

#define REGION_SIZE	(4 * MIB)
#define HELD		8	/* folios, spread over the region; fewer than a pipe has room for */
#define TIMEOUT		900

#define FOLIO_4K	4096
#define FOLIO_2M	(2 * MIB)

FIXTURE(fail_move) {
	struct ground ground;
	struct region r;
	struct watch watch;
	int pipe[2];
	int device;
};

FIXTURE_VARIANT(fail_move) {
	const struct mover *mover;
	enum mem_kind kind;
	size_t folio;
	int error;
	bool seen;	/* the mover sees the references before it unmaps anything */
};

FIXTURE_VARIANT_ADD(fail_move, move_pages_anon_4k) {
	.mover = &move_pages_syscall, .kind = MEM_ANON, .folio = FOLIO_4K, .error = -EBUSY,
};

FIXTURE_VARIANT_ADD(fail_move, move_pages_anon_2m) {
	.mover = &move_pages_syscall, .kind = MEM_ANON, .folio = FOLIO_2M, .error = -EBUSY,
};

FIXTURE_VARIANT_ADD(fail_move, move_pages_shmem_4k) {
	.mover = &move_pages_syscall, .kind = MEM_SHMEM, .folio = FOLIO_4K, .error = -EBUSY,
};

FIXTURE_VARIANT_ADD(fail_move, move_pages_shmem_2m) {
	.mover = &move_pages_syscall, .kind = MEM_SHMEM, .folio = FOLIO_2M, .error = -EBUSY,
};

FIXTURE_VARIANT_ADD(fail_move, move_pages_hugetlb) {
	.mover = &move_pages_syscall, .kind = MEM_HUGETLB, .folio = FOLIO_2M, .error = -EBUSY,
};

/* What cma_alloc() says does not get out of debugfs. */
FIXTURE_VARIANT_ADD(fail_move, cma_shmem_4k) {
	.mover = &cma_alloc, .kind = MEM_SHMEM, .folio = FOLIO_4K, .error = -ENOMEM,
};

FIXTURE_VARIANT_ADD(fail_move, cma_anon_4k) {
	.mover = &cma_alloc, .kind = MEM_ANON, .folio = FOLIO_4K, .error = -ENOMEM, .seen = true,
};

FIXTURE_SETUP(fail_move)
{
	const char *why;

	settings_restore();
	why = ground_init(&self->ground) ?: kernel_has_advice() ? NULL : "no MADV_NOMIGRATE";
	why = why ?: variant->mover->missing(&self->ground) ?:
	      region_missing(variant->kind, variant->folio);
	if (!why && sva_missing())
		why = sva_direct_missing();
	if (why)
		SKIP(return, "%s", why);
	self->device = sva_open_bound(sva_missing() ? SVA_TESTDEV_BIND_DIRECT : 0);
	ASSERT_LE(0, self->device);
	ASSERT_OK(region_map(&self->r, variant->kind, variant->folio, REGION_SIZE));
	ASSERT_EQ(0, pipe2(self->pipe, O_CLOEXEC));
}

FIXTURE_TEARDOWN_PARENT(fail_move)
{
	settings_restore();
}

/* Every so many base pages one is held. */
static size_t step(const struct region *r)
{
	size_t apart = region_pages(r) / HELD, folio = r->folio / page_size();

	return apart > folio ? apart : folio;
}

/* Takes a reference to a page of every folio that is to be held: how many, or a negative errno. */
static int hold(const struct ground *g, const struct region *r, int pipe)
{
	int nr = 0;

	for (size_t page = 0; page < region_pages(r); page += step(r)) {
		struct iovec one = { r->addr + page * page_size(), page_size() };

		if (!must_move(g, r, page))
			continue;
		if (vmsplice(pipe, &one, 1, SPLICE_F_NONBLOCK) < 0)
			return -errno;
		nr++;
	}
	return nr;
}

/* Base pages of the region that the events name, of moves that failed */
static int failed_pages(const struct watch *w, const struct region *r)
{
	char path[160], line[512];
	int sum = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/trace", w->dir);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		const char *at = strstr(line, " address=");
		unsigned long address, pages;
		int result;

		if (at && sscanf(at, " address=%li pages=%lu result=%d", &address, &pages,
				 &result) == 3 &&
		    result < 0 && address >= (uintptr_t)r->addr &&
		    address < (uintptr_t)r->addr + r->size)
			sum += pages;
	}
	fclose(f);
	return sum;
}

TEST_F_TIMEOUT(fail_move, is_mapped_as_it_was, TIMEOUT)
{
	struct region *r = &self->r;
	struct ground *g = &self->ground;
	size_t folio = r->folio / page_size();
	struct sva_testdev_stats stats;
	struct sva_testdev_job job;
	struct diff diff;
	long long forced;
	int nr, here, ret, failed;

	ASSERT_EQ(0, variant->mover->place(g, &r, 1))
		TH_LOG("INCONCLUSIVE: could not place the region");
	ASSERT_OK(region_mark(r));
	ASSERT_OK(region_snapshot(r));
	nr = hold(g, r, self->pipe[1]);
	ASSERT_LT(0, nr)
		TH_LOG("INCONCLUSIVE: nothing is held: %s", strerror(-nr));
	ASSERT_OK(watch_open(&self->watch, "migrate_defer/forced"));

	forced = vmstat("nomigrate_forced");
	here = g->here;
	ret = variant->mover->push(g, &r, 1);
	forced = vmstat("nomigrate_forced") - forced;
	EXPECT_EQ(variant->error, ret)
		TH_LOG("%s: %s", variant->mover->name, strerror(-ret));

	/* A device that sets no bits by itself can write to all of it, at once. */
	job = sva_job(SVA_TESTDEV_WRITE, r->addr, r->size, 1);
	ASSERT_OK(sva_run(self->device, &job, &stats));
	EXPECT_EQ(0, stats.result);
	EXPECT_EQ(0, stats.faults)
		TH_LOG("%s", sva_describe(&stats));

	diff = region_compare(r);
	TH_LOG("%d folios held; %zu of %zu pages moved, %d reported as not moved", nr, diff.moved,
	       diff.pages, failed_pages(&self->watch, r));
	EXPECT_EQ(0, diff.absent);
	EXPECT_EQ(forced, diff.moved);
	for (size_t page = 0; page < region_pages(r); page += step(r))
		if (must_move(g, r, page))
			EXPECT_EQ(0, region_compare_part(r, page * page_size(), r->folio).moved);
	/* It was tried: otherwise it would prove nothing. */
	failed = failed_pages(&self->watch, r);
	EXPECT_LE(0, failed);
	EXPECT_EQ(variant->seen, failed < nr * folio);
	EXPECT_FALSE(variant->seen && failed);

	/* A pipe that nobody has open any more gives the references back. */
	close(self->pipe[0]);
	close(self->pipe[1]);
	g->here = here;
	ASSERT_OK(variant->mover->push(g, &r, 1));
	diff = compare_must_move(g, r);
	EXPECT_LT(0, diff.pages);
	EXPECT_EQ(diff.pages, diff.moved);
	if (variant->mover->undo)
		variant->mover->undo(g);
	close(self->device);
}

TEST_HARNESS_MAIN
