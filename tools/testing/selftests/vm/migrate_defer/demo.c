// SPDX-License-Identifier: GPL-2.0
/*
 * Compare memory that is not protected, memory under mlock() and memory under MADV_NOMIGRATE:
 * how many pages does each mover move?  Everything in the table is measured in the same run.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "movers.h"

#define REGION_SIZE	(4 * MIB)
#define TRIES		10
#define SECONDS		20

enum protection { NONE, MLOCK, NOMIGRATE, NR_PROTECTIONS };

static const char * const protection_name[] = { "nothing", "mlock()", "MADV_NOMIGRATE" };

struct row {
	const struct mover *mover;
	bool mandatory;
};

static const struct row rows[] = {
	{ &compact_memory, false },
	{ &numa_balancing, false },
	{ &cma_alloc, true },
	{ &memory_offline, true },
	{ &move_pages_syscall, true },
};

/* What one region went through, summed over the tries */
struct cell {
	size_t pages;
	size_t moved;
	size_t absent;
	size_t corrupt;
	int error;
};

struct result {
	char missing[96];
	int tries;
	int succeeded;
	double seconds;
	struct cell cell[NR_PROTECTIONS];
};

static int protect(struct region *r, enum protection protection)
{
	if (protection == MLOCK)
		return mlock(r->addr, r->size) ? -errno : 0;
	return protection == NOMIGRATE ? region_mark(r) : 0;
}

static void add(struct cell *cell, const struct ground *g, const struct region *r)
{
	struct diff diff = compare_must_move(g, r);

	cell->pages += diff.pages;
	cell->moved += diff.moved;
	cell->absent += diff.absent;
}

static int measure(const struct row *row, struct result *result)
{
	struct region region[NR_PROTECTIONS], *regions[NR_PROTECTIONS];
	const struct mover *mover = row->mover;
	const char *missing;
	struct ground g;
	int ret;

	missing = ground_init(&g) ?: mover->missing(&g);
	if (missing) {
		snprintf(result->missing, sizeof(result->missing), "%s", missing);
		return 0;
	}
	for (int i = 0; i < NR_PROTECTIONS; i++) {
		regions[i] = &region[i];
		ret = region_map(&region[i], MEM_ANON, page_size(), REGION_SIZE);
		if (ret)
			return ret;
	}

	result->tries = row->mandatory ? TRIES : 1;
	for (int try = 0; try < result->tries; try++) {
		ret = mover->place(&g, regions, NR_PROTECTIONS);
		for (int i = 0; !ret && i < NR_PROTECTIONS; i++)
			result->cell[i].error = protect(&region[i], i);
		for (int i = 0; !ret && i < NR_PROTECTIONS; i++)
			ret = region_snapshot(&region[i]);
		if (ret)
			return ret;
		if (row->mandatory) {
			result->succeeded += !mover->push(&g, regions, NR_PROTECTIONS);
		} else {
			struct diff diff = push_until_moved(mover, &g, regions, NR_PROTECTIONS,
							    &region[NONE], SECONDS);

			result->succeeded += 2 * diff.moved >= diff.pages;
			mover->push(&g, regions, NR_PROTECTIONS);
		}
		for (int i = 0; i < NR_PROTECTIONS; i++) {
			add(&result->cell[i], &g, &region[i]);
			result->cell[i].corrupt += region_corrupt(&region[i]);
		}
		if (mover->undo)
			mover->undo(&g);
		for (int i = 0; i < NR_PROTECTIONS; i++)
			munlock(region[i].addr, region[i].size);
	}
	return 0;
}

/* In a process of its own: each mover meets fresh page tables, and leaves nothing behind. */
static void run(const struct row *row, struct result *result)
{
	double start = now();
	int status = 0, ret;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		ret = measure(row, result);
		if (ret)
			snprintf(result->missing, sizeof(result->missing), "failed: %s",
				 strerror(-ret));
		_exit(ret != 0);
	}
	waitpid(pid, &status, 0);
	settings_restore();
	if (WIFSIGNALED(status))
		snprintf(result->missing, sizeof(result->missing), "failed: signal %d",
			 WTERMSIG(status));
	result->seconds = now() - start;
}

static void print_row(const struct row *row, const struct result *result)
{
	printf("%-16s%-11s", row->mover->name, row->mandatory ? "mandatory" : "optimising");
	if (result->missing[0]) {
		printf("not measured: %s\n", result->missing);
		return;
	}
	for (int i = 0; i < NR_PROTECTIONS; i++) {
		const struct cell *cell = &result->cell[i];
		char text[64];

		if (cell->error)
			snprintf(text, sizeof(text), "%s", strerror(-cell->error));
		else
			snprintf(text, sizeof(text), "%zu of %zu", cell->moved, cell->pages);
		printf("%-18s", text);
	}
	if (row->mandatory)
		printf("%d of %d  ", result->succeeded, result->tries);
	else
		printf("%s", result->succeeded ? "          " : "inconcl.  ");
	for (int i = 0; i < NR_PROTECTIONS; i++)
		if (result->cell[i].corrupt)
			printf("%zu pages under %s CORRUPT ", result->cell[i].corrupt,
			       protection_name[i]);
	if (!(result->cell[0].corrupt | result->cell[1].corrupt | result->cell[2].corrupt))
		printf("intact");
	printf("\n");
}

/* Whether the table shows what it should: this program is a smoke test, too. */
static bool good(const struct row *row, const struct result *result)
{
	const struct cell *none = &result->cell[NONE], *marked = &result->cell[NOMIGRATE];

	if (result->missing[0] || marked->error || none->corrupt || marked->corrupt ||
	    2 * none->moved < none->pages || !none->pages || !marked->pages)
		return false;
	if (row->mandatory)
		return result->succeeded == result->tries && marked->moved == marked->pages;
	return !marked->moved && !marked->absent;
}

int main(void)
{
	struct result *results;
	bool all_good = true;

	results = mmap(NULL, sizeof(*results) * ARRAY_SIZE(rows), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (results == MAP_FAILED) {
		perror("demo");
		return 1;
	}
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		printf("[%zu/%zu] %s ... ", i + 1, ARRAY_SIZE(rows), rows[i].mover->name);
		run(&rows[i], &results[i]);
		printf("%.1f s\n", results[i].seconds);
	}

	printf("\nPages moved, of three regions of %zu pages each that differ only in how\n"
	       "they are protected (mandatory movers: sum of %d tries, of the pages that\n"
	       "were in the way):\n\n",
	       REGION_SIZE / page_size(), TRIES);
	printf("%-16s%-11s", "mover", "class");
	for (int i = 0; i < NR_PROTECTIONS; i++)
		printf("%-18s", protection_name[i]);
	printf("%-10s%s\n", "success", "contents");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		print_row(&rows[i], &results[i]);
		all_good &= good(&rows[i], &results[i]);
	}
	if (!kernel_has_advice())
		printf("\nThis kernel has no MADV_NOMIGRATE.\n");
	return !all_good;
}
