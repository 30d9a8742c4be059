/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM migrate_defer

#if !defined(_TRACE_MIGRATE_DEFER_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_MIGRATE_DEFER_H

#include <linux/migrate_defer.h>
#include <linux/migrate_mode.h>
#include <linux/tracepoint.h>

/* So that trace-cmd and perf can turn the values into the names. */
TRACE_DEFINE_ENUM(MIGRATE_DEFER_COMPACTION);
TRACE_DEFINE_ENUM(MIGRATE_DEFER_NUMA_BALANCING);
TRACE_DEFINE_ENUM(MIGRATE_DEFER_KHUGEPAGED);
TRACE_DEFINE_ENUM(MIGRATE_DEFER_KSM);
TRACE_DEFINE_ENUM(MIGRATE_DEFER_DEMOTION);
TRACE_DEFINE_ENUM(MIGRATE_DEFER_DAMON);
TRACE_DEFINE_ENUM(MIGRATE_DEFER_THP_SPLIT);
TRACE_DEFINE_ENUM(MIGRATE_DEFER_FORK);
TRACE_DEFINE_ENUM(MIGRATE_DEFER_AGING);

TRACE_DEFINE_ENUM(MIGRATE_DEFER_YIELD_FORK);
TRACE_DEFINE_ENUM(MIGRATE_DEFER_YIELD_LIMIT);

TRACE_DEFINE_ENUM(MR_COMPACTION);
TRACE_DEFINE_ENUM(MR_MEMORY_FAILURE);
TRACE_DEFINE_ENUM(MR_MEMORY_HOTPLUG);
TRACE_DEFINE_ENUM(MR_SYSCALL);
TRACE_DEFINE_ENUM(MR_MEMPOLICY_MBIND);
TRACE_DEFINE_ENUM(MR_NUMA_MISPLACED);
TRACE_DEFINE_ENUM(MR_CONTIG_RANGE);
TRACE_DEFINE_ENUM(MR_LONGTERM_PIN);
TRACE_DEFINE_ENUM(MR_DEMOTION);
TRACE_DEFINE_ENUM(MR_DAMON);
TRACE_DEFINE_ENUM(MR_LAST_RESORT);
TRACE_DEFINE_ENUM(MR_LAST_RESORT_DEMOTION);

/* The names that the counters nomigrate_skip_<mover> in /proc/vmstat carry. */
#define show_migrate_defer_mover(mover)					\
	__print_symbolic(mover,						\
		{ MIGRATE_DEFER_COMPACTION,	"compaction" },		\
		{ MIGRATE_DEFER_NUMA_BALANCING,	"numa_balancing" },	\
		{ MIGRATE_DEFER_KHUGEPAGED,	"khugepaged" },		\
		{ MIGRATE_DEFER_KSM,		"ksm" },		\
		{ MIGRATE_DEFER_DEMOTION,	"demotion" },		\
		{ MIGRATE_DEFER_DAMON,		"damon" },		\
		{ MIGRATE_DEFER_THP_SPLIT,	"thp_split" },		\
		{ MIGRATE_DEFER_FORK,		"fork" },		\
		{ MIGRATE_DEFER_AGING,		"aging" })

/* The names that migrate:mm_migrate_pages gives them. */
#define show_migrate_defer_reason(reason)				\
	__print_symbolic(reason,					\
		{ MR_COMPACTION,	"compaction" },			\
		{ MR_MEMORY_FAILURE,	"memory_failure" },		\
		{ MR_MEMORY_HOTPLUG,	"memory_hotplug" },		\
		{ MR_SYSCALL,		"syscall_or_cpuset" },		\
		{ MR_MEMPOLICY_MBIND,	"mempolicy_mbind" },		\
		{ MR_NUMA_MISPLACED,	"numa_misplaced" },		\
		{ MR_CONTIG_RANGE,	"contig_range" },		\
		{ MR_LONGTERM_PIN,	"longterm_pin" },		\
		{ MR_DEMOTION,		"demotion" },			\
		{ MR_DAMON,		"damon" },			\
		{ MR_LAST_RESORT,	"last_resort" },		\
		{ MR_LAST_RESORT_DEMOTION, "last_resort_demotion" })

TRACE_EVENT(mark,

	TP_PROTO(pid_t pid, unsigned long start, unsigned long end, bool set,
		 int result),

	TP_ARGS(pid, start, end, set, result),

	TP_STRUCT__entry(
		__field(pid_t,		pid)
		__field(unsigned long,	start)
		__field(unsigned long,	end)
		__field(bool,		set)
		__field(int,		result)
	),

	TP_fast_assign(
		__entry->pid	= pid;
		__entry->start	= start;
		__entry->end	= end;
		__entry->set	= set;
		__entry->result	= result;
	),

	TP_printk("pid=%d start=0x%lx end=0x%lx advice=%s result=%d",
		  __entry->pid, __entry->start, __entry->end,
		  __print_symbolic(__entry->set, { 0, "domigrate" },
				   { 1, "nomigrate" }),
		  __entry->result)
);

DECLARE_EVENT_CLASS(migrate_defer_mover,

	TP_PROTO(enum migrate_defer_mover mover, unsigned long pfn,
		 unsigned int order),

	TP_ARGS(mover, pfn, order),

	TP_STRUCT__entry(
		__field(enum migrate_defer_mover,	mover)
		__field(unsigned long,			pfn)
		__field(unsigned int,			order)
	),

	TP_fast_assign(
		__entry->mover	= mover;
		__entry->pfn	= pfn;
		__entry->order	= order;
	),

	/* A mover that skips a VMA or part of a file has no PFN to name: -1. */
	TP_printk("mover=%s pfn=0x%lx order=%u",
		  show_migrate_defer_mover(__entry->mover),
		  __entry->pfn, __entry->order)
);

DEFINE_EVENT(migrate_defer_mover, skip,

	TP_PROTO(enum migrate_defer_mover mover, unsigned long pfn,
		 unsigned int order),

	TP_ARGS(mover, pfn, order)
);

DEFINE_EVENT(migrate_defer_mover, override,

	TP_PROTO(enum migrate_defer_mover mover, unsigned long pfn,
		 unsigned int order),

	TP_ARGS(mover, pfn, order)
);

TRACE_EVENT(yield,

	TP_PROTO(pid_t pid, unsigned long start, unsigned long end,
		 enum migrate_defer_yield why),

	TP_ARGS(pid, start, end, why),

	TP_STRUCT__entry(
		__field(pid_t,				pid)
		__field(unsigned long,			start)
		__field(unsigned long,			end)
		__field(enum migrate_defer_yield,	why)
	),

	TP_fast_assign(
		__entry->pid	= pid;
		__entry->start	= start;
		__entry->end	= end;
		__entry->why	= why;
	),

	TP_printk("pid=%d start=0x%lx end=0x%lx why=%s",
		  __entry->pid, __entry->start, __entry->end,
		  __print_symbolic(__entry->why,
				   { MIGRATE_DEFER_YIELD_FORK,	"fork" },
				   { MIGRATE_DEFER_YIELD_LIMIT,	"limit" }))
);

TRACE_EVENT(forced,

	TP_PROTO(enum migrate_reason reason, pid_t pid, unsigned long address,
		 unsigned long pages, int result),

	TP_ARGS(reason, pid, address, pages, result),

	TP_STRUCT__entry(
		__field(enum migrate_reason,	reason)
		__field(pid_t,			pid)
		__field(unsigned long,		address)
		__field(unsigned long,		pages)
		__field(int,			result)
	),

	TP_fast_assign(
		__entry->reason		= reason;
		__entry->pid		= pid;
		__entry->address	= address;
		__entry->pages		= pages;
		__entry->result		= result;
	),

	TP_printk("reason=%s pid=%d address=0x%lx pages=%lu result=%d",
		  show_migrate_defer_reason(__entry->reason),
		  __entry->pid, __entry->address, __entry->pages,
		  __entry->result)
);

TRACE_EVENT(prefault,

	TP_PROTO(pid_t pid, u32 pasid, unsigned long address,
		 unsigned long looked, unsigned long repaired, u64 delay),

	TP_ARGS(pid, pasid, address, looked, repaired, delay),

	TP_STRUCT__entry(
		__field(pid_t,			pid)
		__field(u32,			pasid)
		__field(unsigned long,		address)
		__field(unsigned long,		looked)
		__field(unsigned long,		repaired)
		__field(u64,			delay)
	),

	TP_fast_assign(
		__entry->pid		= pid;
		__entry->pasid		= pasid;
		__entry->address	= address;
		__entry->looked		= looked;
		__entry->repaired	= repaired;
		__entry->delay		= delay;
	),

	TP_printk("pid=%d pasid=%u address=0x%lx looked=%lu repaired=%lu delay_us=%llu",
		  __entry->pid, __entry->pasid, __entry->address,
		  __entry->looked, __entry->repaired, __entry->delay)
);

#endif /* _TRACE_MIGRATE_DEFER_H */

#include <trace/define_trace.h>
