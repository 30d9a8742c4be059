// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What makes up for defects of QEMU 11.1's intel-iommu: regions that lie over two of its registers.
 * (The third, the dirty bit, is in atc.c.)  None is in force where QEMU does not have the defect.
 *
 * Registers and descriptors: VT-d specification 4.x, sections 11.4 and 6.5.2.
 */
#include "ats.h"

#define IOMMU_BASE		0xfed90000	/* Q35_HOST_BRIDGE_IOMMU_ADDR */

#define DMAR_CAP_REG		0x08
#define DMAR_ECAP_REG		0x10
#define DMAR_IQT_REG		0x88
#define DMAR_IQA_REG		0x90

#define CAP_MAMV(cap)		(((cap) >> 48) & 0x3f)
#define ECAP_SMPWC		BIT_ULL(48)

/* Invalidation queue: 4 KiB << size, descriptors of 16 bytes or (scalable mode) 32 */
#define IQA_SIZE(iqa)		(4096ULL << ((iqa) & 7))
#define IQA_WIDE		BIT_ULL(11)
#define IQA_ADDRESS		PAGE_MASK
#define IQT_OFFSET		0x7fff0ULL

/* PASID-based IOTLB invalidation, section 6.5.2.4 */
#define DESC_TYPE		0xe0fULL
#define DESC_TYPE_PIOTLB	0x006ULL
#define DESC_GRANULARITY	0x030ULL
#define DESC_BY_PASID		0x020ULL	/* all pages of the PASID */
#define DESC_BY_PAGES		0x030ULL	/* 2^AM pages of it */
#define DESC_AM(high)		((high) & 0x3f)

#define OVERLAY_PRIORITY	10
#define LOG2_8_BYTES		3

unsigned long long fixups_dirtied;
unsigned long long fixups_narrowed;

static void *iommu_region;
static unsigned int in_force;
static char ecap_overlay[QEMU_REGION_ROOM] __attribute__((aligned(16)));
static char iqt_overlay[QEMU_REGION_ROOM] __attribute__((aligned(16)));

static __u64 read_register(unsigned int reg, unsigned int size)
{
	__u64 value = 0;

	memory_region_dispatch_read(iommu_region, reg, &value, size == 8 ? LOG2_8_BYTES : 2,
				    QEMU_ATTRS_UNSPECIFIED);
	return value;
}

static void write_register(unsigned int reg, __u64 value, unsigned int size)
{
	memory_region_dispatch_write(iommu_region, reg, value, size == 8 ? LOG2_8_BYTES : 2,
				     QEMU_ATTRS_UNSPECIFIED);
}

/**
 * iommu_read() - read a 64-bit register of the IOMMU
 * @reg: its offset
 *
 * Context: BQL held, after fixups_init().
 * Return: its value.
 */
__u64 iommu_read(unsigned int reg)
{
	return read_register(reg, 8);
}

/* ECAP says that page walks are not coherent; Linux refuses SVA then (intel_svm_check()). */
static __u64 ecap_read(void *opaque, __u64 addr, unsigned int size)
{
	__u64 value = (iommu_read(DMAR_ECAP_REG) | ECAP_SMPWC) >> (addr * 8);

	(void)opaque;
	return size == 8 ? value : value & ((1ULL << (size * 8)) - 1);
}

static void ecap_write(void *opaque, __u64 addr, __u64 data, unsigned int size)
{
	(void)opaque;
	write_register(DMAR_ECAP_REG + addr, data, size);
}

/*
 * QEMU refuses to invalidate more than 2^MAMV pages and stops the queue.  Linux looks at MAMV for
 * second-stage domains only (cache_tag_flush_iotlb()), and sends up to 2^35 pages: whenever a range
 * crosses a large power of two.  Ask for all pages of the PASID instead.
 */
static void narrow_descriptors(__u64 tail)
{
	__u64 iqa = iommu_read(DMAR_IQA_REG);
	__u64 size = IQA_SIZE(iqa), step = iqa & IQA_WIDE ? 32 : 16;
	__u64 mamv = CAP_MAMV(iommu_read(DMAR_CAP_REG));
	__u64 offset = iommu_read(DMAR_IQT_REG) & IQT_OFFSET;

	for (; offset != tail && offset < size; offset = (offset + step) & (size - 1)) {
		__u64 address = (iqa & IQA_ADDRESS) + offset, desc[2];

		if (address_space_rw(address_space_memory, address, QEMU_ATTRS_UNSPECIFIED, desc,
				     sizeof(desc), false) != QEMU_MEMTX_OK)
			return;
		if ((desc[0] & DESC_TYPE) != DESC_TYPE_PIOTLB ||
		    (desc[0] & DESC_GRANULARITY) != DESC_BY_PAGES || DESC_AM(desc[1]) <= mamv)
			continue;
		desc[0] = (desc[0] & ~DESC_GRANULARITY) | DESC_BY_PASID;
		desc[1] = 0;
		address_space_rw(address_space_memory, address, QEMU_ATTRS_UNSPECIFIED, desc,
				 sizeof(desc), true);
		fixups_narrowed++;
	}
}

static __u64 iqt_read(void *opaque, __u64 addr, unsigned int size)
{
	(void)opaque;
	return read_register(DMAR_IQT_REG + addr, size);
}

static void iqt_write(void *opaque, __u64 addr, __u64 data, unsigned int size)
{
	(void)opaque;
	if (!addr)
		narrow_descriptors(data & IQT_OFFSET);
	write_register(DMAR_IQT_REG + addr, data, size);
}

static void overlay(void *region, const struct qemu_region_ops *ops, const char *name,
		    unsigned int reg, unsigned int fixup)
{
	memory_region_init_io(region, NULL, ops, NULL, name, 8);
	memory_region_add_subregion_overlap(get_system_memory(), IOMMU_BASE + reg, region,
					    OVERLAY_PRIORITY);
	in_force |= fixup;
}

/**
 * fixups_in_force() - which defects are made up for
 *
 * Return: SVADEV_FIXUP_ flags.
 */
unsigned int fixups_in_force(void)
{
	return in_force;
}

/**
 * fixups_init() - make up for the defects that QEMU has, unless told not to
 *
 * Context: BQL held.  All but the first call do nothing.
 * Return: what is wrong, or NULL.
 */
const char *fixups_init(void)
{
	static const struct qemu_region_ops ecap_ops = {
		.read = ecap_read,
		.write = ecap_write,
		.endianness = QEMU_DEVICE_LITTLE_ENDIAN,
		.valid = { .min_access_size = 4, .max_access_size = 8 },
		.impl = { .min_access_size = 4, .max_access_size = 8 },
	};
	static const struct qemu_region_ops iqt_ops = {
		.read = iqt_read,
		.write = iqt_write,
		.endianness = QEMU_DEVICE_LITTLE_ENDIAN,
		.valid = { .min_access_size = 4, .max_access_size = 8 },
		.impl = { .min_access_size = 4, .max_access_size = 8 },
	};
	struct qemu_region_section section;

	if (iommu_region)
		return NULL;
	section = memory_region_find(get_system_memory(), IOMMU_BASE, 8);
	if (!section.mr || section.offset_within_region)
		return "there is no intel-iommu: it has to come first on the command line";
	iommu_region = section.mr;
	if (fixups_wanted & SVADEV_FIXUP_SMPWC && !(iommu_read(DMAR_ECAP_REG) & ECAP_SMPWC))
		overlay(ecap_overlay, &ecap_ops, "svadev-ecap", DMAR_ECAP_REG,
			SVADEV_FIXUP_SMPWC);
	if (fixups_wanted & SVADEV_FIXUP_WIDEINV)
		overlay(iqt_overlay, &iqt_ops, "svadev-iqt", DMAR_IQT_REG, SVADEV_FIXUP_WIDEINV);
	/* An entry that is dirty already is left alone. */
	in_force |= fixups_wanted & SVADEV_FIXUP_DIRTY;
	return NULL;
}
