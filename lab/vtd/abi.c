// SPDX-License-Identifier: GPL-2.0-or-later
/* Whether this QEMU is one that abi.h describes. */
#include <stdio.h>
#include <string.h>

#include "ats.h"

static const struct {
	const char *name;
	const void *address;
} symbols[] = {
#define QEMU_SYMBOL(symbol)	{ .name = #symbol, .address = (const void *)(symbol) },
#include "abi_symbols.h"
#undef QEMU_SYMBOL
};

/* A device of QEMU's own whose IDs are known, to find the members of PCIDeviceClass by */
#define PROBE_TYPE	"edu"
#define PROBE_VENDOR_ID	0x1234
#define PROBE_DEVICE_ID	0x11e8

static __u16 class_u16(const char *klass, size_t offset)
{
	__u16 value;

	memcpy(&value, klass + offset, sizeof(value));
	return value;
}

/**
 * qemu_abi_problem() - find out whether QEMU is as abi.h says
 * @info: what QEMU tells plugins about itself
 *
 * Called before any other function of abi.h.
 *
 * Return: what is different, or NULL.  The string is overwritten by the next call.
 */
const char *qemu_abi_problem(const struct qemu_plugin_info *info)
{
	static char problem[160];
	struct qemu_version_info *version;
	const char *klass;
	void *realize;

	if (!info->system_emulation || strcmp(info->target_name, "x86_64"))
		return "it does not emulate an x86_64 machine";
	for (size_t i = 0; i < ARRAY_SIZE(symbols); i++) {
		const void *address = symbols[i].address;

		/* The compiler believes that a function is always there. */
		asm("" : "+r" (address));
		if (address)
			continue;
		snprintf(problem, sizeof(problem), "it has no %s()", symbols[i].name);
		return problem;
	}

	version = qmp_query_version(NULL);
	snprintf(problem, sizeof(problem), "it is version %lld.%lld.%lld, known is %d.%d",
		 (long long)version->qemu->major, (long long)version->qemu->minor,
		 (long long)version->qemu->micro, QEMU_KNOWN_MAJOR, QEMU_KNOWN_MINOR);
	if (version->qemu->major != QEMU_KNOWN_MAJOR || version->qemu->minor != QEMU_KNOWN_MINOR)
		return problem;

	klass = object_class_by_name(PROBE_TYPE);
	if (!klass)
		return "it has no device \"" PROBE_TYPE "\" to check the layout of classes by";
	memcpy(&realize, klass + QEMU_CLASS_REALIZE, sizeof(realize));
	if (!realize || class_u16(klass, QEMU_CLASS_VENDOR_ID) != PROBE_VENDOR_ID ||
	    class_u16(klass, QEMU_CLASS_DEVICE_ID) != PROBE_DEVICE_ID)
		return "its struct PCIDeviceClass has another layout";
	return NULL;
}
