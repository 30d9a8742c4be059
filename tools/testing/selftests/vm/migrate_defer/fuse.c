// SPDX-License-Identifier: GPL-2.0
/*
 * A FUSE daemon that stops answering hangs neither the process that marks a mapping of its file,
 * nor KSM, nor memory offline: MADV_NOMIGRATE sends no request to a file system, and does not wait
 * for a page with mmap_lock held for writing.
 *
 * The daemon is this program's own, and withholds the answers to one kind of request.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "movers_test.h"

/* A directory that is there wherever FUSE is: hidden in the mount namespace of the test only */
#define MOUNTPOINT	"/sys/fs/fuse/connections"
#define NAME		"file"
#define FILE_ID		2		/* its inode */
#define FILE_SIZE	(64 * 1024)
#define MARKED		(FILE_SIZE / 2)
#define OWNER		65533		/* of the file */
#define NOBODY		65534
#define MAGIC		0x66757365UL	/* the first word of the file */
#define PATIENCE	30		/* seconds, for what has to go on */
#define BEATS		10
#define WINDOW_MS	8000

/**
 * struct shared - what the processes of a test tell each other
 * @withheld:	the FUSE request that is not answered; 0: all are
 * @requests:	how many requests the daemon has read
 * @held:	those that it did not answer at once
 * @wanted:	calls of madvise() that the victim is to make
 * @ended:	those that are over
 * @caller:	the process that makes one just now, or 0
 * @result:	errno of the last call; -1: it did not return
 * @marked:	bytes that were marked when it ended
 * @present:	whether the first page of the file is mapped
 * @beats:	how often the victim got memory and gave it back
 * @dirtied:	another process has written to the file through a mapping
 * @stop:	the victim is to end
 */
struct shared {
	atomic_int withheld;
	atomic_int requests;
	atomic_int held;
	atomic_int wanted;
	atomic_int ended;
	atomic_int caller;
	atomic_int result;
	atomic_int marked;
	atomic_int present;
	atomic_int beats;
	atomic_int dirtied;
	atomic_int stop;
};

static struct shared *shared;

/* ---------------------------------------------------------------------------------- the daemon */

struct request {
	struct fuse_in_header head;
	union {
		struct fuse_read_in read;
		struct {
			struct fuse_write_in write;
			char data[];
		};
	};
};

static char contents[FILE_SIZE];

static void fill_attr(struct fuse_attr *attr, uint64_t id)
{
	attr->ino = id;
	attr->mode = id == FILE_ID ? S_IFREG | 0644 : S_IFDIR | 0755;
	attr->uid = id == FILE_ID ? OWNER : 0;
	attr->size = id == FILE_ID ? FILE_SIZE : 0;
	attr->nlink = 1;
	attr->blksize = page_size();
}

static void answer(int fd, const struct request *req)
{
	static struct {
		struct fuse_out_header head;
		union {
			struct fuse_init_out init;
			struct fuse_attr_out attr;
			struct fuse_entry_out entry;
			struct fuse_open_out open;
			struct fuse_write_out write;
			char data[FILE_SIZE];
		};
	} out;
	size_t len = 0;

	memset(&out, 0, sizeof(out));
	switch (req->head.opcode) {
	case FUSE_INIT:
		out.init.major = FUSE_KERNEL_VERSION;
		out.init.minor = FUSE_KERNEL_MINOR_VERSION;
		out.init.max_readahead = page_size();
		out.init.flags = FUSE_ASYNC_READ | FUSE_BIG_WRITES;
		out.init.max_write = FILE_SIZE;
		len = sizeof(out.init);
		break;
	case FUSE_LOOKUP:
		out.entry.nodeid = FILE_ID;
		fill_attr(&out.entry.attr, FILE_ID);
		len = sizeof(out.entry);
		break;
	case FUSE_GETATTR:
	case FUSE_SETATTR:
		/* Not valid any longer than now: each look at permissions is a request. */
		fill_attr(&out.attr.attr, req->head.nodeid);
		len = sizeof(out.attr);
		break;
	case FUSE_OPEN:
		/* No FOPEN_KEEP_CACHE: what is in the page cache is written back and dropped. */
		len = sizeof(out.open);
		break;
	case FUSE_READ:
		if (req->read.offset < FILE_SIZE)
			len = FILE_SIZE - req->read.offset;
		if (len > req->read.size)
			len = req->read.size;
		memcpy(out.data, contents + req->read.offset, len);
		break;
	case FUSE_WRITE:
		out.write.size = req->write.size;
		len = sizeof(out.write);
		break;
	case FUSE_FLUSH:
	case FUSE_FSYNC:
	case FUSE_RELEASE:
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		return;
	default:
		out.head.error = -EOPNOTSUPP;
	}
	out.head.len = sizeof(out.head) + len;
	out.head.unique = req->head.unique;
	/* ENOENT: the request was aborted meanwhile. */
	if (write(fd, &out, out.head.len) < 0 && errno != ENOENT)
		perror("# /dev/fuse");
}

/* Never returns: the daemon ends with the test, and all requests with the daemon. */
static void serve(int fd)
{
	static union {
		struct request req;
		char room[FILE_SIZE + 2 * FUSE_MIN_READ_BUFFER];
	} in;
	struct request held[16];
	size_t nr = 0;

	for (;;) {
		struct pollfd pollfd = { .fd = fd, .events = POLLIN };
		const struct fuse_write_in *write = &in.req.write;

		while (!shared->withheld && nr)
			answer(fd, &held[--nr]);
		if (poll(&pollfd, 1, 10) <= 0)
			continue;
		if (read(fd, &in, sizeof(in)) < 0) {
			if (errno == ENODEV)
				_exit(0);
			continue;
		}
		shared->requests++;
		if (in.req.head.opcode == FUSE_WRITE && write->offset + write->size <= FILE_SIZE)
			memcpy(contents + write->offset, in.req.data, write->size);
		if (in.req.head.opcode == shared->withheld && in.req.head.nodeid == FILE_ID &&
		    nr < ARRAY_SIZE(held)) {
			held[nr++] = in.req;
			shared->held++;
		} else {
			answer(fd, &in.req);
		}
	}
}

/* ------------------------------------------------------------------------------- the processes */

static bool reaches(const atomic_int *value, int want)
{
	double deadline = now() + PATIENCE;

	while (*value < want && now() < deadline)
		usleep(1000);
	return *value >= want;
}

/* A process that ends with the test at the latest */
static pid_t start(void)
{
	pid_t pid = fork();

	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

/* Its exit status; a process that does not end is killed, and not waited for. */
static int end(pid_t pid, double seconds)
{
	double deadline = now() + seconds;
	int status;

	while (waitpid(pid, &status, WNOHANG) != pid) {
		if (now() > deadline) {
			kill(pid, SIGKILL);
			return -ETIME;
		}
		usleep(1000);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

static char *map;

/* A process of its own, so that it can be killed alone, but in the memory of the victim */
static int caller(void *arg)
{
	(void)arg;
	shared->result = madvise(map, MARKED, MADV_NOMIGRATE) ? errno : 0;
	return 0;
}

static void note_present(void)
{
	uint64_t entry;

	shared->present = pagemap_read(map, page_size(), &entry) || entry & PM_PRESENT;
}

static int victim_prepare(int flags, uid_t uid, bool locked)
{
	struct rlimit limit = { .rlim_cur = MIB, .rlim_max = MIB };
	int prot = PROT_READ | (flags == O_RDWR ? PROT_WRITE : 0), fd;
	char *own;

	/* Not all may open it for writing: root does. */
	fd = open(MOUNTPOINT "/" NAME, flags | O_CLOEXEC);
	if (fd < 0 || setrlimit(RLIMIT_MEMLOCK, &limit) || setresgid(uid, uid, uid) ||
	    setresuid(uid, uid, uid) || prctl(PR_SET_PDEATHSIG, SIGKILL))
		return -errno;
	/* Otherwise its own files in /proc belong to root. */
	if (prctl(PR_SET_DUMPABLE, 1))
		return -errno;
	map = mmap(NULL, FILE_SIZE, prot, MAP_SHARED, fd, 0);
	own = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED || own == MAP_FAILED || madvise(own, MIB, MADV_MERGEABLE) ||
	    (locked && mlock(map, FILE_SIZE)))
		return -errno;
	memset(own, 1, MIB);
	return *(uint64_t *)map ? -EIO : 0;
}

/* One thing after the other, each of which takes mmap_lock: one that hangs ends all beats. */
static int victim(bool write)
{
	static char stack[64 * 1024];

	while (!shared->stop) {
		char *fresh = mmap(NULL, MIB, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (fresh == MAP_FAILED)
			return 1;
		*fresh = 1;
		munmap(fresh, MIB);
		note_present();
		shared->beats++;
		usleep(1000);

		if (!shared->caller && shared->ended < shared->wanted) {
			shared->result = -1;
			shared->caller = clone(caller, stack + sizeof(stack),
					       CLONE_VM | CLONE_FILES | SIGCHLD, NULL);
			if (shared->caller < 0)
				return 2;
		}
		if (!shared->caller || waitpid(shared->caller, NULL, WNOHANG) != shared->caller)
			continue;
		shared->caller = 0;
		shared->marked = vmflag_bytes(map, FILE_SIZE, "nm");
		note_present();
		/* For the next call; dirtied so late that it is not written back before. */
		if (!shared->ended && madvise(map, MARKED, MADV_DOMIGRATE))
			return 3;
		if (!shared->ended && write)
			*(uint64_t *)map = MAGIC;
		shared->ended++;
	}
	return write && *(uint64_t *)map != MAGIC ? 4 : 0;
}

/* Whatever is withheld, this does not end before it is answered. */
static int hang(void)
{
	char byte;
	int fd;

	if (access(MOUNTPOINT "/" NAME, W_OK))
		return 1;
	fd = open(MOUNTPOINT "/" NAME, O_RDONLY);
	return fd < 0 || pread(fd, &byte, 1, 0) != 1;
}

static int read_proc(pid_t pid)
{
	static char buf[1 << 16];
	char path[64];

	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "/proc/%d/%s", pid, i ? "maps" : "cmdline");
		if (file_read(path, buf, sizeof(buf)) <= 0)
			return 1;
	}
	return strstr(buf, MOUNTPOINT "/" NAME) ? 0 : 2;
}

/* ----------------------------------------------------------------------------------- the tests */

FIXTURE(fuse)
{
	struct ground ground;
	pid_t victim;
};

FIXTURE_VARIANT(fuse)
{
	int withheld;
	int flags;		/* that the victim opens the file with */
	uid_t uid;		/* of the victim */
	int result;		/* of the call */
	bool locked;		/* the mapping is under mlock() */
	bool waits;		/* the call waits for the answer */
	bool killed;		/* and is killed instead */
	bool again;		/* and then for that to another request */
};

/* Permissions: no request is sent, whatever comes of the call. */
FIXTURE_VARIANT_ADD(fuse, getattr_read_only)
{
	.withheld = FUSE_GETATTR, .flags = O_RDONLY, .uid = NOBODY, .result = EACCES,
};

FIXTURE_VARIANT_ADD(fuse, getattr_writable)
{
	.withheld = FUSE_GETATTR, .flags = O_RDWR, .uid = NOBODY,
};

FIXTURE_VARIANT_ADD(fuse, getattr_own)
{
	.withheld = FUSE_GETATTR, .flags = O_RDONLY, .uid = OWNER,
};

/* A page that is just being read was not there before: it is not what a mover took away. */
FIXTURE_VARIANT_ADD(fuse, read)
{
	.withheld = FUSE_READ, .flags = O_RDWR, .uid = NOBODY, .locked = true,
};

/* One that is just being written back and dropped was there. */
FIXTURE_VARIANT_ADD(fuse, write_killed)
{
	.withheld = FUSE_WRITE, .flags = O_RDWR, .uid = NOBODY, .locked = true, .waits = true,
	.killed = true,
};

FIXTURE_VARIANT_ADD(fuse, write_answered)
{
	.withheld = FUSE_WRITE, .flags = O_RDWR, .uid = NOBODY, .locked = true, .waits = true,
};

/* And once more before the page is mapped. */
FIXTURE_VARIANT_ADD(fuse, write_again)
{
	.withheld = FUSE_WRITE, .flags = O_RDWR, .uid = NOBODY, .locked = true, .waits = true,
	.again = true,
};

FIXTURE_SETUP(fuse)
{
	static const char * const limits[][2] = {
		{ "strict_limit", "0" }, { "max_ratio", "100" }, { "min_ratio", "50" },
	};
	struct ground *g = &self->ground;
	static char buf[4096];
	const char *why;
	char options[128];
	struct stat st;
	pid_t pid;
	int fd;

	settings_restore();
	if (file_read("/proc/filesystems", buf, sizeof(buf)) < 0 || !strstr(buf, "\tfuse\n"))
		SKIP(return, "no CONFIG_FUSE_FS");
	why = kernel_has_advice() ? missing(g, &ksm, MEM_ANON, FOLIO_4K) : "no MADV_NOMIGRATE";
	if (why)
		SKIP(return, "%s", why);
	/* Offline while pages of the file are allocated: none of them is there. */
	why = memory_offline.missing(g);
	if (why)
		TH_LOG("memory offline is left out: %s", why);
	else
		ASSERT_EQ(memory_offline.push(g, NULL, 0), 0);
	ASSERT_EQ(ksm_fast(), 0);
	/* To wait in intercept is to keep a processor busy: not one of those that others need. */
	if (variant->again) {
		if (cpu_count() < 2)
			SKIP(return, "there is one processor only");
		ASSERT_EQ(task_pin(0, 0), 0);
	}

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	ASSERT_NE(shared, MAP_FAILED);
	ASSERT_EQ(unshare(CLONE_NEWNS), 0);
	ASSERT_EQ(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	ASSERT_GE(fd, 0);
	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=40755,user_id=0,group_id=0,default_permissions,allow_other", fd);
	ASSERT_EQ(mount("fuse", MOUNTPOINT, "fuse", MS_NOSUID | MS_NODEV, options), 0);
	pid = start();
	ASSERT_GE(pid, 0);
	if (!pid)
		serve(fd);
	/* What is dirty is to be written when it is dropped, not before. */
	ASSERT_EQ(stat(MOUNTPOINT, &st), 0);
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		snprintf(options, sizeof(options), "/sys/class/bdi/%u:%u/%s",
			 major(st.st_dev), minor(st.st_dev), limits[i][0]);
		ASSERT_EQ(file_write(options, "%s", limits[i][1]), 0);
	}
	/* The daemon alone has it: when it dies all requests fail. */
	close(fd);

	pid = start();
	ASSERT_GE(pid, 0);
	if (!pid)
		_exit(victim_prepare(variant->flags, variant->uid, variant->locked) ?
		      100 : victim(variant->flags == O_RDWR));
	self->victim = pid;
}

FIXTURE_TEARDOWN_PARENT(fuse)
{
	intercept_stop();
	if (*self->ground.path)
		memory_offline.undo(&self->ground);
	settings_restore();
}

/* All that must go on while the daemon does not. */
static void expect_going_on(struct __test_metadata *_metadata, pid_t victim, struct ground *g)
{
	pid_t pid;

	EXPECT_TRUE(reaches(&shared->beats, shared->beats + BEATS))
		TH_LOG("the victim's mmap_lock is not to be had");
	pid = start();
	if (!pid)
		_exit(read_proc(victim));
	EXPECT_EQ(end(pid, PATIENCE), 0)
		TH_LOG("/proc/%d cannot be read", victim);
	EXPECT_EQ(ksm.push(g, NULL, 0), 0)
		TH_LOG("KSM hangs");
	if (!*g->path)
		return;
	pid = start();
	if (!pid) {
		memory_offline.undo(g);
		_exit(!!memory_offline.push(g, NULL, 0));
	}
	EXPECT_EQ(end(pid, 4 * PATIENCE), 0)
		TH_LOG("memory offline hangs, or fails");
}

/* The same contents again, to be written back; not mapped by anyone else afterwards. */
static int dirty(void)
{
	int fd = open(MOUNTPOINT "/" NAME, O_RDWR);
	char *at = mmap(NULL, page_size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (at == MAP_FAILED)
		return 1;
	*(volatile uint64_t *)at = MAGIC;
	shared->dirtied = 1;
	/* To unmap it would write it. */
	pause();
	return 0;
}

/*
 * The request is answered, but before the call has looked again, there is one more.  Returns the
 * process that waits for the answer.
 */
static pid_t withhold_again(struct __test_metadata *_metadata)
{
	const struct intercept look = {
		.symbol = "walk_page_range", .pid = shared->caller, .count = 1, .ms = WINDOW_MS,
	};
	double deadline;
	pid_t pid;

	ASSERT_EQ(task_pin(shared->caller, cpu_count() - 1), 0);
	ASSERT_EQ(intercept_start(&look), 0);
	shared->withheld = 0;
	for (deadline = now() + PATIENCE; intercept_hits() < 1; usleep(1000))
		ASSERT_LT(now(), deadline);
	deadline = now() + WINDOW_MS / 1e3;
	pid = start();
	ASSERT_GE(pid, 0);
	if (!pid)
		_exit(dirty());
	ASSERT_TRUE(reaches(&shared->dirtied, 1));
	shared->withheld = FUSE_WRITE;
	pid = start();
	ASSERT_GE(pid, 0);
	if (!pid)
		_exit(hang());
	ASSERT_TRUE(reaches(&shared->held, 2));
	ASSERT_LT(now(), deadline)
		TH_LOG("INCONCLUSIVE: the second request came too late");
	usleep(1000 * WINDOW_MS);
	return pid;
}

TEST_F_TIMEOUT(fuse, daemon_does_not_answer, TIMEOUT)
{
	int marked = variant->result ? 0 : MARKED, requests, status;
	double deadline = now() + PATIENCE;
	pid_t peer, first;

	/* KSM comes past the victim. */
	while (file_number("/sys/kernel/mm/ksm/pages_sharing") <= 0 && now() < deadline)
		usleep(1000);
	ASSERT_GT(file_number("/sys/kernel/mm/ksm/pages_sharing"), 0);

	/* The same call, while the daemon answers */
	shared->wanted = 1;
	ASSERT_TRUE(reaches(&shared->ended, 1));
	ASSERT_EQ(shared->result, variant->result);
	ASSERT_EQ(shared->marked, marked);
	ASSERT_EQ(shared->present, 1);

	shared->withheld = variant->withheld;
	peer = start();
	ASSERT_GE(peer, 0);
	if (!peer)
		_exit(hang());
	ASSERT_TRUE(reaches(&shared->held, 1))
		TH_LOG("INCONCLUSIVE: there was no request to withhold");
	ASSERT_TRUE(reaches(&shared->beats, shared->beats + BEATS));
	if (variant->locked)
		ASSERT_EQ(shared->present, 0)
			TH_LOG("INCONCLUSIVE: the page is still mapped");

	requests = shared->requests;
	shared->wanted = 2;
	if (variant->waits) {
		EXPECT_TRUE(reaches(&shared->caller, 1));
		sleep(1);
		EXPECT_EQ(shared->ended, 1)
			TH_LOG("INCONCLUSIVE: the call did not wait for the page");
		if (variant->again) {
			first = peer;
			peer = withhold_again(_metadata);
			EXPECT_EQ(end(first, PATIENCE), 0);
			EXPECT_EQ(shared->ended, 1)
				TH_LOG("INCONCLUSIVE: the call did not wait again");
		}
		requests = shared->requests;
	} else {
		EXPECT_TRUE(reaches(&shared->ended, 2));
		EXPECT_EQ(shared->result, variant->result);
	}
	EXPECT_EQ(shared->requests, requests)
		TH_LOG("the call has sent requests to the daemon");
	expect_going_on(_metadata, self->victim, &self->ground);
	if (variant->killed) {
		ASSERT_GT(shared->caller, 0);
		EXPECT_EQ(kill(shared->caller, SIGKILL), 0);
		EXPECT_TRUE(reaches(&shared->ended, 2))
			TH_LOG("the caller cannot be killed");
		EXPECT_EQ(shared->result, -1);
		EXPECT_TRUE(reaches(&shared->beats, shared->beats + BEATS));
	}
	EXPECT_EQ(shared->held, 1 + variant->again);
	EXPECT_EQ(waitpid(peer, &status, WNOHANG), 0)
		TH_LOG("INCONCLUSIVE: the request was not withheld for so long");

	shared->withheld = 0;
	EXPECT_TRUE(reaches(&shared->ended, 2));
	EXPECT_EQ(shared->marked, marked);
	if (variant->waits && !variant->killed) {
		EXPECT_EQ(shared->result, 0);
		EXPECT_EQ(shared->present, 1);
	}
	EXPECT_EQ(end(peer, PATIENCE), 0);
	shared->stop = 1;
	EXPECT_EQ(end(self->victim, PATIENCE), 0);
}

TEST_HARNESS_MAIN
