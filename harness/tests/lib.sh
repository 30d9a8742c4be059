# shellcheck shell=bash
# Sourced by the test steps: TAP output, see harness/test.
set -euo pipefail
# shellcheck source=harness/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
# shellcheck source=harness/kselftest.sh
. "$TOP/harness/kselftest.sh"

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

# small_source DIRECTORY: only the files that the patches touch, and what makes it a source
small_source() {
	mkdir -p "$1"
	git -C "$TREE" diff --no-renames --diff-filter=M --name-only base "$(cat "$TREE/.git/harness/head")" |
		(cat; echo Makefile; echo mm/Kconfig; echo .gitattributes; echo .gitignore) | sort -u |
		xargs -r -d '\n' git -C "$TREE" archive base -- | tar -C "$1" -x
}

# variant_builds VARIANT: what is touched does, in that configuration
variant_builds() {
	check "$1: what is touched builds, and misses nothing" "$TOP/harness/variant" --variant "$1"
	check "$1: no new warning with W=1" "$TOP/harness/warnings" --variant "$1"
}

# selftests NAME GUEST-OPTION... -- [PROGRAM]...: run these selftests, or all, in the guest of
# a kernel that is built, and report each of their test cases.
selftests() {
	local status=0 n log=$LOGS/kselftest-$1.log
	shift
	run_selftests "$log" --timeout 3000 "$@" || status=$?
	check "the guest ran the selftests, and its kernel log is clean" test "$status" = 0
	sed -n 's/^# again: /# /p' "$log"
	kselftest_results <"$log" >"$scratch/tap"
	cat "$scratch/tap"
	n=$(grep -cE '^(not )?ok ' "$scratch/tap" || true)
	results=$((results + n))
	check "there were test cases" test "$n" -gt 0
}
