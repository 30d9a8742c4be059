/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The part of QEMU's internal interface that the endpoint uses, as QEMU 11.1 for x86_64 Linux has
 * it.  Debian ships no header of it, but its QEMU exports all these symbols to its modules.  What
 * is not listed here is opaque: objects of QEMU are allocated with room to spare, and no member of
 * one is touched but where said so.
 *
 * Source: include/qom/object.h, include/hw/pci/{pci,pcie,pci_device,msix}.h,
 * include/system/memory.h, include/exec/memattrs.h, include/qemu/{main-loop,rcu,qemu-plugin}.h.
 */
#ifndef _SVADEV_ABI_H
#define _SVADEV_ABI_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define BIT_ULL(n)		(1ULL << (n))

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

#define QEMU_ATTRS_UNSPECIFIED	BIT_ULL(32)	/* MEMTXATTRS_UNSPECIFIED */
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
	__u64 (*read)(void *opaque, __u64 addr, unsigned int size);
	void (*write)(void *opaque, __u64 addr, __u64 data, unsigned int size);
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
	__u64 offset_within_region;
	__u64 offset_within_address_space;
	bool readonly;
	bool nonvolatile;
	bool unmergeable;
};

struct qemu_iotlb_entry {
	void *target_as;
	__u64 iova;
	__u64 translated_addr;
	__u64 addr_mask;
	int perm;
	__u32 pasid;
};

struct qemu_iommu_notifier {
	void (*notify)(struct qemu_iommu_notifier *notifier, struct qemu_iotlb_entry *entry);
	char room[QEMU_NOTIFIER_ROOM];
};

struct qemu_pri_response {
	int code;
	__u16 prgi;
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
	__s64 major;
	__s64 minor;
	__s64 micro;
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

/* Of glib: GArray and GByteArray begin with where the elements are, and how many. */
struct glib_array {
	void *data;
	unsigned int len;
};

/* Of the plugin interface; what follows in later versions is not used, nor is the size. */
struct qemu_register {
	void *handle;
	const char *name;
	const char *feature;
};

#define QEMU_CB_RW_REGS_PC	3	/* QEMU_PLUGIN_CB_RW_REGS_PC */

/* What QEMU looks for (qemu-plugin.h): all else is hidden, see the Makefile. */
#pragma GCC visibility push(default)
extern int qemu_plugin_version;
int qemu_plugin_install(__u64 id, const struct qemu_plugin_info *info, int argc, char **argv);
#pragma GCC visibility pop

/* Objects */
void *type_register_static(const struct qemu_type_info *info);
void *object_class_by_name(const char *name);
void error_setg_internal(void **errp, const char *src, int line, const char *func,
			 const char *fmt, ...);
struct qemu_version_info *qmp_query_version(void **errp);

/* Memory */
extern char address_space_memory[];
void *get_system_memory(void);
void memory_region_init_io(void *mr, void *owner, const struct qemu_region_ops *ops, void *opaque,
			   const char *name, __u64 size);
void memory_region_add_subregion_overlap(void *mr, __u64 offset, void *sub, int priority);
struct qemu_region_section memory_region_find(void *mr, __u64 addr, __u64 size);
int memory_region_dispatch_read(void *mr, __u64 addr, __u64 *value, int log2_size,
				__u64 attrs);
int memory_region_dispatch_write(void *mr, __u64 addr, __u64 value, int log2_size,
				 __u64 attrs);
int address_space_rw(void *as, __u64 addr, __u64 attrs, void *buf, __u64 len,
		     bool is_write);
void *address_space_map(void *as, __u64 addr, __u64 *len, bool is_write, __u64 attrs);
void address_space_unmap(void *as, void *buf, __u64 len, bool is_write, __u64 access_len);

/* PCI Express */
void pci_register_bar(void *dev, int bar, __u8 type, void *mr);
int pcie_endpoint_cap_init(void *dev, __u8 offset);
void pcie_pasid_init(void *dev, __u16 offset, __u8 width, bool exec, bool priv);
void pcie_ats_init(void *dev, __u16 offset, bool aligned);
void pcie_pri_init(void *dev, __u16 offset, __u32 outstanding, bool pasid_required);
bool pcie_pasid_enabled(const void *dev);
bool pcie_ats_enabled(const void *dev);
bool pcie_pri_enabled(const void *dev);
__u16 pci_requester_id(void *dev);
int msix_init_exclusive_bar(void *dev, unsigned short vectors, __u8 bar, void **errp);
void msix_vector_use(void *dev, unsigned int vector);
void msix_notify(void *dev, unsigned int vector);

/* IOMMU: 0 or a negative errno unless the name says otherwise */
ssize_t pci_ats_request_translation(void *dev, __u32 pasid, bool priv, bool exec, __u64 addr,
				    size_t len, bool no_write, struct qemu_iotlb_entry *result,
				    size_t nr_results, __u32 *nr_errors);
int pci_pri_request_page(void *dev, __u32 pasid, bool priv, bool exec, __u64 addr, bool last,
			 __u16 prgi, bool is_read, bool is_write);
int pci_pri_register_notifier(void *dev, __u32 pasid, struct qemu_pri_notifier *notifier);
void pci_pri_unregister_notifier(void *dev, __u32 pasid);
int pci_iommu_init_iotlb_notifier(void *dev, struct qemu_iommu_notifier *notifier,
				  void (*notify)(struct qemu_iommu_notifier *notifier,
						 struct qemu_iotlb_entry *entry),
				  void *opaque);
int pci_iommu_register_iotlb_notifier(void *dev, __u32 pasid,
				      struct qemu_iommu_notifier *notifier);
int pci_iommu_unregister_iotlb_notifier(void *dev, __u32 pasid,
					struct qemu_iommu_notifier *notifier);

/* Threads: the big QEMU lock (BQL), RCU, and work with all virtual processors stopped */
void bql_lock_impl(const char *file, int line);
void bql_unlock(void);
bool bql_locked(void);
void rcu_register_thread(void);
void *qemu_get_cpu(int index);
void async_safe_run_on_cpu(void *cpu, void (*func)(void *cpu, union qemu_run_on_cpu_data data),
			   union qemu_run_on_cpu_data data);

/* The plugin interface: instrumentation of the guest's code, for an instruction that TCG lacks */
void qemu_plugin_register_vcpu_init_cb(__u64 id, void (*cb)(unsigned int cpu, void *data),
				       void *data);
void qemu_plugin_register_vcpu_tb_trans_cb(__u64 id, void (*cb)(void *tb, void *data),
					   void *data);
void qemu_plugin_register_vcpu_insn_exec_cb(void *insn, void (*cb)(unsigned int cpu, void *data),
					    int flags, void *data);
size_t qemu_plugin_tb_n_insns(const void *tb);
void *qemu_plugin_tb_get_insn(const void *tb, size_t index);
__u64 qemu_plugin_tb_vaddr(const void *tb);
size_t qemu_plugin_insn_data(const void *insn, void *dest, size_t len);
__u64 qemu_plugin_insn_vaddr(const void *insn);
struct glib_array *qemu_plugin_get_registers(void);
bool qemu_plugin_read_register(void *handle, struct glib_array *buf);
bool qemu_plugin_read_memory_vaddr(__u64 addr, struct glib_array *buf, size_t len);
bool qemu_plugin_translate_vaddr(__u64 addr, __u64 *physical);
void qemu_plugin_set_pc(__u64 pc);
struct glib_array *g_byte_array_new(void);
struct glib_array *g_byte_array_set_size(struct glib_array *array, unsigned int len);
unsigned int g_array_get_element_size(struct glib_array *array);

/* So that a QEMU without one of them is refused by name, and not by the dynamic loader */
#define QEMU_SYMBOL(name)	asm(".weak " #name);
#include "abi_symbols.h"
#undef QEMU_SYMBOL

static inline void bql_lock(void)
{
	bql_lock_impl(__FILE__, __LINE__);
}

const char *qemu_abi_problem(const struct qemu_plugin_info *info);

#endif /* _SVADEV_ABI_H */
