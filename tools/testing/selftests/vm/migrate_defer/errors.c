// SPDX-License-Identifier: GPL-2.0
/*
 * Every errno of MADV_NOMIGRATE, as root, as an unprivileged user and as root of a user namespace.
 * A call that fails changes nothing: no VMA, no counter, and not the static key, which is off until
 * memory is marked for the first time.  To see that, the program has to run first after boot.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "harness.h"
#include "migrate_defer.h"

#define UID		65534
#define FOLIO_4K	4096UL
#define FOLIO_2M	(2 * MIB)
#define SIZE		(256 * 1024UL)
#define ROOM		(64 * MIB)	/* RLIMIT_MEMLOCK, unless it matters */

#define TRACING		"/sys/kernel/tracing/"
#define INSTANCE	TRACING "instances/migrate_defer_errors"
#define PROBE		"migrate_defer_errors/key"

/* ------------------------------------------------------------------------------- the static key */

static int key_fd = -1;

/* Each read of a status file in /proc makes an event that tells the state of the key. */
static int key_open(void)
{
	int ret;

	ret = file_write(TRACING "kprobe_events",
			 "p:" PROBE " proc_pid_status key=@migrate_defer_key:s32");
	if (ret)
		return ret;
	setting_on_restore(TRACING "kprobe_events", "-:" PROBE);
	if (mkdir(INSTANCE, 0700))
		return -errno;
	setting_on_restore(INSTANCE, NULL);
	ret = file_write(INSTANCE "/events/" PROBE "/enable", "1");
	if (ret)
		return ret;
	/* Stays readable when the rights have gone */
	key_fd = open(INSTANCE "/trace_pipe", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	return key_fd < 0 ? -errno : 0;
}

/* 0 or 1, as the last event says, or a negative errno */
static int key_last(void)
{
	static char buf[1 << 16];
	int key = -ENODATA;
	ssize_t got;

	while ((got = read(key_fd, buf, sizeof(buf) - 1)) > 0) {
		buf[got] = 0;
		for (const char *at = buf; (at = strstr(at, " key=")); at++)
			key = atoi(at + strlen(" key="));
	}
	return key;
}

/* -------------------------------------------------------------------------- what may not change */

/* Lines that begin with the prefix */
static const struct source {
	const char *path;
	const char *prefix;
} sources[] = {
	{ "/proc/self/maps", "" },
	{ "/proc/self/smaps", "VmFlags:" },
	{ "/proc/self/status", "VmNoMig:" },
	{ "/proc/vmstat", "nomigrate_" },
	{ MARKED_KB, "" },
};

static char before[1 << 16], after[sizeof(before)];

/* No memory is allocated meanwhile: that may make a VMA grow. */
static int state_take(char *text)
{
	static char buf[1 << 20];
	size_t used = 0, start;
	int ret;

	for (size_t i = 0; i < ARRAY_SIZE(sources); i++) {
		ret = file_read(sources[i].path, buf, sizeof(buf));
		if (ret < 0)
			return ret;
		start = used;
		for (char *line = strtok(buf, "\n"); line; line = strtok(NULL, "\n")) {
			if (strncmp(line, sources[i].prefix, strlen(sources[i].prefix)))
				continue;
			used += snprintf(text + used, sizeof(before) - used, "%s\n", line);
			if (used >= sizeof(before) - 64)
				return -EFBIG;
		}
		if (used == start)
			return -ENODATA;
	}
	ret = key_fd < 0 ? 0 : key_last();
	sprintf(text + used, "static key: %d\n", ret);
	return ret < 0 ? ret : 0;
}

/* The first line that is another one after the call, or NULL */
static const char *first_change(void)
{
	size_t i = 0;

	while (before[i] && before[i] == after[i])
		i++;
	if (before[i] == after[i])
		return NULL;
	while (i && after[i - 1] != '\n')
		i--;
	after[i + strcspn(after + i, "\n")] = 0;
	return after + i;
}

/* ------------------------------------------------------------------------------ what is advised */

/* Anonymous memory up to here, and something else from here on; the start of a huge page */
static char *middle;

enum behind_kind { ANON, DEVICE, TRACE_BUFFER, HUGE, SHARED_FILE };

static struct behind {
	size_t size;
	int flags;
	const char *vmflag;
	int fd;
} behind[] = {
	[ANON] = { SIZE, MAP_PRIVATE | MAP_ANONYMOUS, "rd", -1 },
	[DEVICE] = { FOLIO_4K, MAP_SHARED, "pf", -1 },
	[TRACE_BUFFER] = { FOLIO_4K, MAP_SHARED, "mm", -1 },
	[HUGE] = { FOLIO_2M, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE, "ht", -1 },
	[SHARED_FILE] = { SIZE, MAP_SHARED, "ms", -1 },
};

/* Descriptors of processes */
static int no_fd = -1, gone, of_root, of_same_user;

enum role { ROOT, UNPRIVILEGED, USERNS, NR_ROLES };

/* By role */
#define ALL(errno_)		{ [ROOT ... USERNS] = (errno_) }
#define NOT_ROOT(errno_)	{ [UNPRIVILEGED ... USERNS] = (errno_) }

/**
 * struct row - a call, and what comes of it
 * @name:	in words
 * @error:	errno for each role
 * @behind:	what follows the anonymous memory
 * @from:	start of the range, seen from the middle
 * @len:	its length
 * @hole:	bytes that are not mapped, in front of the middle
 * @limit:	RLIMIT_MEMLOCK; 0: more than enough; -1: none at all
 * @pidfd:	for process_madvise()
 * @flags:	for process_madvise()
 */
static const struct row {
	const char *name;
	int error[NR_ROLES];
	enum behind_kind behind;
	ssize_t from;
	size_t len;
	size_t hole;
	ssize_t limit;
	const int *pidfd;
	unsigned int flags;
} rows[] = {
#define RANGE(start, length)	.from = (start), .len = (length)
	{ "unaligned", ALL(EINVAL), ANON, RANGE(1 - SIZE, SIZE) },
	{ "wraps around", ALL(EINVAL), ANON, RANGE(-SIZE, -FOLIO_4K) },
	{ "wraps around to nothing", ALL(EINVAL), ANON, RANGE(-SIZE, -1) },
	{ "device memory", ALL(EINVAL), DEVICE, RANGE(-SIZE, SIZE + FOLIO_4K) },
	{ "trace buffer", ALL(EINVAL), TRACE_BUFFER, RANGE(-SIZE, SIZE + FOLIO_4K) },
	{ "trace buffer after a hole", ALL(EINVAL), TRACE_BUFFER, RANGE(-SIZE, SIZE + FOLIO_4K),
	  .hole = FOLIO_4K },
	{ "ends in a huge page", ALL(EINVAL), HUGE, RANGE(-SIZE, SIZE + FOLIO_4K) },
	{ "begins in a huge page", ALL(EINVAL), HUGE, RANGE(FOLIO_4K, FOLIO_2M - FOLIO_4K) },
	{ "hole", ALL(ENOMEM), ANON, RANGE(-SIZE, SIZE), .hole = SIZE },
	/* Shared, and opened for reading only */
	{ "read-only file of root", NOT_ROOT(EACCES), SHARED_FILE, RANGE(-SIZE, 2 * SIZE) },
	{ "limit of 0", NOT_ROOT(EPERM), ANON, RANGE(-SIZE, SIZE), .limit = -1 },
	{ "limit below a page", NOT_ROOT(EAGAIN), ANON, RANGE(-SIZE, 1), .limit = FOLIO_4K - 1 },
	{ "a byte too many", NOT_ROOT(EAGAIN), ANON, RANGE(-SIZE, SIZE / 2 + 1),
	  .limit = SIZE / 2 },
	/* Each of them would fit. */
	{ "two mappings", NOT_ROOT(EAGAIN), ANON, RANGE(-SIZE, 2 * SIZE), .limit = SIZE },
#define REMOTE(fd)		ANON, RANGE(-SIZE, SIZE), .pidfd = &(fd)
	{ "no descriptor", ALL(EBADF), REMOTE(no_fd) },
	{ "no pidfd", ALL(EBADF), REMOTE(behind[SHARED_FILE].fd) },
	{ "process that is gone", ALL(ESRCH), REMOTE(gone) },
	{ "process of root", NOT_ROOT(EACCES), REMOTE(of_root) },
	{ "process of the same user", NOT_ROOT(EPERM), REMOTE(of_same_user) },
	{ "unknown flag", ALL(EINVAL), REMOTE(of_same_user), .flags = 1 },
};

/* Writable memory, what is behind it, and no access to what is around both */
static int prepare(const struct row *row)
{
	int around = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
	const struct behind *b = &behind[row->behind];
	struct rlimit limit = {
		.rlim_cur = row->limit < 0 ? 0 : row->limit ?: ROOM,
		.rlim_max = ROOM,
	};

	if (mmap(middle - FOLIO_2M, 2 * FOLIO_2M, PROT_NONE, around, -1, 0) == MAP_FAILED ||
	    mprotect(middle - SIZE, SIZE, PROT_READ | PROT_WRITE) ||
	    mmap(middle, b->size, PROT_READ, b->flags | MAP_FIXED, b->fd, 0) == MAP_FAILED ||
	    (row->hole && munmap(middle - row->hole, row->hole)) ||
	    setrlimit(RLIMIT_MEMLOCK, &limit))
		return -errno;
	return vmflag_bytes(middle, b->size, b->vmflag) == b->size ? 0 : -ENODATA;
}

/* An errno or 0 */
static int advise(const struct row *row, int advice)
{
	struct iovec range = { .iov_base = middle + row->from, .iov_len = row->len };
	long ret;

	ret = row->pidfd ?
	      syscall(SYS_process_madvise, *row->pidfd, &range, 1UL, advice, row->flags) :
	      madvise(range.iov_base, range.iov_len, advice);
	return ret < 0 ? errno : 0;
}

/* ------------------------------------------------------------------------------------ the roles */

/* Root of the user namespace has all capabilities there, and none of those that count. */
static int role_enter(enum role role)
{
	if (role == ROOT)
		return 0;
	if (setgroups(0, NULL) || setresgid(UID, UID, UID) || setresuid(UID, UID, UID) ||
	    /* Otherwise its own files in /proc belong to root. */
	    prctl(PR_SET_DUMPABLE, 1) || (role == USERNS && unshare(CLONE_NEWUSER)))
		return -errno;
	return role == USERNS ? file_write("/proc/self/uid_map", "0 %d 1", UID) : 0;
}

static bool may_lock(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	return !syscall(SYS_capget, &header, data) && data[0].effective & 1 << CAP_IPC_LOCK;
}

/* Opened for reading only, of a file that all may write */
static int file_open(void)
{
	int fd = memfd_create("errors", MFD_CLOEXEC), ret;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ret = ftruncate(fd, SIZE) || fchmod(fd, 0666) ? -1 : open(path, O_RDONLY | O_CLOEXEC);
	close(fd);
	return ret;
}

/* Memory of the first PCI device that lets it be mapped */
static int device_open(void)
{
	const struct row row = { .behind = DEVICE };
	int *fd = &behind[DEVICE].fd;
	glob_t found = { 0 };

	glob("/sys/bus/pci/devices/*/resource[0-5]", 0, NULL, &found);
	for (size_t i = 0; i < found.gl_pathc && *fd < 0; i++) {
		*fd = open(found.gl_pathv[i], O_RDONLY | O_CLOEXEC);
		if (prepare(&row)) {
			close(*fd);
			*fd = -1;
		}
	}
	globfree(&found);
	return *fd;
}

/* A second reader would keep the tracing instance busy. */
static int hold_still(void *arg)
{
	(void)arg;
	return key_fd >= 0 && close(key_fd) ? -errno : 0;
}

/* A child that ends with the test, or is gone already */
static int peer_pidfd(bool ended)
{
	struct peer peer;
	int fd;

	if (peer_start(&peer, hold_still, NULL))
		return -1;
	fd = syscall(SYS_pidfd_open, peer.pid, 0);
	if (ended)
		peer_stop(&peer);
	return fd;
}

FIXTURE(role)
{
	int error;
};

FIXTURE_VARIANT(role)
{
	enum role role;
};

/* Root comes last: what only root may do turns the static key on. */
FIXTURE_VARIANT_ADD(role, userns) { .role = USERNS };

FIXTURE_VARIANT_ADD(role, unprivileged) { .role = UNPRIVILEGED };

FIXTURE_VARIANT_ADD(role, root) { .role = ROOT };

FIXTURE_SETUP(role)
{
	const struct row row = { .behind = ANON };

	settings_restore();
	if (!kernel_has_advice())
		SKIP(return, "no MADV_NOMIGRATE");
	middle = mmap(NULL, 4 * FOLIO_2M, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(middle, MAP_FAILED);
	middle += 2 * FOLIO_2M - (uintptr_t)middle % FOLIO_2M;
	behind[SHARED_FILE].fd = file_open();
	ASSERT_GE(behind[SHARED_FILE].fd, 0);
	if (access(TRACING "instances", F_OK))
		mount("tracefs", TRACING, "tracefs", 0, NULL);
	behind[TRACE_BUFFER].fd = open(TRACING "per_cpu/cpu0/trace_pipe_raw", O_RDONLY | O_CLOEXEC);
	if (device_open() < 0 || behind[TRACE_BUFFER].fd < 0)
		TH_LOG("device %d, trace buffer %d: what is not there is left out",
		       behind[DEVICE].fd, behind[TRACE_BUFFER].fd);
	ASSERT_EQ(prepare(&row), 0);
	gone = peer_pidfd(true);
	ASSERT_GE(gone, 0);
	of_root = peer_pidfd(false);
	ASSERT_GE(of_root, 0);

	self->error = key_open();
	if (self->error && access(TRACING "kprobe_events", F_OK))
		TH_LOG("no CONFIG_KPROBE_EVENTS: the static key is not looked at");
	else
		ASSERT_EQ(self->error, 0);

	self->error = role_enter(variant->role);
	if (self->error && variant->role == USERNS)
		SKIP(return, "no user namespace: %s", strerror(-self->error));
	ASSERT_EQ(self->error, 0);
	ASSERT_EQ(may_lock(), variant->role != UNPRIVILEGED);
	of_same_user = peer_pidfd(false);
	ASSERT_GE(of_same_user, 0);
}

FIXTURE_TEARDOWN_PARENT(role)
{
	settings_restore();
}

/* Turns the static key on: proof that the test sees it, and the marks. */
static void root_may(struct __test_metadata *_metadata)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		long long marked = file_number(MARKED_KB);
		const struct row *row = &rows[i];

		if (row->error[ROOT])
			continue;
		ASSERT_EQ(prepare(row), 0);
		ASSERT_EQ(state_take(before), 0);
		EXPECT_EQ(advise(row, MADV_NOMIGRATE), 0)
			TH_LOG("%s", row->name);
		ASSERT_EQ(state_take(after), 0);
		EXPECT_EQ(!strstr(after, "static key: 1"), key_fd < 0);
		EXPECT_NE(first_change(), NULL);
		EXPECT_EQ(file_number(MARKED_KB), marked + (row->len + 4095) / 4096 * 4);
		EXPECT_EQ(advise(row, MADV_DOMIGRATE), 0);
		EXPECT_EQ(file_number(MARKED_KB), marked);
	}
}

TEST_F(role, error_changes_nothing)
{
	static const int advices[] = { MADV_NOMIGRATE, MADV_DOMIGRATE, MADV_COLD };

	ASSERT_EQ(state_take(before), 0);
	if (strstr(before, "static key: 1"))
		TH_LOG("the static key is on already: it may only stay so");
	for (size_t i = 0; i < 3 * ARRAY_SIZE(rows); i++) {
		const struct row *row = &rows[i / 3];
		int advice = advices[i % 3], want = row->error[variant->role], got;
		const char *change;

		/* MADV_COLD has the same errors for another process. */
		if ((advice == MADV_NOMIGRATE && !want) || (advice == MADV_COLD && !row->pidfd) ||
		    (row->behind == DEVICE && behind[DEVICE].fd < 0) ||
		    (row->behind == TRACE_BUFFER && behind[TRACE_BUFFER].fd < 0))
			continue;
		/* What root may mark may be unmarked without any rights. */
		if (advice == MADV_DOMIGRATE && !row->pidfd && !row->error[ROOT])
			want = 0;
		ASSERT_EQ(prepare(row), 0)
			TH_LOG("%s", row->name);
		ASSERT_EQ(state_take(before), 0);
		got = advise(row, advice);
		ASSERT_EQ(state_take(after), 0);
		EXPECT_EQ(got, want)
			TH_LOG("%s, advice %d: %s", row->name, advice, strerror(got));
		change = first_change();
		EXPECT_EQ(change, NULL)
			TH_LOG("%s, advice %d has changed: %s", row->name, advice, change);
	}
	if (variant->role == ROOT)
		root_may(_metadata);
}

TEST_HARNESS_MAIN
