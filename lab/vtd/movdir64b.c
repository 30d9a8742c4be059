// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * MOVDIR64B for TCG, which does not have it: a store of 64 bytes that nothing comes in between.
 *
 * For TCG it is an invalid instruction, and as such the last one of a translation block.  A
 * callback before it does its work, and has the processor go on after it.
 *
 * Encoding (Intel SDM, volume 2): 66 [REX] 0f 38 f8 /r; the address of the source is the memory
 * operand, that of the destination is in the register.  Not known here: memory operands with an
 * index or relative to the program counter, and other than 64-bit mode; they stay invalid.
 */
#include <string.h>

#include "ats.h"
#include "movdir64b.h"

#define STORE_SIZE		64
#define OPCODE_SIZE		4	/* without REX */
#define MAX_SIZE		10	/* with REX, ModRM and a displacement of 32 bits */

#define REX_R			0x4
#define REX_B			0x1
#define MODRM_MOD(modrm)	((modrm) >> 6)
#define MODRM_REG(modrm)	(((modrm) >> 3) & 7)
#define MODRM_RM(modrm)		((modrm) & 7)
#define RM_SIB			4
#define RM_RIP			5	/* if MOD is 0 */

/*
 * movb (%rdx),%cl: in front of the instruction it has the kernel bring the source back after a
 * fault, since no fault can be raised from here.
 */
static const __u8 touch[] = { 0x8a, 0x0a };

/* In the order in which instructions number them */
static const char *const names[] = {
	"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
	"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip",
};

#define RIP	16

static void *handles[ARRAY_SIZE(names)];
static bool active;	/* under the BQL */

struct insn {
	unsigned int size;
	unsigned int source;
	unsigned int dest;
	__s32 displacement;
	bool touched;	/* with rdx as source, and the touch in front of it */
};

/**
 * movdir64b_active() - whether a write to a device is part of this instruction
 *
 * Context: BQL held, in the write() of a region.
 *
 * Return: true while the plugin writes the 64 bytes.
 */
bool movdir64b_active(void)
{
	return active;
}

/* All the processors have the same registers: those of the first will do. */
static void find_registers(unsigned int cpu, void *data)
{
	struct glib_array *array = qemu_plugin_get_registers();
	unsigned int size = g_array_get_element_size(array);

	(void)cpu;
	(void)data;
	for (unsigned int i = 0; i < array->len; i++) {
		const struct qemu_register *reg = array->data + i * size;

		for (unsigned int n = 0; n < ARRAY_SIZE(names); n++)
			if (!strcmp(reg->name, names[n]))
				handles[n] = reg->handle;
	}
}

/* One for each processor: a callback may be left without a return. */
static struct glib_array *scratch(void)
{
	static __thread struct glib_array *array;

	if (!array)
		array = g_byte_array_new();
	g_byte_array_set_size(array, 0);
	return array;
}

static bool read_guest(__u64 addr, void *to, size_t len)
{
	struct glib_array *array = scratch();

	if (!qemu_plugin_read_memory_vaddr(addr, array, len))
		return false;
	memcpy(to, array->data, len);
	return true;
}

static bool read_register(unsigned int n, __u64 *value)
{
	struct glib_array *array = scratch();

	if (!handles[n] || !qemu_plugin_read_register(handles[n], array) ||
	    array->len < sizeof(*value))
		return false;
	memcpy(value, array->data, sizeof(*value));
	return true;
}

static bool is_opcode(const __u8 *code, size_t size)
{
	static const __u8 opcode[] = { 0x0f, 0x38, 0xf8 };
	bool rex = size > 1 && (code[1] & 0xf0) == 0x40;

	return size >= OPCODE_SIZE + rex && code[0] == 0x66 &&
	       !memcmp(code + 1 + rex, opcode, sizeof(opcode));
}

static bool decode(__u64 pc, struct insn *insn)
{
	__u8 code[MAX_SIZE], before[sizeof(touch)], rex, modrm;
	unsigned int pos;

	/* The last bytes may be in a page that is not there, and not part of it. */
	memset(code, 0, sizeof(code));
	if (!read_guest(pc, code, sizeof(code)) && !read_guest(pc, code, OPCODE_SIZE + 1))
		return false;
	if (!is_opcode(code, sizeof(code)))
		return false;
	rex = (code[1] & 0xf0) == 0x40 ? code[1] : 0;
	pos = OPCODE_SIZE + !!rex;
	modrm = code[pos++];
	if (MODRM_MOD(modrm) == 3 || MODRM_RM(modrm) == RM_SIB ||
	    (!MODRM_MOD(modrm) && MODRM_RM(modrm) == RM_RIP))
		return false;
	insn->source = MODRM_RM(modrm) + (rex & REX_B ? 8 : 0);
	insn->dest = MODRM_REG(modrm) + (rex & REX_R ? 8 : 0);
	insn->displacement = 0;
	if (MODRM_MOD(modrm) == 1)
		insn->displacement = (__s8)code[pos++];
	if (MODRM_MOD(modrm) == 2) {
		memcpy(&insn->displacement, code + pos, sizeof(insn->displacement));
		pos += sizeof(insn->displacement);
	}
	insn->size = pos;
	insn->touched = modrm == 2 && !rex && read_guest(pc - sizeof(touch), before,
							 sizeof(before)) &&
			!memcmp(before, touch, sizeof(touch));
	return true;
}

/*
 * A block is found by its physical address (CF_PCREL): the virtual one that it was translated at
 * may be another one than now, but for the offset in the page.  The program counter that QEMU has
 * is that of some instruction of the block.  @data has the offset of the block in its page, and
 * that of the instruction in the block, which is less than a page.
 */
static bool get_pc(void *data, __u64 *pc)
{
	__u64 block = (__u64)data & ~PAGE_MASK, offset = (__u64)data >> PAGE_SHIFT, rip;

	if (!read_register(RIP, &rip))
		return false;
	*pc = rip - ((rip - block) & ~PAGE_MASK) + offset;
	return true;
}

/* Before the instruction.  Returns for it to raise its exception. */
static void execute(unsigned int cpu, void *data)
{
	__u64 pc, source, dest, physical;
	__u8 bytes[STORE_SIZE];
	struct insn insn;

	(void)cpu;
	if (!get_pc(data, &pc))
		return;
	/* Its own page may have been moved: then it is fetched again, by a page fault. */
	if (!read_guest(pc, bytes, OPCODE_SIZE + 1)) {
		qemu_plugin_set_pc(pc);
		return;
	}
	if (!decode(pc, &insn) || !read_register(insn.source, &source) ||
	    !read_register(insn.dest, &dest) || dest % STORE_SIZE ||
	    !qemu_plugin_translate_vaddr(dest, &physical))
		return;
	if (!read_guest(source + insn.displacement, bytes, sizeof(bytes))) {
		if (insn.touched)
			qemu_plugin_set_pc(pc - sizeof(touch));
		return;
	}
	bql_lock();
	active = true;
	address_space_rw(address_space_memory, physical, QEMU_ATTRS_UNSPECIFIED, bytes,
			 sizeof(bytes), true);
	active = false;
	bql_unlock();
	qemu_plugin_set_pc(pc + insn.size);
}

static void translated(void *tb, void *data)
{
	size_t n = qemu_plugin_tb_n_insns(tb), size;
	__u64 block = qemu_plugin_tb_vaddr(tb), offset;
	__u8 code[OPCODE_SIZE + 1];
	void *insn;

	(void)data;
	if (!n)
		return;
	insn = qemu_plugin_tb_get_insn(tb, n - 1);
	size = qemu_plugin_insn_data(insn, code, sizeof(code));
	if (!is_opcode(code, size < sizeof(code) ? size : sizeof(code)))
		return;
	offset = qemu_plugin_insn_vaddr(insn) - block;
	if (offset >= PAGE_SIZE)
		return;
	qemu_plugin_register_vcpu_insn_exec_cb(insn, execute, QEMU_CB_RW_REGS_PC,
					       (void *)(offset << PAGE_SHIFT |
							(block & ~PAGE_MASK)));
}

/**
 * movdir64b_init() - have the processors of the guest execute MOVDIR64B from now on
 * @id: what QEMU has given to the plugin
 *
 * The guest does not find it in CPUID: Linux takes setcpuid=movdir64b on its command line.
 */
void movdir64b_init(__u64 id)
{
	qemu_plugin_register_vcpu_init_cb(id, find_registers, NULL);
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated, NULL);
}
