// SPDX-License-Identifier: GPL-2.0-or-later
/* A PCI Express function with PASID, ATS and PRI: its class and its capabilities. */
#include <errno.h>
#include <string.h>

#include "ats.h"

/* Extended capabilities, from where they begin */
#define PASID_OFFSET		0x100
#define ATS_OFFSET		0x108
#define PRI_OFFSET		0x110
#define PASID_WIDTH		20
#define PRI_OUTSTANDING		32

/**
 * function_class_init() - describe a kind of function to QEMU
 * @klass: its PCIDeviceClass
 * @realize: makes one
 * @ids: its IDs
 *
 * Context: from a class_init() of struct qemu_type_info.
 */
void function_class_init(void *klass, void (*realize)(void *pci, void **errp),
			 const struct function_ids *ids)
{
	memcpy((char *)klass + QEMU_CLASS_REALIZE, &realize, sizeof(realize));
	memcpy((char *)klass + QEMU_CLASS_VENDOR_ID, &ids->vendor, sizeof(ids->vendor));
	memcpy((char *)klass + QEMU_CLASS_DEVICE_ID, &ids->device, sizeof(ids->device));
	memcpy((char *)klass + QEMU_CLASS_CLASS_ID, &ids->class, sizeof(ids->class));
}

/**
 * function_init() - give a function its capabilities
 * @pci: the function
 * @vectors: how many interrupts (MSI-X) it has
 * @msix_bar: its BAR for their table
 * @priv: whether it can access memory as a kernel
 * @errp: what goes wrong
 *
 * Linux leaves ATS off if addresses of translations are not page aligned (pci_ats_init()), and PRI
 * if responses need no PASID (pci_enable_pri(), "PASID required").
 *
 * Context: BQL held.
 * Return: 0, or a negative errno and @errp set.
 */
int function_init(void *pci, unsigned int vectors, int msix_bar, bool priv, void **errp)
{
	const char *problem = fixups_init();

	if (problem) {
		set_error(errp, "svadev: %s", problem);
		return -ENODEV;
	}
	if (pcie_endpoint_cap_init(pci, 0) < 0) {
		set_error(errp, "svadev: no PCI Express capability");
		return -EINVAL;
	}
	if (msix_init_exclusive_bar(pci, vectors, msix_bar, errp))
		return -EINVAL;
	for (unsigned int i = 0; i < vectors; i++)
		msix_vector_use(pci, i);
	pcie_pasid_init(pci, PASID_OFFSET, PASID_WIDTH, false, priv);
	pcie_ats_init(pci, ATS_OFFSET, true);
	pcie_pri_init(pci, PRI_OFFSET, PRI_OUTSTANDING, true);
	return 0;
}

/**
 * function_enabled() - whether the guest has enabled what a function needs for SVA
 * @pci: the function
 *
 * Context: BQL held.
 *
 * Return: true for PASID, ATS and PRI together.
 */
bool function_enabled(const void *pci)
{
	return pcie_pasid_enabled(pci) && pcie_ats_enabled(pci) && pcie_pri_enabled(pci);
}
