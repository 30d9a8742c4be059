/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _MM_MIGRATE_DEFER_H
#define _MM_MIGRATE_DEFER_H
/* What the files of mm/migrate_defer*.c share with each other only. */

#include <linux/atomic.h>
#include <linux/migrate_defer.h>
#include <linux/types.h>

/* What a mover is to do with a page of a marked range. */
enum migrate_defer_verdict {
	MIGRATE_DEFER_LEAVE,	/* leave it alone */
	MIGRATE_DEFER_OVERRIDE,	/* take it in spite of the mark, and say so */
	MIGRATE_DEFER_IGNORE,	/* as if there were no mark */
};

extern atomic_long_t migrate_defer_marked_pages;

enum migrate_defer_verdict
migrate_defer_decide(enum migrate_defer_mover mover, bool urgent, bool enabled,
		     bool last_resort);
bool migrate_reason_mover(enum migrate_reason reason,
			  enum migrate_defer_mover *mover);
bool migrate_defer_leave(enum migrate_defer_mover mover, bool urgent,
			 unsigned long pfn, unsigned int order);
void migrate_defer_yield(const struct vm_area_struct *vma, unsigned long start,
			 unsigned long end, enum migrate_defer_yield why);
bool migrate_defer_fits(struct mm_struct *mm, unsigned long pages);
struct folio *migrate_defer_try_alloc(struct vm_area_struct *vma,
				      unsigned long addr);
pid_t mm_owner_pid(struct mm_struct *mm);

#endif /* _MM_MIGRATE_DEFER_H */
