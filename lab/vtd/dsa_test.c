// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The DSA model behind the kernel's intel-iommu and idxd, configured by accel-config: what user
 * space gets from a dedicated work queue, with and without "block on fault", and that nothing hangs
 * when a queue, the device or the process goes away in the middle of a batch.
 *
 * Each test configures the device anew.  Queues 0 and 1 block on fault, queue 2 does not, queue 3
 * is the kernel's.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "dsa_user.h"
#include "harness.h"
#include "migrate_defer.h"

#define DMATEST		"/sys/module/dmatest/parameters/"
#define PAGES		64
#define BATCH_PAGES	16	/* of each descriptor of a long batch */

/* Registers, drivers/dma/idxd/registers.h */
#define REG_CMD		0xa0
#define REG_CMDSTS	0xa8
#define CMDSTS_ACTIVE	0x80000000u
#define CMD_ABORT_WQ	9	/* operand: a bit for each */

enum { FIRST, SECOND, PLAIN, KERNEL };

FIXTURE(dsa) {
	struct queue queues[3];
	char *src;
	char *dst;
	size_t size;
};

static const struct queue_config configs[] = {
	[FIRST] = { .name = "first", .block = true },
	[SECOND] = { .name = "second", .block = true },
	[PLAIN] = { .name = "plain" },
	[KERNEL] = { .name = "copies", .kernel = true },
};

/* A setting of the driver, for instance "wq0.0/state"; the text is overwritten by the next call. */
static const char *attribute(const char *name)
{
	static char text[64];
	char path[PATH_MAX];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", DSA_DEVICE, name);
	file = fopen(path, "r");
	if (!file || !fgets(text, sizeof(text), file))
		text[0] = '\0';
	if (file)
		fclose(file);
	text[strcspn(text, "\n")] = '\0';
	return text;
}

/* Give the device a command that the driver has no use for; the status, or -1. */
static int command(unsigned int code, unsigned int operand)
{
	volatile void *bar = map_registers();
	volatile __u32 *status = bar + REG_CMDSTS;
	time_t end = time(NULL) + WAIT_SECONDS;
	__u32 value;

	if (!bar)
		return -1;
	*(volatile __u32 *)(bar + REG_CMD) = code << 20 | operand;
	while ((value = *status) & CMDSTS_ACTIVE && time(NULL) < end)
		usleep(1000);
	munmap((void *)bar, DSA_BAR_SIZE);
	return value & CMDSTS_ACTIVE ? -1 : (int)value;
}

static struct dsa_hw_desc fill(void *dst, __u64 pattern, size_t len, unsigned int flags)
{
	return (struct dsa_hw_desc) {
		.opcode = DSA_OPCODE_MEMFILL, .flags = flags, .pattern = pattern,
		.dst_addr = (__u64)dst, .xfer_size = len,
	};
}

/* Two buffers; or, for a CRC, the second is where to copy to. */
static struct dsa_hw_desc two(unsigned int opcode, const void *one, const void *other, size_t len)
{
	return (struct dsa_hw_desc) {
		.opcode = opcode, .flags = FLAGS_BLOCK, .src_addr = (__u64)one,
		.src2_addr = (__u64)other, .xfer_size = len,
	};
}

/* CRC-32C by its definition, table-less. */
static __u32 crc32c(__u32 seed, const char *buf, size_t len)
{
	__u32 crc = ~seed;

	while (len--) {
		crc ^= (unsigned char)*buf++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
	}
	return ~crc;
}

static void scribble(char *buf, size_t len, unsigned int seed)
{
	for (size_t i = 0; i < len; i++) {
		seed = seed * 1103515245 + 12345;
		buf[i] = seed >> 16;
	}
}

static bool all_are(const char *buf, size_t len, char value)
{
	for (size_t i = 0; i < len; i++)
		if (buf[i] != value)
			return false;
	return true;
}

static char *map_untouched(size_t size)
{
	char *mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mem != MAP_FAILED)
		madvise(mem, size, MADV_NOHUGEPAGE);
	return mem;
}

FIXTURE_SETUP(dsa)
{
	const char *why = dsa_missing();

	/* Both are what is tested: without them there is nothing to skip to. */
	ASSERT_EQ(NULL, why)
		TH_LOG("%s", why);
	setting_write("/proc/sys/kernel/numa_balancing", "0");
	ASSERT_EQ(0, configure(configs, ARRAY_SIZE(configs)));
	for (int i = 0; i < ARRAY_SIZE(self->queues); i++)
		ASSERT_EQ(0, queue_open(&self->queues[i], i));
	self->size = PAGES * page_size();
	self->src = map_untouched(self->size);
	self->dst = map_untouched(self->size);
	ASSERT_NE(MAP_FAILED, self->src);
	ASSERT_NE(MAP_FAILED, self->dst);
}

FIXTURE_TEARDOWN(dsa)
{
	for (int i = 0; i < ARRAY_SIZE(self->queues); i++)
		queue_close(&self->queues[i]);
	EXPECT_EQ(0, unconfigure());
	settings_restore();
}

TEST_F(dsa, configured_by_accel_config)
{
	EXPECT_EQ(0, accel("list"));
	EXPECT_STREQ("enabled", attribute("state"));
	EXPECT_STREQ("enabled", attribute("wq0.0/state"));
	EXPECT_STREQ("dedicated", attribute("wq0.0/mode"));
	EXPECT_STREQ("1", attribute("wq0.0/block_on_fault"));
	EXPECT_STREQ("0", attribute("wq0.2/block_on_fault"));
	EXPECT_STREQ("disabled", attribute("wq0.3/state"));
}

TEST_F(dsa, untouched_memory_is_requested)
{
	struct dsa_counts before, after;
	struct done done = { .desc = fill(self->src, 0x5a5a5a5a5a5a5a5aULL, self->size,
					  FLAGS_BLOCK) };

	ASSERT_TRUE(read_counts(-1, &before));
	EXPECT_EQ(DSA_COMP_SUCCESS, execute(&self->queues[FIRST], &done));
	EXPECT_EQ(self->size, done.record.bytes_completed);
	EXPECT_TRUE(all_are(self->src, self->size, 0x5a));
	done.desc = move(self->dst, self->src, self->size, FLAGS_BLOCK);
	EXPECT_EQ(DSA_COMP_SUCCESS, execute(&self->queues[FIRST], &done));
	EXPECT_TRUE(all_are(self->dst, self->size, 0x5a));
	ASSERT_TRUE(read_counts(-1, &after));
	TH_LOG("%llu page requests, %llu translations for 2 * %d untouched pages",
	       after.requests - before.requests, after.translations - before.translations, PAGES);
	/* The completion record is on the stack, which is there. */
	EXPECT_EQ(2 * PAGES, after.requests - before.requests);
	EXPECT_EQ(2, after.descriptors - before.descriptors);

	/* Again: all is cached now. */
	before = after;
	EXPECT_EQ(DSA_COMP_SUCCESS, execute(&self->queues[FIRST], &done));
	ASSERT_TRUE(read_counts(-1, &after));
	EXPECT_EQ(0, after.requests - before.requests);
}

TEST_F(dsa, overlapping_move)
{
	size_t len = self->size - 3 * page_size() - 100;
	struct done done = { .desc = move(self->src + page_size() + 100, self->src, len,
					  FLAGS_BLOCK) };

	scribble(self->src, self->size, 1);
	memcpy(self->dst, self->src, self->size);
	memmove(self->dst + page_size() + 100, self->dst, len);
	EXPECT_EQ(DSA_COMP_SUCCESS, execute(&self->queues[FIRST], &done));
	EXPECT_EQ(0, memcmp(self->src, self->dst, self->size));

	done.desc = move(self->src + 5, self->src + 77, len, FLAGS_BLOCK);
	memmove(self->dst + 5, self->dst + 77, len);
	EXPECT_EQ(DSA_COMP_SUCCESS, execute(&self->queues[FIRST], &done));
	EXPECT_EQ(0, memcmp(self->src, self->dst, self->size));
}

TEST_F(dsa, compare_and_crc)
{
	size_t at = self->size / 2 + 33;
	struct done done = { .desc = two(DSA_OPCODE_COMPARE, self->src, self->dst, self->size) };
	__u32 crc;

	/* Of the standard (RFC 3720, B.4): 32 bytes of 0, and of 0xff */
	EXPECT_EQ(0x8a9136aa, crc32c(0, self->dst, 32));
	done.desc = two(DSA_OPCODE_CRCGEN, self->dst, NULL, 32);
	EXPECT_EQ(DSA_COMP_SUCCESS, execute(&self->queues[FIRST], &done));
	EXPECT_EQ(0x8a9136aa, done.record.crc_val);
	memset(self->dst, 0xff, 32);
	EXPECT_EQ(DSA_COMP_SUCCESS, execute(&self->queues[FIRST], &done));
	EXPECT_EQ(0x62a8ab43, done.record.crc_val);

	scribble(self->src, self->size, 2);
	crc = crc32c(0, self->src, self->size);
	done.desc = two(DSA_OPCODE_COPY_CRC, self->src, self->dst, self->size);
	EXPECT_EQ(DSA_COMP_SUCCESS, execute(&self->queues[FIRST], &done));
	EXPECT_EQ(crc, done.record.crc_val);

	done.desc = two(DSA_OPCODE_COMPARE, self->src, self->dst, self->size);
	EXPECT_EQ(DSA_COMP_SUCCESS, execute(&self->queues[FIRST], &done));
	EXPECT_EQ(0, done.record.result);
	self->dst[at] ^= 1;
	EXPECT_EQ(DSA_COMP_SUCCESS, execute(&self->queues[FIRST], &done));
	EXPECT_EQ(1, done.record.result);
	EXPECT_EQ(at, done.record.bytes_completed);
	/* What was expected is another result. */
	done.desc.flags |= IDXD_OP_FLAG_CR;
	EXPECT_EQ(DSA_COMP_SUCCESS_PRED, execute(&self->queues[FIRST], &done));
}

/*
 * What libraries do where the device must not block: the rest on the CPU, which has the page
 * mapped, too.
 */
TEST_F(dsa, fault_is_finished_on_the_cpu)
{
	size_t there = 5 * page_size(), len = self->size - page_size();
	struct done done = { .desc = move(self->dst, self->src + 8, len, FLAGS_RECORD) };
	unsigned int partial = 0, n;
	struct dsa_counts before, after;

	ASSERT_TRUE(read_counts(-1, &before));
	scribble(self->src, self->size, 3);
	memset(self->dst, 0, there);
	EXPECT_EQ(DSA_COMP_PAGE_FAULT_NOBOF | DSA_COMP_STATUS_WRITE,
		  execute(&self->queues[PLAIN], &done));
	EXPECT_EQ(there, done.record.bytes_completed);
	EXPECT_EQ((__u64)self->dst + there, done.record.fault_addr);
	EXPECT_EQ(0, memcmp(self->dst, self->src + 8, there));
	n = done.record.bytes_completed;
	memcpy(self->dst + n, self->src + 8 + n, len - n);
	EXPECT_EQ(0, memcmp(self->dst, self->src + 8, len));

	/* Every other page of the source is missing: read faults.  The CPU brings one at a time. */
	for (int i = 0; i < PAGES; i += 2)
		ASSERT_EQ(0, madvise(self->src + i * page_size(), page_size(), MADV_DONTNEED));
	memset(self->dst, 1, self->size);
	for (size_t at = 0; at < self->size; partial++) {
		unsigned int status;

		done.desc = move(self->dst + at, self->src + at, self->size - at, FLAGS_RECORD);
		status = execute(&self->queues[PLAIN], &done);
		at += done.record.bytes_completed;
		if (status == DSA_COMP_SUCCESS)
			break;
		ASSERT_EQ(DSA_COMP_PAGE_FAULT_NOBOF, status);
		ASSERT_EQ((__u64)self->src + at, done.record.fault_addr);
		memcpy(self->dst + at, self->src + at, page_size());
		at += page_size();
	}
	EXPECT_EQ(PAGES / 2, partial);
	EXPECT_EQ(0, memcmp(self->dst, self->src, self->size));
	ASSERT_TRUE(read_counts(-1, &after));
	EXPECT_EQ(0, after.requests - before.requests);
	EXPECT_EQ(1 + PAGES / 2, after.faults - before.faults);
	TH_LOG("%u partial completions, no page request", partial);

	/* The CRC of what was completed is the seed of the rest. */
	ASSERT_EQ(0, madvise(self->src + 2 * page_size(), page_size(), MADV_DONTNEED));
	done.desc = two(DSA_OPCODE_CRCGEN, self->src, NULL, self->size);
	done.desc.flags = FLAGS_RECORD;
	EXPECT_EQ(DSA_COMP_PAGE_FAULT_NOBOF, execute(&self->queues[PLAIN], &done));
	n = done.record.bytes_completed;
	EXPECT_EQ(2 * page_size(), n);
	EXPECT_EQ(crc32c(0, self->src, self->size),
		  crc32c(done.record.crc_val, self->src + n, self->size - n));
}

TEST_F(dsa, refused)
{
	struct done done = { .desc = fill(self->dst, 1, self->size, FLAGS_BLOCK) };
	__u64 bad = (__u64)self->dst + 3 * page_size();

	/* The kernel answers the page request by an error. */
	ASSERT_EQ(0, mprotect((void *)bad, page_size(), PROT_READ));
	EXPECT_EQ(DSA_COMP_PAGE_FAULT_IR | DSA_COMP_STATUS_WRITE,
		  execute(&self->queues[FIRST], &done));
	EXPECT_EQ(bad, done.record.fault_addr);
	EXPECT_EQ(3 * page_size(), done.record.bytes_completed);

	/* Not allowed by the configuration of the queue. */
	EXPECT_EQ(DSA_COMP_INVALID_FLAGS, execute(&self->queues[PLAIN], &done));
	EXPECT_EQ(IDXD_OP_FLAG_BOF, done.record.invalid_flags + 0);
	done.desc = fill(self->dst, 1, 0, FLAGS_BLOCK);
	EXPECT_EQ(DSA_COMP_XFER_ERANGE, execute(&self->queues[FIRST], &done));
	/* Of another operation. */
	done.desc = move(self->dst, self->src, page_size(), FLAGS_BLOCK | IDXD_OP_FLAG_CR);
	EXPECT_EQ(DSA_COMP_INVALID_FLAGS, execute(&self->queues[FIRST], &done));
	EXPECT_EQ(IDXD_OP_FLAG_CR, done.record.invalid_flags + 0);
	done.desc = two(DSA_OPCODE_COPY_CRC, self->src, self->src + 100, page_size());
	EXPECT_EQ(DSA_COMP_OVERLAP_BUFFERS, execute(&self->queues[FIRST], &done));
	done.desc.opcode = DSA_OPCODE_DIF_CHECK;
	EXPECT_EQ(DSA_COMP_BAD_OPCODE, execute(&self->queues[FIRST], &done));
}

struct batch {
	struct dsa_hw_desc descs[MAX_BATCH] __attribute__((aligned(64)));
	struct dsa_completion_record records[MAX_BATCH] __attribute__((aligned(32)));
	struct done done;
};

static struct batch *batch_new(void)
{
	struct batch *batch = aligned_alloc(64, (sizeof(*batch) + 63) / 64 * 64);

	if (batch)
		memset(batch, 0, sizeof(*batch));
	return batch;
}

static void batch_set(struct batch *batch, unsigned int n, struct dsa_hw_desc desc)
{
	batch->descs[n] = desc;
	batch->descs[n].completion_addr = (__u64)&batch->records[n];
}

static void batch_describe(struct batch *batch, unsigned int n, unsigned int flags)
{
	batch->done.desc = (struct dsa_hw_desc) {
		.opcode = DSA_OPCODE_BATCH, .flags = flags, .desc_list_addr = (__u64)batch->descs,
		.desc_count = n, .completion_addr = (__u64)&batch->done.record,
	};
}

TEST_F(dsa, batch_and_drain)
{
	struct done drain = { .desc = { .opcode = DSA_OPCODE_DRAIN, .flags = FLAGS_RECORD } };
	struct batch *batch = batch_new();
	size_t part = self->size / 8;

	ASSERT_NE(NULL, batch);
	for (int i = 0; i < 8; i++)
		batch_set(batch, i, fill(self->dst + i * part, 0x0101010101010101ULL * i, part,
					 FLAGS_BLOCK));
	batch_describe(batch, 8, FLAGS_RECORD);
	submit(&self->queues[FIRST], &batch->done.desc);
	EXPECT_EQ(DSA_COMP_SUCCESS, execute(&self->queues[FIRST], &drain));
	/* What came before the drain is done. */
	EXPECT_EQ(DSA_COMP_SUCCESS, batch->done.record.status);
	EXPECT_EQ(8, batch->done.record.descs_completed);
	for (int i = 0; i < 8; i++) {
		EXPECT_EQ(DSA_COMP_SUCCESS, batch->records[i].status);
		EXPECT_TRUE(all_are(self->dst + i * part, part, i));
	}

	/* One that fails; what comes after a fence is not done. */
	memset(batch->records, 0, sizeof(batch->records));
	batch->descs[2].opcode = DSA_OPCODE_DIF_CHECK;
	batch->descs[4].flags |= IDXD_OP_FLAG_FENCE;
	EXPECT_EQ(DSA_COMP_BATCH_FAIL, execute(&self->queues[FIRST], &batch->done));
	EXPECT_EQ(4, batch->done.record.descs_completed);
	EXPECT_EQ(DSA_COMP_BAD_OPCODE, batch->records[2].status);
	EXPECT_EQ(DSA_COMP_SUCCESS, batch->records[3].status);
	EXPECT_EQ(0, batch->records[4].status);

	batch->done.desc.desc_count = 1;
	EXPECT_EQ(DSA_COMP_DESC_CNT_ERANGE, execute(&self->queues[FIRST], &batch->done));

	/* That is for its descriptors to say. */
	batch_describe(batch, 8, FLAGS_BLOCK);
	EXPECT_EQ(DSA_COMP_INVALID_FLAGS, execute(&self->queues[FIRST], &batch->done));
	free(batch);
}

/* Each queue has its own PASID or shares it: invalidations have to reach the right translations. */
TEST_F(dsa, several_queues)
{
	struct done done[2];
	int status;
	pid_t pid;

	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 2; i++) {
			size_t half = self->size / 2;

			memset(&done[i].record, 0, sizeof(done[i].record));
			done[i].desc = fill(self->dst + i * half, 0x0101010101010101ULL * round,
					    half, FLAGS_BLOCK);
			done[i].desc.completion_addr = (__u64)&done[i].record;
			submit(&self->queues[i], &done[i].desc);
		}
		ASSERT_EQ(DSA_COMP_SUCCESS, wait_for(&done[0].record));
		ASSERT_EQ(DSA_COMP_SUCCESS, wait_for(&done[1].record));
		ASSERT_TRUE(all_are(self->dst, self->size, round));
		ASSERT_EQ(0, madvise(self->dst, self->size, MADV_DONTNEED));
	}

	/* The second one for another process */
	queue_close(&self->queues[SECOND]);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		struct queue queue;
		struct done one = { .desc = fill(self->dst, ~0ULL, self->size, FLAGS_BLOCK) };

		if (queue_open(&queue, SECOND))
			_exit(2);
		for (int round = 0; round < 20; round++) {
			if (execute(&queue, &one) != DSA_COMP_SUCCESS ||
			    !all_are(self->dst, self->size, -1))
				_exit(3);
			madvise(self->dst, self->size, MADV_DONTNEED);
		}
		_exit(0);
	}
	for (int round = 0; round < 20; round++) {
		done[0].desc = fill(self->dst, 0x0101010101010101ULL * round, self->size,
				    FLAGS_BLOCK);
		ASSERT_EQ(DSA_COMP_SUCCESS, execute(&self->queues[FIRST], &done[0]));
		ASSERT_TRUE(all_are(self->dst, self->size, round));
		madvise(self->dst, self->size, MADV_DONTNEED);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));
	ASSERT_EQ(0, queue_open(&self->queues[SECOND], SECOND));
}

/* A batch that takes a while: every page has to be requested. */
static struct batch *submit_long(struct queue *queue)
{
	size_t part = BATCH_PAGES * page_size();
	char *mem = map_untouched(MAX_BATCH * part);
	struct batch *batch = batch_new();

	if (!batch || mem == MAP_FAILED)
		return NULL;
	for (int i = 0; i < MAX_BATCH; i++)
		batch_set(batch, i, fill(mem + i * part, 7, part, FLAGS_BLOCK));
	batch_describe(batch, MAX_BATCH, FLAGS_RECORD);
	submit(queue, &batch->done.desc);
	/* It has begun. */
	return wait_for(&batch->records[0]) ? batch : NULL;
}

static void use_queue(struct __test_metadata *_metadata, struct queue *queue, char *mem, size_t len)
{
	struct done done = { .desc = fill(mem, 0x0909090909090909ULL, len, FLAGS_BLOCK) };

	EXPECT_EQ(DSA_COMP_SUCCESS, execute(queue, &done));
	EXPECT_TRUE(all_are(mem, len, 9));
}

/* close() drains the queue: all of the batch is done, and none of it after that. */
TEST_F(dsa, closed_in_mid_batch)
{
	struct batch *batch = submit_long(&self->queues[FIRST]);

	ASSERT_NE(NULL, batch);
	EXPECT_EQ(0, batch->done.record.status);
	queue_close(&self->queues[FIRST]);
	EXPECT_EQ(DSA_COMP_SUCCESS, batch->done.record.status);
	EXPECT_EQ(MAX_BATCH, batch->done.record.descs_completed);
	ASSERT_EQ(0, queue_open(&self->queues[FIRST], FIRST));
	use_queue(_metadata, &self->queues[FIRST], self->dst, self->size);
}

TEST_F(dsa, killed_in_mid_batch)
{
	int status;
	pid_t pid;

	queue_close(&self->queues[FIRST]);
	for (int round = 0; round < 3; round++) {
		int pipes[2];
		char byte;

		ASSERT_EQ(0, pipe(pipes));
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			struct queue queue;

			if (!queue_open(&queue, FIRST) && submit_long(&queue))
				(void)!write(pipes[1], "x", 1);
			for (;;)
				pause();
		}
		EXPECT_EQ(1, read(pipes[0], &byte, 1));
		close(pipes[0]);
		close(pipes[1]);
		kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(0, queue_open(&self->queues[FIRST], FIRST));
		use_queue(_metadata, &self->queues[FIRST], self->dst, self->size);
		queue_close(&self->queues[FIRST]);
	}
	ASSERT_EQ(0, queue_open(&self->queues[FIRST], FIRST));
}

/* The administrator takes the queue, then the whole device away. */
TEST_F(dsa, disabled_in_mid_batch)
{
	struct batch *batch;

	batch = submit_long(&self->queues[FIRST]);
	ASSERT_NE(NULL, batch);
	EXPECT_EQ(0, accel("disable-wq -f dsa0/wq0.0"));
	EXPECT_STREQ("disabled", attribute("wq0.0/state"));

	batch = submit_long(&self->queues[SECOND]);
	ASSERT_NE(NULL, batch);
	EXPECT_EQ(0, accel("disable-device -f dsa0"));
	EXPECT_STREQ("disabled", attribute("state"));
	for (int i = 0; i < ARRAY_SIZE(self->queues); i++)
		queue_close(&self->queues[i]);

	ASSERT_EQ(0, configure(configs, ARRAY_SIZE(configs)));
	for (int i = 0; i < ARRAY_SIZE(self->queues); i++)
		ASSERT_EQ(0, queue_open(&self->queues[i], i));
	use_queue(_metadata, &self->queues[FIRST], self->dst, self->size);
}

/* What is aborted has no completion record, and what comes next is done. */
TEST_F(dsa, aborted_in_mid_batch)
{
	struct batch *batch = submit_long(&self->queues[FIRST]);
	struct done behind = { .desc = fill(self->dst, 1, self->size, FLAGS_BLOCK) };
	struct dsa_counts before, after;

	ASSERT_NE(NULL, batch);
	behind.desc.completion_addr = (__u64)&behind.record;
	submit(&self->queues[FIRST], &behind.desc);
	ASSERT_TRUE(read_counts(-1, &before));
	EXPECT_EQ(0, batch->done.record.status);
	EXPECT_EQ(0, command(CMD_ABORT_WQ, 1 << FIRST));
	ASSERT_TRUE(read_counts(-1, &after));
	EXPECT_EQ(0, batch->done.record.status);
	EXPECT_EQ(0, batch->records[MAX_BATCH - 1].status);
	EXPECT_EQ(0, behind.record.status);
	/* The batch, what is behind it, and its descriptor of that moment, if there is one */
	EXPECT_LE(2, after.abandoned - before.abandoned);
	EXPECT_GE(3, after.abandoned - before.abandoned);
	use_queue(_metadata, &self->queues[FIRST], self->dst, self->size);
}

/*
 * The driver goes away, and can be had again.  Not with the device enabled or a queue open: idxd of
 * 7.3 uses queues that idxd_unregister_devices() has freed then, in idxd_device_clear_state() and
 * at close() (an Oops, whatever the device).
 */
TEST_F(dsa, unbound)
{
	struct batch *batch = submit_long(&self->queues[FIRST]);
	char device[PATH_MAX], line[PATH_MAX + 64];
	const char *name;

	ASSERT_NE(NULL, batch);
	EXPECT_EQ(0, accel("disable-device -f dsa0"));
	for (int i = 0; i < ARRAY_SIZE(self->queues); i++)
		queue_close(&self->queues[i]);
	ASSERT_TRUE(device_path(device));
	name = strrchr(device, '/') + 1;
	snprintf(line, sizeof(line), "echo %s >/sys/bus/pci/drivers/idxd/unbind", name);
	EXPECT_EQ(0, run(line));
	EXPECT_NE(0, access(DSA_DEVICE, F_OK));
	snprintf(line, sizeof(line), "echo %s >/sys/bus/pci/drivers/idxd/bind", name);
	EXPECT_EQ(0, run(line));
	ASSERT_EQ(0, configure(configs, ARRAY_SIZE(configs)));
	for (int i = 0; i < ARRAY_SIZE(self->queues); i++)
		ASSERT_EQ(0, queue_open(&self->queues[i], i));
	use_queue(_metadata, &self->queues[FIRST], self->dst, self->size);
}

/* A queue of the kernel's, for its DMA engine test (CONFIG_DMATEST). */
TEST_F(dsa, dmatest)
{
	ASSERT_EQ(0, access(DMATEST "run", W_OK));
	ASSERT_EQ(0, accel("enable-wq dsa0/wq0.3"));
	EXPECT_STREQ("enabled", attribute("wq0.3/state"));
	ASSERT_EQ(0, run("dmesg -c >/dev/null"));
	ASSERT_EQ(0, run("echo 100 >" DMATEST "iterations"));
	ASSERT_EQ(0, run("echo 1 >" DMATEST "threads_per_chan"));
	ASSERT_EQ(0, run("echo 20000 >" DMATEST "timeout"));
	ASSERT_EQ(0, run("echo dma0chan0 >" DMATEST "channel"));
	ASSERT_EQ(0, run("echo 1 >" DMATEST "run; cat " DMATEST "wait"));
	EXPECT_EQ(0, run("dmesg | grep -E 'dmatest: .*summary 100 tests, 0 failures'"));
	EXPECT_EQ(0, run("echo 0 >" DMATEST "run"));
	EXPECT_EQ(0, accel("disable-wq dsa0/wq0.3"));
}

TEST_HARNESS_MAIN
