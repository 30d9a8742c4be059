// SPDX-License-Identifier: GPL-2.0
/*
 * Who may mark what: every errno of MADV_NOMIGRATE and MADV_DOMIGRATE, as root and as somebody
 * without rights, of one's own process and of another one.  After an error all is as it was.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "movers.h"

#define FOLIO_4K	4096
#define NOBODY		65534
#define SOMEBODY	65533
#define LIMIT		MIB		/* RLIMIT_MEMLOCK of those without rights */
#define SIZE		(256 * 1024)

static int limit_set(size_t bytes)
{
	struct rlimit limit = { .rlim_cur = bytes, .rlim_max = bytes };

	return setrlimit(RLIMIT_MEMLOCK, &limit) ? -errno : 0;
}

/* Without a capability, and without being the owner of what root has made */
static int become(uid_t uid)
{
	if (setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid))
		return -errno;
	/* Otherwise its own files in /proc belong to root. */
	return prctl(PR_SET_DUMPABLE, 1) ? -errno : 0;
}

/* ----------------------------------------------------------------------------- the state before */

/**
 * struct state - what an advice may change
 * @text:	the VMAs with their flags, as smaps has them, and the count of marked memory
 */
struct state {
	char text[1 << 18];
};

static struct state before, after;

/* No memory is allocated meanwhile: that may make a VMA grow. */
static int state_take(struct state *state)
{
	static char smaps[1 << 20];
	size_t len = 0, used = 0;
	ssize_t got = 1;
	int fd = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	while (got > 0 && len < sizeof(smaps) - 1) {
		got = read(fd, smaps + len, sizeof(smaps) - 1 - len);
		len += got > 0 ? got : 0;
	}
	close(fd);
	if (got)
		return -EFBIG;
	smaps[len] = 0;
	/* "7f...-7f... rw-p ..." and "VmFlags: ..." */
	for (char *line = smaps, *end; (end = strchr(line, '\n')); line = end + 1) {
		size_t size = end + 1 - line;

		if ((*line < '0' || *line > '9') && (*line < 'a' || *line > 'f') &&
		    strncmp(line, "VmFlags", 7))
			continue;
		if (used + size >= sizeof(state->text) - 64)
			return -EFBIG;
		memcpy(state->text + used, line, size);
		used += size;
	}
	sprintf(state->text + used, "%lld kB", marked_kb(0));
	return 0;
}

/* --------------------------------------------------------------------------------- every errno */

struct sample {
	char *addr;
	size_t len;
	char *base;		/* what to unmap afterwards */
	size_t size;
};

static int map(struct sample *s, size_t size, int flags, int fd)
{
	s->size = size;
	s->base = mmap(NULL, size, PROT_READ, flags | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);
	s->addr = s->base;
	s->len = size;
	return s->base == MAP_FAILED ? -errno : 0;
}

static int anon(struct sample *s)
{
	return map(s, SIZE, MAP_PRIVATE, -1);
}

static int nothing(struct sample *s)
{
	int ret = anon(s);

	s->len = 0;
	return ret;
}

static int without_pages(struct sample *s)
{
	s->base = NULL;
	return vma_find("[vvar]", &s->addr, &s->len) ? 0 : -ENOENT;
}

static int part_of_huge_page(struct sample *s)
{
	int ret = map(s, 2 * pmd_size(), MAP_PRIVATE | MAP_HUGETLB | MAP_NORESERVE, -1);

	s->addr += page_size();
	s->len = pmd_size();
	return ret;
}

/* Mapped, hole, mapped */
static int hole(struct sample *s)
{
	int ret = anon(s);

	return ret ?: munmap(s->base + SIZE / 4, SIZE / 4) ? -errno : 0;
}

/* More than LIMIT by one page */
static int too_much(struct sample *s)
{
	return map(s, LIMIT + FOLIO_4K, MAP_PRIVATE, -1);
}

static int just_as_much(struct sample *s)
{
	return map(s, LIMIT, MAP_PRIVATE, -1);
}

/* A file of another user and one of its own, opened before the rights went. */
static int files[2] = { -1, -1 };
static const mode_t modes[] = { 0644, 0444 };

static int read_only_file(struct sample *s)
{
	return map(s, SIZE, MAP_PRIVATE, files[0]);
}

static int read_only_shared_file(struct sample *s)
{
	return map(s, SIZE, MAP_SHARED, files[0]);
}

/* The owner may change the permissions, so they don't matter. */
static int own_file(struct sample *s)
{
	return map(s, SIZE, MAP_SHARED, files[1]);
}

static int memfd(struct sample *s)
{
	int fd = memfd_create("limits", MFD_CLOEXEC);
	int ret = fd < 0 || ftruncate(fd, SIZE) ? -errno : map(s, SIZE, MAP_SHARED, fd);

	close(fd);
	return ret;
}

static int shared_anon(struct sample *s)
{
	return map(s, SIZE, MAP_SHARED, -1);
}

/**
 * struct row - an advice, and what comes of it
 * @name:	in words
 * @prepare:	makes the range
 * @advice:	which
 * @root:	errno for root
 * @nobody:	errno for somebody without rights
 * @marked:	bytes that are marked afterwards, where it works, or there is a hole
 * @limit:	RLIMIT_MEMLOCK; 0: LIMIT; -1: none at all
 */
struct row {
	const char *name;
	int (*prepare)(struct sample *s);
	int advice;
	int root;
	int nobody;
	size_t marked;
	int limit;
};

/* What fails and changes nothing is in errors.c. */
static const struct row rows[] = {
	{ "anonymous memory", anon, MADV_NOMIGRATE, 0, 0, SIZE, 0 },
	{ "no length", nothing, MADV_NOMIGRATE, 0, 0, 0, 0 },
	{ "no length, unmarked", nothing, MADV_DOMIGRATE, 0, 0, 0, 0 },
	{ "memory without pages", without_pages, MADV_NOMIGRATE, EINVAL, EINVAL, 0, 0 },
	{ "memory without pages, unmarked", without_pages, MADV_DOMIGRATE, EINVAL, EINVAL, 0, 0 },
	{ "part of a hugetlb page", part_of_huge_page, MADV_NOMIGRATE, EINVAL, EINVAL, 0, 0 },
	{ "part of hugetlb, unmarked", part_of_huge_page, MADV_DOMIGRATE, EINVAL, EINVAL, 0, 0 },
	{ "a hole", hole, MADV_NOMIGRATE, ENOMEM, ENOMEM, SIZE - SIZE / 4, 0 },
	{ "a hole, unmarked", hole, MADV_DOMIGRATE, ENOMEM, ENOMEM, 0, 0 },
	{ "as much as the limit", just_as_much, MADV_NOMIGRATE, 0, 0, LIMIT, 0 },
	{ "more than the limit, unmarked", too_much, MADV_DOMIGRATE, 0, 0, 0, 0 },
	{ "no limit at all, nothing", nothing, MADV_NOMIGRATE, 0, 0, 0, -1 },
	{ "file that may not be written", read_only_file, MADV_NOMIGRATE, 0, 0, SIZE, 0 },
	{ "the same, shared", read_only_shared_file, MADV_NOMIGRATE, 0, EACCES, SIZE, 0 },
	{ "the same, unmarked", read_only_shared_file, MADV_DOMIGRATE, 0, 0, 0, 0 },
	{ "file of its own", own_file, MADV_NOMIGRATE, 0, 0, SIZE, 0 },
	{ "memfd", memfd, MADV_NOMIGRATE, 0, 0, SIZE, 0 },
	{ "shared anonymous memory", shared_anon, MADV_NOMIGRATE, 0, 0, SIZE, 0 },
};

FIXTURE(errors)
{
	char path[2][64];
};

FIXTURE_VARIANT(errors)
{
	uid_t uid;
};

FIXTURE_VARIANT_ADD(errors, root) { .uid = 0 };

FIXTURE_VARIANT_ADD(errors, nobody) { .uid = NOBODY };

FIXTURE_SETUP(errors)
{
	settings_restore();
	if (!kernel_has_advice())
		SKIP(return, "no MADV_NOMIGRATE");
	for (int i = 0; i < 2; i++) {
		int fd;

		sprintf(self->path[i], "/mnt/limits-%d", i);
		unlink(self->path[i]);
		fd = open(self->path[i], O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd < 0)
			SKIP(return, "%s: %s", self->path[i], strerror(errno));
		ASSERT_EQ(ftruncate(fd, SIZE), 0);
		ASSERT_EQ(fchmod(fd, modes[i]), 0);
		ASSERT_EQ(fchown(fd, i == 1 ? variant->uid : SOMEBODY, SOMEBODY), 0);
		close(fd);
		files[i] = open(self->path[i], O_RDONLY | O_CLOEXEC);
		ASSERT_GE(files[i], 0);
	}
}

FIXTURE_TEARDOWN_PARENT(errors)
{
	for (int i = 0; i < 2; i++)
		unlink(self->path[i]);
	settings_restore();
}

TEST_F(errors, table)
{
	bool root = !variant->uid;

	ASSERT_EQ(root ? 0 : become(variant->uid), 0);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *row = &rows[i];
		int want = root ? row->root : row->nobody, got;
		/* The mapped parts are marked where there is a hole. */
		size_t marked = !want || row->root == ENOMEM ? row->marked : 0;
		struct sample s = { 0 };
		/* A soft limit, which goes down and up again */
		struct rlimit limit = { .rlim_cur = row->limit < 0 ? 0 : LIMIT, .rlim_max = LIMIT };

		ASSERT_EQ(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
		ASSERT_EQ(row->prepare(&s), 0)
			TH_LOG("%s", row->name);
		ASSERT_EQ(state_take(&before), 0);
		got = madvise(s.addr, s.len, row->advice) ? errno : 0;
		ASSERT_EQ(state_take(&after), 0);
		EXPECT_EQ(got, want)
			TH_LOG("%s: %s", row->name, strerror(got));
		if (!marked) {
			EXPECT_STREQ(after.text, before.text)
				TH_LOG("%s: something has changed", row->name);
		} else {
			EXPECT_EQ(marked_kb(0), marked / 1024)
				TH_LOG("%s", row->name);
			EXPECT_EQ(vmflag_bytes(s.base, s.size, "nm"), marked);
		}
		if (s.base)
			munmap(s.base, s.size);
		EXPECT_EQ(marked_kb(0), 0);
	}
}

/* What is marked already does not count again, and DOMIGRATE gives it back. */
TEST(limit_is_used_up)
{
	struct sample first, second;

	if (!kernel_has_advice())
		SKIP(return, "no MADV_NOMIGRATE");
	ASSERT_EQ(limit_set(LIMIT), 0);
	ASSERT_EQ(become(NOBODY), 0);
	ASSERT_EQ(just_as_much(&first), 0);
	ASSERT_EQ(anon(&second), 0);
	for (int i = 0; i < 2; i++)
		EXPECT_EQ(madvise(first.addr, first.len, MADV_NOMIGRATE), 0);
	EXPECT_EQ(madvise(second.addr, page_size(), MADV_NOMIGRATE), -1);
	EXPECT_EQ(errno, EAGAIN);
	/* All or nothing: a range with as much room as there is, and a page more */
	EXPECT_EQ(madvise(first.addr, SIZE / 2, MADV_DOMIGRATE), 0);
	EXPECT_EQ(madvise(second.addr, SIZE / 2 + page_size(), MADV_NOMIGRATE), -1);
	EXPECT_EQ(errno, EAGAIN);
	EXPECT_EQ(vmflag_bytes(second.addr, second.size, "nm"), 0);
	EXPECT_EQ(madvise(second.addr, SIZE / 2, MADV_NOMIGRATE), 0);
	EXPECT_EQ(marked_kb(0), LIMIT / 1024);
	/* mlock() has a limit of its own. */
	EXPECT_EQ(mlock(first.addr, LIMIT), 0);
	/* To repeat what has been allowed before takes nothing. */
	EXPECT_EQ(limit_set(page_size()), 0);
	EXPECT_EQ(madvise(second.addr, SIZE / 2, MADV_NOMIGRATE), 0);
	EXPECT_EQ(madvise(second.addr, SIZE / 2 + page_size(), MADV_NOMIGRATE), -1);
	EXPECT_EQ(errno, EAGAIN);
}

/* A memfd of LIMIT bytes with room behind it, all of it marked */
static int marked_with_room(struct sample *s)
{
	int fd = memfd_create("growth", MFD_CLOEXEC), ret;

	if (fd < 0 || ftruncate(fd, 4 * LIMIT))
		return -errno;
	ret = map(s, 4 * LIMIT, MAP_SHARED, fd);
	close(fd);
	if (ret || munmap(s->base + LIMIT, 3 * LIMIT))
		return ret ?: -errno;
	return madvise(s->base, LIMIT, MADV_NOMIGRATE) ? -errno : 0;
}

/* Growth by mremap(), and bytes that are marked in addition. */
static const struct growth {
	const char *name;
	size_t from;
	size_t to;
	int flags;
	size_t more;
} growths[] = {
	{ "in place", LIMIT, LIMIT + FOLIO_4K, 0, FOLIO_4K },
	{ "elsewhere", LIMIT, LIMIT + FOLIO_4K, MREMAP_MAYMOVE, FOLIO_4K },
	{ "once more the same memory", 0, LIMIT, MREMAP_MAYMOVE, LIMIT },
	{ "what it was stays", LIMIT, LIMIT, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, LIMIT },
};

/* Growth always succeeds: beyond the limit the mark yields. */
TEST_F(errors, growth_succeeds)
{
	bool root = !variant->uid;

	ASSERT_EQ(limit_set(LIMIT), 0);
	ASSERT_EQ(root ? 0 : become(variant->uid), 0);
	for (size_t i = 0; i < ARRAY_SIZE(growths); i++) {
		const struct growth *growth = &growths[i];
		long long yields = vmstat("nomigrate_yield");
		struct sample s;
		char *more;

		ASSERT_EQ(marked_with_room(&s), 0);
		more = mremap(s.base, growth->from, growth->to, growth->flags, NULL);
		ASSERT_NE(more, MAP_FAILED)
			TH_LOG("%s: %s", growth->name, strerror(errno));
		EXPECT_EQ(marked_kb(0), root ? (LIMIT + growth->more) / 1024 : 0)
			TH_LOG("%s", growth->name);
		EXPECT_EQ(vmstat("nomigrate_yield") - yields, !root)
			TH_LOG("%s", growth->name);
		munmap(more, growth->to);
		munmap(s.base, LIMIT);
		ASSERT_EQ(marked_kb(0), 0);
	}
}

/* To shrink or to move is no growth. */
TEST_F(errors, move_keeps_the_mark)
{
	long long yields = vmstat("nomigrate_yield");
	struct sample s;
	char *to;

	ASSERT_EQ(limit_set(LIMIT), 0);
	ASSERT_EQ(variant->uid ? become(variant->uid) : 0, 0);
	ASSERT_EQ(marked_with_room(&s), 0);
	to = mmap(NULL, LIMIT, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(to, MAP_FAILED);
	EXPECT_EQ(mremap(s.base, LIMIT, LIMIT, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	EXPECT_EQ(marked_kb(0), LIMIT / 1024);
	EXPECT_EQ(mremap(to, LIMIT, LIMIT / 2, 0), to);
	EXPECT_EQ(marked_kb(0), LIMIT / 2 / 1024);
	EXPECT_EQ(vmstat("nomigrate_yield"), yields);
}

/* A stack is another VMA that grows, also where somebody else has marked it. */
TEST_F(errors, stack_grows)
{
	long long yields = vmstat("nomigrate_yield");
	size_t size = 64 * page_size();
	bool root = !variant->uid;
	struct iovec range;
	int ready[2], go[2];
	char *stack, byte;
	int status;
	pid_t pid;

	ASSERT_EQ(limit_set(4 * page_size()), 0);
	/* Room to grow into */
	stack = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(stack, MAP_FAILED);
	ASSERT_EQ(munmap(stack, size), 0);
	range.iov_len = 4 * page_size();
	range.iov_base = stack + size - range.iov_len;
	ASSERT_EQ(mmap(range.iov_base, range.iov_len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED_NOREPLACE, -1, 0),
		  range.iov_base);
	ASSERT_EQ(pipe(ready) || pipe(go), 0);
	pid = fork();
	if (!pid) {
		if ((root ? 0 : become(variant->uid)) || write(ready[1], "", 1) != 1 ||
		    read(go[0], &byte, 1) != 1)
			_exit(100);
		/* The page below */
		*(volatile char *)(stack + size - 5 * page_size()) = 1;
		_exit(marked_kb(0) == (root ? 5 * page_size() / 1024 : 0) ? 0 : 101);
	}
	ASSERT_GT(pid, 0);
	ASSERT_EQ(read(ready[0], &byte, 1), 1);
	ASSERT_EQ(process_advise(pid, &range, 1, MADV_NOMIGRATE), range.iov_len);
	ASSERT_EQ(write(go[1], "", 1), 1);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(vmstat("nomigrate_yield") - yields, !root);
}

/* ---------------------------------------------------------------------------- another process */

/**
 * struct remote - who advises, and what comes of it
 * @name:	in words
 * @uid:	of the caller
 * @target:	of the process whose memory it is
 * @nice:	the caller has CAP_SYS_NICE, and no other capability
 * @userns:	the caller is in a user namespace, where it has all capabilities
 * @inside:	so is the process whose memory it is
 * @self:	the caller advises itself
 * @limit:	RLIMIT_MEMLOCK of the caller
 * @error:	errno
 */
struct remote {
	const char *name;
	uid_t uid;
	uid_t target;
	bool nice;
	bool userns;
	bool inside;
	bool self;
	size_t limit;
	int error;
};

static const struct remote remotes[] = {
	{ "root", 0, NOBODY, .limit = SIZE / 2 },
	{ "the same user", NOBODY, NOBODY, .limit = LIMIT, .error = EPERM },
	{ "the same user, itself", NOBODY, NOBODY, .self = true, .limit = LIMIT },
	{ "the same user, with CAP_SYS_NICE", NOBODY, NOBODY, .nice = true, .limit = LIMIT },
	{ "the same, beyond the limit", NOBODY, NOBODY, .nice = true, .limit = SIZE / 2,
	  .error = EAGAIN },
	{ "the same, without any limit", NOBODY, NOBODY, .nice = true, .limit = 0, .error = EPERM },
	{ "another user", SOMEBODY, NOBODY, .limit = LIMIT, .error = EACCES },
	{ "another user, with CAP_SYS_NICE", SOMEBODY, NOBODY, .nice = true, .limit = LIMIT,
	  .error = EACCES },
	{ "root of a user namespace", NOBODY, NOBODY, .userns = true, .limit = LIMIT,
	  .error = EACCES },
	{ "root of a user namespace, in there", NOBODY, NOBODY, .userns = true, .inside = true,
	  .limit = LIMIT, .error = EPERM },
	{ "root of a user namespace, itself", NOBODY, NOBODY, .userns = true, .self = true,
	  .limit = LIMIT },
	{ "the same, beyond the limit", NOBODY, NOBODY, .userns = true, .self = true,
	  .limit = SIZE / 2, .error = EAGAIN },
};

/* All capabilities but CAP_SYS_NICE go with the user. */
static int become_nice(uid_t uid)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {
		{ .effective = 1 << CAP_SYS_NICE, .permitted = 1 << CAP_SYS_NICE },
	};
	int ret;

	if (prctl(PR_SET_KEEPCAPS, 1))
		return -errno;
	ret = become(uid);
	return ret ?: syscall(SYS_capset, &header, data) ? -errno : 0;
}

/* Bytes that were advised, or a negative errno */
static ssize_t advise(pid_t pid, void *addr, size_t len, int advice)
{
	struct iovec range = { .iov_base = addr, .iov_len = len };

	return process_advise(pid, &range, 1, advice);
}

struct remote_case {
	const struct remote *remote;
	struct sample sample;
	pid_t target;
};

static int target_lives(void *arg)
{
	const struct remote_case *c = arg;

	return become(c->remote->target);
}

static int target_is_born(void *arg)
{
	(void)arg;
	return 0;
}

/* 0, or what is wrong */
static int caller(const struct remote_case *c)
{
	const struct remote *r = c->remote;
	const struct sample *s = &c->sample;
	ssize_t cold, ret, want = r->error ? -r->error : (ssize_t)s->len;
	pid_t pid = r->self ? getpid() : c->target;
	struct peer peer;

	if (limit_set(r->limit) || (r->nice ? become_nice(r->uid) : r->uid ? become(r->uid) : 0) ||
	    (r->userns && unshare(CLONE_NEWUSER)))
		return 2;
	if (r->inside) {
		if (peer_start(&peer, target_is_born, NULL))
			return 2;
		pid = peer.pid;
	}
	cold = advise(pid, s->addr, s->len, MADV_COLD);
	ret = advise(pid, s->addr, s->len, MADV_NOMIGRATE);
	/* Beyond the limits the rights are those of MADV_COLD. */
	if (r->inside)
		peer_stop(&peer);
	if (ret != want || (cold < 0 && cold != ret))
		return 3;
	if (r->self && marked_kb(0) != (ret < 0 ? 0 : s->len / 1024))
		return 4;
	if (!r->self && ret > 0 && marked_kb(pid) != s->len / 1024)
		return 5;
	if (ret > 0 && advise(pid, s->addr, s->len, MADV_DOMIGRATE) != ret)
		return 6;
	return ret > 0 && marked_kb(pid) ? 7 : 0;
}

FIXTURE(process)
{
	int dummy;
};

FIXTURE_SETUP(process)
{
	self->dummy = 0;
	settings_restore();
	if (!kernel_has_advice())
		SKIP(return, "no MADV_NOMIGRATE");
}

FIXTURE_TEARDOWN_PARENT(process)
{
	settings_restore();
}

TEST_F(process, rights)
{
	for (size_t i = 0; i < ARRAY_SIZE(remotes); i++) {
		struct remote_case c = { .remote = &remotes[i] };
		struct peer peer;
		int status;
		pid_t pid;

		ASSERT_EQ(map(&c.sample, SIZE, MAP_PRIVATE, -1), 0);
		ASSERT_EQ(peer_start(&peer, target_lives, &c), 0);
		c.target = peer.pid;
		pid = fork();
		if (!pid)
			_exit(caller(&c));
		ASSERT_GT(pid, 0);
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
		EXPECT_EQ(status, 0)
			TH_LOG("%s", remotes[i].name);
		EXPECT_EQ(marked_kb(peer.pid), 0);
		peer_stop(&peer);
		munmap(c.sample.base, c.sample.size);
	}
}

/* What the file may be is a matter of the caller. */
TEST_F(process, file_of_somebody_else)
{
	struct peer peer;
	struct remote remote = { .target = NOBODY };
	struct remote_case c = { .remote = &remote };
	int fd, status;
	pid_t pid;

	fd = open("/mnt/limits", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(ftruncate(fd, SIZE), 0);
	close(fd);
	fd = open("/mnt/limits", O_RDONLY | O_CLOEXEC);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(map(&c.sample, SIZE, MAP_SHARED, fd), 0);
	ASSERT_EQ(peer_start(&peer, target_lives, &c), 0);
	pid = fork();
	if (!pid)
		_exit(limit_set(LIMIT) || become_nice(NOBODY) ||
		      advise(peer.pid, c.sample.addr, SIZE, MADV_NOMIGRATE) != -EACCES);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(marked_kb(peer.pid), 0);
	EXPECT_EQ(advise(peer.pid, c.sample.addr, SIZE, MADV_NOMIGRATE), SIZE);
	EXPECT_EQ(marked_kb(peer.pid), SIZE / 1024);
	peer_stop(&peer);
	unlink("/mnt/limits");
}

/* Several ranges: those before the bad one are done, and the length says so. */
TEST_F(process, bad_input)
{
	struct sample s;
	struct iovec ranges[2];
	int pidfd = syscall(SYS_pidfd_open, getpid(), 0);

	ASSERT_GE(pidfd, 0);
	ASSERT_EQ(anon(&s), 0);
	for (int i = 0; i < 2; i++)
		ranges[i] = (struct iovec){ .iov_base = s.addr + i * SIZE / 2,
					    .iov_len = SIZE / 2 };
	EXPECT_EQ(syscall(SYS_process_madvise, -1, ranges, 2UL, MADV_NOMIGRATE, 0), -1);
	EXPECT_EQ(errno, EBADF);
	EXPECT_EQ(syscall(SYS_process_madvise, pidfd, ranges, 2UL, MADV_NOMIGRATE, 1), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(marked_kb(0), 0);
	ranges[1].iov_base = (char *)ranges[1].iov_base + 1;
	EXPECT_EQ(syscall(SYS_process_madvise, pidfd, ranges, 2UL, MADV_NOMIGRATE, 0), SIZE / 2);
	EXPECT_EQ(marked_kb(0), SIZE / 2 / 1024);
	EXPECT_EQ(vmflag_bytes(s.base, SIZE / 2, "nm"), SIZE / 2);
	EXPECT_EQ(vmflag_bytes(s.base + SIZE / 2, SIZE / 2, "nm"), 0);
}

/* ------------------------------------------------------------------------------- the switches */

#define DIRECTORY	"/sys/kernel/mm/migrate_defer/"

TEST(switches_take_0_and_1)
{
	static const char * const switches[] = { "enabled", "last_resort", "prefault" };
	static const char * const bad[] = { "2", "-1", "10", "256", "yes", "y", "0 1", "0x1", "\n",
					    "1\n\n" };

	if (!kernel_has_advice())
		SKIP(return, "no MADV_NOMIGRATE");
	for (size_t i = 0; i < ARRAY_SIZE(switches); i++) {
		char path[128];

		snprintf(path, sizeof(path), DIRECTORY "%s", switches[i]);
		if (access(path, F_OK) && !strcmp(switches[i], "prefault"))
			continue;	/* without CONFIG_IOMMU_SVA_HINT */
		EXPECT_EQ(file_number(path), 1);
		for (int on = 0; on <= 1; on++) {
			EXPECT_EQ(file_write(path, "%d\n", on), 0);
			EXPECT_EQ(file_number(path), on);
			for (size_t k = 0; k < ARRAY_SIZE(bad); k++) {
				EXPECT_EQ(file_write(path, "%s", bad[k]), -EINVAL)
					TH_LOG("%s: %s", switches[i], bad[k]);
				EXPECT_EQ(file_number(path), on);
			}
		}
	}
	EXPECT_LT(file_write(DIRECTORY "marked_kb", "0"), 0);
}

TEST_HARNESS_MAIN
