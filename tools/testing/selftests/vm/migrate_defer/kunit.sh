#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What the KUnit test of the policy said when the kernel booted.

results=/sys/kernel/debug/kunit/migrate_defer/results

if [ ! -r "$results" ]; then
	echo "skip: no CONFIG_MIGRATE_DEFER_KUNIT_TEST (or no debugfs)"
	exit 4
fi
cat "$results"
grep -q '^ok 1 migrate_defer$' "$results"
