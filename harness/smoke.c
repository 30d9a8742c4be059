// SPDX-License-Identifier: GPL-2.0
/*
 * What harness/bisect runs in the guest at each step of the series: memory of
 * several kinds goes through what processes and movers do with it, and keeps its
 * contents.
 *
 *	smoke advice	with MADV_NOMIGRATE set, which must show in smaps
 *	smoke none	where the kernel must not know the advice
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif
#define MADV_NOMIGRATE	26
#define MADV_DOMIGRATE	27
#define MPOL_MF_MOVE	2
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

#define SIZE		(4UL << 20)
#define FILE_NAME	"/mnt/smoke"

static const struct kind {
	const char *name;
	int flags;
	bool file;
} kinds[] = {
	{ "private anonymous",	MAP_PRIVATE | MAP_ANONYMOUS, false },
	{ "shared anonymous",	MAP_SHARED | MAP_ANONYMOUS, false },
	{ "private file",	MAP_PRIVATE, true },
	{ "shared file",	MAP_SHARED, true },
};

static long page;

static void fill(char *p, unsigned char seed)
{
	for (size_t i = 0; i < SIZE / page; i++)
		memset(p + i * page, (unsigned char)(i * 7 + seed), page);
}

static void verify(const struct kind *kind, const char *p, unsigned char seed,
		   const char *when)
{
	for (size_t i = 0; i < SIZE; i++)
		if ((unsigned char)p[i] != (unsigned char)(i / page * 7 + seed))
			errx(1, "%s: byte %zu is wrong after %s", kind->name, i, when);
}

/* Whether the VMA at @p has "nm" among its VmFlags. */
static bool marked(const char *p)
{
	unsigned long start, end;
	bool here = false, nm = false;
	char line[512];
	FILE *f = fopen("/proc/self/smaps", "r");

	if (!f)
		err(1, "smaps");
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = (unsigned long)p >= start && (unsigned long)p < end;
		else if (here && !strncmp(line, "VmFlags:", 8))
			nm = strstr(line, " nm");
	}
	fclose(f);
	return nm;
}

static void mark(const struct kind *kind, char *p, bool advice)
{
	int ret = madvise(p, SIZE, MADV_NOMIGRATE);

	if (advice && ret)
		err(1, "%s: MADV_NOMIGRATE", kind->name);
	if (!advice && (!ret || errno != EINVAL))
		errx(1, "%s: MADV_NOMIGRATE is not refused", kind->name);
	if (marked(p) != advice)
		errx(1, "%s: smaps shows %s", kind->name, advice ? "no mark" : "a mark");
}

static void fork_child(const struct kind *kind, char *p)
{
	bool shared = kind->flags & MAP_SHARED;
	int status;
	pid_t pid = fork();

	if (pid < 0)
		err(1, "fork");
	if (!pid) {
		verify(kind, p, 1, "fork(), in the child");
		if (marked(p))
			errx(1, "%s: the child has inherited the mark", kind->name);
		if (!shared)
			fill(p, 99);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		errx(1, "%s: the child failed", kind->name);
	verify(kind, p, 1, "fork()");
}

static void to_node(const struct kind *kind, char *p, int node)
{
	static void *pages[SIZE / 4096];
	static int nodes[SIZE / 4096], status[SIZE / 4096];
	unsigned long n = SIZE / page;

	for (unsigned long i = 0; i < n; i++) {
		pages[i] = p + i * page;
		nodes[i] = node;
	}
	if (syscall(SYS_move_pages, 0, n, pages, nodes, status, MPOL_MF_MOVE) < 0)
		err(1, "%s: move_pages()", kind->name);
	for (unsigned long i = 0; i < n; i++)
		if (status[i] != node)
			errx(1, "%s: page %lu is not on node %d: %d", kind->name, i,
			     node, status[i]);
	verify(kind, p, 1, "move_pages()");
}

static void compact(void)
{
	int fd = open("/proc/sys/vm/compact_memory", O_WRONLY);

	if (fd < 0 || write(fd, "1", 1) != 1)
		err(1, "compact_memory");
	close(fd);
}

static void exercise(const struct kind *kind, bool advice)
{
	int fd = -1;
	char *p, *q;

	if (kind->file) {
		fd = open(FILE_NAME, O_RDWR | O_CREAT | O_TRUNC, 0600);
		if (fd < 0 || ftruncate(fd, SIZE))
			err(1, FILE_NAME);
	}
	p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, kind->flags, fd, 0);
	q = mmap(NULL, 2 * SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED || q == MAP_FAILED)
		err(1, "%s: mmap()", kind->name);
	fill(p, 1);
	mark(kind, p, advice);
	fork_child(kind, p);
	to_node(kind, p, 0);
	to_node(kind, p, 1);
	compact();
	verify(kind, p, 1, "compaction");

	if (mprotect(p + page, page, PROT_READ) || mprotect(p + page, page, PROT_READ | PROT_WRITE))
		err(1, "%s: mprotect()", kind->name);
	/* To a place where it may become huge. */
	q = (char *)(((unsigned long)q + SIZE - 1) & ~(SIZE - 1));
	p = mremap(p, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, q);
	if (p != q)
		err(1, "%s: mremap()", kind->name);
	if (marked(p) != advice)
		errx(1, "%s: mremap() has changed the mark", kind->name);
	verify(kind, p, 1, "mremap()");

	/* May fail: not for each kind of memory. */
	madvise(p, SIZE, MADV_COLLAPSE);
	verify(kind, p, 1, "MADV_COLLAPSE");
	if (madvise(p, SIZE, MADV_PAGEOUT))
		err(1, "%s: MADV_PAGEOUT", kind->name);
	verify(kind, p, 1, "MADV_PAGEOUT");
	fill(p, 1);
	fork_child(kind, p);

	if (advice && (madvise(p, SIZE, MADV_DOMIGRATE) || marked(p)))
		errx(1, "%s: MADV_DOMIGRATE", kind->name);
	if (munmap(p, SIZE))
		err(1, "%s: munmap()", kind->name);
	if (fd >= 0)
		close(fd);
	printf("%s: fine\n", kind->name);
}

int main(int argc, char **argv)
{
	if (argc != 2 || (strcmp(argv[1], "advice") && strcmp(argv[1], "none")))
		errx(1, "usage: smoke advice|none");
	page = sysconf(_SC_PAGESIZE);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		exercise(&kinds[i], !strcmp(argv[1], "advice"));
	return 0;
}
