// SPDX-License-Identifier: GPL-2.0
/* Ways to keep pages where they are: see rivals.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/iommufd.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../../../../../drivers/iommu/iommufd/iommufd_test.h"
#include "../../../../../mm/gup_test.h"
#include "rivals.h"

#define UNEVICTABLE	"/proc/sys/vm/compact_unevictable_allowed"
#define NUMA_BALANCING	"/proc/sys/kernel/numa_balancing"
#define GUP_TEST	"/sys/kernel/debug/gup_test"
#define IOMMU		"/dev/iommu"
#define ENABLED		"/sys/kernel/mm/migrate_defer/enabled"

/**
 * rival_nothing() - protect or release nothing at all
 * @addr: start of a range
 * @len: its length
 *
 * Return: 0.
 */
int rival_nothing(void *addr, size_t len)
{
	(void)addr;
	(void)len;
	return 0;
}

/* --------------------------------------------------------------------------------------- mlock */

static int mlock_protect(void *addr, size_t len)
{
	return mlock(addr, len) ? -errno : 0;
}

static int mlock_release(void *addr, size_t len)
{
	return munlock(addr, len) ? -errno : 0;
}

static const char *sysctls_missing(void)
{
	if (access(UNEVICTABLE, W_OK))
		return "no CONFIG_COMPACTION";
	return access(NUMA_BALANCING, W_OK) ? "no CONFIG_NUMA_BALANCING" : NULL;
}

static int sysctls_setup(void)
{
	return setting_write(UNEVICTABLE, "0") ?: setting_write(NUMA_BALANCING, "0");
}

static int sysctls_overrule(void)
{
	return setting_write(UNEVICTABLE, "1");
}

/* --------------------------------------------------------------------------------------- mbind */

static int membind_protect(void *addr, size_t len)
{
	int node;

	if (syscall(SYS_get_mempolicy, &node, NULL, 0, addr, MPOL_F_NODE | MPOL_F_ADDR))
		return -errno;
	return range_bind(addr, len, node, 0);
}

static int membind_release(void *addr, size_t len)
{
	return range_bind(addr, len, -1, 0);
}

/* ------------------------------------------------------------------------------- long-term pins */

/*
 * gup_test has one range of pages for the whole system: a second one is refused until the first
 * is released.
 */
static int gup_fd = -1;

static const char *gup_missing(void)
{
	return access(GUP_TEST, W_OK) ? "no CONFIG_GUP_TEST (or no debugfs)" : NULL;
}

static int gup_protect(void *addr, size_t len)
{
	struct pin_longterm_test pin = {
		.addr = (uintptr_t)addr, .size = len,
		.flags = PIN_LONGTERM_TEST_FLAG_USE_WRITE | PIN_LONGTERM_TEST_FLAG_USE_FAST,
	};
	int ret = 0;

	if (gup_fd >= 0)
		return -EBUSY;
	gup_fd = open(GUP_TEST, O_RDWR | O_CLOEXEC);
	if (gup_fd < 0)
		return -errno;
	if (ioctl(gup_fd, PIN_LONGTERM_TEST_START, &pin)) {
		ret = -errno;
		close(gup_fd);
		gup_fd = -1;
	}
	return ret;
}

static int gup_release(void *addr, size_t len)
{
	int ret = ioctl(gup_fd, PIN_LONGTERM_TEST_STOP) ? -errno : 0;

	(void)addr;
	(void)len;
	close(gup_fd);
	gup_fd = -1;
	return ret;
}

/* Which range is pinned by what: a slot of the ring, or an address of the IOMMU */
#define MAX_PINS	4096

static struct pin {
	void *addr;
	uint64_t iova;
} pins[MAX_PINS];

static struct pin *pin_find(void *addr)
{
	for (size_t i = 0; i < ARRAY_SIZE(pins); i++)
		if (pins[i].addr == addr)
			return &pins[i];
	return NULL;
}

static int ring_fd = -1;

/* A ring with room for as many registered buffers, none of which is there yet */
static int ring_open(void)
{
	struct io_uring_rsrc_register sparse = {
		.nr = MAX_PINS, .flags = IORING_RSRC_REGISTER_SPARSE,
	};
	struct io_uring_params params = { 0 };
	int ret;

	if (ring_fd >= 0)
		return 0;
	ring_fd = syscall(SYS_io_uring_setup, 1, &params);
	if (ring_fd < 0)
		return -errno;
	if (!syscall(SYS_io_uring_register, ring_fd, IORING_REGISTER_BUFFERS2, &sparse,
		     sizeof(sparse)))
		return 0;
	ret = -errno;
	close(ring_fd);
	ring_fd = -1;
	return ret;
}

/* A ring that is left open would be inherited, and keep what a child has pinned. */
static const char *uring_missing(void)
{
	if (ring_open())
		return "no io_uring with registered buffers";
	close(ring_fd);
	ring_fd = -1;
	return NULL;
}

static int uring_update(struct pin *pin, void *addr, size_t len)
{
	struct iovec buffer = { .iov_base = addr, .iov_len = len };
	struct io_uring_rsrc_update2 update = {
		.offset = pin - pins, .data = (uintptr_t)&buffer, .nr = 1,
	};

	if (syscall(SYS_io_uring_register, ring_fd, IORING_REGISTER_BUFFERS_UPDATE, &update,
		    sizeof(update)) != 1)
		return -errno;
	pin->addr = addr;
	return 0;
}

static int uring_protect(void *addr, size_t len)
{
	struct pin *pin = pin_find(NULL);

	return ring_open() ?: pin ? uring_update(pin, addr, len) : -ENOSPC;
}

static int uring_release(void *addr, size_t len)
{
	struct pin *pin = pin_find(addr);

	(void)len;
	return pin ? uring_update(pin, NULL, 0) : -ENOENT;
}

/*
 * Memory is pinned when it is mapped for a device.  The device is a mock of the kernel's own
 * selftests of iommufd: so this costs what pinning and bookkeeping cost, but not what an IOMMU's
 * page tables do.
 */
static int iommufd = -1;
static uint32_t ioas;

static int iommufd_open(void)
{
	struct iommu_ioas_alloc alloc = { .size = sizeof(alloc) };
	struct iommu_test_cmd device = {
		.size = sizeof(device), .op = IOMMU_TEST_OP_MOCK_DOMAIN,
	};
	int ret;

	if (iommufd >= 0)
		return 0;
	iommufd = open(IOMMU, O_RDWR | O_CLOEXEC);
	if (iommufd < 0)
		return -errno;
	if (!ioctl(iommufd, IOMMU_IOAS_ALLOC, &alloc)) {
		ioas = alloc.out_ioas_id;
		device.id = ioas;
		if (!ioctl(iommufd, IOMMU_TEST_CMD, &device))
			return 0;
	}
	ret = -errno;
	close(iommufd);
	iommufd = -1;
	return ret;
}

static const char *iommufd_missing(void)
{
	static char reason[80];
	int ret = iommufd_open();

	snprintf(reason, sizeof(reason), "no mock device (CONFIG_IOMMUFD_TEST) at " IOMMU ": %s",
		 strerror(-ret));
	if (ret)
		return reason;
	close(iommufd);
	iommufd = -1;
	return NULL;
}

static int iommufd_protect(void *addr, size_t len)
{
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
		.user_va = (uintptr_t)addr,
		.length = len,
	};
	struct pin *pin = pin_find(NULL);
	int ret = iommufd_open();

	if (ret || !pin)
		return ret ?: -ENOSPC;
	map.ioas_id = ioas;
	if (ioctl(iommufd, IOMMU_IOAS_MAP, &map))
		return -errno;
	*pin = (struct pin) { .addr = addr, .iova = map.iova };
	return 0;
}

static int iommufd_release(void *addr, size_t len)
{
	struct pin *pin = pin_find(addr);
	struct iommu_ioas_unmap unmap = {
		.size = sizeof(unmap), .ioas_id = ioas, .length = len,
	};

	if (!pin)
		return -ENOENT;
	unmap.iova = pin->iova;
	pin->addr = NULL;
	return ioctl(iommufd, IOMMU_IOAS_UNMAP, &unmap) ? -errno : 0;
}

/* ------------------------------------------------------------------------------ MADV_NOMIGRATE */

static const char *nomigrate_missing(void)
{
	return kernel_has_advice() ? NULL : "no MADV_NOMIGRATE in this kernel";
}

static int nomigrate_protect(void *addr, size_t len)
{
	return madvise(addr, len, MADV_NOMIGRATE) ? -errno : 0;
}

static int nomigrate_release(void *addr, size_t len)
{
	return madvise(addr, len, MADV_DOMIGRATE) ? -errno : 0;
}

static int nomigrate_overrule(void)
{
	return setting_write(ENABLED, "0");
}

static int recipe_protect(void *addr, size_t len)
{
	if (mlock(addr, len) || madvise(addr, len, MADV_POPULATE_WRITE))
		return -errno;
	return nomigrate_protect(addr, len);
}

static int recipe_release(void *addr, size_t len)
{
	return nomigrate_release(addr, len) ?: mlock_release(addr, len);
}

/* -------------------------------------------------------------------------------- all of them */

const struct rival rivals[] = {
	{
		.name = "nothing",
		.description = "no protection",
		.protect = rival_nothing,
		.release = rival_nothing,
	}, {
		.name = "mlock",
		.description = "mlock()",
		.protect = mlock_protect,
		.release = mlock_release,
	}, {
		.name = "mlock_sysctls",
		.description = "mlock(), vm.compact_unevictable_allowed=0, kernel.numa_balancing=0",
		.missing = sysctls_missing,
		.system_setup = sysctls_setup,
		.protect = mlock_protect,
		.release = mlock_release,
		.overrule = sysctls_overrule,
	}, {
		.name = "membind",
		.description = "mbind(MPOL_BIND) to the node where it is, as numactl --membind",
		.protect = membind_protect,
		.release = membind_release,
	}, {
		.name = "pin_gup",
		.description = "long-term pin by gup_test",
		.missing = gup_missing,
		.protect = gup_protect,
		.release = gup_release,
	}, {
		.name = "pin_uring",
		.description = "long-term pin by io_uring: registered buffers",
		.missing = uring_missing,
		.protect = uring_protect,
		.release = uring_release,
	}, {
		.name = "pin_iommufd",
		.description = "long-term pin by iommufd: mapped for a mock device",
		.missing = iommufd_missing,
		.protect = iommufd_protect,
		.release = iommufd_release,
	}, {
		.name = "nomigrate",
		.description = "MADV_NOMIGRATE",
		.missing = nomigrate_missing,
		.protect = nomigrate_protect,
		.release = nomigrate_release,
		.overrule = nomigrate_overrule,
	}, {
		.name = "recipe",
		.description = "mlock(), MADV_POPULATE_WRITE, MADV_NOMIGRATE",
		.missing = nomigrate_missing,
		.protect = recipe_protect,
		.release = recipe_release,
		.overrule = nomigrate_overrule,
	},
};

const size_t nr_rivals = ARRAY_SIZE(rivals);

/**
 * rival_find() - find a rival by its name
 * @name: the name
 *
 * Return: the rival, or NULL if there is none of that name.
 */
const struct rival *rival_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(rivals); i++)
		if (!strcmp(rivals[i].name, name))
			return &rivals[i];
	return NULL;
}
