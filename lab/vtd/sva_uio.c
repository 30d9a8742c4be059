// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A backend for sva.h: the endpoint of regs.h, driven by the kernel's uio_pci_generic_sva, instead
 * of the module sva_testdev.
 *
 * The linker (--wrap) has the selftests call the functions below where they open, close and ask
 * /dev/sva_testdev.  A context is a descriptor of /dev/null; it gets a device when it is bound,
 * since to open /dev/uioN is to bind it (uio_pci_sva_open()).  Samplers, which look at page tables,
 * are those of the module: an observer beside the device.
 *
 * Not for threads of one process at a time.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/ioctl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "migrate_defer.h"
#include "sva.h"
#include "sva_uio.h"

#define DEVICE		"/dev/sva_testdev"	/* what sva.c opens */
#define DRIVER		"/sys/bus/pci/drivers/uio_pci_sva"
#define MAX_DEVICES	32
#define MAX_CONTEXTS	64
#define POLL_MS		50
#define END_SECONDS	60	/* for a job to end that is stopped */

struct context {
	int fd;			/* of /dev/null, what the caller has; 0 if unused */
	int uio;		/* of /dev/uioN, -1 if not bound */
	int lock;		/* holds the device while bound */
	bool job;		/* one was started, */
	bool here;		/* on the device that it has now */
	struct svadev_counts counts;	/* or else, when it was unbound */
	int observer;		/* of the real DEVICE, for samplers, -1 without */
	pid_t owner;		/* process that has bound it */
	unsigned int flags;	/* SVA_TESTDEV_BIND_ */
	unsigned int pasid;
	volatile __u64 *bar;
};

static struct context contexts[MAX_CONTEXTS];
static volatile __u64 *bars[MAX_DEVICES];
static const char *module_beside;	/* where the module is, as sva.c says it */

/* -------------------------------------------------------------------------------- the device */

static __u64 get(const struct context *context, unsigned int reg)
{
	return context->bar[reg / 8];
}

static void set(const struct context *context, unsigned int reg, __u64 value)
{
	context->bar[reg / 8] = value;
}

static int command(const struct context *context, __u64 value)
{
	set(context, SVADEV_REG_COMMAND, value);
	return (__s64)get(context, SVADEV_REG_STATUS);
}

static void read_counts(const struct context *context, bool reset, struct svadev_counts *counts)
{
	command(context, reset ? SVADEV_CMD_LATCH_RESET : SVADEV_CMD_LATCH);
	for (size_t offset = 0; offset < sizeof(*counts); offset += 8) {
		__u64 word = get(context, SVADEV_REG_COUNTS + offset);

		memcpy((char *)counts + offset, &word, sizeof(word));
	}
}

static int wait_end(const struct context *context, unsigned int timeout_ms)
{
	double deadline = now() + timeout_ms / 1e3;

	while (get(context, SVADEV_REG_RUNNING)) {
		struct pollfd event = { .fd = context->uio, .events = POLLIN };
		int ready, pause = timeout_ms < POLL_MS ? timeout_ms : POLL_MS;
		__u32 interrupts;

		if (timeout_ms != SVA_TESTDEV_FOREVER && now() >= deadline)
			return -ETIMEDOUT;
		ready = poll(&event, 1, pause);
		if (ready < 0 ||
		    (ready && read(context->uio, &interrupts, sizeof(interrupts)) < 0))
			return -errno;
	}
	return 0;
}

static int stop(const struct context *context)
{
	command(context, SVADEV_CMD_STOP);
	return wait_end(context, END_SECONDS * 1000);
}

/*
 * Registers by the file of sysfs: a mapping of /dev/uioN would keep the process bound until it
 * ends.  Returns NULL with errno set.
 */
static volatile __u64 *map_bar(unsigned int index)
{
	char path[PATH_MAX];
	void *bar;
	int fd;

	if (bars[index])
		return bars[index];
	snprintf(path, sizeof(path), "/sys/class/uio/uio%u/device/resource0", index);
	fd = __real_open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	bar = mmap(NULL, SVADEV_BAR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	__real_close(fd);
	if (bar == MAP_FAILED)
		return NULL;
	bars[index] = bar;
	return bars[index];
}

/* -------------------------------------------------------------------------------- the contexts */

static struct context *find(int fd)
{
	for (int i = 0; fd > 0 && i < MAX_CONTEXTS; i++)
		if (contexts[i].fd == fd)
			return &contexts[i];
	return NULL;
}

/* Have the driver bind to the devices, once. */
static void probe(void)
{
	char ids[32];

	snprintf(ids, sizeof(ids), "%x %x", SVADEV_VENDOR_ID, SVADEV_DEVICE_ID);
	if (access("/dev/uio0", F_OK))
		file_write(DRIVER "/new_id", ids);
}

static int open_context(void)
{
	struct context *context = NULL;

	for (int i = 0; i < MAX_CONTEXTS && !context; i++)
		if (!contexts[i].fd)
			context = &contexts[i];
	probe();
	if (!context || access("/dev/uio0", F_OK)) {
		errno = context ? ENODEV : EMFILE;
		return -1;
	}
	*context = (struct context) { .uio = -1, .lock = -1, .observer = -1 };
	context->fd = __real_open("/dev/null", O_RDWR | O_CLOEXEC);
	if (context->fd < 0)
		context->fd = 0;
	return context->fd ?: -1;
}

static int try_bind(struct context *context, unsigned int index)
{
	char path[PATH_MAX];
	long long pasid;
	int lock;

	snprintf(path, sizeof(path), "/run/svadev.%u", index);
	lock = __real_open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (lock < 0)
		return -errno;
	/* A second opener of a device would take it away from the first (uio_pci_sva_open()). */
	if (flock(lock, LOCK_EX | LOCK_NB)) {
		__real_close(lock);
		return -EBUSY;
	}
	context->bar = map_bar(index);
	snprintf(path, sizeof(path), "/dev/uio%u", index);
	context->uio = context->bar ? __real_open(path, O_RDWR | O_CLOEXEC) : -1;
	if (context->uio < 0) {
		int ret = -errno;

		__real_close(lock);
		return ret;
	}
	context->lock = lock;
	/* What a process leaves open is released from the highest number down (task_work_run()). */
	if (context->uio < lock) {
		int uio = context->uio;

		context->uio = fcntl(uio, F_DUPFD_CLOEXEC, lock + 1);
		__real_close(uio);
	}
	snprintf(path, sizeof(path), "/sys/class/uio/uio%u/device/pasid", index);
	pasid = file_number(path);
	if (context->uio < 0 || pasid <= 0 || get(context, SVADEV_REG_MAGIC) != SVADEV_MAGIC)
		return -EIO;
	context->pasid = pasid;
	context->owner = getpid();
	/* It may have been left alone with a job of a process that has ended. */
	return stop(context) ?: command(context, SVADEV_CMD_EVICT);
}

static void unbind(struct context *context)
{
	if (context->uio < 0) {
		if (context->lock >= 0)
			__real_close(context->lock);
		context->lock = -1;
		return;
	}
	/* A child has it, too, but not for its own address space. */
	if (context->owner == getpid()) {
		stop(context);
		if (context->here)
			read_counts(context, false, &context->counts);
	}
	context->here = false;
	if (context->observer >= 0)
		__real_close(context->observer);
	context->observer = -1;
	__real_close(context->uio);
	__real_close(context->lock);
	context->uio = -1;
	context->lock = -1;
}

static int bind_context(struct context *context, struct sva_testdev_bind *arg)
{
	int ret = -ENODEV;

	if (context->uio >= 0)
		return -EBUSY;
	if (arg->flags & SVA_TESTDEV_BIND_DIRECT)
		return -EOPNOTSUPP;
	if (arg->flags & ~SVA_TESTDEV_BIND_DEAF)
		return -EINVAL;
	context->flags = arg->flags;
	for (unsigned int i = 0; i < MAX_DEVICES; i++) {
		ret = try_bind(context, i);
		if (!ret)
			arg->pasid = context->pasid;
		if (ret != -EBUSY)
			break;
	}
	if (ret)
		unbind(context);
	return ret == -ENOENT ? -ENODEV : ret;
}

static int start(struct context *context, const struct sva_testdev_job *job)
{
	const __u64 user_end = 1ULL << 47;
	__u64 flags = 0;
	int ret;

	/* Accessed and dirty bits are set by the IOMMU, whether asked for or not. */
	if (job->reserved || job->flags & ~(SVA_TESTDEV_JOB_VERIFY | SVA_TESTDEV_JOB_HW_AD |
					    SVA_UIO_JOB_SCATTER))
		return -EINVAL;
	if (job->flags & SVA_TESTDEV_JOB_VERIFY)
		flags |= SVADEV_JOB_VERIFY;
	if (job->flags & SVA_UIO_JOB_SCATTER)
		flags |= SVADEV_JOB_SCATTER;
	if (context->flags & SVA_TESTDEV_BIND_DEAF)
		flags |= SVADEV_JOB_DEAF;
	set(context, SVADEV_REG_PASID, context->pasid);
	set(context, SVADEV_REG_ADDR, job->addr);
	set(context, SVADEV_REG_LEN, job->len);
	set(context, SVADEV_REG_STRIDE, job->stride);
	set(context, SVADEV_REG_PASSES, job->passes);
	set(context, SVADEV_REG_SEED, job->seed);
	set(context, SVADEV_REG_OP, job->op);
	set(context, SVADEV_REG_FLAGS, flags);
	set(context, SVADEV_REG_INTERVAL, job->interval_us);
	if (job->addr + job->len >= job->addr && job->addr + job->len > user_end)
		return -EFAULT;
	ret = command(context, SVADEV_CMD_START);
	if (!ret) {
		context->job = true;
		context->here = true;
	}
	return ret;
}

/* Counts of the last job, wherever it ran */
static void last_counts(struct context *context, bool reset, struct svadev_counts *counts)
{
	if (context->here)
		read_counts(context, reset, counts);
	else
		*counts = context->counts;
}

static int wait_job(struct context *context, struct sva_testdev_wait *wait)
{
	struct svadev_counts counts;
	int ret = context->here ? wait_end(context, wait->timeout_ms) : 0;

	if (ret)
		return ret;
	last_counts(context, false, &counts);
	wait->result = counts.result;
	return 0;
}

static int stats(struct context *context, struct sva_testdev_stats *stats)
{
	const unsigned int flags = stats->flags;
	struct svadev_counts counts;
	bool running;

	if (flags & ~SVA_TESTDEV_STATS_RESET)
		return -EINVAL;
	/* Before the counts: those of a job that has ended are its last. */
	running = context->here && get(context, SVADEV_REG_RUNNING);
	last_counts(context, flags & SVA_TESTDEV_STATS_RESET, &counts);
	*stats = (struct sva_testdev_stats) {
		.flags = flags,
		.running = running,
		.result = counts.result,
		.pasid = context->uio < 0 ? 0 : context->pasid,
		.fail_addr = counts.fail_addr,
		.accesses = counts.accesses,
		.passes = counts.passes,
		.hits = counts.hits,
		.walks = counts.translations,
		.faults = counts.requests,
		.failed_faults = counts.refused,
		.causes[SVA_TESTDEV_NONE] = counts.causes[SVADEV_CAUSE_NONE] +
					    counts.causes[SVADEV_CAUSE_MAPPED],
		/* Of migration and swap entries the device knows that they are not present. */
		.causes[SVA_TESTDEV_SWAP] = counts.causes[SVADEV_CAUSE_OTHER],
		.causes[SVA_TESTDEV_PROTNONE] = counts.causes[SVADEV_CAUSE_PROTNONE],
		.causes[SVA_TESTDEV_READONLY] = counts.causes[SVADEV_CAUSE_READONLY],
		.last_fault_addr = counts.last_request_addr,
		.stalls = counts.stalls,
		.stall_ns = counts.stall_ns,
		.stall_ns_max = counts.stall_ns_max,
		.mismatches = counts.mismatches,
		.mismatch_addr = counts.mismatch_addr,
		.mismatch_expected = counts.mismatch_expected,
		.mismatch_found = counts.mismatch_found,
		.invalidations = counts.invalidations,
		.dropped = counts.dropped,
	};
	memcpy(stats->stall_hist, counts.stall_hist, sizeof(stats->stall_hist));
	return 0;
}

static_assert(SVADEV_NR_BUCKETS == SVA_TESTDEV_NR_BUCKETS, "histograms differ");

static int observe(struct context *context, unsigned long cmd, void *arg)
{
	struct sva_testdev_bind bind = { .flags = SVA_TESTDEV_BIND_DIRECT };
	int ret;

	if (context->uio < 0 && cmd == SVA_TESTDEV_SAMPLE_START)
		return -ENODEV;
	if (context->observer < 0 && cmd != SVA_TESTDEV_SAMPLE_START)
		return -ENOENT;
	if (context->observer < 0) {
		ret = __real_module_load("SVA_TESTDEV", module_beside, "");
		if (ret && ret != -EEXIST)
			return ret;
		context->observer = __real_open(DEVICE, O_RDWR | O_CLOEXEC);
		if (context->observer < 0)
			return -errno;
		if (__real_ioctl(context->observer, SVA_TESTDEV_BIND, &bind)) {
			ret = -errno;
			__real_close(context->observer);
			context->observer = -1;
			return ret;
		}
	}
	return __real_ioctl(context->observer, cmd, arg) ? -errno : 0;
}

static int handle(struct context *context, unsigned long cmd, void *arg)
{
	if (_IOC_TYPE(cmd) != SVA_TESTDEV_IOC)
		return -ENOTTY;
	if (_IOC_DIR(cmd) != _IOC_NONE && !arg)
		return -EFAULT;
	switch (cmd) {
	case SVA_TESTDEV_BIND:
		return bind_context(context, arg);
	case SVA_TESTDEV_UNBIND:
		if (context->uio < 0)
			return -ENODEV;
		unbind(context);
		return 0;
	case SVA_TESTDEV_JOB_START:
		return context->uio < 0 ? -ENODEV : start(context, arg);
	case SVA_TESTDEV_JOB_STOP:
		if (!context->job)
			return -ENOENT;
		return context->here ? stop(context) : 0;
	case SVA_TESTDEV_JOB_WAIT:
		return context->job ? wait_job(context, arg) : -ENOENT;
	case SVA_TESTDEV_STATS:
		return context->job ? stats(context, arg) : -ENOENT;
	case SVA_TESTDEV_EVICT:
		return context->uio < 0 ? -ENODEV : command(context, SVADEV_CMD_EVICT);
	case SVA_TESTDEV_SAMPLE_START:
	case SVA_TESTDEV_SAMPLE_STOP:
	case SVA_TESTDEV_SAMPLE_READ:
		return observe(context, cmd, arg);
	}
	return -ENOTTY;
}

/* ------------------------------------------------------------------- what the selftests call */

int __wrap_open(const char *path, int flags, ...)
{
	mode_t mode = 0;

	if (!strcmp(path, DEVICE))
		return open_context();
	if (flags & O_CREAT) {
		va_list args;

		va_start(args, flags);
		mode = va_arg(args, mode_t);
		va_end(args);
	}
	return __real_open(path, flags, mode);
}

int __wrap_close(int fd)
{
	struct context *context = find(fd);

	if (context) {
		unbind(context);
		context->fd = 0;
	}
	return __real_close(fd);
}

int __wrap_ioctl(int fd, unsigned long cmd, ...)
{
	struct context *context = find(fd);
	va_list args;
	void *arg;
	int ret;

	va_start(args, cmd);
	arg = va_arg(args, void *);
	va_end(args);
	if (!context)
		return __real_ioctl(fd, cmd, arg);
	ret = handle(context, cmd, arg);
	if (!ret)
		return 0;
	errno = -ret;
	return -1;
}

int __wrap_module_load(const char *env, const char *beside, const char *args)
{
	if (strcmp(env, "SVA_TESTDEV"))
		return __real_module_load(env, beside, args);
	module_beside = beside;
	probe();
	return access("/dev/uio0", F_OK) ? -ENODEV : 0;
}

/* No process has a device, and none is at work. */
bool __wrap_sva_nothing_live(void *unused)
{
	(void)unused;
	for (unsigned int i = 0; i < MAX_DEVICES; i++) {
		char path[PATH_MAX];
		bool bound;
		int lock;

		snprintf(path, sizeof(path), "/run/svadev.%u", i);
		lock = __real_open(path, O_RDWR | O_CLOEXEC);
		if (lock < 0)
			continue;
		bound = flock(lock, LOCK_EX | LOCK_NB);
		__real_close(lock);
		if (bound || (map_bar(i) && bars[i][SVADEV_REG_RUNNING / 8]))
			return false;
	}
	return true;
}

/**
 * uio_register() - read a register of a context's device
 * @fd: the context, bound
 * @reg: SVADEV_REG_ something
 *
 * Return: its value.
 */
__u64 uio_register(int fd, unsigned int reg)
{
	return get(find(fd), reg);
}

/**
 * uio_counts() - read the counts of the present or last job, all of them
 * @fd: the context
 * @counts: the counts
 *
 * Return: 0 or a negative errno.
 */
int uio_counts(int fd, struct svadev_counts *counts)
{
	struct context *context = find(fd);

	if (!context || context->uio < 0)
		return -ENODEV;
	read_counts(context, false, counts);
	return 0;
}
