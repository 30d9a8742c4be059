# shellcheck shell=bash
# Sourced by the test steps: TAP output, see harness/test.
set -euo pipefail
# shellcheck source=harness/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
results=0

pass() { results=$((results + 1)); echo "ok - $1"; }
fail() { results=$((results + 1)); echo "not ok - $1"; }
skip() { results=$((results + 1)); echo "ok - $1 # SKIP $2"; }
done_testing() { echo "1..$results"; }

show() { tail -n "${2:-15}" "$1" | sed 's/^/#   /'; }

# check NAME COMMAND...: passes if the command succeeds.
check() {
	local name=$1 status=0
	shift
	"$@" >"$scratch/out" 2>"$scratch/err" </dev/null || status=$?
	if [ "$status" -eq 0 ]; then
		pass "$name"
	else
		fail "$name"
		echo "#   status $status: $*"
		show "$scratch/out"
		show "$scratch/err"
	fi
}

# refuses NAME PATTERN COMMAND...: passes if the command fails, with one clear
# line that matches the pattern on stderr and nothing on stdout.
refuses() { refuses_with "1 125 2" "$@"; }
refuses_with() {
	local statuses=$1 name=$2 pattern=$3 status=0
	shift 3
	timeout 300 "$@" >"$scratch/out" 2>"$scratch/err" </dev/null || status=$?
	if [[ " $statuses " = *" $status "* ]] && [ ! -s "$scratch/out" ] &&
		grep -qE -- "$pattern" "$scratch/err" && [ "$(wc -l <"$scratch/err")" -le "${LINES_ALLOWED:-1}" ]; then
		pass "$name"
	else
		fail "$name"
		echo "#   status $status, wanted $statuses and /$pattern/: $*"
		show "$scratch/out"
		show "$scratch/err"
	fi
}

# Turn the output of run_kselftest.sh into results: one for every inner test
# case, and one for a test program that has none or ends badly without one.
kselftest_results() {
	awk '
	function outer(line, verdict, name) {
		name = line
		sub(/^(not )?ok [0-9]+ selftests: [^:]*: /, "", name)
		if (verdict == "ok" && inner > 0 && (plan < 0 || plan == inner))
			return
		if (verdict == "not ok" && bad > 0 && name !~ /TIMEOUT/ && plan == inner)
			return
		if (verdict == "ok" && inner > 0)
			name = name ": " inner " of " plan " test cases reported"
		print (verdict == "ok" && inner > 0 ? "not ok" : verdict) " - " name
	}
	{ sub(/\r$/, "") }
	/^# selftests: /		{ inner = bad = 0; plan = -1; prog = $NF; next }
	/^# 1\.\.[0-9]+/		{ plan = substr($2, 4) + 0; next }
	/^# (not )?ok [0-9]+/	{
		line = $0
		sub(/^# /, "", line)
		verdict = line ~ /^not ok/ ? "not ok" : "ok"
		sub(/^(not )?ok [0-9]+ */, "", line)
		inner++
		if (verdict == "not ok") bad++
		print verdict " - " prog ": " line
		next
	}
	/^ok [0-9]+ selftests: /	{ outer($0, "ok") }
	/^not ok [0-9]+ selftests: /	{ outer($0, "not ok") }
	'
}

# selftests ARCH: build that kernel, run all selftests in its guest, and report
# each of their test cases.
selftests() {
	local arch=$1 status=0 n log=$LOGS/kselftest-$1.log
	"$TOP/harness/build" --arch "$arch" >&2
	"$TOP/harness/guest" --arch "$arch" --timeout 1800 -- \
		/opt/kselftest/run_kselftest.sh -c vm/migrate_defer |
		tee "$log" | sed 's/^/#   /' >&2 || status=$?
	check "the guest ran the selftests, and its kernel log is clean" test "$status" = 0
	kselftest_results <"$log" >"$scratch/tap"
	cat "$scratch/tap"
	n=$(grep -cE '^(not )?ok ' "$scratch/tap" || true)
	results=$((results + n))
	check "there were test cases" test "$n" -gt 0
}
