/* A plugin for qemu's emulation of a machine (TCG plugins, version 1): the instructions between
   board_begin and board_end, one line for each time, to standard error.

   qemu-system-arm ... -plugin count.so,begin=ADDRESS,end=ADDRESS

   Debian ships no qemu-plugin.h: these are the declarations that the plugin needs. */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
                                           void (*callback)(qemu_plugin_id_t id,
                                                            struct qemu_plugin_tb *block));
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *instruction);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *instruction, int operation,
                                                void *counter, uint64_t added);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *instruction,
                                            void (*callback)(unsigned cpu, void *user), int flags,
                                            void *user);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

static uint64_t begin, end, executed, begun;

static void begins(unsigned cpu, void *user) {
  (void)cpu, (void)user;
  begun = executed;
}

/* Without the return from board_begin, and the call of board_end. */
static void ends(unsigned cpu, void *user) {
  (void)cpu, (void)user;
  fprintf(stderr, "counted %" PRIu64 "\n", executed - begun - 2);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
  (void)id;
  for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); ++i) {
    struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
    const uint64_t at = qemu_plugin_insn_vaddr(instruction);
    if (at == begin) qemu_plugin_register_vcpu_insn_exec_cb(instruction, begins, 0, NULL);
    if (at == end) qemu_plugin_register_vcpu_insn_exec_cb(instruction, ends, 0, NULL);
    qemu_plugin_register_vcpu_insn_exec_inline(instruction, 0, &executed, 1);
  }
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id,
                                                               const void *info, int count,
                                                               char **arguments) {
  (void)info;
  for (int i = 0; i < count; ++i) {
    sscanf(arguments[i], "begin=%" SCNx64, &begin);
    sscanf(arguments[i], "end=%" SCNx64, &end);
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  return begin == 0 || end == 0;
}
