# shellcheck shell=bash
# Sourced by whoever runs the selftests in a guest, after common.sh.

# Turn the output of run_kselftest.sh into results: one for every inner test
# case, and one for a test program that has none or ends badly without one.
# After one that failed comes what was last said before it.
kselftest_results() {
	awk '
	function forget() { notes = first = 0; split("", note) }
	function result(verdict, text) {
		print verdict " - " text
		if (verdict == "not ok")
			say()
		forget()
	}
	function say(i) {
		for (i = first; i < notes; i++)
			print "#   " note[i]
		forget()
	}
	function outer(line, verdict, name) {
		name = line
		sub(/^(not )?ok [0-9]+ selftests: [^:]*: /, "", name)
		if (verdict == "ok" && inner > 0 && (plan < 0 || plan == inner))
			return
		if (verdict == "not ok" && bad > 0 && name !~ /TIMEOUT/ && plan == inner) {
			say()
			return
		}
		if (verdict == "ok" && inner > 0)
			name = name ": " inner " of " plan " test cases reported"
		result(verdict == "ok" && inner > 0 ? "not ok" : verdict, name)
	}
	{ sub(/\r$/, "") }
	/^# selftests: /		{ inner = bad = 0; plan = -1; prog = $NF; forget(); next }
	/^# 1\.\.[0-9]+/		{ plan = substr($2, 4) + 0; next }
	/^# (not )?ok [0-9]+/	{
		line = $0
		sub(/^# /, "", line)
		# What the machine has, but not just then, is no reason to skip a test.
		unclear = sub(/# SKIP INCONCLUSIVE/, "# INCONCLUSIVE", line)
		verdict = unclear || line ~ /^not ok/ ? "not ok" : "ok"
		sub(/^(not )?ok [0-9]+ */, "", line)
		inner++
		if (verdict == "not ok") bad++
		result(verdict, prog ": " line)
		next
	}
	/^# /			{
		note[notes++] = substr($0, 3)
		delete note[notes - 13]
		first = notes > 12 ? notes - 12 : 0
		next
	}
	/^ok [0-9]+ selftests: /	{ outer($0, "ok") }
	/^not ok [0-9]+ selftests: /	{ outer($0, "not ok") }
	'
}

# Programs of which each failure says INCONCLUSIVE: a mover was not at work, or not where
# it could be seen, so that they have no verdict about the kernel yet.  An expectation that
# failed without saying so, a crash or a timeout is a verdict, whatever else was said.
inconclusive_programs() {
	awk '
	{ sub(/\r$/, "") }
	/^# selftests: /		{ prog = $NF; failed = unclear = said = missed = 0; next }
	/^# #  +RUN /			{ said = missed = 0 }
	/INCONCLUSIVE/			{ said++ }
	/^# # .*:Expected /		{ missed++ }
	/: Test (terminated (by timeout|unexpectedly)|ended|exited)/ { missed += 1000 }
	/^# not ok [0-9]+ /		{ failed++; unclear += /# INCONCLUSIVE/ || missed > 0 && missed <= said }
	/^# ok [0-9]+ .*# SKIP INCONCLUSIVE/ { failed++; unclear++ }
	/^(not )?ok [0-9]+ selftests: /	{ if (failed && failed == unclear && !/TIMEOUT/) print prog }
	'
}

# without_program PROGRAM: the output of run_kselftest.sh less that of one program.
without_program() {
	awk -v prog="$1" '
	{ line = $0; sub(/\r$/, "", line) }
	line ~ /^# selftests: / { split(line, word, " "); skip = word[4] == prog }
	!skip
	skip && line ~ /^(not )?ok [0-9]+ selftests: / { skip = 0 }
	'
}

# unfinished_programs LIST: of the programs of kselftest-list.txt those that the output of
# run_kselftest.sh does not call passed.
unfinished_programs() {
	awk '
	{ sub(/\r$/, "") }
	NR == FNR { if (/^ok [0-9]+ selftests: /) passed[$5] = 1; next }
	{ sub(/.*:/, "") }
	!($0 in passed)
	' - "$1"
}

# in_guest LOG GUEST-OPTION... -- [PROGRAM]...: these, or all, in a guest.  Fails as
# run_selftests does.
in_guest() {
	local log=$1 options=() tests=() program status=0
	shift
	while [ "$1" != -- ]; do options+=("$1"); shift; done
	shift
	[ $# -gt 0 ] || tests=(-c vm/migrate_defer)
	for program; do tests+=(-t "vm/migrate_defer:$program"); done
	"$TOP/harness/guest" "${options[@]}" -- /opt/kselftest/run_kselftest.sh "${tests[@]}" |
		tee "$log" | sed -u 's/^/#   /' >&2 || status=$?
	# That of 7.3 ends with 1 if a test failed, that of 6.12 does not.
	[ "$status" -ne 1 ] || status=0
	return "$status"
}

# run_selftests LOG GUEST-OPTION... -- [PROGRAM]...: these, or all, in a guest, then those
# without a verdict once more, at most AGAIN times, each in a guest of its own.  Their
# output goes to LOG.  Fails if a guest died or has a report of trouble in its kernel log;
# whether tests failed is for kselftest_results to say.  With RESUME=LIST these are the
# programs of that kselftest-list.txt that LOG does not call passed, and what it says of the
# others is kept.
AGAIN=2
run_selftests() {
	local log=$1 options=() again program status=0 left
	if [ -n "${RESUME:-}" ]; then
		mapfile -t left < <(unfinished_programs "$RESUME" <"$log")
		[ "${#left[@]}" -gt 0 ] || die "all have passed: $log"
		# Who is interrupted leaves $log as it was.
		in_guest "$log.more" "${@:2}" "${left[@]}" || status=$?
		for program in "${left[@]}"; do
			without_program "$program" <"$log" >"$log.new"
			mv "$log.new" "$log"
		done
		echo "# again: gone on with ${left[*]}" | cat - "$log.more" >>"$log"
	else
		in_guest "$@" || status=$?
	fi
	shift
	while [ "$1" != -- ]; do options+=("$1"); shift; done
	for ((again = 1; again <= AGAIN; again++)); do
		for program in $(inconclusive_programs <"$log"); do
			in_guest "$log.again" "${options[@]}" -- "$program" || status=$?
			{
				without_program "$program" <"$log"
				echo "# again: $program was inconclusive and has been run again ($again of $AGAIN)"
				cat "$log.again"
			} >"$log.new"
			mv "$log.new" "$log"
		done
	done
	return "$status"
}
