// SPDX-License-Identifier: GPL-2.0
/*
 * slow_node: memory that the kernel was told to ignore at boot becomes a NUMA
 * node of a slower memory tier, as drivers/dax/kmem.c does with CXL memory.
 *
 * What it takes:
 * - RAM without processors that firmware assigns to a NUMA node of its own,
 * - "memmap=SIZE$START" (x86) or "mem=LIMIT" on the kernel's command line, so
 *   that this RAM stays unused,
 * - the parameters "start" and "size" of the module.
 *
 * Writing 1 to the parameter "online" adds the memory, 0 removes it; loading the
 * module does neither.  Whether its blocks come online with it is up to
 * /sys/devices/system/memory/auto_online_blocks; for the memory to be removable
 * that should say online_movable.
 */
#include <linux/align.h>
#include <linux/err.h>
#include <linux/init.h>
#include <linux/kstrtox.h>
#include <linux/memory-tiers.h>
#include <linux/memory.h>
#include <linux/memory_hotplug.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/nodemask.h>
#include <linux/numa.h>
#include <linux/pfn.h>
#include <linux/slab.h>
#include <linux/string.h>

static unsigned long long start;
module_param(start, ullong, 0444);
MODULE_PARM_DESC(start, "physical address of the memory");

static unsigned long long size;
module_param(size, ullong, 0444);
MODULE_PARM_DESC(size, "its length in bytes");

static int node = NUMA_NO_NODE;
module_param(node, int, 0444);
MODULE_PARM_DESC(node, "the node that it is (read only)");

/* As slow as drivers/dax/kmem.c takes memory for whose speed is unknown */
#define ADISTANCE	(MEMTIER_ADISTANCE_DRAM * 5)

/* The memory refers to it, and may outlive the module. */
static char *resource_name;
static int group;

/* The parameter, whose lock serialises what follows */
static bool online;

static int slow_node_add(void)
{
	struct memory_dev_type *type;
	int ret;

	/* Some architectures have nodes online that have neither. */
	if (node_state(node, N_MEMORY) || node_state(node, N_CPU)) {
		pr_err("slow_node: node %d has other memory or processors\n", node);
		return -EBUSY;
	}
	resource_name = kstrdup("System RAM (slow_node)", GFP_KERNEL);
	if (!resource_name)
		return -ENOMEM;
	type = alloc_memory_type(ADISTANCE);
	if (IS_ERR(type)) {
		ret = PTR_ERR(type);
		goto free_name;
	}
	init_node_memory_type(node, type);
	/* The node has a reference of its own. */
	put_memory_type(type);
	group = memory_group_register_static(node, PFN_UP(size));
	if (group < 0) {
		ret = group;
		goto clear_type;
	}
	ret = add_memory_driver_managed(group, start, size, resource_name, MHP_NID_IS_MGID);
	if (ret)
		goto unregister_group;
	return 0;

unregister_group:
	memory_group_unregister(group);
clear_type:
	clear_node_memory_type(node, NULL);
free_name:
	kfree(resource_name);
	return ret;
}

static int slow_node_remove(void)
{
	int ret = offline_and_remove_memory(start, size);

	if (ret)
		return ret;
	memory_group_unregister(group);
	clear_node_memory_type(node, NULL);
	kfree(resource_name);
	return 0;
}

static int online_set(const char *value, const struct kernel_param *kp)
{
	bool want;
	int ret = kstrtobool(value, &want);

	if (ret || want == online)
		return ret;
	/* Not among the arguments of insmod, which come before slow_node_init(). */
	if (node == NUMA_NO_NODE)
		return -EINVAL;
	ret = want ? slow_node_add() : slow_node_remove();
	if (!ret)
		online = want;
	return ret;
}

static const struct kernel_param_ops online_ops = {
	.set = online_set,
	.get = param_get_bool,
};

module_param_cb(online, &online_ops, &online, 0644);
MODULE_PARM_DESC(online, "whether the memory is there");

static int __init slow_node_init(void)
{
	u64 block = memory_block_size_bytes(), end = ALIGN_DOWN(start + size, block);

	start = ALIGN(start, block);
	if (start >= end) {
		pr_err("slow_node: the range has no memory block of %llu bytes\n", block);
		return -EINVAL;
	}
	size = end - start;
	node = phys_to_target_node(start);
	if (node == NUMA_NO_NODE) {
		pr_err("slow_node: the memory has no node\n");
		return -ENODEV;
	}
	return 0;
}
module_init(slow_node_init);

static void __exit slow_node_exit(void)
{
	int ret = online ? slow_node_remove() : 0;

	/* It stays, and what it refers to is not in the module. */
	if (ret)
		pr_err("slow_node: the memory can't be removed (%d)\n", ret);
}
module_exit(slow_node_exit);

MODULE_DESCRIPTION("A NUMA node of a slower memory tier, for selftests");
MODULE_LICENSE("GPL");
