/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The part of QEMU's internal interface that the endpoint uses, as QEMU 11.1 for x86_64 Linux has
 * it.  Debian ships no header of it, but its QEMU exports all these symbols to its modules.  What is
 * not listed here is opaque: objects of QEMU are allocated with room to spare, and no member of one
 * is touched but where said so.
 *
 * Source: include/qom/object.h, include/hw/pci/{pci,pcie,pci_device,msix}.h,
 * include/system/memory.h, include/exec/memattrs.h, include/qemu/{main-loop,rcu,qemu-plugin}.h.
 */
#ifndef _SVADEV_ABI_H
#define _SVADEV_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define QEMU_PLUGIN_VERSION	7	/* of 11.1, which takes no other */
#define QEMU_KNOWN_MAJOR	11
#define QEMU_KNOWN_MINOR	1

/* Room for a struct PCIDevice, MemoryRegion, IOMMUNotifier (a few hundred bytes to some KiB) */
#define QEMU_PCI_DEVICE_ROOM	32768
#define QEMU_REGION_ROOM	4096
#define QEMU_NOTIFIER_ROOM	256

/* Of PCIDeviceClass; qemu_abi_problem() checks them against a device of QEMU's own. */
#define QEMU_CLASS_REALIZE	184
#define QEMU_CLASS_VENDOR_ID	(QEMU_CLASS_REALIZE + 32)
#define QEMU_CLASS_DEVICE_ID	(QEMU_CLASS_REALIZE + 34)
#define QEMU_CLASS_CLASS_ID	(QEMU_CLASS_REALIZE + 38)

#define QEMU_ATTRS_UNSPECIFIED	(1ULL << 32)	/* MEMTXATTRS_UNSPECIFIED */
#define QEMU_MEMTX_OK		0
#define QEMU_DEVICE_LITTLE_ENDIAN 2

/* IOMMUAccessFlags */
#define QEMU_IOMMU_RO		1
#define QEMU_IOMMU_WO		2

/* IOMMUPRIResponseCode */
#define QEMU_PRI_SUCCESS	0
#define QEMU_PRI_PRGI_MASK	0x1ff

struct qemu_type_info {
	const char *name;
	const char *parent;
	size_t instance_size;
	size_t instance_align;
	void (*instance_init)(void *obj);
	void (*instance_post_init)(void *obj);
	void (*instance_finalize)(void *obj);
	bool abstract;
	size_t class_size;
	void (*class_init)(void *klass, const void *data);
	void (*class_base_init)(void *klass, const void *data);
	const void *class_data;
	const struct qemu_interface_info *interfaces;
};

struct qemu_interface_info {
	const char *type;
};

struct qemu_region_ops {
	uint64_t (*read)(void *opaque, uint64_t addr, unsigned int size);
	void (*write)(void *opaque, uint64_t addr, uint64_t data, unsigned int size);
	void *read_with_attrs;
	void *write_with_attrs;
	int endianness;
	struct {
		unsigned int min_access_size;
		unsigned int max_access_size;
		bool unaligned;
		void *accepts;
	} valid;
	struct {
		unsigned int min_access_size;
		unsigned int max_access_size;
		bool unaligned;
	} impl;
};

struct qemu_region_section {
	unsigned __int128 size;
	void *mr;
	void *fv;
	uint64_t offset_within_region;
	uint64_t offset_within_address_space;
	bool readonly;
	bool nonvolatile;
	bool unmergeable;
};

struct qemu_iotlb_entry {
	void *target_as;
	uint64_t iova;
	uint64_t translated_addr;
	uint64_t addr_mask;
	int perm;
	uint32_t pasid;
};

struct qemu_iommu_notifier {
	void (*notify)(struct qemu_iommu_notifier *notifier, struct qemu_iotlb_entry *entry);
	char room[QEMU_NOTIFIER_ROOM];
};

struct qemu_pri_response {
	int code;
	uint16_t prgi;
};

struct qemu_pri_notifier {
	void (*notify)(struct qemu_pri_notifier *notifier, struct qemu_pri_response *response);
	char room[QEMU_NOTIFIER_ROOM];
};

union qemu_run_on_cpu_data {
	void *ptr;
	unsigned long ulong;
};

struct qemu_version_triple {
	int64_t major;
	int64_t minor;
	int64_t micro;
};

struct qemu_version_info {
	struct qemu_version_triple *qemu;
	char *package;
};

struct qemu_plugin_info {
	const char *target_name;
	struct {
		int min;
		int cur;
	} version;
	bool system_emulation;
};

/* Objects */
void *type_register_static(const struct qemu_type_info *info);
void *object_class_by_name(const char *name);
void error_setg_internal(void **errp, const char *src, int line, const char *func,
			 const char *fmt, ...) __attribute__((format(printf, 5, 6)));
struct qemu_version_info *qmp_query_version(void **errp);
void qapi_free_VersionInfo(struct qemu_version_info *info);

/* Memory */
extern char address_space_memory[];
void *get_system_memory(void);
void memory_region_init_io(void *mr, void *owner, const struct qemu_region_ops *ops, void *opaque,
			   const char *name, uint64_t size);
void memory_region_add_subregion_overlap(void *mr, uint64_t offset, void *sub, int priority);
struct qemu_region_section memory_region_find(void *mr, uint64_t addr, uint64_t size);
int memory_region_dispatch_read(void *mr, uint64_t addr, uint64_t *value, int log2_size,
				uint64_t attrs);
int memory_region_dispatch_write(void *mr, uint64_t addr, uint64_t value, int log2_size,
				 uint64_t attrs);
int address_space_rw(void *as, uint64_t addr, uint64_t attrs, void *buf, uint64_t len,
		     bool is_write);
void *address_space_map(void *as, uint64_t addr, uint64_t *len, bool is_write, uint64_t attrs);
void address_space_unmap(void *as, void *buf, uint64_t len, bool is_write, uint64_t access_len);

/* PCI Express */
void pci_register_bar(void *dev, int bar, uint8_t type, void *mr);
int pcie_endpoint_cap_init(void *dev, uint8_t offset);
void pcie_pasid_init(void *dev, uint16_t offset, uint8_t width, bool exec, bool priv);
void pcie_ats_init(void *dev, uint16_t offset, bool aligned);
void pcie_pri_init(void *dev, uint16_t offset, uint32_t outstanding, bool pasid_required);
bool pcie_pasid_enabled(const void *dev);
bool pcie_ats_enabled(const void *dev);
bool pcie_pri_enabled(const void *dev);
uint16_t pci_requester_id(void *dev);
int msix_init_exclusive_bar(void *dev, unsigned short vectors, uint8_t bar, void **errp);
void msix_vector_use(void *dev, unsigned int vector);
void msix_notify(void *dev, unsigned int vector);

/* IOMMU: 0 or a negative errno unless the name says otherwise */
ssize_t pci_ats_request_translation(void *dev, uint32_t pasid, bool priv, bool exec, uint64_t addr,
				    size_t len, bool no_write, struct qemu_iotlb_entry *result,
				    size_t nr_results, uint32_t *nr_errors);
int pci_pri_request_page(void *dev, uint32_t pasid, bool priv, bool exec, uint64_t addr, bool last,
			 uint16_t prgi, bool is_read, bool is_write);
int pci_pri_register_notifier(void *dev, uint32_t pasid, struct qemu_pri_notifier *notifier);
void pci_pri_unregister_notifier(void *dev, uint32_t pasid);
int pci_iommu_init_iotlb_notifier(void *dev, struct qemu_iommu_notifier *notifier,
				  void (*notify)(struct qemu_iommu_notifier *notifier,
						 struct qemu_iotlb_entry *entry),
				  void *opaque);
int pci_iommu_register_iotlb_notifier(void *dev, uint32_t pasid,
				      struct qemu_iommu_notifier *notifier);
int pci_iommu_unregister_iotlb_notifier(void *dev, uint32_t pasid,
					struct qemu_iommu_notifier *notifier);

/* Threads: the big QEMU lock (BQL), RCU, and work with all virtual processors stopped */
void bql_lock_impl(const char *file, int line);
void bql_unlock(void);
bool bql_locked(void);
void rcu_register_thread(void);
void *qemu_get_cpu(int index);
void async_safe_run_on_cpu(void *cpu, void (*func)(void *cpu, union qemu_run_on_cpu_data data),
			   union qemu_run_on_cpu_data data);

/* All of the above, for the check that they are there */
#define QEMU_SYMBOLS(X)							\
	X(type_register_static)						\
	X(object_class_by_name)						\
	X(error_setg_internal)						\
	X(qmp_query_version)						\
	X(qapi_free_VersionInfo)					\
	X(address_space_memory)						\
	X(get_system_memory)						\
	X(memory_region_init_io)					\
	X(memory_region_add_subregion_overlap)				\
	X(memory_region_find)						\
	X(memory_region_dispatch_read)					\
	X(memory_region_dispatch_write)					\
	X(address_space_rw)						\
	X(address_space_map)						\
	X(address_space_unmap)						\
	X(pci_register_bar)						\
	X(pcie_endpoint_cap_init)					\
	X(pcie_pasid_init)						\
	X(pcie_ats_init)						\
	X(pcie_pri_init)						\
	X(pcie_pasid_enabled)						\
	X(pcie_ats_enabled)						\
	X(pcie_pri_enabled)						\
	X(pci_requester_id)						\
	X(msix_init_exclusive_bar)					\
	X(msix_vector_use)						\
	X(msix_notify)							\
	X(pci_ats_request_translation)					\
	X(pci_pri_request_page)						\
	X(pci_pri_register_notifier)					\
	X(pci_pri_unregister_notifier)					\
	X(pci_iommu_init_iotlb_notifier)				\
	X(pci_iommu_register_iotlb_notifier)				\
	X(pci_iommu_unregister_iotlb_notifier)				\
	X(bql_lock_impl)						\
	X(bql_unlock)							\
	X(bql_locked)							\
	X(rcu_register_thread)						\
	X(qemu_get_cpu)							\
	X(async_safe_run_on_cpu)

/* So that a QEMU without one of them is refused by name, and not by the dynamic loader */
#define QEMU_PRAGMA(text)	_Pragma(#text)
#define QEMU_WEAK(name)		QEMU_PRAGMA(weak name)
QEMU_SYMBOLS(QEMU_WEAK)

static inline void bql_lock(void)
{
	bql_lock_impl(__FILE__, __LINE__);
}

const char *qemu_abi_problem(const struct qemu_plugin_info *info);

#endif /* _SVADEV_ABI_H */
