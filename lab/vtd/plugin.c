// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A plugin of QEMU that brings a device: -plugin svadev.so[,OPTION=on|off...] -device svadev
 *
 * Options, all on unless said otherwise: smpwc, wideinv, dirty, see SVADEV_FIXUP_ in regs.h.
 */
#include <stdio.h>
#include <string.h>

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

static bool parse_option(const char *arg)
{
	const char *value = strchr(arg, '=');

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
 * qemu_plugin_install() - register the device
 * @id: QEMU's, for calls of its plugin interface, of which there is none
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

	(void)id;
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
	return 0;
}
