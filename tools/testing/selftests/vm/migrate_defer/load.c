// SPDX-License-Identifier: GPL-2.0
/* Processes that keep movers busy: see movers.h. */
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "movers.h"

#define FRAGMENT_BYTES	(64 * MIB)

/* Scattered free pages, and everybody told to get together. */
static void fragment_and_compact(void)
{
	char *pool = mmap(NULL, FRAGMENT_BYTES, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned int round = 0;

	madvise(pool, FRAGMENT_BYTES, MADV_NOHUGEPAGE);
	for (;; round++) {
		for (size_t at = 0; at < FRAGMENT_BYTES; at += page_size())
			pool[at] = 1;
		for (size_t at = 0; at < FRAGMENT_BYTES; at += page_size())
			if ((at / page_size() + round) % 8)
				madvise(pool + at, page_size(), MADV_DONTNEED);
		file_write("/proc/sys/vm/compact_memory", "1");
	}
}

/* Somebody who needs more than there is. */
static void press(void)
{
	for (;;) {
		size_t size = 64 * MIB;
		char *mem;

		for (int node = 0; node < node_count(); node++)
			size += node_meminfo(node, "MemFree:");
		mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (mem == MAP_FAILED)
			continue;
		for (size_t at = 0; at < size; at += page_size())
			mem[at] = 1;
		munmap(mem, size);
	}
}

static pid_t start(void (*work)(void))
{
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		work();
	}
	return pid;
}

/**
 * load_compaction() - start a process that fragments memory and has it compacted
 *
 * Return: its PID, or -1.
 */
pid_t load_compaction(void)
{
	return start(fragment_and_compact);
}

/**
 * load_pressure() - start a process that needs more memory than there is
 *
 * Return: its PID, or -1.
 */
pid_t load_pressure(void)
{
	return start(press);
}

/**
 * load_stop() - end such a process
 * @pid: its PID
 */
void load_stop(pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/**
 * load_gone() - end a process that may be somebody else's child
 * @pid: its PID, or 0
 *
 * For the end of a test that was killed.  6.12 locks up if a process waits for a DAMON whose files
 * another removes: this waits until it is gone, but not for ever.
 */
void load_gone(pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGKILL);
	for (int i = 0; i < 1000 && !kill(pid, 0); i++)
		usleep(10000);
}
