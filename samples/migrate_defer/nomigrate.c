// SPDX-License-Identifier: GPL-2.0
/*
 * How an application has memory ready for a device that shares its address space
 * (IOMMU SVA), so that the kernel moves no page under it: mmap(), mlock(),
 * MADV_POPULATE_WRITE, MADV_NOMIGRATE, MADV_DONTFORK.
 *
 * Each of these may be refused, or unknown to the kernel.  The memory can be used
 * all the same: the device works, but has to wait for page faults now and then.
 * So this program says what it did not get, and goes on.
 *
 * See Documentation/mm/migrate_defer.rst.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE	23
#endif
#ifndef MADV_NOMIGRATE
#define MADV_NOMIGRATE		26
#define MADV_DOMIGRATE		27
#endif

#define KIB			1024UL
#define MIB			(1024 * KIB)

/* A range that begins and ends at multiples of this cuts no huge page in two. */
#define ALIGNMENT		(2 * MIB)

/* How often to repeat what may fail for a passing lack of memory. */
#define TRIES			10

enum {
	EXIT_ALL = 0,		/* all of the recipe */
	EXIT_FAILED = 1,	/* something failed that does not fail by itself */
	EXIT_USAGE = 2,
	EXIT_UNKNOWN = 3,	/* the kernel does not have MADV_NOMIGRATE */
	EXIT_REFUSED = 4,	/* RLIMIT_MEMLOCK or a right was in the way */
};

static const char usage[] =
"usage: nomigrate [OPTION]...\n"
"Map memory as an application does that shares it with a device, mark it by\n"
"madvise(MADV_NOMIGRATE), and show what came of it.\n"
"  -s, --size SIZE     how much: a number, with K, M or G (default 4M)\n"
"  -w, --wait SECONDS  keep it so long (0: until SIGINT or SIGTERM), then see\n"
"                      whether its contents are what was written\n"
"  -f, --fork          children are to have it, too: no MADV_DONTFORK\n"
"  -h, --help          this text\n"
"Exit status: 0 all was done; 1 a call failed that should not have; 2 wrong\n"
"options; 3 the kernel does not have MADV_NOMIGRATE; 4 RLIMIT_MEMLOCK or a\n"
"missing right was in the way.  With 3 and 4 the memory is used as it is.\n";

/* Whose system call, or limit, is to blame if memory may not be locked or marked */
static void say_refused(const char *what, int error)
{
	struct rlimit limit;

	printf("%s: refused: %s\n", what, strerror(error));
	if (getrlimit(RLIMIT_MEMLOCK, &limit))
		err(EXIT_FAILED, "getrlimit");
	if (limit.rlim_cur == RLIM_INFINITY)
		return;
	printf("  RLIMIT_MEMLOCK is %lu KiB: raise it (ulimit -l, LimitMEMLOCK=), or give\n"
	       "  the program CAP_IPC_LOCK\n", (unsigned long)(limit.rlim_cur / KIB));
}

static bool may_be_refused(int error)
{
	return error == ENOMEM || error == EPERM || error == EAGAIN;
}

/* Mapped, and aligned so that its ends lie in no huge page. */
static char *map(size_t size)
{
	char *addr, *aligned;
	size_t before;

	addr = mmap(NULL, size + ALIGNMENT, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (addr == MAP_FAILED)
		err(EXIT_FAILED, "mmap");

	before = -(uintptr_t)addr % ALIGNMENT;
	aligned = addr + before;
	if (before && munmap(addr, before))
		err(EXIT_FAILED, "munmap");
	if (munmap(aligned + size, ALIGNMENT - before))
		err(EXIT_FAILED, "munmap");

	/* Huge pages now, because nobody makes them later.  Not all kernels do. */
	if (madvise(aligned, size, MADV_HUGEPAGE) && errno != EINVAL)
		err(EXIT_FAILED, "MADV_HUGEPAGE");
	return aligned;
}

/* Against reclaim. */
static int lock(char *addr, size_t size)
{
	if (!mlock(addr, size)) {
		printf("mlock: done\n");
		return EXIT_ALL;
	}
	if (!may_be_refused(errno))
		err(EXIT_FAILED, "mlock");
	say_refused("mlock", errno);
	return EXIT_REFUSED;
}

/*
 * All of it, and writable.  mlock() may have done so, but not if it was refused, and
 * a later fork() could have it shared again.
 */
static void populate(char *addr, size_t size)
{
	if (!madvise(addr, size, MADV_POPULATE_WRITE)) {
		printf("MADV_POPULATE_WRITE: done\n");
		return;
	}
	if (errno != EINVAL)
		err(EXIT_FAILED, "MADV_POPULATE_WRITE");
	/* Before Linux 5.14: by hand. */
	memset(addr, 0, size);
	printf("MADV_POPULATE_WRITE: not in this kernel, wrote to the pages instead\n");
}

/* Against all who move pages merely to optimise. */
static int mark(char *addr, size_t size)
{
	struct timespec moment = { .tv_nsec = 10 * 1000 * 1000 };
	int tries;

	/* Without a length it only says whether the kernel knows the advice. */
	if (madvise(NULL, 0, MADV_NOMIGRATE)) {
		if (errno != EINVAL)
			err(EXIT_FAILED, "MADV_NOMIGRATE");
		printf("MADV_NOMIGRATE: not in this kernel: pages may be moved under a device\n");
		return EXIT_UNKNOWN;
	}

	for (tries = 1; madvise(addr, size, MADV_NOMIGRATE); tries++) {
		int error = errno;

		if (error == EAGAIN && tries < TRIES) {
			nanosleep(&moment, NULL);
			continue;
		}
		if (!may_be_refused(error))
			err(EXIT_FAILED, "MADV_NOMIGRATE");
		/* EAGAIN may leave a part marked: all or nothing is easier to explain. */
		if (error == EAGAIN && madvise(addr, size, MADV_DOMIGRATE))
			err(EXIT_FAILED, "MADV_DOMIGRATE");
		say_refused("MADV_NOMIGRATE", error);
		return EXIT_REFUSED;
	}
	printf("MADV_NOMIGRATE: done\n");
	return EXIT_ALL;
}

/* Otherwise fork() copies all of it for the child, as it does what is pinned. */
static void keep_from_children(char *addr, size_t size)
{
	if (madvise(addr, size, MADV_DONTFORK))
		err(EXIT_FAILED, "MADV_DONTFORK");
	printf("MADV_DONTFORK: done\n");
}

/* What an administrator sees. */
static void show(const char *addr)
{
	char *line = NULL;
	size_t room = 0;
	bool ours = false;
	FILE *f;

	f = fopen("/proc/self/status", "r");
	if (!f)
		err(EXIT_FAILED, "/proc/self/status");
	while (getline(&line, &room, f) > 0) {
		if (!strncmp(line, "VmLck:", 6) || !strncmp(line, "VmNoMig:", 8))
			fputs(line, stdout);
	}
	fclose(f);

	f = fopen("/proc/self/smaps", "r");
	if (!f)
		err(EXIT_FAILED, "/proc/self/smaps");
	while (getline(&line, &room, f) > 0) {
		unsigned long start, end;

		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			ours = start <= (unsigned long)addr && (unsigned long)addr < end;
		else if (ours && !strncmp(line, "VmFlags:", 8))
			fputs(line, stdout);
	}
	fclose(f);
	free(line);
}

/* Where an application would have its device work. */
static void use(char *addr, size_t size)
{
	size_t i;

	for (i = 0; i < size; i += sizeof(i))
		memcpy(addr + i, &i, sizeof(i));
}

static bool intact(const char *addr, size_t size)
{
	size_t i;

	for (i = 0; i < size; i += sizeof(i)) {
		if (memcmp(addr + i, &i, sizeof(i)))
			return false;
	}
	return true;
}

static void wait_for(long seconds, const sigset_t *signals)
{
	struct timespec time = { .tv_sec = seconds };
	int ret;

	printf("process %d waits for %s\n", getpid(), seconds ? "a while" : "SIGINT or SIGTERM");
	do {
		ret = seconds ? sigtimedwait(signals, NULL, &time) : sigwaitinfo(signals, NULL);
	} while (ret < 0 && errno == EINTR);
	if (ret < 0 && errno != EAGAIN)
		err(EXIT_FAILED, "sigwaitinfo");
}

/* A number above zero with K, M or G, or 0. */
static size_t parse_size(const char *text)
{
	static const char suffixes[] = "kKmMgG";
	unsigned int shift = 0;
	unsigned long long n;
	const char *suffix;
	char *end;

	if (*text < '0' || *text > '9')
		return 0;
	errno = 0;
	n = strtoull(text, &end, 10);
	suffix = *end ? strchr(suffixes, *end) : NULL;
	if (suffix) {
		shift = 10 * ((suffix - suffixes) / 2 + 1);
		end++;
	}
	if (errno || *end || n > (SIZE_MAX / 2) >> shift)
		return 0;
	return n << shift;
}

static long parse_seconds(const char *text)
{
	char *end;
	long n;

	if (*text < '0' || *text > '9')
		return -1;
	errno = 0;
	n = strtol(text, &end, 10);
	return errno || *end ? -1 : n;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "size", required_argument, NULL, 's' },
		{ "wait", required_argument, NULL, 'w' },
		{ "fork", no_argument, NULL, 'f' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	size_t size = 4 * MIB, page = sysconf(_SC_PAGESIZE);
	bool fork_too = false;
	long seconds = -1;
	sigset_t signals;
	int status, ret;
	char *addr;

	while ((ret = getopt_long(argc, argv, "s:w:fh", options, NULL)) != -1) {
		switch (ret) {
		case 's':
			size = parse_size(optarg);
			if (!size)
				errx(EXIT_USAGE, "not a size: %s (want e.g. 512K or 4M)", optarg);
			break;
		case 'w':
			seconds = parse_seconds(optarg);
			if (seconds < 0)
				errx(EXIT_USAGE, "not a number of seconds: %s", optarg);
			break;
		case 'f':
			fork_too = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return EXIT_ALL;
		default:	/* getopt_long() has said what is wrong. */
			return EXIT_USAGE;
		}
	}
	if (optind < argc)
		errx(EXIT_USAGE, "unexpected argument: %s (try --help)", argv[optind]);
	size = (size + page - 1) / page * page;

	/* Whoever reads this through a pipe is to see it before the wait. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	/* From here on, so that none is lost before the wait. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	if (seconds >= 0 && sigprocmask(SIG_BLOCK, &signals, NULL))
		err(EXIT_FAILED, "sigprocmask");

	addr = map(size);
	printf("range: %p-%p\n", addr, addr + size);

	status = lock(addr, size);
	populate(addr, size);
	ret = mark(addr, size);
	/* What the kernel lacks, no right helps against. */
	if (ret == EXIT_UNKNOWN || !status)
		status = ret;
	if (!fork_too)
		keep_from_children(addr, size);
	show(addr);

	use(addr, size);
	if (seconds >= 0) {
		wait_for(seconds, &signals);
		if (!intact(addr, size))
			errx(EXIT_FAILED, "the contents have changed");
		printf("contents: intact\n");
	}

	/* The mark would go with the mapping.  To have pages movable earlier: */
	if (ret == EXIT_ALL && madvise(addr, size, MADV_DOMIGRATE))
		err(EXIT_FAILED, "MADV_DOMIGRATE");
	if (munmap(addr, size))
		err(EXIT_FAILED, "munmap");
	return status;
}
