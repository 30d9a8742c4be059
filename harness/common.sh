# shellcheck shell=bash disable=SC2034
# Sourced by every script of the harness: where things are, how to complain.

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
DEFAULT_BASE=6.12			# in every Debian for years: what a fresh machine runs
MAIN_BASE=7.3				# what new files are written for; the others are backports
BASE=${BASE:-$DEFAULT_BASE}		# which kernel: patches/$BASE, linux-source-$BASE
CLANG_VERSION=19			# 7.3 wants 17 or later; Debian's "clang" is 14
BACKPORTS=trixie-backports		# where the source of other kernels is
BUILD=${BUILD:-$TOP/build}		# everything that is made
mkdir -p "$BUILD"
BUILD=$(cd "$BUILD" && pwd)
TREE=$BUILD/$BASE/linux			# git tree: tag "base", then one commit per patch
STOCK_TREE=$BUILD/$BASE/stock		# the same source without the patches
PATCHES=$TOP/patches/$BASE
LOGS=$BUILD/logs/$BASE
mkdir -p "$LOGS"
RESULTS=$TOP/results			# figures, tables and plots of this base
[ "$BASE" = "$DEFAULT_BASE" ] || RESULTS+=/$BASE
shopt -s inherit_errexit
export BASE BUILD
# What "make kernel ARCH=..." hands down is not meant for the kernel's own make.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES
export -n ARCH DEBUG STOCK VARIANT

# shellcheck source=harness/arch.sh
. "$TOP/harness/arch.sh"

DIE_STATUS=1

msg() { printf '%s\n' "$*" >&2; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit "$DIE_STATUS"; }

BASES=$(cd "$TOP/patches" && printf "%s\n" */series | sed "s,/series,," | xargs)
known_base() {
	case " $BASES " in *" $1 "*) ;; *) die "unknown BASE: $1 (known: $BASES)" ;; esac
}
known_base "$BASE"

need() {
	local tool
	for tool; do
		command -v "$tool" >/dev/null ||
			die "$tool is not installed (run harness/install-deps)"
	done
}

# The options that choose one kernel, shared by build, selftests and guest.
# Sets CONSUMED to how many arguments belonged to such an option (0: none).
ARCH=x86_64 STOCK='' DEBUG='' VARIANT='' CLANG=''
kernel_option() {
	case $1 in
	--arch)
		[ $# -ge 2 ] || die "--arch needs a value ($ARCHES)"
		ARCH=$2 CONSUMED=2 ;;
	--variant)
		[ $# -ge 2 ] || die "--variant needs a value"
		[ -f "$TOP/kernel/configs/variants/$2.config" ] ||
			die "no such variant: $2 (no kernel/configs/variants/$2.config)"
		VARIANT=$2 CONSUMED=2 ;;
	--stock) STOCK=1 CONSUMED=1 ;;
	--debug) DEBUG=1 CONSUMED=1 ;;
	*) CONSUMED=0 ;;
	esac
}

# Names that follow from the options: the source, its objects and its image.
kernel_paths() {
	arch_load "$ARCH"
	KERNEL_NAME=$ARCH${STOCK:+-stock}${DEBUG:+-debug}${VARIANT:+-$VARIANT}${CLANG:+-clang}
	SRC=$TREE
	[ -z "$STOCK" ] || SRC=$STOCK_TREE
	# Right below the source, where Kbuild names all files relative to the
	# objects: so ccache finds what another tree or variant has compiled.
	OBJ=$SRC/.$KERNEL_NAME
	IMAGE=$OBJ/$ARCH_IMAGE
}

compiler() { if [ -n "$CLANG" ]; then echo "clang-$CLANG_VERSION"; else echo "${ARCH_CROSS}gcc"; fi; }

# config_fragments ARCH: what this base's configuration is made of
config_fragments() {
	local configs=$TOP/kernel/configs fragment
	echo "$configs/base.config"
	for fragment in "$configs/$1.config" "$configs/$BASE.config" "$configs/$BASE-$1.config"; do
		[ ! -f "$fragment" ] || echo "$fragment"
	done
}

# has_sva ARCH: whether devices can be bound to address spaces there
has_sva() { config_fragments "$1" | xargs grep -qx CONFIG_IOMMU_SVA=y; }

# kmake ARGS: the kernel's make for the chosen source, architecture and objects.
# Fixed build stamps keep the objects of an unchanged source unchanged.
# KMAKE_VARIABLES in the environment: more variables for it (NAME=value ...)
kmake() {
	# shellcheck disable=SC2086
	CCACHE_DEPEND=1 CCACHE_DIR=${CCACHE_DIR:-$BUILD/ccache} CCACHE_MAXSIZE=${CCACHE_MAXSIZE:-5G} \
	env -u BUILD -u BASE make -C "$SRC" O="$OBJ" ARCH="$ARCH_KERNEL" CROSS_COMPILE="$ARCH_CROSS" \
		CC="$TOP/harness/cc $(compiler)" ${CLANG:+LLVM=-$CLANG_VERSION} LOCALVERSION= \
		KBUILD_BUILD_TIMESTAMP='1970-01-01' KBUILD_BUILD_USER=harness \
		KBUILD_BUILD_HOST=localhost ${KMAKE_VARIABLES:-} "$@"
}

# logged LOG COMMAND...: run quietly; on failure show the errors and the log's path.
logged() {
	local log=$1 pid
	shift
	mkdir -p "${log%/*}"
	"$@" >"$log" 2>&1 &
	pid=$!
	progress "$log" $pid
	wait $pid || {
		grep -E -B2 -A8 'error:|Error [0-9]|undefined reference' "$log" | head -40 >&2 ||
			tail -20 "$log" >&2
		die "failed: see $log"
	}
}

# lock NAME: one process at a time makes what goes by that name, until it ends.
lock() {
	mkdir -p "$BUILD"
	exec 9>"$BUILD/.lock-$1"
	flock 9
}
lock_kernel() { lock "$BASE-$1"; }

# One line every half minute, so that a long build is seen to live.
progress() {
	local log=$1 pid=$2 n=0
	while kill -0 "$pid" 2>/dev/null; do
		sleep 1
		n=$((n + 1))
		[ $((n % 30)) -ne 0 ] || msg "  ... ${n}s: $(tail -n1 "$log" | cut -c1-70)"
	done
}

# work_tree NAME: make build/NAME, with a kernel tree of its own at $work_tree, which
# shares the compiler cache and the guest's userland.  Scripts that are to work there
# get BUILD=$work.
work_tree() {
	local arch
	for arch in $ARCHES; do
		"$TOP/harness/rootfs" --arch "$arch" >/dev/null
	done
	work=$BUILD/$1
	work_tree=$work/$BASE/linux
	mkdir -p "$work"
	ln -sfn ../guest "$work/guest"
	export CCACHE_DIR=${CCACHE_DIR:-$BUILD/ccache}
	env BUILD="$work" "$TOP/harness/tree" --force >&2
}

# warnings_in LOG: one line for each warning of a build, without what differs
# between trees, and without line numbers: other lines may have moved it.
warnings_in() {
	grep -E '(warning|error|WARNING):' "$1" | grep -vE '^cc1:' |
		sed -E "s|^$SRC/||; s|^(\.\./)*||; s/:[0-9]+(:[0-9]+)?:/:/; s/on line [0-9]+/on line/" |
		sort || true
}

# listed DIRECTORY: the objects and directories that its Makefile asks for in the
# configuration of $OBJ, which "make prepare" has written down.
listed() {
	make -s -f - <<-EOF 2>/dev/null | tr ' ' '\n' || true
		include $OBJ/include/config/auto.conf
		srctree := $SRC
		src := $SRC/$1
		obj := $1
		include $SRC/$1/Makefile
		\$(foreach v,\$(filter obj-y obj-m %-y %-objs,\$(.VARIABLES)),\$(info \$(\$v)))
		all:
	EOF
}

# members DIRECTORY: its objects, if the configuration has the directory at all
members() {
	[[ $1 != */* ]] || grep -qxF "${1##*/}/" <(listed "${1%/*}") || return 0
	listed "$1" | grep '\.o$' | sed "s|^|$1/|" || true
}

# pack_cpio DIRECTORY FILE: for the kernel's initramfs, owned by root.
pack_cpio() {
	(cd "$1" && find . -print0 | LC_ALL=C sort -z |
		cpio --quiet -0 -o -H newc -R 0:0 >"$2.tmp")
	mv "$2.tmp" "$2"
}
