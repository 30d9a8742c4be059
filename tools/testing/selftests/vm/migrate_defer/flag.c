// SPDX-License-Identifier: GPL-2.0
/*
 * The two advices as such: on what memory they work, how the mark goes through other calls on the
 * mapping, what bad input gets, and that setting a mark repairs what NUMA balancing had begun.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "movers.h"

#define REGION_SIZE	(4 * MIB)
#define FOLIO_4K	4096
#define FOLIO_2M	(2 * MIB)

static size_t marked(const void *start, size_t len)
{
	return vmflag_bytes(start, len, "nm");
}

/* ------------------------------------------------------------------------- every kind of memory */

FIXTURE(kinds)
{
	struct region region;
};

FIXTURE_VARIANT(kinds)
{
	enum mem_kind kind;
	size_t folio;
};

FIXTURE_VARIANT_ADD(kinds, anon)
{
	.kind = MEM_ANON, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(kinds, anon_2m)
{
	.kind = MEM_ANON, .folio = FOLIO_2M,
};

FIXTURE_VARIANT_ADD(kinds, shmem)
{
	.kind = MEM_SHMEM, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(kinds, shared_anon)
{
	.kind = MEM_SHARED_ANON, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(kinds, private_file)
{
	.kind = MEM_FILE_PRIVATE, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(kinds, shared_file)
{
	.kind = MEM_FILE_SHARED, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(kinds, hugetlb)
{
	.kind = MEM_HUGETLB, .folio = FOLIO_2M,
};

FIXTURE_SETUP(kinds)
{
	const char *why;

	settings_restore();
	why = region_missing(variant->kind, variant->folio);
	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(region_map(&self->region, variant->kind, variant->folio, REGION_SIZE), 0);
	ASSERT_EQ(region_populate(&self->region, variant->kind == MEM_HUGETLB ? 0 : -1), 0);
}

FIXTURE_TEARDOWN_PARENT(kinds)
{
	settings_restore();
}

/* Setting and clearing work on every kind of memory, may be repeated, and change no page. */
TEST_F(kinds, set_and_clear)
{
	struct region *r = &self->region;

	ASSERT_EQ(region_snapshot(r), 0);
	EXPECT_EQ(marked(r->addr, r->size), 0);
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(region_mark(r), 0);
		EXPECT_EQ(marked(r->addr, r->size), r->size);
	}
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(region_unmark(r), 0);
		EXPECT_EQ(marked(r->addr, r->size), 0);
	}
	EXPECT_EQ(region_compare(r).pages, region_pages(r));
	EXPECT_EQ(region_compare(r).moved, 0);
	EXPECT_EQ(region_compare(r).absent, 0);
	EXPECT_EQ(region_corrupt(r), 0);
}

/* A mark in the middle splits the VMA in three, taking it back or marking the rest merges them. */
TEST_F(kinds, split_and_merge)
{
	struct region *r = &self->region;
	size_t half = r->size / 2;

	ASSERT_EQ(vma_count(r->addr, r->size), 1);
	ASSERT_EQ(madvise(r->addr + half, half, MADV_NOMIGRATE), 0);
	EXPECT_EQ(vma_count(r->addr, r->size), 2);
	EXPECT_EQ(marked(r->addr, half), 0);
	EXPECT_EQ(marked(r->addr + half, half), half);
	ASSERT_EQ(madvise(r->addr, half, MADV_NOMIGRATE), 0);
	EXPECT_EQ(marked(r->addr, r->size), r->size);
	if (variant->kind != MEM_HUGETLB)
		EXPECT_EQ(vma_count(r->addr, r->size), 1);
	ASSERT_EQ(madvise(r->addr, half, MADV_DOMIGRATE), 0);
	EXPECT_EQ(marked(r->addr, half), 0);
	EXPECT_EQ(marked(r->addr + half, half), half);
	EXPECT_EQ(region_corrupt(r), 0);
}

/* The mark stays when the protection changes, and moves along when the mapping moves. */
TEST_F(kinds, mprotect_and_mremap)
{
	struct region *r = &self->region;
	char *to;

	ASSERT_EQ(region_mark(r), 0);
	ASSERT_EQ(mprotect(r->addr, r->size, PROT_READ), 0);
	EXPECT_EQ(marked(r->addr, r->size), r->size);
	ASSERT_EQ(mprotect(r->addr, r->size, PROT_READ | PROT_WRITE), 0);
	EXPECT_EQ(marked(r->addr, r->size), r->size);

	/* Twice the size, so that there is an aligned place for huge pages. */
	to = mmap(NULL, 2 * r->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(to, MAP_FAILED);
	to += r->size - (uintptr_t)to % r->size;
	ASSERT_EQ(mremap(r->addr, r->size, r->size, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	EXPECT_EQ(marked(r->addr, r->size), 0);
	r->addr = to;
	EXPECT_EQ(marked(r->addr, r->size), r->size);
	EXPECT_EQ(region_corrupt(r), 0);
}

/* A child has no mark: it is the parent whose memory a device uses. */
TEST_F(kinds, fork_clears)
{
	struct region *r = &self->region;
	int status;
	pid_t pid;

	/* The child gets copies: for hugetlb there must be pages for them. */
	if (variant->kind == MEM_HUGETLB)
		ASSERT_EQ(setting_write("/proc/sys/vm/nr_hugepages", "%lld",
					file_number("/proc/sys/vm/nr_hugepages") +
					(long long)(r->size / r->folio)), 0);
	ASSERT_EQ(region_mark(r), 0);
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid)
		_exit(marked(r->addr, r->size) ? 1 : region_corrupt(r) ? 2 : 0);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(marked(r->addr, r->size), r->size);
}

/* A range that ends inside a huge page of hugetlb cannot be marked, and is not. */
TEST_F(kinds, hugetlb_boundary)
{
	struct region *r = &self->region;

	if (variant->kind != MEM_HUGETLB)
		return;
	EXPECT_EQ(madvise(r->addr, r->size - page_size(), MADV_NOMIGRATE), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(madvise(r->addr + page_size(), page_size(), MADV_NOMIGRATE), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(marked(r->addr, r->size), 0);
	EXPECT_EQ(vma_count(r->addr, r->size), 1);
}

/* ----------------------------------------------------------------------- several ranges at once */

/* mremap() of several mappings, which 6.17 has learnt, moves each one's mark along. */
TEST(mremap_of_several)
{
	size_t part = MIB, len = 3 * part;
	char *from = mmap(NULL, 2 * len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			  0);
	char *to = from + len;

	ASSERT_NE(from, MAP_FAILED);
	memset(from, 1, len);
	ASSERT_EQ(madvise(from, part, MADV_NOMIGRATE), 0);
	ASSERT_EQ(madvise(from + 2 * part, part, MADV_NOMIGRATE), 0);
	ASSERT_EQ(vma_count(from, len), 3);
	if (mremap(from, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
		SKIP(return, "mremap() of this kernel moves one mapping at a time");
	EXPECT_EQ(marked(from, len), 0);
	EXPECT_EQ(marked(to, part), part);
	EXPECT_EQ(marked(to + part, part), 0);
	EXPECT_EQ(marked(to + 2 * part, part), part);
	EXPECT_EQ(marked_kb(0), 2 * part / 1024);
	for (size_t at = 0; at < len; at += page_size())
		EXPECT_EQ(to[at], 1);
	EXPECT_EQ(munmap(to, len), 0);
	EXPECT_EQ(marked_kb(0), 0);
}

/* A marked mapping of a file stays marked when its pages are rearranged. */
TEST(remap_file_pages_keeps_the_mark)
{
	size_t page = page_size(), len = 4 * page;
	int fd = memfd_create("remap", MFD_CLOEXEC);
	char *mem;

	ASSERT_EQ(ftruncate(fd, len), 0);
	mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(mem, MAP_FAILED);
	mem[3 * page] = 3;
	ASSERT_EQ(madvise(mem, len, MADV_NOMIGRATE), 0);
	if (remap_file_pages(mem, page, 0, 3, 0))
		SKIP(return, "no remap_file_pages()");
	EXPECT_EQ(mem[0], 3);
	EXPECT_EQ(marked(mem, len), len);
	EXPECT_EQ(marked_kb(0), len / 1024);
	EXPECT_EQ(munmap(mem, len), 0);
	EXPECT_EQ(marked_kb(0), 0);
	close(fd);
}

/*
 * process_madvise() of several ranges marks those before the first that it can't, and says how much
 * that was.
 */
TEST(vector_of_ranges)
{
	size_t part = MIB;
	char *mem = mmap(NULL, 6 * part, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			 0);
	struct iovec ranges[] = {
		{ .iov_base = mem, .iov_len = part },
		{ .iov_base = mem + 2 * part, .iov_len = part },
		{ .iov_base = mem + 5 * part, .iov_len = part },	/* a hole */
		{ .iov_base = mem + 4 * part, .iov_len = part },
	};

	ASSERT_NE(mem, MAP_FAILED);
	memset(mem, 1, 6 * part);
	ASSERT_EQ(munmap(mem + 5 * part, part), 0);
	EXPECT_EQ(process_advise(getpid(), ranges, 2, MADV_NOMIGRATE), 2 * part);
	EXPECT_EQ(marked(mem, 5 * part), 2 * part);
	EXPECT_EQ(marked(mem, part), part);
	EXPECT_EQ(marked(mem + 2 * part, part), part);
	EXPECT_EQ(process_advise(getpid(), ranges, 2, MADV_DOMIGRATE), 2 * part);
	EXPECT_EQ(marked(mem, 5 * part), 0);

	EXPECT_EQ(process_advise(getpid(), ranges, 4, MADV_NOMIGRATE), 2 * part);
	EXPECT_EQ(marked(mem, 5 * part), 2 * part);
	EXPECT_EQ(marked(mem + 4 * part, part), 0);
	EXPECT_EQ(marked_kb(0), 2 * part / 1024);
	EXPECT_EQ(process_advise(getpid(), ranges + 2, 2, MADV_NOMIGRATE), -ENOMEM);
}

/* ------------------------------------------------------------------------------------ a program */

/* A new program has no mark: it has a new address space. */
TEST(exec_clears)
{
	FILE *grep;
	char *p = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char count[32];

	ASSERT_NE(p, MAP_FAILED);
	ASSERT_EQ(madvise(p, MIB, MADV_NOMIGRATE), 0);
	grep = popen("exec grep -c 'VmFlags:.* nm ' /proc/self/smaps", "r");
	ASSERT_NE(grep, NULL);
	ASSERT_NE(fgets(count, sizeof(count), grep), NULL);
	pclose(grep);
	EXPECT_EQ(atoi(count), 0);
}

/* ------------------------------------------------------------------------------------ bad input */

FIXTURE(errors)
{
	char *addr;
	size_t size;
	char before[4096];
};

FIXTURE_SETUP(errors)
{
	size_t page = page_size();

	/* Five pages, each of them a VMA of its own by its protection, and the third is a hole. */
	self->size = 5 * page;
	self->addr = mmap(NULL, self->size + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);
	ASSERT_NE(self->addr, MAP_FAILED);
	self->addr += page;
	for (int i = 0; i < 5; i++)
		ASSERT_EQ(mprotect(self->addr + i * page, page,
				   i % 2 ? PROT_READ : PROT_READ | PROT_WRITE), 0);
	ASSERT_GT(vma_describe(self->addr, self->size, self->before, sizeof(self->before)), 0);
}

FIXTURE_TEARDOWN(errors)
{
	munmap(self->addr - page_size(), self->size + 2 * page_size());
}

static void refused(struct __test_metadata *_metadata, void *addr, size_t len, int error,
		    const void *start, size_t size, const char *before)
{
	char after[4096];

	for (int advice = MADV_NOMIGRATE; advice <= MADV_DOMIGRATE; advice++) {
		errno = 0;
		EXPECT_EQ(madvise(addr, len, advice), -1);
		EXPECT_EQ(errno, error);
		ASSERT_GT(vma_describe(start, size, after, sizeof(after)), 0);
		EXPECT_STREQ(after, before);
	}
}

/* An address that is not aligned, or a length that wraps, is EINVAL and changes nothing. */
TEST_F(errors, range)
{
	refused(_metadata, self->addr + 1, page_size(), EINVAL, self->addr, self->size,
		self->before);
	refused(_metadata, self->addr, SIZE_MAX, EINVAL, self->addr, self->size, self->before);
	refused(_metadata, self->addr, SIZE_MAX & ~(page_size() - 1), EINVAL, self->addr,
		self->size, self->before);
}

/* A length of zero is nothing to do. */
TEST_F(errors, zero_length)
{
	char after[4096];

	EXPECT_EQ(madvise(self->addr, 0, MADV_NOMIGRATE), 0);
	EXPECT_EQ(madvise(self->addr, 0, MADV_DOMIGRATE), 0);
	ASSERT_GT(vma_describe(self->addr, self->size, after, sizeof(after)), 0);
	EXPECT_STREQ(after, self->before);
}

/* A length is rounded up to whole pages. */
TEST_F(errors, odd_length)
{
	EXPECT_EQ(madvise(self->addr, page_size() + 1, MADV_NOMIGRATE), 0);
	EXPECT_EQ(marked(self->addr, self->size), 2 * page_size());
}

/* A hole is ENOMEM, and what is mapped is marked, as with other advice. */
TEST_F(errors, hole)
{
	size_t page = page_size();

	ASSERT_EQ(munmap(self->addr + 2 * page, page), 0);
	EXPECT_EQ(madvise(self->addr, self->size, MADV_NOMIGRATE), -1);
	EXPECT_EQ(errno, ENOMEM);
	EXPECT_EQ(marked(self->addr, self->size), 4 * page);
	EXPECT_EQ(madvise(self->addr, self->size, MADV_DOMIGRATE), -1);
	EXPECT_EQ(errno, ENOMEM);
	EXPECT_EQ(marked(self->addr, self->size), 0);
	/* Nothing mapped at all */
	EXPECT_EQ(madvise(self->addr + 2 * page, page, MADV_NOMIGRATE), -1);
	EXPECT_EQ(errno, ENOMEM);
}

/*
 * A mapping without migratable pages (here: of the kernel's time page) is EINVAL, and nothing of
 * the range is marked, also of what comes before it.
 */
TEST_F(errors, special_mapping)
{
	char before[4096], *special, *range;
	size_t page = page_size(), len;

	if (!vma_find("[vvar]", &special, &len))
		SKIP(return, "no [vvar] mapping in this process");
	ASSERT_GT(vmflag_bytes(special, len, "pf") + vmflag_bytes(special, len, "io") +
		  vmflag_bytes(special, len, "mm"), 0);

	/* Move it between two ordinary pages. */
	range = mmap(NULL, len + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		     -1, 0);
	ASSERT_NE(range, MAP_FAILED);
	ASSERT_EQ(mremap(special, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, range + page),
		  range + page);
	ASSERT_GT(vma_describe(range, len + 2 * page, before, sizeof(before)), 0);
	refused(_metadata, range + page, len, EINVAL, range, len + 2 * page, before);
	refused(_metadata, range, len + 2 * page, EINVAL, range, len + 2 * page, before);
}

/* The advices are known to io_uring too, which takes any. */
TEST_F(errors, io_uring)
{
	int ret = uring_madvise(self->addr, self->size, MADV_NOMIGRATE);

	if (ret == -EOPNOTSUPP)
		SKIP(return, "no io_uring");
	EXPECT_EQ(ret, 0);
	EXPECT_EQ(marked(self->addr, self->size), self->size);
}

/* ------------------------------------------------------------------------------- pending hints */

FIXTURE(hints)
{
	struct ground ground;
};

FIXTURE_VARIANT(hints)
{
	enum mem_kind kind;
	size_t folio;
};

FIXTURE_VARIANT_ADD(hints, anon_4k)
{
	.kind = MEM_ANON, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(hints, anon_2m)
{
	.kind = MEM_ANON, .folio = FOLIO_2M,
};

FIXTURE_VARIANT_ADD(hints, shmem_4k)
{
	.kind = MEM_SHMEM, .folio = FOLIO_4K,
};

FIXTURE_VARIANT_ADD(hints, shmem_2m)
{
	.kind = MEM_SHMEM, .folio = FOLIO_2M,
};

FIXTURE_SETUP(hints)
{
	const char *why;

	settings_restore();
	why = ground_init(&self->ground) ?: numa_balancing.missing(&self->ground) ?:
	      region_missing(variant->kind, variant->folio);
	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN_PARENT(hints)
{
	settings_restore();
}

static int spin_until_scanned(struct region *r, long long wanted)
{
	long long before = vmstat("numa_pte_updates");
	double end = now() + 20;
	int ret = numa_scan_fast();

	/* Scans are made on behalf of a running task that uses the memory. */
	while (!ret && now() < end && vmstat("numa_pte_updates") < before + wanted)
		for (volatile int i = 0; i < 100000; i++)
			;
	return ret ?: numa_scan_stop();
}

static void touch_writing(struct region *r)
{
	for (size_t offset = 0; offset < r->size; offset += page_size())
		*(volatile char *)(r->addr + offset) = *(volatile char *)(r->addr + offset);
}

/* How many page faults a region takes that NUMA balancing has scanned, unmarked and marked. */
static void count_faults(struct __test_metadata *_metadata, struct ground *ground,
			 enum mem_kind kind, size_t folio, bool touch_first, int faults_of[2])
{
	for (int mark = 0; mark < 2; mark++) {
		struct region r, *regions[] = { &r };
		struct faults faults;

		ASSERT_EQ(region_map(&r, kind, folio, REGION_SIZE), 0);
		/* On the other node: pages that are local already get no hint. */
		ASSERT_EQ(numa_balancing.place(ground, regions, 1), 0);
		touch_writing(&r);
		/* Two VMAs: the advice is for both. */
		ASSERT_EQ(madvise(r.addr + r.size / 2, r.size / 2, MADV_DONTDUMP), 0);
		ASSERT_EQ(spin_until_scanned(&r, r.size / folio * 3 / 4), 0);
		for (size_t offset = 0; touch_first && offset < r.size; offset += pmd_size())
			*(volatile char *)(r.addr + offset) = *(volatile char *)(r.addr + offset);
		if (mark)
			ASSERT_EQ(region_mark(&r), 0);
		ASSERT_EQ(faults_open(&faults), 0);
		touch_writing(&r);
		faults_of[mark] = faults_count(&faults, r.addr, r.size);
		faults_close(&faults);
		EXPECT_EQ(region_corrupt(&r), 0);
		region_unmap(&r);
	}
	TH_LOG("%d faults on hints unmarked, %d marked", faults_of[0], faults_of[1]);
	if (!faults_of[0])
		TH_LOG("INCONCLUSIVE: the unmarked range had no hints either");
}

/*
 * After the advice no NUMA hint is left in the range: reading and writing each page takes no page
 * fault.  The same range, scanned the same way but not marked, takes them.  A good entry at the
 * start of each page table does not hide the others.
 */
TEST_F_TIMEOUT(hints, repaired, 900)
{
	bool base_pages = variant->folio < pmd_size();

	for (int touch_first = 0; touch_first <= base_pages; touch_first++) {
		int faults_of[2];

		count_faults(_metadata, &self->ground, variant->kind, variant->folio, touch_first,
			     faults_of);
		EXPECT_GT(faults_of[0], 0);
		EXPECT_EQ(faults_of[1], 0);
	}
}

TEST_HARNESS_MAIN
