#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The sample program (samples/migrate_defer): what it says and its exit status, also
# where it may not lock or mark memory, and on a kernel without MADV_NOMIGRATE.
# Conditions are for eval.
# shellcheck disable=SC2016,SC2034
DIR=$(dirname "$(readlink -f "$0")")
# shellcheck source=/dev/null
. "$DIR/../../kselftest/ktap_helpers.sh"

SAMPLE=${SAMPLE:-$DIR/nomigrate}
work=$(mktemp -d)
chmod 755 "$work"
trap 'rm -rf "$work"' EXIT

# check DESCRIPTION COMMAND...: a test that passes if the command succeeds.
check() {
	local name=$1
	shift
	if "$@"; then
		ktap_test_pass "$name"
	else
		ktap_print_msg "status $status, and it said:"
		sed 's/^/# /' "$work/out"
		ktap_test_fail "$name"
	fi
}

run() {
	status=0
	timeout 60 "$@" >"$work/out" 2>&1 || status=$?
}

says() {
	local line
	for line; do
		grep -Eq -e "$line" "$work/out" && continue
		ktap_print_msg "nothing matches: $line"
		return 1
	done
}

# unprivileged LIMIT COMMAND...: without capabilities and with so many bytes
unprivileged() {
	local limit=$1
	shift
	run prlimit "--memlock=$limit:$limit" \
		setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
}

ktap_print_header
ktap_set_plan 8

run "$SAMPLE" --help
check "--help names the options and the exit statuses" \
	eval '[ $status = 0 ] && says "^usage: nomigrate" "--size" "--wait" "^Exit status: 0"'
run "$SAMPLE" --size 4x
check "a wrong size: one line, and status 2" \
	eval '[ $status = 2 ] && [ "$(wc -l <"$work/out")" = 1 ] && says "not a size: 4x"'

if [ -d /sys/kernel/mm/migrate_defer ]; then
	run "$SAMPLE" --size 2M
	check "the recipe: all done, and shown" \
		eval '[ $status = 0 ] &&
		      says "^mlock: done" "^MADV_POPULATE_WRITE: done" "^MADV_NOMIGRATE: done" \
			   "^MADV_DONTFORK: done" "^VmNoMig:[[:space:]]+2048 kB" \
			   "^VmFlags:.* nm( |\$)"'

	"$SAMPLE" --size 2M --wait 0 >"$work/out" 2>&1 &
	pid=$!
	for ((n = 0; n < 100; n++)); do
		! grep -q "^process" "$work/out" || break
		sleep 0.1
	done
	marked=$(grep VmNoMig "/proc/$pid/status")
	kill -TERM $pid
	status=0
	wait $pid || status=$?
	check "--wait: marked meanwhile, ends by SIGTERM, contents intact" \
		eval '[ $status = 0 ] && says "^contents: intact" && [[ $marked =~ 2048\ kB ]]'

	unprivileged 0 "$SAMPLE" --size 2M
	check "RLIMIT_MEMLOCK of 0: says so, goes on, status 4" \
		eval '[ $status = 4 ] && says "^mlock: refused" "RLIMIT_MEMLOCK is 0 KiB" \
			"^MADV_NOMIGRATE: refused: Operation not permitted" \
			"^VmNoMig:[[:space:]]+0 kB"'
	unprivileged 1048576 "$SAMPLE" --size 2M --wait 1
	check "RLIMIT_MEMLOCK too low: says so, goes on, status 4" \
		eval '[ $status = 4 ] &&
		      says "^MADV_NOMIGRATE: refused: Resource temporarily unavailable" \
			"RLIMIT_MEMLOCK is 1024 KiB" "^contents: intact"'
	unprivileged 2097152 "$SAMPLE" --size 2M
	check "RLIMIT_MEMLOCK just high enough: no capability is needed" \
		eval '[ $status = 0 ] && says "^VmNoMig:[[:space:]]+2048 kB"'
else
	run "$SAMPLE" --size 2M --wait 1
	check "a kernel without MADV_NOMIGRATE: says so, goes on, status 3" \
		eval '[ $status = 3 ] && says "^MADV_NOMIGRATE: not in this kernel" \
			"^VmFlags:" "^contents: intact"'
	for ((n = 0; n < 4; n++)); do
		ktap_test_skip "the kernel has no MADV_NOMIGRATE"
	done
fi
run "$SAMPLE" --fork
check "--fork: no MADV_DONTFORK" \
	eval '! grep -q "^MADV_DONTFORK" "$work/out" && says "^VmFlags:" &&
	      ! grep -q "^VmFlags:.* dc " "$work/out"'
ktap_finished
