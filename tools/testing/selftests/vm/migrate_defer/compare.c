// SPDX-License-Identifier: GPL-2.0
/*
 * MADV_NOMIGRATE against its rivals, as counts and shares:
 *
 *	compare RIVAL SECTION...
 *
 * A section may be narrowed down to one thing that it measures: SECTION:WHAT.  Prints one JSON
 * object per figure and line.  One boot per rival, since some of them leave pages where nobody can
 * move them: harness/compare does that.
 */
#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compare.h"

#define SECONDS		60	/* for one item that says nothing else */

static const struct section * const sections[] = {
	&movers_section, &forced_section, &fragmentation_section, &device_section,
	&costs_section, &neighbour_section,
};

/* What is being measured */
static const struct section *section;
static const struct item *item;

static void report_begin(void)
{
	printf("{\"section\": \"%s\", \"what\": \"%s\", ", section->name, item->what);
}

static void report_end(void)
{
	printf("}\n");
	fflush(stdout);
}

/**
 * report() - print a figure
 * @metric: what the figure says
 * @unit: what it counts
 * @value: the figure
 */
void report(const char *metric, const char *unit, double value)
{
	report_begin();
	printf("\"metric\": \"%s\", \"value\": %.10g, \"unit\": \"%s\"", metric, value, unit);
	report_end();
}

/**
 * report_of() - print a share
 * @metric: what it says
 * @unit: what is counted
 * @value: how many
 * @of: of how many
 */
void report_of(const char *metric, const char *unit, size_t value, size_t of)
{
	report_begin();
	printf("\"metric\": \"%s\", \"value\": %zu, \"of\": %zu, \"unit\": \"%s\"", metric, value,
	       of, unit);
	report_end();
}

/**
 * report_missing() - print why there is no figure
 * @fmt: the reason
 *
 * Return: 0, for the caller to return.
 */
int report_missing(const char *fmt, ...)
{
	char reason[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(reason, sizeof(reason), fmt, args);
	va_end(args);
	report_begin();
	printf("\"missing\": \"%s\"", reason);
	report_end();
	return 0;
}

static int measure(const struct rival *rival)
{
	const char *why = rival->missing ? rival->missing() : NULL;
	int ret;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Not what is compared */
	setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){ RLIM_INFINITY, RLIM_INFINITY });
	if (why)
		return report_missing("%s", why);
	ret = item->measure(item, rival);
	if (ret)
		report_missing("failed: %s", strerror(-ret));
	return ret;
}

static bool exited(void *arg)
{
	siginfo_t info = { 0 };

	return waitid(P_PID, *(pid_t *)arg, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid;
}

/* In a process of its own: fresh page tables, and whatever it holds is given back. */
static void run(const struct rival *rival)
{
	int status = 0;
	bool in_time;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (!pid)
		_exit(measure(rival) != 0);
	in_time = poll_until(exited, &pid, item->seconds ?: SECONDS);
	if (!in_time) {
		report_missing("not done after %u s", item->seconds ?: SECONDS);
		kill(pid, SIGKILL);
	}
	waitpid(pid, &status, 0);
	if (in_time && WIFSIGNALED(status))
		report_missing("failed: signal %d", WTERMSIG(status));
	settings_restore();
}

/* Whether @arg is this section, or all of it */
static bool wanted(const char *arg)
{
	size_t len = strlen(section->name);

	if (strncmp(arg, section->name, len))
		return false;
	return !arg[len] || (arg[len] == ':' && !strcmp(arg + len + 1, item->what));
}

int main(int argc, char **argv)
{
	const struct rival *rival = argc > 1 ? rival_find(argv[1]) : NULL;
	int done = 0;

	if (argc < 3 || !rival) {
		fprintf(stderr, "usage: compare RIVAL SECTION[:WHAT]...\nrivals:\n");
		for (size_t i = 0; i < nr_rivals; i++)
			fprintf(stderr, "  %-14s %s\n", rivals[i].name, rivals[i].description);
		fprintf(stderr, "sections:\n");
		for (size_t i = 0; i < ARRAY_SIZE(sections); i++)
			fprintf(stderr, "  %s\n", sections[i]->name);
		return 1;
	}
	for (int arg = 2; arg < argc; arg++) {
		for (size_t i = 0; i < ARRAY_SIZE(sections); i++) {
			section = sections[i];
			for (item = section->items; item->what; item++) {
				if (!wanted(argv[arg]))
					continue;
				run(rival);
				done++;
			}
		}
	}
	if (!done)
		errx(1, "no such section");
	return 0;
}
