// SPDX-License-Identifier: GPL-2.0-or-later
/* The PCI Express function: registers, interrupt. */
#include <string.h>

#include "svadev.h"

#define MSIX_BAR		1
#define CLASS_SYSTEM_OTHER	0x0880

/**
 * svadev_interrupt() - tell the driver that a job has ended
 * @dev: the device
 *
 * Context: BQL held.
 */
void svadev_interrupt(struct svadev *dev)
{
	msix_notify(dev, 0);
}

static bool is_running(struct svadev *dev)
{
	bool running;

	pthread_mutex_lock(&dev->ats.lock);
	running = dev->running;
	pthread_mutex_unlock(&dev->ats.lock);
	return running;
}

/* Registers and PASID: for all but these the member is the register. */
static __u64 *job_register(struct svadev *dev, __u64 reg)
{
	switch (reg) {
	case SVADEV_REG_ADDR:
		return &dev->regs.addr;
	case SVADEV_REG_LEN:
		return &dev->regs.len;
	case SVADEV_REG_STRIDE:
		return &dev->regs.stride;
	case SVADEV_REG_PASSES:
		return &dev->regs.passes;
	case SVADEV_REG_SEED:
		return &dev->regs.seed;
	case SVADEV_REG_OP:
		return &dev->regs.op;
	case SVADEV_REG_FLAGS:
		return &dev->regs.flags;
	case SVADEV_REG_INTERVAL:
		return &dev->regs.interval;
	}
	return NULL;
}

static __u64 read_reg(void *opaque, __u64 reg, unsigned int size)
{
	struct svadev *dev = opaque;
	__u64 *member = job_register(dev, reg), value;

	(void)size;
	if (member)
		return *member;
	switch (reg) {
	case SVADEV_REG_MAGIC:
		return SVADEV_MAGIC;
	case SVADEV_REG_RUNNING:
		return is_running(dev);
	case SVADEV_REG_STATUS:
		return dev->status;
	case SVADEV_REG_FIXUPS:
		return fixups_in_force();
	case SVADEV_REG_PASID:
		return dev->regs.pasid;
	}
	reg -= SVADEV_REG_COUNTS;
	if (reg >= sizeof(dev->latched) || reg % 8)
		return 0;
	memcpy(&value, (char *)&dev->latched + reg, sizeof(value));
	return value;
}

static void command(struct svadev *dev, __u64 value)
{
	dev->status = 0;
	switch (value) {
	case SVADEV_CMD_START:
		dev->status = job_start(dev, &dev->regs);
		break;
	case SVADEV_CMD_STOP:
		job_stop(dev);
		break;
	case SVADEV_CMD_EVICT:
		pthread_mutex_lock(&dev->ats.lock);
		atc_drop(&dev->ats, 0, ~0ULL);
		pthread_mutex_unlock(&dev->ats.lock);
		break;
	case SVADEV_CMD_LATCH:
	case SVADEV_CMD_LATCH_RESET:
		job_latch(dev, value == SVADEV_CMD_LATCH_RESET);
		break;
	}
}

static void write_reg(void *opaque, __u64 reg, __u64 data, unsigned int size)
{
	struct svadev *dev = opaque;
	__u64 *member = job_register(dev, reg);

	(void)size;
	if (member)
		*member = data;
	else if (reg == SVADEV_REG_PASID)
		dev->regs.pasid = data;
	else if (reg == SVADEV_REG_COMMAND)
		command(dev, data);
}

static const struct qemu_region_ops bar_ops = {
	.read = read_reg,
	.write = write_reg,
	.endianness = QEMU_DEVICE_LITTLE_ENDIAN,
	.valid = { .min_access_size = 8, .max_access_size = 8 },
	.impl = { .min_access_size = 8, .max_access_size = 8 },
};

static void realize(void *pci, void **errp)
{
	struct svadev *dev = pci;

	if (function_init(pci, 1, MSIX_BAR, false, errp))
		return;
	memory_region_init_io(dev->bar, dev, &bar_ops, dev, "svadev", SVADEV_BAR_SIZE);
	pci_register_bar(dev, 0, 0, dev->bar);
	if (ats_init(&dev->ats, pci) || job_init(dev))
		set_error(errp, "svadev: the device could not be made");
}

static void class_init(void *klass, const void *data)
{
	static const struct function_ids ids = {
		.vendor = SVADEV_VENDOR_ID,
		.device = SVADEV_DEVICE_ID,
		.class = CLASS_SYSTEM_OTHER,
	};

	(void)data;
	function_class_init(klass, realize, &ids);
}

static const struct qemu_interface_info interfaces[] = {
	{ .type = "pci-express-device" },
	{ }
};

const struct qemu_type_info svadev_type = {
	.name = "svadev",
	.parent = "pci-device",
	.instance_size = sizeof(struct svadev),
	.instance_align = 16,
	.class_init = class_init,
	.interfaces = interfaces,
};
