// SPDX-License-Identifier: GPL-2.0
/*
 * intercept: calls of a kernel function that come late, or fail.
 *
 * Of the calls of "symbol" that the process "pid" makes, "skip" are let through, and
 * the next "count" are intercepted: they do nothing and return "value", or, if "ms" is
 * not 0, begin so many milliseconds later.
 */
#include <linux/atomic.h>
#include <linux/delay.h>
#include <linux/init.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/ptrace.h>
#include <linux/sched.h>

static char *symbol = "";
module_param(symbol, charp, 0444);
MODULE_PARM_DESC(symbol, "the function");

static int pid;
module_param(pid, int, 0644);
MODULE_PARM_DESC(pid, "the process that calls it; 0: any");

static atomic_t skip = ATOMIC_INIT(0);
module_param_named(skip, skip.counter, int, 0644);
MODULE_PARM_DESC(skip, "how many calls to let through");

static atomic_t count = ATOMIC_INIT(0);
module_param_named(count, count.counter, int, 0644);
MODULE_PARM_DESC(count, "how many calls to intercept then");

static atomic_t hits = ATOMIC_INIT(0);
module_param_named(hits, hits.counter, int, 0644);
MODULE_PARM_DESC(hits, "how many were intercepted");

static int value;
module_param(value, int, 0644);
MODULE_PARM_DESC(value, "what an intercepted call returns");

static unsigned int ms;
module_param(ms, uint, 0644);
MODULE_PARM_DESC(ms, "how late an intercepted call begins");

/* As "return" at the very beginning of the function would do it. */
static void return_at_once(struct pt_regs *regs)
{
#ifdef CONFIG_X86
	instruction_pointer_set(regs, *(unsigned long *)kernel_stack_pointer(regs));
	regs->sp += sizeof(long);
#else
	instruction_pointer_set(regs, procedure_link_pointer(regs));
#endif
	regs_set_return_value(regs, (long)value);
}

static int called(struct kprobe *probe, struct pt_regs *regs)
{
	if (READ_ONCE(pid) && current->tgid != READ_ONCE(pid))
		return 0;
	if (atomic_dec_if_positive(&skip) >= 0 || atomic_dec_if_positive(&count) < 0)
		return 0;
	atomic_inc(&hits);
	if (READ_ONCE(ms)) {
		mdelay(READ_ONCE(ms));
		return 0;
	}
	return_at_once(regs);
	return 1;
}

/* That there is one keeps the probe from becoming a jump, which goes back for sure. */
static void not_a_jump(struct kprobe *probe, struct pt_regs *regs, unsigned long flags)
{
}

static struct kprobe probe = {
	.pre_handler	= called,
	.post_handler	= not_a_jump,
};

static int __init intercept_init(void)
{
	probe.symbol_name = symbol;
	return register_kprobe(&probe);
}

static void __exit intercept_exit(void)
{
	unregister_kprobe(&probe);
}

module_init(intercept_init);
module_exit(intercept_exit);
MODULE_DESCRIPTION("Calls that come late or fail, for selftests of MADV_NOMIGRATE");
MODULE_LICENSE("GPL");
