# shellcheck shell=bash disable=SC2034
# One row per architecture: all that differs between them is here (and in
# kernel/configs/<arch>.config).

ARCHES="x86_64 arm64"

arch_load() {
	case $1 in
	x86_64)
		ARCH_KERNEL=x86_64
		ARCH_CROSS=
		ARCH_CC_PACKAGES=
		ARCH_DEBIAN=amd64
		ARCH_IMAGE=arch/x86/boot/bzImage
		ARCH_QEMU=qemu-system-x86_64
		ARCH_QEMU_PACKAGE=qemu-system-x86
		# All RAM above 4 GiB but node 0's: the rest is one ZONE_NORMAL.
		ARCH_MACHINE=pc,max-ram-below-4g=@NODE0@
		# "rep stosb" is emulated byte by byte: clearing pages would be slow.
		# Page tables of five levels, which later kernels always have, are slower
		# to walk, and VT-d as QEMU has it does not know them.
		ARCH_TCG_CPU=max,-erms,-fsrm,-la57
		# With a thread per processor QEMU 7.2 may run a breakpoint that the
		# kernel's live patching (static keys) has already taken away.
		# TCG_THREAD=multi in the environment overrides this.
		ARCH_TCG_THREAD=single
		ARCH_CONSOLE=ttyS0
		# MiB; "mib" is the memory of nodes 0 and 1, "node0" that of node 0
		ARCH_RAM_END="4096 + mib - node0"
		# "mem=" would keep memory from being added later, too.
		ARCH_WITHHOLD='memmap=@SIZE@M$@RAM_END@M'
		ARCH_HOTPLUG_MIB=0
		;;
	arm64)
		ARCH_KERNEL=arm64
		ARCH_CROSS=aarch64-linux-gnu-
		ARCH_CC_PACKAGES="gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
		ARCH_DEBIAN=arm64
		ARCH_IMAGE=arch/arm64/boot/Image
		ARCH_QEMU=qemu-system-aarch64
		ARCH_QEMU_PACKAGE=qemu-system-arm
		ARCH_MACHINE=virt,gic-version=3
		# Real pointer authentication is very slow to emulate.
		ARCH_TCG_CPU=max,pauth-impdef=on
		ARCH_TCG_THREAD=multi
		ARCH_CONSOLE=ttyAMA0
		ARCH_RAM_END="1024 + mib"
		ARCH_WITHHOLD='mem=@MIB@M'
		# arm64 never takes memory offline that was there at boot.
		ARCH_HOTPLUG_MIB=512
		;;
	*)
		die "unknown architecture: $1 (known: $ARCHES)"
		;;
	esac
	# A native build needs no cross compiler, and KVM only works natively.
	ARCH_NATIVE=
	if [ "$(uname -m)" = "${1/arm64/aarch64}" ]; then
		ARCH_NATIVE=1 ARCH_CROSS='' ARCH_CC_PACKAGES=''
	elif [ "$1" = x86_64 ]; then
		ARCH_CROSS=x86_64-linux-gnu- ARCH_CC_PACKAGES=gcc-x86-64-linux-gnu
	fi
}
