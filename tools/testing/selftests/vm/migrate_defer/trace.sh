#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The tracepoints as an administrator uses them: trace-cmd record and report, and
# a histogram by mover.
DIR=$(dirname "$(readlink -f "$0")")
# shellcheck source=/dev/null
. "$DIR/../../kselftest/ktap_helpers.sh"

TRACING=/sys/kernel/tracing
work=$(mktemp -d)
cleanup() {
	echo '!hist:keys=mover' >$TRACING/events/migrate_defer/skip/trigger
	rm -rf "$work"
} 2>/dev/null
trap cleanup EXIT

ktap_print_header
if [ ! -d $TRACING/events/migrate_defer ]; then
	ktap_skip_all "no $TRACING/events/migrate_defer in this kernel"
	exit "$KSFT_SKIP"
fi
if ! command -v trace-cmd >/dev/null; then
	ktap_skip_all "trace-cmd is not installed"
	exit "$KSFT_SKIP"
fi
ktap_set_plan 10

# check DESCRIPTION COMMAND...: a test that passes if the command succeeds.
check() {
	local name=$1 why
	shift
	if "$@"; then
		ktap_test_pass "$name"
		return
	fi
	# The workload of this test or of one before it: the first that says so ends the script.
	why=$(grep -o -m 1 INCONCLUSIVE "$work/log")
	ktap_test_fail "$name${why:+ # $why}"
	return 1
}

has() { grep -Eq "$1" "$work/report" || { ktap_print_msg "nothing matches: $1"; false; }; }

# Compaction may stop before it has been to all of them.
names_marked() {
	sed -n "s/.*$1/\1/p" "$work/report" | grep -qxFf <(said pfn) ||
		{ ktap_print_msg "nothing matches, with a marked page: $1"; false; }
}

# How often the workload says that a page was left alone or moved.
said() { sed -n "s/^$1: //p" "$work/workload"; }

# trace-cmd's exit status says nothing about the command that it has run.
recorded() {
	trace-cmd record -q -e migrate_defer -o "$work/trace.dat" \
		"$DIR/trace_workload" "$work/workload" >"$work/log" 2>&1 &&
		[ "$(said finished)" = 1 ]
}

# nothing_to_look_at: ends the script
nothing_to_look_at() {
	sed 's/^/# /' "$work/log" | tail -20
	ktap_exit_fail_msg "nothing to look at"
}

check "trace-cmd records migrate_defer" recorded || nothing_to_look_at
trace-cmd report -i "$work/trace.dat" >"$work/report" 2>>"$work/log"
check "the report has names for all values" \
	eval '[ -s "$work/report" ] &&
	      ! grep -Eiq "error|unknown|(mover|reason|advice)=[0-9]" "$work/report"'

start=$(said start)
end=$(said end)
mark="trace_workload.* mark: +pid=$(said pid) start=0x$start end=0x$end"
check "mark: names the range and the advice" \
	has "$mark advice=nomigrate result=0\$"
check "mark: names the advice that takes it back" \
	has "$mark advice=domigrate result=0\$"
check "mark: shows a call that failed" \
	has "trace_workload.* mark: .* advice=nomigrate result=-12\$"
check "skip: compaction, and the page frame of a marked page" \
	names_marked " skip: *mover=compaction pfn=\(0x[0-9a-f]*\) order=0\$"
check "forced: move_pages, whose memory, where, and that it was moved" \
	has " forced: +reason=syscall_or_cpuset pid=$(said pid) address=0x$start pages=1 result=0\$"
check "the events agree with the counters" \
	eval '[ "$(said skipped)" -gt 0 ] && [ "$(said forced)" -ge "$(said moved)" ] &&
	      [ "$(grep -c " skip: " "$work/report")" -ge "$(said skipped)" ] &&
	      [ "$(grep -c " forced: .* result=0$" "$work/report")" -ge "$(said moved)" ]'

# An administrator's question: which mover meets marked memory how often?
echo 'hist:keys=mover' >$TRACING/events/migrate_defer/skip/trigger
"$DIR/trace_workload" "$work/workload" >>"$work/log" 2>&1
check "hist trigger: counts the skips by mover" \
	eval '[ "$(said finished)" = 1 ] && [ "$(sed -n "s/.*{ mover: *0 } hitcount: *//p" \
		$TRACING/events/migrate_defer/skip/hist)" -ge "$(said skipped)" ]' ||
	nothing_to_look_at
trace-cmd record -q -e migrate_defer:skip -o "$work/trace.dat" \
	"$DIR/trace_workload" "$work/workload" >>"$work/log" 2>&1
check "trace-cmd hist: shows the event" \
	eval 'trace-cmd hist -i "$work/trace.dat" 2>>"$work/log" | grep -q skip'

[ "$KTAP_CNT_FAIL" = 0 ] || sed 's/^/# /' "$work/log" | tail -20
ktap_finished
