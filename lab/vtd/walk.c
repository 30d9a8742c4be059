// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A look into the tables of the IOMMU: root, context, PASID directory, PASID table, and the
 * first-stage page table, which is the one of the process.
 *
 * Layout: VT-d specification 4.x, section 9 (translation structure formats) and 3.6 (first-stage
 * translation).  All reads are of guest memory and without side effects.
 */
#include "ats.h"

#define DMAR_RTADDR_REG		0x20	/* section 11.4.5 */
#define TABLE_ADDRESS		PAGE_MASK

/* Scalable-mode root table: 16 bytes for each bus, one half for devfn 0-127, one for the others */
#define ROOT_ENTRY_SIZE		16
#define ROOT_HALF_SIZE		8
/* Scalable-mode context table: 32 bytes for each devfn of a half */
#define CONTEXT_ENTRY_SIZE	32
#define CONTEXT_HALF		128
/* PASID directory: 8 bytes for each 64 PASIDs; PASID table: 64 bytes for each */
#define DIR_ENTRY_SIZE		8
#define DIR_SHIFT		6
#define PASID_ENTRY_SIZE	64
#define PASID_ENTRY_FLPT	16	/* offset of the word with the first-stage page table */
#define PASID_PGTT		0x1c0	/* kind of translation, bits 6-8 */
#define PASID_PGTT_FIRST_STAGE	0x040
#define PASID_FLPM		0x00c	/* of the word with the page table: levels, 0 for 4 */

#define TABLE_PRESENT		0x1

/* Of page table entries, as of processors of x86 */
#define PTE_PRESENT		0x001ULL
#define PTE_WRITE		0x002ULL
#define PTE_ACCESSED		0x020ULL
#define PTE_DIRTY		0x040ULL
#define PTE_LARGE		0x080ULL	/* except in the last level */
#define PTE_LINUX_PROTNONE	0x100ULL	/* _PAGE_PROTNONE, if not present */
#define PTE_ADDRESS		0x000ffffffffff000ULL
#define LEVELS			4
#define LEVEL_BITS		9

/* Read a word of guest memory; what cannot be read is not present. */
static __u64 guest_word(__u64 address)
{
	__u64 word;

	if (address_space_rw(address_space_memory, address, QEMU_ATTRS_UNSPECIFIED, &word,
			     sizeof(word), false) != QEMU_MEMTX_OK)
		return 0;
	return word;
}

/* The first-stage page table of a PASID, 0 if there is none. */
static __u64 first_stage_table(void *pci, __u32 pasid)
{
	__u16 id = pci_requester_id(pci);
	unsigned int bus = id >> 8, devfn = id & 0xff;
	__u64 word;

	word = guest_word((iommu_read(DMAR_RTADDR_REG) & TABLE_ADDRESS) + bus * ROOT_ENTRY_SIZE +
			  devfn / CONTEXT_HALF * ROOT_HALF_SIZE);
	if (!(word & TABLE_PRESENT))
		return 0;
	word = guest_word((word & TABLE_ADDRESS) + devfn % CONTEXT_HALF * CONTEXT_ENTRY_SIZE);
	if (!(word & TABLE_PRESENT))
		return 0;
	word = guest_word((word & TABLE_ADDRESS) + (pasid >> DIR_SHIFT) * DIR_ENTRY_SIZE);
	if (!(word & TABLE_PRESENT))
		return 0;
	word = (word & TABLE_ADDRESS) + (pasid & ((1 << DIR_SHIFT) - 1)) * PASID_ENTRY_SIZE;
	if ((guest_word(word) & (TABLE_PRESENT | PASID_PGTT)) !=
	    (TABLE_PRESENT | PASID_PGTT_FIRST_STAGE))
		return 0;
	word = guest_word(word + PASID_ENTRY_FLPT);
	return word & PASID_FLPM ? 0 : word & TABLE_ADDRESS;
}

/**
 * walk_first_stage() - look up an address as the IOMMU would
 * @pci: the function
 * @pasid: its PASID
 * @addr: the address
 * @walk: what was found
 *
 * Context: BQL held.  Where virtual processors run meanwhile, the answer may be of no moment.
 */
void walk_first_stage(void *pci, __u32 pasid, __u64 addr, struct walk *walk)
{
	__u64 table = first_stage_table(pci, pasid);

	*walk = (struct walk) { .bound = table, .writable = true };
	if (!table)
		return;
	for (int level = LEVELS - 1; level >= 0; level--) {
		unsigned int shift = PAGE_SHIFT + level * LEVEL_BITS;

		walk->entry_address = table + ((addr >> shift) & ((1 << LEVEL_BITS) - 1)) * 8;
		walk->entry = guest_word(walk->entry_address);
		if (!(walk->entry & PTE_PRESENT))
			return;
		walk->writable &= !!(walk->entry & PTE_WRITE);
		walk->leaf = !level || (level < LEVELS - 1 && walk->entry & PTE_LARGE);
		if (walk->leaf)
			return;
		table = walk->entry & PTE_ADDRESS;
	}
}

/**
 * walk_cause() - why an access has to ask for a page
 * @walk: what walk_first_stage() has found
 * @write: whether the access is a write
 *
 * Return: the cause, SVADEV_CAUSE_MAPPED if there is none.
 */
enum svadev_cause walk_cause(const struct walk *walk, bool write)
{
	if (!walk->leaf) {
		if (!walk->entry)
			return SVADEV_CAUSE_NONE;
		if (walk->entry & PTE_LINUX_PROTNONE)
			return SVADEV_CAUSE_PROTNONE;
		return SVADEV_CAUSE_OTHER;
	}
	return write && !walk->writable ? SVADEV_CAUSE_READONLY : SVADEV_CAUSE_MAPPED;
}

/**
 * walk_set_dirty() - do what an IOMMU does to the entry of a page that is written to
 * @walk: what walk_first_stage() has found
 *
 * Section 3.6.2 (accessed, extended accessed and dirty flags).
 *
 * Context: BQL held, virtual processors stopped since the walk.
 * Return: whether the page was clean.
 */
bool walk_set_dirty(const struct walk *walk)
{
	__u64 entry = walk->entry | PTE_ACCESSED | PTE_DIRTY;

	if (!walk->leaf || !walk->writable || entry == walk->entry)
		return false;
	address_space_rw(address_space_memory, walk->entry_address, QEMU_ATTRS_UNSPECIFIED, &entry,
			 sizeof(entry), true);
	return !(walk->entry & PTE_DIRTY);
}
