// SPDX-License-Identifier: GPL-2.0
/*
 * page_order: contiguous pages that the kernel needs, as many as a test wants.
 *
 * Writing N to the parameter "want" allocates N times 1 << order pages, and holds
 * them until 0 is written or the module goes.  The write fails with ENOMEM where
 * one could not be had, and what was had until then is held.
 */
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/kstrtox.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sched/signal.h>

static unsigned int order = 3;
module_param(order, uint, 0644);
MODULE_PARM_DESC(order, "of each allocation");

static bool mayfail;
module_param(mayfail, bool, 0644);
MODULE_PARM_DESC(mayfail, "rather fail than have the OOM killer come");

static unsigned int held;
module_param(held, uint, 0444);
MODULE_PARM_DESC(held, "how many are held (read only)");

/* Blocks that are held, with their order; the lock of the parameter serialises. */
static LIST_HEAD(blocks);

static void blocks_free(void)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, &blocks, lru) {
		list_del(&page->lru);
		__free_pages(page, page_private(page));
	}
	held = 0;
}

static int want_set(const char *val, const struct kernel_param *kp)
{
	gfp_t gfp = GFP_KERNEL | __GFP_NOWARN | (mayfail ? __GFP_RETRY_MAYFAIL : 0);
	struct page *page;
	unsigned int want;
	int ret;

	ret = kstrtouint(val, 0, &want);
	if (ret)
		return ret;
	if (order > MAX_PAGE_ORDER)
		return -EINVAL;

	blocks_free();
	while (held < want) {
		page = alloc_pages(gfp, order);
		if (!page)
			return -ENOMEM;
		set_page_private(page, order);
		list_add(&page->lru, &blocks);
		held++;
		if (fatal_signal_pending(current))
			return -EINTR;
	}
	return 0;
}

static const struct kernel_param_ops want_ops = {
	.set = want_set,
};
module_param_cb(want, &want_ops, NULL, 0200);
MODULE_PARM_DESC(want, "how many to allocate (write only)");

static int __init page_order_init(void)
{
	return 0;
}

static void __exit page_order_exit(void)
{
	blocks_free();
}

module_init(page_order_init);
module_exit(page_order_exit);
MODULE_DESCRIPTION("Contiguous pages for selftests of MADV_NOMIGRATE");
MODULE_LICENSE("GPL");
