// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A plugin of QEMU that brings devices:
 *   -plugin svadev.so[,OPTION=on|off...] -device svadev -device svadev-dsa
 *
 * Options: smpwc, wideinv, dirty, see SVADEV_FIXUP_ in regs.h, on if not said otherwise;
 * movdir64b, which makes the guest's processors execute that instruction, off.
 */
#include <stdio.h>
#include <string.h>

#include "dsa.h"
#include "movdir64b.h"
#include "svadev.h"

int qemu_plugin_version = QEMU_PLUGIN_VERSION;

unsigned int fixups_wanted = SVADEV_FIXUP_SMPWC | SVADEV_FIXUP_WIDEINV | SVADEV_FIXUP_DIRTY;

static const struct {
	const char *name;
	unsigned int fixup;
} options[] = {
	{ "smpwc", SVADEV_FIXUP_SMPWC },
	{ "wideinv", SVADEV_FIXUP_WIDEINV },
	{ "dirty", SVADEV_FIXUP_DIRTY },
};

static bool movdir64b_wanted;

static bool parse_option(const char *arg)
{
	const char *value = strchr(arg, '=');

	if (!strcmp(arg, "movdir64b=on") || !strcmp(arg, "movdir64b=off")) {
		movdir64b_wanted = !strcmp(value, "=on");
		return true;
	}
	for (size_t i = 0; value && i < ARRAY_SIZE(options); i++) {
		size_t len = strlen(options[i].name);

		if (len != value - arg || strncmp(arg, options[i].name, len))
			continue;
		if (strcmp(value, "=on") && strcmp(value, "=off"))
			return false;
		if (!strcmp(value, "=off"))
			fixups_wanted &= ~options[i].fixup;
		return true;
	}
	return false;
}

/**
 * qemu_plugin_install() - register the devices
 * @id: QEMU's, for calls of its plugin interface
 * @info: about QEMU
 * @argc: number of options
 * @argv: options
 *
 * Called by QEMU when its own types are known, before it makes devices (qemu-plugin.h).
 *
 * Return: 0, or something else for QEMU to give up.
 */
int qemu_plugin_install(__u64 id, const struct qemu_plugin_info *info, int argc, char **argv)
{
	const char *problem = qemu_abi_problem(info);

	if (problem) {
		fprintf(stderr, "svadev: this QEMU can't be used: %s\n", problem);
		return -1;
	}
	for (int i = 0; i < argc; i++) {
		if (parse_option(argv[i]))
			continue;
		fprintf(stderr, "svadev: unknown option: %s\n", argv[i]);
		return -1;
	}
	type_register_static(&svadev_type);
	type_register_static(&dsa_type);
	/* It looks at all code that QEMU translates: a boot takes longer. */
	if (movdir64b_wanted)
		movdir64b_init(id);
	return 0;
}
