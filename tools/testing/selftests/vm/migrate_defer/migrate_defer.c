// SPDX-License-Identifier: GPL-2.0
/* Shared by the tests of MADV_NOMIGRATE: see migrate_defer.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/io_uring.h>
#include <linux/magic.h>
#include <linux/mempolicy.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "migrate_defer.h"

#define THP_DIR		"/sys/kernel/mm/transparent_hugepage"
#define NODE_DIR	"/sys/devices/system/node/node%d"
#define MEMORY_DIR	"/sys/devices/system/memory"

#ifndef MFD_HUGETLB
#define MFD_HUGETLB	4U
#endif

/* ------------------------------------------------------------------ constants of the machine */

/**
 * page_size() - size of a base page in bytes
 *
 * Return: the size.
 */
size_t page_size(void)
{
	static size_t size;

	if (!size)
		size = sysconf(_SC_PAGESIZE);
	return size;
}

/**
 * pmd_size() - size of a huge page of the page tables
 *
 * Return: the size in bytes, 2 MiB if the kernel does not tell.
 */
size_t pmd_size(void)
{
	long long size = file_number(THP_DIR "/hpage_pmd_size");

	return size > 0 ? (size_t)size : 2 * MIB;
}

/**
 * cpu_count() - how many processors are online
 *
 * Return: the number.
 */
int cpu_count(void)
{
	return sysconf(_SC_NPROCESSORS_ONLN);
}

/**
 * node_count() - how many NUMA nodes there are
 *
 * Return: the number, at least 1.
 */
int node_count(void)
{
	char path[PATH_MAX];
	int node = 0;

	do {
		node++;
		snprintf(path, sizeof(path), NODE_DIR, node);
	} while (!access(path, F_OK));
	return node;
}

/**
 * node_of_cpu() - the NUMA node that a processor belongs to
 * @cpu: the processor
 *
 * Return: the node, 0 if there are none.
 */
int node_of_cpu(int cpu)
{
	char path[PATH_MAX];

	for (int node = 0; node < node_count(); node++) {
		snprintf(path, sizeof(path), NODE_DIR "/cpu%d", node, cpu);
		if (!access(path, F_OK))
			return node;
	}
	return 0;
}

/**
 * node_meminfo() - one line of a node's meminfo
 * @node: the node
 * @key: its name, with the colon
 *
 * Return: bytes, 0 if there is no such line.
 */
size_t node_meminfo(int node, const char *key)
{
	char path[PATH_MAX], buf[8192], *line;

	snprintf(path, sizeof(path), NODE_DIR "/meminfo", node);
	if (file_read(path, buf, sizeof(buf)) < 0)
		return 0;
	line = strstr(buf, key);
	return line ? strtoull(line + strlen(key), NULL, 10) << 10 : 0;
}

/**
 * node_pfn_range() - the page frames of a node's memory blocks
 * @node: the node
 * @start: first page frame
 * @end: one after the last
 *
 * Return: whether the kernel tells it.
 */
bool node_pfn_range(int node, uint64_t *start, uint64_t *end)
{
	char path[PATH_MAX], buf[64];
	uint64_t block;

	if (file_read(MEMORY_DIR "/block_size_bytes", buf, sizeof(buf)) < 0)
		return false;
	block = strtoull(buf, NULL, 16) / page_size();
	*start = UINT64_MAX;
	*end = 0;
	for (int i = 0; i < 4096; i++) {
		snprintf(path, sizeof(path), NODE_DIR "/memory%d", node, i);
		if (access(path, F_OK))
			continue;
		if (i * block < *start)
			*start = i * block;
		*end = (i + 1) * block;
	}
	return *start < *end;
}

/**
 * kernel_has_advice() - whether the running kernel was built with CONFIG_MIGRATE_DEFER
 *
 * Told by the counters, not by trying the advice, so that it can't hide that one is missing.
 *
 * Return: whether.
 */
bool kernel_has_advice(void)
{
	return vmstat("nomigrate_forced") >= 0;
}

/* ---------------------------------------------------------------------------------- text files */

/**
 * file_read() - read a small text file
 * @path: the file
 * @buf: where to put it, with a terminating zero
 * @len: size of @buf
 *
 * Return: the length without a final newline, or a negative errno.
 */
int file_read(const char *path, char *buf, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t got = 0;
	ssize_t n = 0;

	if (fd < 0)
		return -errno;
	while (got < len - 1 && (n = read(fd, buf + got, len - 1 - got)) > 0)
		got += n;
	close(fd);
	if (n < 0)
		return -errno;
	if (got && buf[got - 1] == '\n')
		got--;
	buf[got] = 0;
	return got;
}

static int file_put(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, value, strlen(value)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

/**
 * file_write() - write a line into an existing file, in one write(2)
 * @path: the file
 * @fmt: what to write
 *
 * Return: 0 or a negative errno.
 */
int file_write(const char *path, const char *fmt, ...)
{
	char value[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(value, sizeof(value), fmt, args);
	va_end(args);
	return file_put(path, value);
}

/**
 * file_number() - read a file that holds one decimal number
 * @path: the file
 *
 * Return: the number, or a negative errno.
 */
long long file_number(const char *path)
{
	char buf[64];
	int ret = file_read(path, buf, sizeof(buf));

	return ret < 0 ? ret : strtoll(buf, NULL, 10);
}

/**
 * cgroup_enter() - have a memory cgroup, which goes with settings_restore(), and enter it
 * @path: its directory
 *
 * Return: why there can't be one, or NULL.
 */
const char *cgroup_enter(const char *path)
{
	char file[PATH_MAX];

	file_write(CGROUP "/cgroup.subtree_control", "+memory");
	if (mkdir(path, 0755) && errno != EEXIST)
		return "no cgroup v2 on " CGROUP;
	snprintf(file, sizeof(file), "%s/memory.max", path);
	if (access(file, W_OK))
		return "no memory controller in cgroup v2";
	setting_on_restore(path, NULL);
	snprintf(file, sizeof(file), "%s/cgroup.procs", path);
	return file_write(file, "0") ? "the cgroup can't be entered" : NULL;
}

/**
 * file_line() - read a number in a line of a file such as memory.stat
 * @path: the file
 * @key: how the line begins
 * @unit: what one is
 *
 * Return: the number times @unit; 0 if there is no such line.
 */
long long file_line(const char *path, const char *key, long long unit)
{
	char buf[16384], *line;

	if (file_read(path, buf, sizeof(buf)) < 0)
		return 0;
	for (line = buf; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncmp(line, key, strlen(key)))
			return strtoll(line + strlen(key), NULL, 10) * unit;
	}
	return 0;
}

/**
 * vmstat() - read one counter of /proc/vmstat
 * @name: its name
 *
 * Return: its value, or -1 if there is no such counter.
 */
long long vmstat(const char *name)
{
	static char buf[32768];
	size_t len = strlen(name);
	char *line;

	if (file_read("/proc/vmstat", buf, sizeof(buf)) < 0)
		return -1;
	for (line = buf; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncmp(line, name, len) && line[len] == ' ')
			return strtoll(line + len, NULL, 10);
	}
	return -1;
}

static bool vmstat_refresh_is_silent(bool say)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	bool silent = fd >= 0 && lseek(fd, 0, SEEK_END) >= 0 &&
		      !file_write("/proc/sys/vm/stat_refresh", "1");
	char record[1024];
	ssize_t len;

	while (fd >= 0 && (len = read(fd, record, sizeof(record) - 1)) > 0) {
		record[len] = 0;
		if (!strstr(record, "vmstat_refresh: "))
			continue;
		if (say)
			printf("# %s", strchr(record, ';') + 1);
		silent = false;
	}
	close(fd);
	return silent;
}

/**
 * vmstat_in_order() - see that no counter of pages has become negative
 *
 * They are shown as 0 then, but writing to stat_refresh has the kernel complain in its log.  It
 * may do so once because of a task that goes from one processor to another.
 *
 * Return: true if all are in order; otherwise the complaints have been printed.
 */
bool vmstat_in_order(void)
{
	return vmstat_refresh_is_silent(false) || vmstat_refresh_is_silent(false) ||
	       vmstat_refresh_is_silent(true);
}

/* ------------------------------------------------------------------------------------ settings */

#define MAX_SETTINGS	64

struct setting {
	char path[160];
	char value[96];
	bool is_dir;
};

/* In shared memory: what a test changed is put back even if the test was killed. */
static struct {
	int nr;
	struct setting saved[MAX_SETTINGS];
} *settings;
static pid_t settings_owner;

static void settings_atexit(void)
{
	if (getpid() == settings_owner)
		settings_restore();
}

static __attribute__((constructor)) void settings_init(void)
{
	settings = mmap(NULL, sizeof(*settings), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (settings == MAP_FAILED) {
		perror("settings");
		exit(1);
	}
	settings_owner = getpid();
	atexit(settings_atexit);
}

/**
 * setting_on_restore() - have something written by settings_restore()
 * @path: the file
 * @value: what to write, or NULL to remove the directory @path
 *
 * Later ones are written earlier.
 */
void setting_on_restore(const char *path, const char *value)
{
	struct setting *s = &settings->saved[settings->nr];

	if (settings->nr == MAX_SETTINGS) {
		fprintf(stderr, "# too many settings, %s will not be put back\n", path);
		return;
	}
	snprintf(s->path, sizeof(s->path), "%s", path);
	snprintf(s->value, sizeof(s->value), "%s", value ?: "");
	s->is_dir = !value;
	settings->nr++;
}

/**
 * setting_write() - change a sysctl or sysfs file until settings_restore()
 * @path: the file
 * @fmt: its new contents
 *
 * Return: 0 or a negative errno.
 */
int setting_write(const char *path, const char *fmt, ...)
{
	char old[512], value[512], *start, *end;
	bool known = false;
	va_list args;
	int ret;

	va_start(args, fmt);
	vsnprintf(value, sizeof(value), fmt, args);
	va_end(args);

	for (int i = 0; i < settings->nr; i++)
		known |= !strcmp(settings->saved[i].path, path);
	if (!known) {
		ret = file_read(path, old, sizeof(old));
		if (ret < 0)
			return ret;
		/* "always [madvise] never": the one in brackets is in force */
		start = strchr(old, '[');
		end = start ? strchr(start, ']') : NULL;
		if (end) {
			*end = 0;
			setting_on_restore(path, start + 1);
		} else {
			setting_on_restore(path, old);
		}
	}
	return file_put(path, value);
}

/**
 * settings_restore() - put all changed settings back
 */
void settings_restore(void)
{
	while (settings->nr) {
		const struct setting *s = &settings->saved[--settings->nr];
		int ret;

		if (s->is_dir)
			ret = rmdir(s->path) ? -errno : 0;
		else
			ret = file_put(s->path, s->value);
		if (ret)
			fprintf(stderr, "# %s could not be put back (%s): %s\n",
				s->path, s->value, strerror(-ret));
	}
}

/* ------------------------------------------------------------------------------ kernel modules */

/**
 * module_path() - where a module is
 * @env: environment variable that may say it
 * @beside: otherwise: its path, seen from the directory of the program, as "make install" puts it
 *
 * Return: the path, valid until the next call.
 */
const char *module_path(const char *env, const char *beside)
{
	static char path[PATH_MAX];
	ssize_t len;

	if (getenv(env))
		return getenv(env);
	len = readlink("/proc/self/exe", path, sizeof(path) - strlen(beside) - 2);
	if (len < 0)
		return "";
	path[len] = 0;
	sprintf(strrchr(path, '/'), "/%s", beside);
	return path;
}

/**
 * module_load() - load a module
 * @env: see module_path()
 * @beside: see module_path()
 * @args: its parameters
 *
 * Return: 0, -EEXIST if it is loaded, or another negative errno.
 */
int module_load(const char *env, const char *beside, const char *args)
{
	int fd = open(module_path(env, beside), O_RDONLY | O_CLOEXEC);
	int ret;

	if (fd < 0)
		return -errno;
	ret = syscall(SYS_finit_module, fd, args, 0) ? -errno : 0;
	close(fd);
	return ret;
}

/**
 * intercept_start() - have calls of a kernel function come late, or fail
 * @what: which, and how
 *
 * Until intercept_stop().
 *
 * Return: 0, -ENOENT where the kernel has no such function, -ENOPKG where there is no module, or
 * another negative errno.
 */
int intercept_start(const struct intercept *what)
{
	char args[200];

	if (access(module_path("INTERCEPT", "intercept.ko"), R_OK))
		return -ENOPKG;
	snprintf(args, sizeof(args), "symbol=%s pid=%d skip=%d count=%d value=%d ms=%u",
		 what->symbol, what->pid, what->skip, what->count, what->value, what->ms);
	return module_load("INTERCEPT", "intercept.ko", args);
}

/**
 * intercept_hits() - how many calls were intercepted
 *
 * Return: how many, or a negative errno.
 */
long long intercept_hits(void)
{
	return file_number("/sys/module/intercept/parameters/hits");
}

/** intercept_stop() - undo intercept_start() */
void intercept_stop(void)
{
	syscall(SYS_delete_module, "intercept", O_NONBLOCK);
}

/* ---------------------------------------------------------------------------------------- time */

/**
 * now() - the time
 *
 * Return: seconds on a clock that is never set.
 */
double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/**
 * poll_until() - wait for a condition
 * @condition: returns true when it is met
 * @arg: its argument
 * @seconds: how long to wait at most
 *
 * Return: whether the condition was met in time.
 */
bool poll_until(bool (*condition)(void *arg), void *arg, double seconds)
{
	double deadline = now() + seconds;

	for (;;) {
		/* Looked at before, so that who is held up here looks once more. */
		bool late = now() > deadline;

		if (condition(arg))
			return true;
		if (late)
			return false;
		usleep(1000);
	}
}

/* ------------------------------------------------------------------------------------- regions */

/**
 * kind_name() - a kind of memory in words
 * @kind: the kind
 *
 * Return: its name.
 */
const char *kind_name(enum mem_kind kind)
{
	static const char * const names[] = {
		[MEM_ANON] = "anonymous",
		[MEM_SHMEM] = "shmem",
		[MEM_SHARED_ANON] = "shared anonymous",
		[MEM_FILE_PRIVATE] = "private file",
		[MEM_FILE_SHARED] = "shared file",
		[MEM_HUGETLB] = "hugetlb",
	};

	return names[kind];
}

/* The directory for real files: MIGRATE_DEFER_DIR, or /mnt, if it is on a disk file system. */
static const char *file_dir(void)
{
	const char *dir = getenv("MIGRATE_DEFER_DIR") ?: "/mnt";
	struct statfs st;

	if (statfs(dir, &st) || access(dir, W_OK) || st.f_type == TMPFS_MAGIC ||
	    st.f_type == RAMFS_MAGIC || st.f_type == OVERLAYFS_SUPER_MAGIC)
		return NULL;
	return dir;
}

static int file_create(void)
{
	const char *dir = file_dir();
	int fd;

	if (!dir)
		return -ENODEV;
	fd = open(dir, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
	if (fd < 0) {
		/* A file system without O_TMPFILE */
		char path[PATH_MAX];

		snprintf(path, sizeof(path), "%s/migrate_defer.XXXXXX", dir);
		fd = mkstemp(path);
		if (fd >= 0)
			unlink(path);
	}
	return fd < 0 ? -errno : fd;
}

static size_t hugetlb_size(void)
{
	char buf[8192], *line;

	if (file_read("/proc/meminfo", buf, sizeof(buf)) < 0)
		return 0;
	line = strstr(buf, "Hugepagesize:");
	return line ? strtoull(line + strlen("Hugepagesize:"), NULL, 10) << 10 : 0;
}

/* Let exactly one size of large folio be allocated on request. */
static int folio_size_allow(enum mem_kind kind, size_t folio)
{
	const char *file = kind == MEM_ANON ? "enabled" : "shmem_enabled";
	const char *on = kind == MEM_ANON ? "madvise" : "advise";
	size_t pmd = pmd_size();
	char path[PATH_MAX];
	int ret;

	snprintf(path, sizeof(path), THP_DIR "/hugepages-%zukB/%s", pmd >> 10, file);
	ret = setting_write(path, "%s", folio == pmd ? on : "never");
	if (ret || folio == pmd)
		return ret;
	snprintf(path, sizeof(path), THP_DIR "/hugepages-%zukB/%s", folio >> 10, file);
	return setting_write(path, "%s", on);
}

/**
 * region_missing() - why this machine has no memory of a kind
 * @kind: the kind
 * @folio: the folio size
 *
 * Return: the reason, or NULL if it has.
 */
const char *region_missing(enum mem_kind kind, size_t folio)
{
	char path[PATH_MAX];

	if ((kind == MEM_FILE_PRIVATE || kind == MEM_FILE_SHARED) && !file_dir())
		return "no disk file system on /mnt (or in MIGRATE_DEFER_DIR)";
	if (kind == MEM_HUGETLB)
		return hugetlb_size() ? NULL : "no hugetlb pages in this kernel";
	if (folio > page_size()) {
		snprintf(path, sizeof(path), THP_DIR "/hugepages-%zukB/%s", folio >> 10,
			 kind == MEM_ANON ? "enabled" : "shmem_enabled");
		if (access(path, W_OK))
			return "no large folios of that size in this kernel";
	}
	return NULL;
}

/**
 * region_map() - map memory of a kind, without populating it
 * @r: what to fill in
 * @kind: the kind of memory
 * @folio: the size of its folios in bytes; ignored for hugetlb
 * @size: its length in bytes, rounded up to whole huge pages
 *
 * Guard pages keep its VMA from merging with a neighbour.
 *
 * Return: 0 or a negative errno.
 */
int region_map(struct region *r, enum mem_kind kind, size_t folio, size_t size)
{
	static uint64_t seed;
	int flags = MAP_FIXED, prot = PROT_READ | PROT_WRITE;
	size_t align = pmd_size();
	int ret;

	if (kind == MEM_HUGETLB) {
		folio = hugetlb_size();
		align = folio > align ? folio : align;
	}
	size = (size + align - 1) / align * align;
	*r = (struct region) {
		.kind = kind,
		.folio = folio,
		.size = size,
		.fd = -1,
		.seed = ++seed << 48,
		.guard_size = size + 2 * align + 2 * page_size(),
	};
	r->before = calloc(size / page_size(), sizeof(*r->before));
	r->guard = mmap(NULL, r->guard_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!r->before || r->guard == MAP_FAILED)
		return -ENOMEM;
	r->addr = (char *)(((uintptr_t)r->guard + page_size() + align - 1) / align * align);

	if (folio > page_size() && kind != MEM_HUGETLB) {
		ret = folio_size_allow(kind, folio);
		if (ret)
			return ret;
	}

	switch (kind) {
	case MEM_ANON:
		flags |= MAP_PRIVATE | MAP_ANONYMOUS;
		break;
	case MEM_SHARED_ANON:
		flags |= MAP_SHARED | MAP_ANONYMOUS;
		break;
	case MEM_HUGETLB:
		flags |= MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE;
		break;
	case MEM_SHMEM:
		flags |= MAP_SHARED;
		r->fd = memfd_create("migrate_defer", MFD_CLOEXEC);
		break;
	case MEM_FILE_PRIVATE:
	case MEM_FILE_SHARED:
		flags |= kind == MEM_FILE_SHARED ? MAP_SHARED : MAP_PRIVATE;
		r->fd = file_create();
		break;
	}
	if (!(flags & MAP_ANONYMOUS)) {
		if (r->fd < 0)
			return r->fd == -1 ? -errno : r->fd;
		if (ftruncate(r->fd, size))
			return -errno;
	}
	if (mmap(r->addr, size, prot, flags, r->fd, 0) == MAP_FAILED)
		return -errno;
	if (kind == MEM_HUGETLB)
		return 0;
	if (madvise(r->addr, size, folio > page_size() ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) &&
	    folio > page_size())
		return -errno;
	return 0;
}

/* The value of one 8-byte word: differs between regions and between pages. */
static uint64_t pattern(const struct region *r, size_t offset)
{
	return r->seed ^ (offset * 0x9e3779b97f4a7c15ULL);
}

static void pattern_fill(const struct region *r, uint64_t *words, size_t start, size_t len)
{
	for (size_t i = 0; i < len / sizeof(*words); i++)
		words[i] = pattern(r, start + i * sizeof(*words));
}

static int populate_file(struct region *r)
{
	static uint64_t block[8192];

	for (size_t offset = 0; offset < r->size; offset += sizeof(block)) {
		pattern_fill(r, block, offset, sizeof(block));
		if (pwrite(r->fd, block, sizeof(block), offset) != sizeof(block))
			return -errno;
	}
	if (fsync(r->fd))
		return -errno;
	region_touch(r);
	for (size_t offset = 0; r->kind == MEM_FILE_SHARED && offset < r->size;
	     offset += page_size())
		*(volatile char *)(r->addr + offset) = *(volatile char *)(r->addr + offset);
	return 0;
}

static int hugetlb_reserve(int node, size_t bytes)
{
	size_t size = hugetlb_size();
	char path[PATH_MAX];
	long long nr;

	snprintf(path, sizeof(path), NODE_DIR "/hugepages/hugepages-%zukB/free_hugepages",
		 node, size >> 10);
	nr = file_number(path);
	if (nr < 0 || nr * size >= bytes)
		return nr < 0 ? nr : 0;
	bytes -= nr * size;
	/* Pages that are migrated take their place in the pool with them: touch all pools. */
	for (int i = 0; i < node_count(); i++) {
		snprintf(path, sizeof(path), NODE_DIR "/hugepages/hugepages-%zukB/nr_hugepages",
			 i, size >> 10);
		nr = file_number(path);
		if (nr >= 0 && i == node)
			nr += bytes / size;
		if (nr >= 0)
			nr = setting_write(path, "%lld", nr);
		if (nr < 0)
			return nr;
	}
	return 0;
}

/**
 * region_drop() - free all pages of a region
 * @r: the region
 *
 * Return: 0 or a negative errno.
 */
int region_drop(struct region *r)
{
	switch (r->kind) {
	case MEM_FILE_PRIVATE:
	case MEM_FILE_SHARED:
		return ftruncate(r->fd, 0) || ftruncate(r->fd, r->size) ? -errno : 0;
	case MEM_SHMEM:
	case MEM_SHARED_ANON:
		return madvise(r->addr, r->size, MADV_REMOVE) ? -errno : 0;
	default:
		return madvise(r->addr, r->size, MADV_DONTNEED) ? -errno : 0;
	}
}

/**
 * region_populate() - give a region fresh pages and fill them with its pattern
 * @r: the region
 * @node: where the pages shall come from, or -1
 *
 * Pages that were there before are freed.  Page tables come from anywhere: they can't be moved
 * and so should not lie next to the pages.  The memory policy is the default afterwards.
 *
 * Return: 0 or a negative errno.
 */
int region_populate(struct region *r, int node)
{
	bool file = r->kind == MEM_FILE_PRIVATE || r->kind == MEM_FILE_SHARED;
	int ret = region_drop(r);

	if (!ret && node >= 0 && r->kind == MEM_HUGETLB)
		ret = hugetlb_reserve(node, r->size);
	if (!ret && node >= 0)
		ret = file ? policy_bind(node) : range_bind(r->addr, r->size, node, 0);
	if (ret)
		return ret;

	if (file)
		ret = populate_file(r);
	else
		pattern_fill(r, (uint64_t *)r->addr, 0, r->size);
	if (node >= 0)
		ret = ret ?: file ? policy_default() : range_bind(r->addr, r->size, -1, 0);
	return ret;
}

/**
 * region_unmap() - give a region back
 * @r: the region; may have been mapped only in part
 */
void region_unmap(struct region *r)
{
	if (r->guard && r->guard != MAP_FAILED)
		munmap(r->guard, r->guard_size);
	if (r->fd >= 0)
		close(r->fd);
	free(r->before);
	*r = (struct region) { .fd = -1 };
}

/**
 * region_mark() - MADV_NOMIGRATE for a whole region
 * @r: the region
 *
 * Return: 0 or a negative errno.
 */
int region_mark(struct region *r)
{
	return madvise(r->addr, r->size, MADV_NOMIGRATE) ? -errno : 0;
}

/**
 * region_unmark() - MADV_DOMIGRATE for a whole region
 * @r: the region
 *
 * Return: 0 or a negative errno.
 */
int region_unmark(struct region *r)
{
	return madvise(r->addr, r->size, MADV_DOMIGRATE) ? -errno : 0;
}

/**
 * region_touch() - read one byte of each base page
 * @r: the region
 */
void region_touch(const struct region *r)
{
	for (size_t offset = 0; offset < r->size; offset += page_size())
		(void)*(volatile char *)(r->addr + offset);
}

/**
 * region_pages() - size of a region in base pages
 * @r: the region
 *
 * Return: the number.
 */
size_t region_pages(const struct region *r)
{
	return r->size / page_size();
}

/**
 * region_large_pages() - how much of a region has the folio size that was asked for
 * @r: the region
 *
 * Return: the number of base pages that lie in aligned, physically contiguous compound pages of
 * at least r->folio bytes.
 */
size_t region_large_pages(const struct region *r)
{
	size_t per = r->folio / page_size(), found = 0;
	uint64_t *entries = calloc(region_pages(r), sizeof(*entries));

	if (!entries || pagemap_read(r->addr, r->size, entries)) {
		free(entries);
		return 0;
	}
	for (size_t i = 0; i + per <= region_pages(r); i += per) {
		uint64_t first = pagemap_pfn(entries[i]);
		bool good = first && first % per == 0;

		for (size_t k = 0; good && k < per; k++)
			good = pagemap_pfn(entries[i + k]) == first + k;
		if (good && per > 1)
			good = kpageflags(first + per - 1) & KPF_COMPOUND_TAIL;
		if (good)
			found += per;
	}
	free(entries);
	return found;
}

/**
 * region_compound_pages() - how much of a region, as of its snapshot, is in large folios
 * @r: the region
 *
 * Return: the number of base pages that belong to compound pages now.
 */
size_t region_compound_pages(const struct region *r)
{
	size_t found = 0;

	for (size_t i = 0; i < region_pages(r); i++)
		if (r->before[i] & PM_PRESENT)
			found += !!(kpageflags(pagemap_pfn(r->before[i])) &
				    (KPF_COMPOUND_HEAD | KPF_COMPOUND_TAIL));
	return found;
}

/**
 * region_snapshot() - remember the page frame of every page
 * @r: the region
 *
 * Return: 0, -ENODATA if a page is not present, or a negative errno.
 */
int region_snapshot(struct region *r)
{
	int ret = pagemap_read(r->addr, r->size, r->before);

	for (size_t i = 0; !ret && i < region_pages(r); i++)
		if (!(r->before[i] & PM_PRESENT))
			ret = -ENODATA;
	return ret;
}

/**
 * region_compare_part() - compare a part of a region with its last snapshot
 * @r: the region
 * @offset: start of the part
 * @len: its length
 *
 * Return: the difference.
 */
struct diff region_compare_part(const struct region *r, size_t offset, size_t len)
{
	size_t first = offset / page_size(), nr = len / page_size();
	uint64_t *entries = calloc(nr, sizeof(*entries));
	struct diff diff = { 0 };

	if (!entries || pagemap_read(r->addr + offset, len, entries)) {
		perror("# pagemap");
		abort();
	}
	for (size_t i = 0; i < nr; i++) {
		if (!(r->before[first + i] & PM_PRESENT))
			continue;
		diff.pages++;
		if (!(entries[i] & PM_PRESENT))
			diff.absent++;
		else if (pagemap_pfn(entries[i]) != pagemap_pfn(r->before[first + i]))
			diff.moved++;
	}
	free(entries);
	return diff;
}

/**
 * region_compare() - compare a region with its last snapshot
 * @r: the region
 *
 * Return: the difference.
 */
struct diff region_compare(const struct region *r)
{
	return region_compare_part(r, 0, r->size);
}

/**
 * region_corrupt() - count the pages whose contents are not the region's pattern
 * @r: the region; all of it is read, and so faulted in
 *
 * Return: the number of base pages.
 */
size_t region_corrupt(const struct region *r)
{
	size_t bad = 0;

	for (size_t page = 0; page < r->size; page += page_size()) {
		const uint64_t *words = (const uint64_t *)(r->addr + page);

		for (size_t i = 0; i < page_size() / sizeof(*words); i++) {
			if (words[i] != pattern(r, page + i * sizeof(*words))) {
				bad++;
				break;
			}
		}
	}
	return bad;
}

/**
 * region_nodes() - count the pages of a region on a node
 * @r: the region
 * @node: the node
 *
 * Return: the number of base pages, or a negative errno.
 */
int region_nodes(const struct region *r, int node)
{
	size_t nr = region_pages(r);
	void **addrs = calloc(nr, sizeof(*addrs));
	int *status = calloc(nr, sizeof(*status));
	int found = 0;

	if (!addrs || !status) {
		found = -ENOMEM;
	} else {
		for (size_t i = 0; i < nr; i++)
			addrs[i] = r->addr + i * page_size();
		if (syscall(SYS_move_pages, 0, nr, addrs, NULL, status, 0))
			found = -errno;
		for (size_t i = 0; found >= 0 && i < nr; i++)
			found += status[i] == node;
	}
	free(addrs);
	free(status);
	return found;
}

/* -------------------------------------------------------------------- page frames and mappings */

/**
 * marked_kb() - how much of its memory a process has marked, as the kernel counts it
 * @pid: the process; 0: this one
 *
 * Return: in KiB, or a negative errno.
 */
long long marked_kb(pid_t pid)
{
	char path[64] = "/proc/self/status", buf[8192], *line;
	int ret;

	if (pid)
		snprintf(path, sizeof(path), "/proc/%d/status", pid);
	ret = file_read(path, buf, sizeof(buf));
	if (ret < 0)
		return ret;
	line = strstr(buf, "\nVmNoMig:");
	return line ? strtoll(line + strlen("\nVmNoMig:"), NULL, 10) : -ENOENT;
}

/**
 * pagemap_read() - read the pagemap entries of a range of this process
 * @addr: start
 * @len: length in bytes
 * @entries: room for one entry per base page
 *
 * Return: 0 or a negative errno.
 */
int pagemap_read(const void *addr, size_t len, uint64_t *entries)
{
	off_t offset = (uintptr_t)addr / page_size() * sizeof(*entries);
	size_t want = len / page_size() * sizeof(*entries), got = 0;
	static pid_t opened_by;
	static int fd = -1;

	/* After a fork the descriptor would still show the parent. */
	if (opened_by != getpid()) {
		if (fd >= 0)
			close(fd);
		fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
		opened_by = getpid();
	}
	if (fd < 0)
		return -EACCES;
	while (got < want) {
		ssize_t n = pread(fd, (char *)entries + got, want - got, offset + got);

		if (n <= 0)
			return n ? -errno : -EIO;
		got += n;
	}
	return 0;
}

/**
 * pagemap_pfn() - the page frame in a pagemap entry
 * @entry: the entry
 *
 * Return: the number, 0 if none is mapped (or the caller has no CAP_SYS_ADMIN).
 */
uint64_t pagemap_pfn(uint64_t entry)
{
	return entry & PM_PRESENT ? entry & PM_PFN_MASK : 0;
}

/**
 * kpageflags() - the flags of a page frame
 * @pfn: the page frame
 *
 * Return: KPF_ bits, 0 if they can't be read.
 */
uint64_t kpageflags(uint64_t pfn)
{
	static int fd = -1;
	uint64_t flags;

	if (fd < 0)
		fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	if (pread(fd, &flags, sizeof(flags), pfn * sizeof(flags)) != sizeof(flags))
		return 0;
	return flags;
}

static void walk_vmas(const void *start, size_t len, const char *field,
		      void (*visit)(unsigned long start, unsigned long end, const char *flags,
				    void *arg),
		      void *arg)
{
	unsigned long from = (uintptr_t)start, to = from + len, vm_start = 0, vm_end = 0;
	FILE *smaps = fopen("/proc/self/smaps", "re");
	char line[4096], dash;

	if (!smaps) {
		perror("# smaps");
		abort();
	}
	while (fgets(line, sizeof(line), smaps)) {
		unsigned long a, b;

		if (sscanf(line, "%lx%c%lx ", &a, &dash, &b) == 3 && dash == '-') {
			vm_start = a;
			vm_end = b;
		}
		if (strncmp(line, field, strlen(field)) || vm_end <= from || vm_start >= to)
			continue;
		line[strcspn(line, "\n")] = 0;
		visit(vm_start > from ? vm_start : from, vm_end < to ? vm_end : to,
		      line + strlen(field), arg);
	}
	fclose(smaps);
}

struct flag_query {
	const char *flag;
	size_t bytes;
	int vmas;
	char *buf;
	size_t left;
};

static void visit_flag(unsigned long start, unsigned long end, const char *flags, void *arg)
{
	struct flag_query *query = arg;
	int n;

	query->vmas++;
	if (query->flag && strstr(flags, query->flag))
		query->bytes += end - start;
	if (query->buf) {
		n = snprintf(query->buf, query->left, "%lx-%lx%s\n", start, end, flags);
		n = n < (int)query->left ? n : (int)query->left;
		query->buf += n;
		query->left -= n;
	}
}

/**
 * vmflag_bytes() - how much of a range has a flag in the VmFlags of /proc/self/smaps
 * @start: start of the range
 * @len: its length
 * @flag: the two letters, such as "nm"
 *
 * Return: bytes.
 */
size_t vmflag_bytes(const void *start, size_t len, const char *flag)
{
	char word[8];
	struct flag_query query = { .flag = word };

	snprintf(word, sizeof(word), " %s", flag);
	walk_vmas(start, len, "VmFlags:", visit_flag, &query);
	return query.bytes;
}

static void visit_kb(unsigned long start, unsigned long end, const char *value, void *arg)
{
	(void)start;
	(void)end;
	*(size_t *)arg += strtoul(value, NULL, 10);
}

/**
 * file_state() - what an advice or a mover must not change of a file that is mapped
 * @fd: the file
 * @start: start of the mapping
 * @len: its length
 * @state: what to fill in
 *
 * Return: 0 or a negative errno.
 */
int file_state(int fd, const void *start, size_t len, struct file_state *state)
{
	uint64_t *entries = calloc(len / page_size(), sizeof(*entries));
	struct stat st;
	int ret;

	*state = (struct file_state) { 0 };
	ret = entries ? pagemap_read(start, len, entries) : -ENOMEM;
	if (!ret && fstat(fd, &st))
		ret = -errno;
	if (!ret) {
		state->mtime = st.st_mtim;
		for (size_t i = 0; i < len / page_size(); i++)
			state->present += !!(entries[i] & PM_PRESENT);
		walk_vmas(start, len, "Shared_Dirty:", visit_kb, &state->dirty_kb);
		walk_vmas(start, len, "Private_Dirty:", visit_kb, &state->dirty_kb);
	}
	free(entries);
	return ret;
}

/**
 * file_state_same() - are two states the same?
 * @a: one
 * @b: the other
 *
 * Return: true if so.
 */
bool file_state_same(const struct file_state *a, const struct file_state *b)
{
	return a->mtime.tv_sec == b->mtime.tv_sec && a->mtime.tv_nsec == b->mtime.tv_nsec &&
	       a->dirty_kb == b->dirty_kb && a->present == b->present;
}

/**
 * vma_count() - how many VMAs overlap a range
 * @start: start of the range
 * @len: its length
 *
 * Return: the number.
 */
int vma_count(const void *start, size_t len)
{
	struct flag_query query = { 0 };

	walk_vmas(start, len, "VmFlags:", visit_flag, &query);
	return query.vmas;
}

/**
 * vma_describe() - the VMAs of a range with their flags, as text
 * @start: start of the range
 * @len: its length
 * @buf: where to put it
 * @buflen: size of @buf
 *
 * Return: the number of VMAs.
 */
int vma_describe(const void *start, size_t len, char *buf, size_t buflen)
{
	struct flag_query query = { .buf = buf, .left = buflen };

	*buf = 0;
	walk_vmas(start, len, "VmFlags:", visit_flag, &query);
	return query.vmas;
}

/**
 * vma_find() - find a mapping by its name in /proc/self/maps
 * @name: such as "[vvar]"
 * @start: its address
 * @len: its length
 *
 * Return: whether it was found.
 */
bool vma_find(const char *name, char **start, size_t *len)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned long a, b;
	bool found = false;
	char line[4096];

	while (maps && !found && fgets(line, sizeof(line), maps)) {
		line[strcspn(line, "\n")] = 0;
		if (strlen(line) < strlen(name) ||
		    strcmp(line + strlen(line) - strlen(name), name) ||
		    sscanf(line, "%lx-%lx ", &a, &b) != 2)
			continue;
		*start = (char *)a;
		*len = b - a;
		found = true;
	}
	if (maps)
		fclose(maps);
	return found;
}

/* ------------------------------------------------------------------------------- memory policy */

/**
 * policy_bind() - allocate from one node only
 * @node: the node
 *
 * Return: 0 or a negative errno.
 */
int policy_bind(int node)
{
	unsigned long mask = 1UL << node;

	return syscall(SYS_set_mempolicy, MPOL_BIND, &mask, 8 * sizeof(mask)) ? -errno : 0;
}

/**
 * policy_default() - take the memory policy of the task back
 *
 * Return: 0 or a negative errno.
 */
int policy_default(void)
{
	return syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0) ? -errno : 0;
}

/**
 * range_bind() - mbind(2) a range to one node
 * @addr: start
 * @len: length
 * @node: the node, or -1 for the default policy
 * @flags: MPOL_MF_ flags
 *
 * Return: 0 or a negative errno.
 */
int range_bind(void *addr, size_t len, int node, unsigned int flags)
{
	unsigned long mask = node < 0 ? 0 : 1UL << node;

	return syscall(SYS_mbind, addr, len, node < 0 ? MPOL_DEFAULT : MPOL_BIND,
		       node < 0 ? NULL : &mask, 8 * sizeof(mask), flags) ? -errno : 0;
}

/* ------------------------------------------------------------- other ways to give an advice */

/**
 * uring_madvise() - madvise() by way of io_uring
 * @addr: begin of the range
 * @len: its length in bytes
 * @advice: what to advise
 *
 * The ring stays for the next call.
 *
 * Return: 0 or a negative errno, -EOPNOTSUPP: there is no io_uring.
 */
int uring_madvise(void *addr, size_t len, int advice)
{
	static struct io_uring_params params;
	static struct io_uring_sqe *sqes;
	static char *rings;
	static int fd = -1;
	unsigned int *head, *tail;
	struct io_uring_cqe *cqes;

	if (fd < 0) {
		fd = syscall(SYS_io_uring_setup, 1, &params);
		if (fd < 0)
			return -EOPNOTSUPP;
		rings = mmap(NULL, 2 * page_size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			     IORING_OFF_SQ_RING);
		sqes = mmap(NULL, page_size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			    IORING_OFF_SQES);
		if (rings == MAP_FAILED || sqes == MAP_FAILED) {
			int ret = -errno;

			close(fd);
			fd = -1;
			return ret;
		}
	}
	sqes[0] = (struct io_uring_sqe) {
		.opcode = IORING_OP_MADVISE, .addr = (uintptr_t)addr, .len = len,
		.fadvise_advice = advice,
	};
	((unsigned int *)(rings + params.sq_off.array))[0] = 0;
	tail = (unsigned int *)(rings + params.sq_off.tail);
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
		return -errno;
	head = (unsigned int *)(rings + params.cq_off.head);
	cqes = (struct io_uring_cqe *)(rings + params.cq_off.cqes);
	cqes += *head & (params.cq_entries - 1);
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return cqes->res;
}

/**
 * process_advise() - process_madvise() for one process
 * @pid: the process
 * @ranges: of its address space
 * @nr: how many
 * @advice: what to advise
 *
 * Return: how many bytes have been advised, in whole ranges, or a negative errno.
 */
ssize_t process_advise(pid_t pid, const struct iovec *ranges, size_t nr, int advice)
{
	int fd = syscall(SYS_pidfd_open, pid, 0);
	ssize_t ret;

	if (fd < 0)
		return -errno;
	ret = syscall(SYS_process_madvise, fd, ranges, nr, advice, 0);
	ret = ret < 0 ? -errno : ret;
	close(fd);
	return ret;
}

/* ----------------------------------------------------------------------------- other processes */

/**
 * peer_start() - let a child do something and then hold still
 * @peer: what to fill in
 * @work: what the child does; returns 0 or a negative errno
 * @arg: its argument
 *
 * Return: what @work returned, or a negative errno.
 */
int peer_start(struct peer *peer, int (*work)(void *arg), void *arg)
{
	int ready[2], quit[2], ret = -EIO;
	char byte;

	peer->pid = -1;
	if (pipe(ready) || pipe(quit))
		return -errno;
	peer->pid = fork();
	if (peer->pid < 0)
		return -errno;
	if (!peer->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(quit[1]);
		close(ready[0]);
		ret = work(arg);
		if (write(ready[1], &ret, sizeof(ret)) != sizeof(ret))
			_exit(1);
		/* Ends when the parent closes the pipe, or dies */
		_exit(read(quit[0], &byte, 1) != 0);
	}
	close(ready[1]);
	close(quit[0]);
	peer->quit = quit[1];
	if (read(ready[0], &ret, sizeof(ret)) != sizeof(ret))
		ret = -EPIPE;
	close(ready[0]);
	return ret;
}

/**
 * peer_stop() - end a peer and wait until it is gone
 * @peer: the peer
 */
void peer_stop(struct peer *peer)
{
	if (peer->pid <= 0)
		return;
	close(peer->quit);
	waitpid(peer->pid, NULL, 0);
	peer->pid = -1;
}

/**
 * kthread_find() - find a kernel thread
 * @name: its name
 *
 * Return: its process ID, or -ESRCH.
 */
pid_t kthread_find(const char *name)
{
	DIR *proc = opendir("/proc");
	pid_t found = -ESRCH;
	struct dirent *entry;

	while (proc && found < 0 && (entry = readdir(proc))) {
		char path[300], comm[64];

		snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
		if (atoi(entry->d_name) <= 0 || file_read(path, comm, sizeof(comm)) < 0)
			continue;
		comm[strcspn(comm, "\n")] = 0;
		if (!strcmp(comm, name))
			found = atoi(entry->d_name);
	}
	if (proc)
		closedir(proc);
	return found;
}

/**
 * task_pin() - have a task run on one processor, or on any
 * @pid: the task; 0: the calling thread
 * @cpu: the processor, or -1: all of them
 *
 * Return: 0 or a negative errno.
 */
int task_pin(pid_t pid, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	for (int i = 0; i < cpu_count(); i++)
		if (cpu < 0 || i == cpu)
			CPU_SET(i, &set);
	return sched_setaffinity(pid, sizeof(set), &set) ? -errno : 0;
}

/* ------------------------------------------------------------------- broken mappings and faults */

static int perf_open(struct perf_event_attr *attr, pid_t pid, int cpu)
{
	attr->size = sizeof(*attr);
	return syscall(SYS_perf_event_open, attr, pid, cpu, -1, PERF_FLAG_FD_CLOEXEC);
}

/**
 * breaks_open() - count the migration entries that are set on a range from now on
 * @b: what to fill in
 * @addr: start of the range
 * @len: its length
 *
 * Whichever process's page tables it happens in: regions that are shared by fork() have the same
 * addresses in both.
 *
 * Return: 0, or a negative errno if the kernel has no such tracepoints.
 */
int breaks_open(struct breaks *b, const void *addr, size_t len)
{
	static const char * const events[] = {
		"migrate/set_migration_pte", "thp/set_migration_pmd",
	};
	char path[PATH_MAX], filter[128];

	b->nr = 0;
	if (access("/sys/kernel/tracing/events", F_OK))
		mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, NULL);
	snprintf(filter, sizeof(filter), "addr>=%#lx && addr<%#lx", (unsigned long)addr,
		 (unsigned long)addr + len);
	for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
		struct perf_event_attr attr = { .type = PERF_TYPE_TRACEPOINT };
		long long id;

		snprintf(path, sizeof(path), "/sys/kernel/tracing/events/%s/id", events[i]);
		id = file_number(path);
		if (id < 0)
			return id;
		attr.config = id;
		for (int cpu = 0; cpu < cpu_count(); cpu++) {
			int fd = perf_open(&attr, -1, cpu);

			if (fd < 0 || b->nr == ARRAY_SIZE(b->fd))
				return -errno;
			b->fd[b->nr++] = fd;
			if (ioctl(fd, PERF_EVENT_IOC_SET_FILTER, filter))
				return -errno;
			ioctl(fd, PERF_EVENT_IOC_RESET, 0);
		}
	}
	return 0;
}

/**
 * breaks_read() - how often it happened
 * @b: the counter
 *
 * Return: the number (a huge page counts once).
 */
long long breaks_read(const struct breaks *b)
{
	long long sum = 0, count;

	for (int i = 0; i < b->nr; i++)
		if (read(b->fd[i], &count, sizeof(count)) == sizeof(count))
			sum += count;
	return sum;
}

/**
 * breaks_close() - stop counting
 * @b: the counter
 */
void breaks_close(struct breaks *b)
{
	while (b->nr)
		close(b->fd[--b->nr]);
}

/**
 * faults_open() - record the page faults of the calling thread from now on
 * @f: what to fill in
 *
 * Return: 0 or a negative errno.
 */
int faults_open(struct faults *f)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.config = PERF_COUNT_SW_PAGE_FAULTS,
		.sample_period = 1,
		.sample_type = PERF_SAMPLE_ADDR,
	};

	f->ring_size = 256 * page_size();
	f->fd = perf_open(&attr, 0, -1);
	if (f->fd < 0)
		return -errno;
	f->ring = mmap(NULL, f->ring_size + page_size(), PROT_READ | PROT_WRITE, MAP_SHARED,
		       f->fd, 0);
	if (f->ring == MAP_FAILED) {
		close(f->fd);
		return -errno;
	}
	return 0;
}

/**
 * faults_count() - how many of the faults recorded so far lie in a range
 * @f: the record; it is not emptied
 * @addr: start of the range
 * @len: its length
 *
 * Return: the number, or -EOVERFLOW if some were lost.
 */
int faults_count(struct faults *f, const void *addr, size_t len)
{
	struct perf_event_mmap_page *head = f->ring;
	const char *data = (const char *)f->ring + page_size();
	uint64_t end = __atomic_load_n(&head->data_head, __ATOMIC_ACQUIRE);
	int count = 0;

	/* Of 8 bytes, as are all parts of a record: none of them wraps around. */
	for (uint64_t at = 0; at < end;) {
		const struct perf_event_header *record = (const void *)(data + at % f->ring_size);
		size_t sample = (at + sizeof(*record)) % f->ring_size;
		uint64_t address = *(const uint64_t *)(data + sample);

		if (record->type == PERF_RECORD_LOST || !record->size)
			return -EOVERFLOW;
		if (record->type == PERF_RECORD_SAMPLE && address >= (uintptr_t)addr &&
		    address - (uintptr_t)addr < len)
			count++;
		at += record->size;
	}
	return count;
}

/**
 * faults_close() - stop recording
 * @f: the record
 */
void faults_close(struct faults *f)
{
	munmap(f->ring, f->ring_size + page_size());
	close(f->fd);
}
