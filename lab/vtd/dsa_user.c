// SPDX-License-Identifier: GPL-2.0-or-later
/* Work queues of a DSA, configured by accel-config, and descriptors for them. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "dsa_user.h"
#include "migrate_defer.h"

#define WQ_SIZE		16

/**
 * run() - run a command of the shell; what it says becomes part of the log
 * @command: it
 *
 * Return: its status, as system() has it, or -1.
 */
int run(const char *command)
{
	char line[512];
	FILE *pipe;

	snprintf(line, sizeof(line), "%s 2>&1", command);
	pipe = popen(line, "r");
	if (!pipe)
		return -1;
	while (fgets(line, sizeof(line), pipe))
		printf("#   %s", line);
	fflush(stdout);
	return pclose(pipe);
}

/**
 * accel() - run accel-config
 * @fmt: its arguments
 *
 * Return: its status, as system() has it, or -1.
 */
int accel(const char *fmt, ...)
{
	char command[400], args[300];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(args, sizeof(args), fmt, ap);
	va_end(ap);
	snprintf(command, sizeof(command), "%s %s", ACCEL_CONFIG, args);
	return run(command);
}

/**
 * dsa_missing() - look for the device, and for what configures it
 *
 * Return: what is not there, or NULL.
 */
const char *dsa_missing(void)
{
	if (access(DSA_DEVICE, F_OK))
		return "idxd has not bound a device";
	return access(ACCEL_CONFIG, X_OK) ? "no " ACCEL_CONFIG : NULL;
}

static int configure_wq(int n, const struct queue_config *queue)
{
	char args[200];

	snprintf(args, sizeof(args), "--group-id=0 --mode=dedicated --type=%s --driver-name=%s",
		 queue->kernel ? "kernel" : "user", queue->kernel ? "dmaengine" : "user");
	return accel("config-wq dsa0/wq0.%d %s --name=%s %s=%d %s=%d %s=%d %s=%d", n, args,
		     queue->name, "--priority=10 --wq-size", WQ_SIZE, "--max-batch-size", MAX_BATCH,
		     "--max-transfer-size", MAX_TRANSFER, "--block-on-fault", queue->block);
}

/**
 * configure() - configure and enable the device, and its queues for user space
 * @queues: the work queues, from 0 on
 * @nr: how many there are
 *
 * Return: 0, or else.
 */
int configure(const struct queue_config *queues, int nr)
{
	int ret = accel("config-engine dsa0/engine0.0 --group-id=0");

	for (int i = 0; !ret && i < nr; i++)
		ret = configure_wq(i, &queues[i]);
	ret = ret ?: accel("enable-device dsa0");
	for (int i = 0; !ret && i < nr; i++)
		if (!queues[i].kernel)
			ret = accel("enable-wq dsa0/wq0.%d", i);
	return ret;
}

/**
 * unconfigure() - disable the device, and forget its configuration
 *
 * Return: 0, or else.
 */
int unconfigure(void)
{
	return accel("disable-device dsa0");
}

/**
 * device_path() - find the PCI device
 * @path: where it is in sysfs, PATH_MAX bytes
 *
 * Return: whether it was found.
 */
bool device_path(char *path)
{
	return realpath(DSA_DEVICE "/..", path);
}

/**
 * map_registers() - map the registers, which the driver has, too
 *
 * Return: DSA_BAR_SIZE bytes of them, or NULL.
 */
volatile void *map_registers(void)
{
	char path[PATH_MAX + 16], device[PATH_MAX];
	void *bar;
	int fd;

	if (!device_path(device))
		return NULL;
	snprintf(path, sizeof(path), "%s/resource0", device);
	fd = open(path, O_RDWR);
	if (fd < 0)
		return NULL;
	bar = mmap(NULL, DSA_BAR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return bar == MAP_FAILED ? NULL : bar;
}

/**
 * read_counts() - read counts of the device from its registers
 * @wq: of which work queue, or -1 for all of the device
 * @counts: what to fill in
 *
 * Return: whether they could be read.
 */
bool read_counts(int wq, struct dsa_counts *counts)
{
	volatile unsigned long long *from;
	volatile void *bar = map_registers();
	unsigned long long *to = (void *)counts;

	if (!bar)
		return false;
	from = bar + (wq < 0 ? DSA_COUNTS_OFFSET : DSA_WQ_COUNTS(wq));
	for (size_t i = 0; i < sizeof(*counts) / sizeof(*to); i++)
		to[i] = from[i];
	munmap((void *)bar, DSA_BAR_SIZE);
	return true;
}

/**
 * queue_open() - bind a work queue to this process
 * @queue: what to fill in
 * @n: its number
 *
 * Return: 0 or a negative errno.
 */
int queue_open(struct queue *queue, unsigned int n)
{
	char path[64];

	snprintf(path, sizeof(path), "/dev/dsa/wq0.%u", n);
	queue->fd = open(path, O_RDWR);
	if (queue->fd < 0)
		return -errno;
	queue->portal = mmap(NULL, page_size(), PROT_WRITE, MAP_SHARED, queue->fd, 0);
	return queue->portal == MAP_FAILED ? -errno : 0;
}

/**
 * queue_close() - drain a work queue and give it back
 * @queue: it
 */
void queue_close(struct queue *queue)
{
	munmap(queue->portal, page_size());
	close(queue->fd);
}

/**
 * submit() - give a descriptor to the device
 * @queue: the work queue
 * @desc: the descriptor
 *
 * MOVDIR64B (%rdx), %rax, by its bytes, as assemblers may not know it.  The load in front of it is
 * for processors that are emulated, see movdir64b.c.
 */
void submit(struct queue *queue, const struct dsa_hw_desc *desc)
{
	asm volatile("sfence\n\t"
		     "movb (%%rdx), %%cl\n\t"
		     ".byte 0x66, 0x0f, 0x38, 0xf8, 0x02"
		     : : "a" (queue->portal), "d" (desc) : "rcx", "memory");
}

/**
 * wait_for() - wait until a descriptor is done
 * @record: its completion record
 *
 * Return: its status, or 0 if there is none in time.
 */
unsigned int wait_for(const struct dsa_completion_record *record)
{
	time_t end = time(NULL) + WAIT_SECONDS;

	while (!record->status && time(NULL) < end)
		usleep(1000);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return record->status;
}

/**
 * execute() - have a descriptor done
 * @queue: the work queue
 * @done: the descriptor
 *
 * Return: its status, or 0 if there is none in time.
 */
unsigned int execute(struct queue *queue, struct done *done)
{
	memset(&done->record, 0, sizeof(done->record));
	done->desc.completion_addr = (__u64)&done->record;
	submit(queue, &done->desc);
	return wait_for(&done->record);
}

/**
 * move() - describe a copy
 * @dst: where to
 * @src: where from
 * @len: how much, MAX_TRANSFER at most
 * @flags: FLAGS_RECORD, or FLAGS_BLOCK
 *
 * Return: the descriptor.
 */
struct dsa_hw_desc move(void *dst, const void *src, size_t len, unsigned int flags)
{
	return (struct dsa_hw_desc) {
		.opcode = DSA_OPCODE_MEMMOVE, .flags = flags, .src_addr = (__u64)src,
		.dst_addr = (__u64)dst, .xfer_size = len,
	};
}
