# shellcheck shell=bash
# Sourced by what handles patches/<base>: the patches of "series", and "overlay",
# whose lines "NUMBER PATH" say which of our new files come with which patch.

OUR_NAME=migrate_defer OUR_EMAIL=migrate_defer@localhost

# Patch file names, in order.
series() {
	[ ! -f "$PATCHES/series" ] || sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$PATCHES/series"
}

# Files below a path of the repository, without what .gitignore names.
repo_files() {
	if git -C "$TOP" rev-parse --git-dir >/dev/null 2>&1; then
		(cd "$TOP" && git ls-files -co --exclude-standard -- "$1" |
			while IFS= read -r f; do [ ! -e "$f" ] || echo "$f"; done)
	else
		(cd "$TOP" && [ ! -e "$1" ] || find "$1" -type f)
	fi | sort -u
}

# overlay_files: "NUMBER FILE" for every new file, directories expanded.
# Of two lines that cover a file, the one with the longer path counts.
overlay_files() {
	local number path file
	[ -f "$PATCHES/overlay" ] || return 0
	while read -r number path; do
		case $number in '' | '#'*) continue ;; esac
		while IFS= read -r file; do
			echo "$file ${#path} $number"
		done < <(repo_files "${path%/}")
	done <"$PATCHES/overlay" | sort -k1,1 -k2,2nr | sort -u -k1,1 |
		awk '{ print $3, $1 }'
}

# Every line of series and overlay must name something that is there.
check_series() {
	local patch number path
	for patch in $(series); do
		[ -f "$PATCHES/$patch" ] || die "patches/$BASE/series names $patch, which does not exist"
	done
	[ -f "$PATCHES/overlay" ] || return 0
	while read -r number path; do
		case $number in '' | '#'*) continue ;; esac
		series | grep -q "^$number-" || die "patches/$BASE/overlay: no patch $number (for $path)"
		[ -e "$TOP/$path" ] || die "patches/$BASE/overlay: no such file or directory: $path"
	done <"$PATCHES/overlay"
}

# does_not_fit PATCH GIT-ERRORS: the clear error: patch, file and hunk.
does_not_fit() {
	local patch=$1 errors=$2 file line hunk
	IFS=: read -r file line < <(sed -n 's/^error: patch failed: //p' "$errors" | sed -n 1p)
	if [ -n "$file" ]; then
		hunk=$(awk -v f="+++ b/$file" -v l="$line" '
			/^\+\+\+ / { on = $0 == f }
			on && /^@@ / { n++; split($2, a, /[-,]/); if (a[2] == l) { print "hunk " n ": " $0; exit } }
		' "$PATCHES/$patch")
		die "the patch $patch does not fit this source: $file, ${hunk:-line $line}"
	fi
	die "the patch $patch does not fit this source: $(head -1 "$errors")"
}

# commit_series REPOSITORY: makes the commits of the series on top of the tag
# "base", in the object database only, and prints the last one.  The working
# tree is not touched, so a patch that does not fit leaves nothing half done.
commit_series() {
	local repo=$1 patch number owner file head tmp date
	check_series
	tmp=$(mktemp -d)
	export GIT_INDEX_FILE=$tmp/index
	head=$(git -C "$repo" rev-parse 'base^{commit}')
	git -C "$repo" read-tree base
	overlay_files >"$tmp/overlay"
	for patch in $(series); do
		number=${patch%%-*}
		git mailinfo "$tmp/body" "$tmp/diff" <"$PATCHES/$patch" >"$tmp/info"
		if grep -q '^diff --git' "$tmp/diff"; then
			git -C "$repo" apply --cached "$tmp/diff" 2>"$tmp/errors" ||
				does_not_fit "$patch" "$tmp/errors"
		fi
		while read -r owner file; do
			[ "$owner" = "$number" ] || continue
			! git -C "$repo" cat-file -e "base:$file" 2>/dev/null ||
				die "the patch $patch does not fit this source: it already has a file $file"
			printf '%s %s\t%s\n' "$(file_mode "$TOP/$file")" \
				"$(git -C "$repo" hash-object -w --no-filters "$TOP/$file")" "$file"
		done <"$tmp/overlay" | git -C "$repo" update-index --index-info
		date=$(sed -n 's/^Date: //p' "$tmp/info")
		{ sed -n 's/^Subject: //p' "$tmp/info"; echo; cat "$tmp/body"; } |
			git stripspace >"$tmp/message"
		head=$(GIT_AUTHOR_DATE=${date:-2000-01-01T00:00:00Z} GIT_COMMITTER_DATE=${date:-2000-01-01T00:00:00Z} \
			as_us git -C "$repo" commit-tree -p "$head" -F "$tmp/message" \
			"$(git -C "$repo" write-tree)")
	done
	unset GIT_INDEX_FILE
	rm -rf "$tmp"
	echo "$head"
}

file_mode() { if [ -x "$1" ]; then echo 100755; else echo 100644; fi; }

as_us() {
	GIT_AUTHOR_NAME=$OUR_NAME GIT_AUTHOR_EMAIL=$OUR_EMAIL \
	GIT_COMMITTER_NAME=$OUR_NAME GIT_COMMITTER_EMAIL=$OUR_EMAIL "$@"
}

# What the tree was last made from, to tell whose side was edited since.
STATE=$TREE/.git/harness
repo_sums() { (cd "$TOP" && overlay_files | cut -d' ' -f2- | xargs -r -d '\n' sha256sum); }
repo_stamp() { { repo_sums; cat "$PATCHES/overlay" "$PATCHES/series" 2>/dev/null; series | (cd "$PATCHES" && xargs -r cat); } | sha256sum; }
# made_by CONFIG COMMAND: how figures came about, as JSON.  Which patches and new
# files that was is told by a checksum: a commit would change with the figures.
made_by() {
	printf '{"kernel": "%s", "series": "%s", "configuration": "%s", "command": "%s"}\n' \
		"$(make -s -C "$TREE" kernelversion)" "$(repo_stamp | cut -c1-12)" \
		"kernel/configs: base, the architecture, $1" "$2"
}
save_state() {
	mkdir -p "$STATE"
	repo_sums >"$STATE/overlay.sums"
	repo_stamp >"$STATE/stamp"
	git -C "$TREE" rev-parse HEAD >"$STATE/head"
}
tree_is_pristine() {
	[ -f "$STATE/head" ] &&
		[ "$(cat "$STATE/head")" = "$(git -C "$TREE" rev-parse HEAD)" ] &&
		[ -z "$(git -C "$TREE" status --porcelain | sed -n 1p)" ]
}
