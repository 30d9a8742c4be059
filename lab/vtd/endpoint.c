// SPDX-License-Identifier: GPL-2.0-or-later
/* The PCI Express function: capabilities, registers, interrupt. */
#include <string.h>

#include "svadev.h"

/* Extended capabilities, from where they begin */
#define PASID_OFFSET		0x100
#define ATS_OFFSET		0x108
#define PRI_OFFSET		0x110
#define PASID_WIDTH		20
#define PRI_OUTSTANDING		32

#define MSIX_BAR		1
#define CLASS_SYSTEM_OTHER	0x0880

#define set_error(errp, ...)	\
	error_setg_internal(errp, __FILE__, __LINE__, __func__, __VA_ARGS__)

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

	pthread_mutex_lock(&dev->lock);
	running = dev->running;
	pthread_mutex_unlock(&dev->lock);
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
		pthread_mutex_lock(&dev->lock);
		atc_drop(dev, 0, ~0ULL);
		pthread_mutex_unlock(&dev->lock);
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

/*
 * Linux leaves ATS off if addresses of translations are not page aligned (pci_ats_init()), and PRI
 * if responses need no PASID (pci_enable_pri(), "PASID required").
 */
static void realize(void *pci, void **errp)
{
	struct svadev *dev = pci;
	const char *problem = fixups_init();

	if (problem) {
		set_error(errp, "svadev: %s", problem);
		return;
	}
	memory_region_init_io(dev->bar, dev, &bar_ops, dev, "svadev", SVADEV_BAR_SIZE);
	pci_register_bar(dev, 0, 0, dev->bar);
	if (pcie_endpoint_cap_init(dev, 0) < 0 || msix_init_exclusive_bar(dev, 1, MSIX_BAR, errp))
		goto fail;
	msix_vector_use(dev, 0);
	pcie_pasid_init(dev, PASID_OFFSET, PASID_WIDTH, false, false);
	pcie_ats_init(dev, ATS_OFFSET, true);
	pcie_pri_init(dev, PRI_OFFSET, PRI_OUTSTANDING, true);
	dev->pri.notify = page_response;
	if (!atc_init(dev) && !job_init(dev))
		return;
fail:
	if (!*errp)
		set_error(errp, "svadev: the device could not be made");
}

static void class_init(void *klass, const void *data)
{
	const __u16 vendor = SVADEV_VENDOR_ID, device = SVADEV_DEVICE_ID;
	const __u16 class = CLASS_SYSTEM_OTHER;
	void (*const realize_fn)(void *, void **) = realize;

	(void)data;
	memcpy((char *)klass + QEMU_CLASS_REALIZE, &realize_fn, sizeof(realize_fn));
	memcpy((char *)klass + QEMU_CLASS_VENDOR_ID, &vendor, sizeof(vendor));
	memcpy((char *)klass + QEMU_CLASS_DEVICE_ID, &device, sizeof(device));
	memcpy((char *)klass + QEMU_CLASS_CLASS_ID, &class, sizeof(class));
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
