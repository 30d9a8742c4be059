# shellcheck shell=bash
# Sourced after common.sh by what fetches packages of another Debian release: an apt state of
# its own, so that the machine's sources, lists and packages stay as they are.  Root is not
# needed.

# apt_state DIRECTORY SUITE...: make the state there, about these suites
apt_state() {
	local uri
	apt=$1
	shift
	mkdir -p "$apt/lists/partial" "$apt/archives/partial"
	: >"$apt/status"
	# Debian's own archive, wherever this machine gets it from.
	uri=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' |
		sed -n 's/^Debian //p' | sed -n 1p)
	cat >"$apt/debian.sources" <<-EOT
	Types: deb
	URIs: ${uri:-http://deb.debian.org/debian}
	Suites: $*
	Components: main
	Architectures: amd64
	Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
	EOT
}

# own_apt ARGUMENTS: apt-get with the state of apt_state.  Unsigned or wrongly signed indices
# are refused, and so is what they do not list.
own_apt() {
	apt-get -o Dir::State="$apt" -o Dir::State::status="$apt/status" -o Dir::State::lists="$apt/lists" \
		-o Dir::Cache="$apt" -o Dir::Cache::archives="$apt/archives" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::Etc::SourceList="$apt/debian.sources" -o Dir::Etc::Preferences=/dev/null \
		-o Dir::Etc::PreferencesParts=/dev/null -o APT::Architecture=amd64 \
		-o APT::Architectures::=amd64 -o APT::Sandbox::User=root -o Acquire::Languages=none \
		-o Acquire::AllowInsecureRepositories=false -o APT::Get::AllowUnauthenticated=false \
		-o Acquire::Retries=2 -o Acquire::http::Timeout=30 "$@"
}

# apt_error LOG: what apt said first of what went wrong
apt_error() { grep -m1 -E '^(E|Err|W)' "$1" || echo "see $1"; }
