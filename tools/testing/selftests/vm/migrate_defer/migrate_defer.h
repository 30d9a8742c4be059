/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What every test of MADV_NOMIGRATE needs: memory of any kind whose page frames and contents can
 * be compared, counters of broken mappings and of faults, system settings that are put back.
 *
 * Unless said otherwise functions return 0 or a negative errno.
 */
#ifndef _MIGRATE_DEFER_H
#define _MIGRATE_DEFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifndef MADV_NOMIGRATE
#define MADV_NOMIGRATE	26
#define MADV_DOMIGRATE	27
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE	23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

#define MIB	(1UL << 20)

/* System-wide, in KiB: how much memory is marked */
#define MARKED_KB	"/sys/kernel/mm/migrate_defer/marked_kb"

/* A swap device that tests may use */
#define SWAP	"/dev/vdb"

#ifndef ARRAY_SIZE
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#endif

/* Bits of a /proc/self/pagemap entry */
#define PM_PRESENT	(1ULL << 63)
#define PM_SWAP		(1ULL << 62)
#define PM_PFN_MASK	((1ULL << 55) - 1)

/* Bits of a /proc/kpageflags entry */
#define KPF_COMPOUND_HEAD	(1ULL << 15)
#define KPF_COMPOUND_TAIL	(1ULL << 16)
#define KPF_HUGE		(1ULL << 17)	/* hugetlb */

enum mem_kind {
	MEM_ANON,		/* private anonymous */
	MEM_SHMEM,		/* memfd, shared */
	MEM_SHARED_ANON,	/* MAP_SHARED | MAP_ANONYMOUS */
	MEM_FILE_PRIVATE,	/* file on a disk file system, private, only read */
	MEM_FILE_SHARED,	/* the same, shared and written */
	MEM_HUGETLB,		/* hugetlb pages of the default size */
};

/**
 * struct region - a mapping under observation
 * @kind:	what kind of memory it is
 * @folio:	size in bytes of the folios that it should consist of
 * @addr:	start, aligned to 2 MiB; inaccessible guard pages on both sides
 * @size:	length in bytes
 * @fd:		the file behind it, or -1
 * @seed:	makes the contents of two regions differ
 * @before:	pagemap entries at the last region_snapshot()
 * @guard:	the whole reservation, guard pages included
 * @guard_size:	its length
 */
struct region {
	enum mem_kind kind;
	size_t folio;
	char *addr;
	size_t size;
	int fd;
	uint64_t seed;
	uint64_t *before;
	char *guard;
	size_t guard_size;
};

/**
 * struct diff - how a region differs from its snapshot, in base pages
 * @pages:	pages that were present in the snapshot
 * @moved:	those that have another page frame now
 * @absent:	those that have none (unmapped, or just being migrated)
 */
struct diff {
	size_t pages;
	size_t moved;
	size_t absent;
};

/* Constants of the machine */
size_t page_size(void);
size_t pmd_size(void);
int cpu_count(void);
int node_count(void);
int node_of_cpu(int cpu);
size_t node_meminfo(int node, const char *key);
bool node_pfn_range(int node, uint64_t *start, uint64_t *end);
bool kernel_has_advice(void);

/* Text files */
int file_read(const char *path, char *buf, size_t len);
int file_write(const char *path, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
long long file_number(const char *path);
#define CGROUP	"/sys/fs/cgroup"

const char *cgroup_enter(const char *path);
long long file_line(const char *path, const char *key, long long unit);
long long vmstat(const char *name);
bool vmstat_in_order(void);

/* Settings, put back by settings_restore() or at the latest when the program ends */
int setting_write(const char *path, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void setting_on_restore(const char *path, const char *value);
void settings_restore(void);

/* Kernel modules */
const char *module_path(const char *env, const char *beside);
int module_load(const char *env, const char *beside, const char *args);

/**
 * struct intercept - calls of a kernel function that come late, or fail
 * @symbol:	the function
 * @pid:	who calls it, 0: any process
 * @skip:	how many calls to let through
 * @count:	how many to intercept then
 * @value:	what they return
 * @ms:		or, if not 0: how late they begin
 */
struct intercept {
	const char *symbol;
	pid_t pid;
	int skip;
	int count;
	int value;
	unsigned int ms;
};

int intercept_start(const struct intercept *what);
long long intercept_hits(void);
void intercept_stop(void);

/* Time */
double now(void);
bool poll_until(bool (*condition)(void *arg), void *arg, double seconds);

/* Regions */
const char *kind_name(enum mem_kind kind);
const char *region_missing(enum mem_kind kind, size_t folio);
int region_map(struct region *r, enum mem_kind kind, size_t folio, size_t size);
int region_drop(struct region *r);
int region_populate(struct region *r, int node);
void region_unmap(struct region *r);
int region_mark(struct region *r);
int region_unmark(struct region *r);
void region_touch(const struct region *r);
size_t region_pages(const struct region *r);
size_t region_large_pages(const struct region *r);
size_t region_compound_pages(const struct region *r);
int region_snapshot(struct region *r);
struct diff region_compare(const struct region *r);
struct diff region_compare_part(const struct region *r, size_t offset, size_t len);
size_t region_corrupt(const struct region *r);
int region_nodes(const struct region *r, int node);

/**
 * struct file_state - what an advice or a mover must not change of a file that is mapped
 * @mtime:	when it was last written to
 * @dirty_kb:	what smaps says is dirty of the mapping
 * @present:	how many pages are mapped
 */
struct file_state {
	struct timespec mtime;
	size_t dirty_kb;
	size_t present;
};

/* Page frames and mappings */
int pagemap_read(const void *addr, size_t len, uint64_t *entries);
uint64_t pagemap_pfn(uint64_t entry);
uint64_t kpageflags(uint64_t pfn);
long long marked_kb(pid_t pid);
size_t vmflag_bytes(const void *start, size_t len, const char *flag);
int vma_count(const void *start, size_t len);
int file_state(int fd, const void *start, size_t len, struct file_state *state);
bool file_state_same(const struct file_state *a, const struct file_state *b);
int vma_describe(const void *start, size_t len, char *buf, size_t buflen);
bool vma_find(const char *name, char **start, size_t *len);

/* Other ways to give an advice */
int uring_madvise(void *addr, size_t len, int advice);
ssize_t process_advise(pid_t pid, const struct iovec *ranges, size_t nr, int advice);

/* Memory policy (libnuma is not needed for so little) */
int policy_bind(int node);
int policy_default(void);
int range_bind(void *addr, size_t len, int node, unsigned int flags);

/**
 * struct peer - another process that holds something for a test
 * @pid:	the process
 * @quit:	closing it lets the process end
 */
struct peer {
	pid_t pid;
	int quit;
};

int peer_start(struct peer *peer, int (*work)(void *arg), void *arg);
void peer_stop(struct peer *peer);
pid_t kthread_find(const char *name);
int task_pin(pid_t pid, int cpu);

/**
 * struct breaks - counts migration entries set on an address range, in any process
 * @fd:		perf events, one per processor and tracepoint
 * @nr:		how many there are
 */
struct breaks {
	int fd[128];
	int nr;
};

int breaks_open(struct breaks *b, const void *addr, size_t len);
long long breaks_read(const struct breaks *b);
void breaks_close(struct breaks *b);

/**
 * struct faults - records the address of each page fault of the calling thread
 * @fd:		perf event
 * @ring:	its buffer
 * @ring_size:	bytes of samples in it
 */
struct faults {
	int fd;
	void *ring;
	size_t ring_size;
};

int faults_open(struct faults *f);
int faults_count(struct faults *f, const void *addr, size_t len);
void faults_close(struct faults *f);

#endif /* _MIGRATE_DEFER_H */
