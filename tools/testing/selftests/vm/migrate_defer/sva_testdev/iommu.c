// SPDX-License-Identifier: GPL-2.0
/*
 * The software IOMMU as the IOMMU core sees it: registration, one fake device
 * behind it, SVA domains, I/O page faults and their responses.
 *
 * Everything that depends on the version of the core's interface is here.  Only
 * built with CONFIG_IOMMU_SVA.
 */
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/property.h>
#include <linux/slab.h>
#include <linux/version.h>
#include <linux/xarray.h>

#ifdef CONFIG_IOMMU_SVA_HINT
#include <linux/iommu-sva-hint.h>
#endif

#include "internal.h"

#define SVADEV_PASID_BITS	16

static struct platform_device *iommu_pdev;
static struct iommu_device iommu;
static struct iopf_queue *iopf_queue;

/* Protects the two below */
static DEFINE_MUTEX(fake_lock);
static struct platform_device *device;
static unsigned int device_users;

/* Protects svadev_domain.bonds of its bindings; outside of the core's iommu_sva_lock */
static DEFINE_MUTEX(bond_lock);

/* The PASID table: domains by PASID */
static DEFINE_XARRAY(pasid_table);

/**
 * struct svadev_request - an I/O page fault that waits for its response
 * @done:	completed by the response
 * @code:	the response
 */
struct svadev_request {
	struct completion done;
	u32 code;
};

/* By page request group; its lock makes that a request outlives its response */
static DEFINE_XARRAY_ALLOC(requests);

/* ------------------------------------------------------------- SVA domains */

static struct svadev_domain *to_svadev_domain(struct iommu_domain *domain)
{
	return container_of(domain, struct svadev_domain, domain);
}

static const struct mmu_notifier_ops svadev_notifier_ops = {
	.arch_invalidate_secondary_tlbs	= svadev_domain_invalidate,
	.release			= svadev_domain_release,
	.free_notifier			= svadev_domain_free_notifier,
};

static int svadev_set_dev_pasid(struct iommu_domain *domain, struct device *dev,
				ioasid_t pasid, struct iommu_domain *old)
{
	return xa_insert(&pasid_table, pasid, to_svadev_domain(domain), GFP_KERNEL);
}

static void svadev_forget_pasid(struct device *dev, ioasid_t pasid,
				struct iommu_domain *old)
{
	xa_erase(&pasid_table, pasid);
	svadev_cache_evict(to_svadev_domain(old));
	iopf_queue_flush_dev(dev);
}

static void svadev_sva_domain_free(struct iommu_domain *domain)
{
	mmu_notifier_put(&to_svadev_domain(domain)->notifier);
}

static const struct iommu_domain_ops svadev_sva_domain_ops = {
	.set_dev_pasid	= svadev_set_dev_pasid,
	.free		= svadev_sva_domain_free,
};

/* Takes mmap_lock of @mm for writing. */
static struct iommu_domain *svadev_domain_alloc_sva(struct device *dev,
						    struct mm_struct *mm)
{
	struct svadev_domain *dom = svadev_domain_alloc(mm);
	int ret;

	if (IS_ERR(dom))
		return ERR_CAST(dom);
	dom->domain.type = IOMMU_DOMAIN_SVA;
	dom->domain.ops = &svadev_sva_domain_ops;
	dom->notifier.ops = &svadev_notifier_ops;
	ret = mmu_notifier_register(&dom->notifier, mm);
	if (ret) {
		svadev_domain_free(dom);
		return ERR_PTR(ret);
	}
	return &dom->domain;
}

/* ---------------------------------------------------- the IOMMU for the core */

#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 0, 0)
static int svadev_attach_nothing(struct iommu_domain *domain, struct device *dev)
{
	return 0;
}

static const struct iommu_domain_ops svadev_static_domain_ops = {
	.attach_dev	= svadev_attach_nothing,
};
#else
static int svadev_attach_nothing(struct iommu_domain *domain, struct device *dev,
				 struct iommu_domain *old)
{
	return 0;
}

/* Of the blocked domain: the PASID had @old so far. */
static int svadev_block_dev_pasid(struct iommu_domain *domain, struct device *dev,
				  ioasid_t pasid, struct iommu_domain *old)
{
	svadev_forget_pasid(dev, pasid, old);
	return 0;
}

static const struct iommu_domain_ops svadev_static_domain_ops = {
	.attach_dev	= svadev_attach_nothing,
	.set_dev_pasid	= svadev_block_dev_pasid,
};
#endif

static struct iommu_domain svadev_identity_domain = {
	.type	= IOMMU_DOMAIN_IDENTITY,
	.ops	= &svadev_static_domain_ops,
};

static struct iommu_domain svadev_blocked_domain = {
	.type	= IOMMU_DOMAIN_BLOCKED,
	.ops	= &svadev_static_domain_ops,
};

static bool svadev_capable(struct device *dev, enum iommu_cap cap)
{
	return cap == IOMMU_CAP_CACHE_COHERENCY;
}

static struct iommu_device *svadev_probe_device(struct device *dev)
{
	return &iommu;
}

static int svadev_def_domain_type(struct device *dev)
{
	return IOMMU_DOMAIN_IDENTITY;
}

/* Called with a mutex of the core held. */
static void svadev_page_response(struct device *dev, struct iopf_fault *fault,
				 struct iommu_page_response *response)
{
	struct svadev_request *request;

	xa_lock(&requests);
	request = xa_load(&requests, response->grpid);
	if (request) {
		request->code = response->code;
		complete(&request->done);
	}
	xa_unlock(&requests);
}

static const struct iommu_ops svadev_iommu_ops = {
	.owner			= THIS_MODULE,
	.capable		= svadev_capable,
	.probe_device		= svadev_probe_device,
	.device_group		= generic_device_group,
	.def_domain_type	= svadev_def_domain_type,
	.identity_domain	= &svadev_identity_domain,
	.blocked_domain		= &svadev_blocked_domain,
	.release_domain		= &svadev_blocked_domain,
	.domain_alloc_sva	= svadev_domain_alloc_sva,
#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 0, 0)
	.remove_dev_pasid	= svadev_forget_pasid,
#endif
	.page_response		= svadev_page_response,
};

/**
 * svadev_iommu_init() - register the software IOMMU, without any device
 *
 * Return: 0 or a negative errno.
 */
int svadev_iommu_init(void)
{
	static const struct property_entry properties[] = {
		PROPERTY_ENTRY_BOOL("sva-testdev-iommu"),
		{}
	};
	const struct platform_device_info info = {
		.name		= "sva_testdev_iommu",
		.id		= PLATFORM_DEVID_NONE,
		.properties	= properties,	/* gives it a fwnode */
	};
	int ret;

	iopf_queue = iopf_queue_alloc("sva_testdev");
	if (!iopf_queue)
		return -ENOMEM;
	iommu_pdev = platform_device_register_full(&info);
	if (IS_ERR(iommu_pdev)) {
		ret = PTR_ERR(iommu_pdev);
		goto err_queue;
	}
	ret = iommu_device_sysfs_add(&iommu, &iommu_pdev->dev, NULL, "sva_testdev");
	if (ret)
		goto err_pdev;
	iommu.max_pasids = 1U << SVADEV_PASID_BITS;
	ret = iommu_device_register(&iommu, &svadev_iommu_ops, &iommu_pdev->dev);
	if (ret)
		goto err_sysfs;
	return 0;

err_sysfs:
	iommu_device_sysfs_remove(&iommu);
err_pdev:
	platform_device_unregister(iommu_pdev);
err_queue:
	iopf_queue_free(iopf_queue);
	return ret;
}

/**
 * svadev_iommu_exit() - undo svadev_iommu_init()
 */
void svadev_iommu_exit(void)
{
	iommu_device_unregister(&iommu);
	iommu_device_sysfs_remove(&iommu);
	platform_device_unregister(iommu_pdev);
	iopf_queue_free(iopf_queue);
	xa_destroy(&requests);
	xa_destroy(&pasid_table);
}

/* ---------------------------------------------------------- the fake device */

/*
 * Tell the core that the device is behind our IOMMU, as firmware would.  By
 * hand, because iommu_fwspec_init() wants a lock that modules can't take.  The
 * core frees both when the device goes.
 */
static int svadev_describe(struct device *dev)
{
	struct iommu_fwspec *fwspec;

	dev->iommu = kzalloc_obj(*dev->iommu);
	fwspec = kzalloc(struct_size(fwspec, ids, 1), GFP_KERNEL);
	if (!dev->iommu || !fwspec) {
		kfree(dev->iommu);
		dev->iommu = NULL;
		kfree(fwspec);
		return -ENOMEM;
	}
	mutex_init(&dev->iommu->lock);
	fwspec->iommu_fwnode = fwnode_handle_get(dev_fwnode(&iommu_pdev->dev));
	dev_iommu_fwspec_set(dev, fwspec);
	return 0;
}

static void svadev_undescribe(struct device *dev)
{
	if (!dev->iommu)
		return;
	fwnode_handle_put(dev->iommu->fwspec->iommu_fwnode);
	kfree(dev->iommu->fwspec);
	kfree(dev->iommu);
	dev->iommu = NULL;
}

static struct platform_device *svadev_device_add(void)
{
	static const struct property_entry properties[] = {
		PROPERTY_ENTRY_U32("pasid-num-bits", SVADEV_PASID_BITS),
		{}
	};
	struct platform_device *pdev;
	int ret;

	pdev = platform_device_alloc("sva_testdev", PLATFORM_DEVID_NONE);
	if (!pdev)
		return ERR_PTR(-ENOMEM);
	ret = device_create_managed_software_node(&pdev->dev, properties, NULL);
	if (ret)
		goto err_put;
	ret = svadev_describe(&pdev->dev);
	if (ret)
		goto err_put;
	ret = platform_device_add(pdev);
	if (ret) {
		svadev_undescribe(&pdev->dev);
		goto err_put;
	}

	/* The bus notifier of the core has probed it; failing that is no error there. */
	ret = -ENODEV;
	if (!device_iommu_mapped(&pdev->dev))
		goto err_del;
	ret = iopf_queue_add_device(iopf_queue, &pdev->dev);
	if (ret)
		goto err_del;
	return pdev;

err_del:
	platform_device_del(pdev);
err_put:
	platform_device_put(pdev);
	return ERR_PTR(ret);
}

static void svadev_device_del(struct platform_device *pdev)
{
	iopf_queue_remove_device(iopf_queue, &pdev->dev);
	platform_device_unregister(pdev);
}

/**
 * svadev_device_get() - have the fake device exist
 *
 * A device behind the IOMMU holds a reference on this module, so there is one
 * only while somebody has the character device open.
 *
 * Return: 0 or a negative errno.
 */
int svadev_device_get(void)
{
	struct platform_device *pdev;
	int ret = 0;

	mutex_lock(&fake_lock);
	if (!device_users) {
		pdev = svadev_device_add();
		if (IS_ERR(pdev))
			ret = PTR_ERR(pdev);
		else
			device = pdev;
	}
	if (!ret)
		device_users++;
	mutex_unlock(&fake_lock);
	return ret;
}

/**
 * svadev_device_put() - undo svadev_device_get()
 *
 * Nothing may be bound by the caller any more.
 */
void svadev_device_put(void)
{
	mutex_lock(&fake_lock);
	if (!--device_users)
		svadev_device_del(device);
	mutex_unlock(&fake_lock);
}

/* ------------------------------------------- hints about what was moved anyway */

#ifdef CONFIG_IOMMU_SVA_HINT
static bool rewarm_block;
module_param(rewarm_block, bool, 0644);
MODULE_PARM_DESC(rewarm_block, "do not load translations again before this is off, for a minute");

static void svadev_rewarm(struct iommu_sva *sva, unsigned long start, unsigned long end)
{
	unsigned long end_jiffies = jiffies + 60 * HZ;

	atomic_inc(&svadev_nr_rewarming);
	/* Who has set it may be dying, and its release waits for this callback. */
	while (READ_ONCE(rewarm_block) && time_before(jiffies, end_jiffies))
		msleep(20);
	atomic_dec(&svadev_nr_rewarming);
	svadev_cache_rewarm(to_svadev_domain(sva->handle.domain), start, end);
}

static const struct iommu_sva_hint_ops svadev_hint_ops = {
	.rewarm	= svadev_rewarm,
};

static int svadev_hint_register(struct iommu_sva *sva)
{
	return iommu_sva_hint_register(sva, &svadev_hint_ops);
}

static void svadev_hint_unregister(struct iommu_sva *sva)
{
	iommu_sva_hint_unregister(sva);
}
#else
static int svadev_hint_register(struct iommu_sva *sva)
{
	return 0;
}

static void svadev_hint_unregister(struct iommu_sva *sva)
{
}
#endif

/* ---------------------------------------------------- bindings and requests */

/**
 * svadev_iommu_bind() - bind the address space of the current process
 * @bond: out: the binding
 * @deaf: see SVA_TESTDEV_BIND_DEAF
 *
 * The caller must hold svadev_device_get() until it has called
 * svadev_iommu_unbind().
 *
 * Context: process with an mm, mmap_lock not held.
 * Return: 0, -EBUSY if the address space is bound with another @deaf, or
 * whatever iommu_sva_bind_device() returns.
 */
int svadev_iommu_bind(struct svadev_bond *bond, bool deaf)
{
	struct svadev_domain *dom;
	struct iommu_sva *sva;
	unsigned long flags;
	int ret = 0;

	mutex_lock(&bond_lock);
	sva = iommu_sva_bind_device(&device->dev, current->mm);
	if (IS_ERR(sva)) {
		ret = PTR_ERR(sva);
		goto unlock;
	}
	bond->sva = sva;
	bond->pasid = iommu_sva_get_pasid(sva);
	bond->domain = xa_load(&pasid_table, bond->pasid);
	dom = bond->domain;
	/* All contexts of an address space share the core's handle. */
	if (!dom->bonds)
		ret = svadev_hint_register(sva);
	else if (dom->deaf != deaf)
		ret = -EBUSY;
	if (ret) {
		iommu_sva_unbind_device(sva);
		bond->domain = NULL;
		goto unlock;
	}
	raw_spin_lock_irqsave(&dom->lock, flags);
	dom->deaf = deaf;
	raw_spin_unlock_irqrestore(&dom->lock, flags);
	dom->bonds++;
unlock:
	mutex_unlock(&bond_lock);
	return ret;
}

/**
 * svadev_iommu_unbind() - undo svadev_iommu_bind()
 * @bond: the binding, whose user does not access memory any more
 *
 * Waits for the I/O page faults that are being handled.
 */
void svadev_iommu_unbind(struct svadev_bond *bond)
{
	mutex_lock(&bond_lock);
	if (!--bond->domain->bonds)
		svadev_hint_unregister(bond->sva);
	bond->domain = NULL;
	iommu_sva_unbind_device(bond->sva);
	mutex_unlock(&bond_lock);
}

/**
 * svadev_iommu_fault() - have the kernel handle an I/O page fault, and wait
 * @pasid: whose
 * @addr: where
 * @read: the access needs to read
 * @write: the access needs to write
 *
 * Context: a job's thread, which is bound; sleeps without being stoppable, but
 * what it waits for is no more than what a processor's page fault waits for.
 * Return: 0 to try again, -EFAULT if the access is not allowed, -EIO if the
 * fault could not be handled, -ENOMEM.
 */
int svadev_iommu_fault(u32 pasid, unsigned long addr, bool read, bool write)
{
	struct svadev_request request;
	struct iopf_fault event = {};
	u32 group;
	int ret;

	init_completion(&request.done);
	ret = xa_alloc(&requests, &group, &request, xa_limit_16b, GFP_KERNEL);
	if (ret)
		return ret;

	event.fault.type = IOMMU_FAULT_PAGE_REQ;
	event.fault.prm.flags = IOMMU_FAULT_PAGE_REQUEST_PASID_VALID |
				IOMMU_FAULT_PAGE_REQUEST_LAST_PAGE;
	event.fault.prm.pasid = pasid;
	event.fault.prm.grpid = group;
	event.fault.prm.addr = addr & PAGE_MASK;
	event.fault.prm.perm = (read ? IOMMU_FAULT_PERM_READ : 0) |
			       (write ? IOMMU_FAULT_PERM_WRITE : 0);

	/* There is a response whatever this returns. */
	iommu_report_device_fault(&device->dev, &event);
	wait_for_completion_state(&request.done, TASK_IDLE);
	xa_erase(&requests, group);

	switch (request.code) {
	case IOMMU_PAGE_RESP_SUCCESS:
		return 0;
	case IOMMU_PAGE_RESP_INVALID:
		return -EFAULT;
	default:
		return -EIO;
	}
}
