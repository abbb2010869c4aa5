/* What the files of the patch share. */
#ifndef DCZ_PATCH_INNER_H
#define DCZ_PATCH_INNER_H

#include "patch.h"

/* patch_operations.c. Each step gives out at most one chunk. */
void dcz_patch_begin(dcz_patch *p);
void dcz_patch_step(dcz_patch *p, dcz_write write, void *user);
int dcz_patch_done(const dcz_patch *p);
dcz_error dcz_patch_finish(dcz_patch *p);
dcz_error dcz_patch_checksum(const dcz_source *source, uint32_t length, uint32_t *found);

/* Parts of an operation. The first error stays in the patch; what is read behind it is zero. */
uint32_t dcz_patch_fail(dcz_patch *p, dcz_error error);
uint32_t dcz_patch_byte(dcz_patch *p);
uint32_t dcz_patch_varint(dcz_patch *p);
uint32_t dcz_patch_old_byte(dcz_patch *p, uint32_t at);
void dcz_patch_put(dcz_patch *p, uint32_t byte);

/* Where few elements or survivors differ: their number, and the runs of others between them. */
void dcz_patch_begin_runs(dcz_patch *p, uint32_t any);
void dcz_patch_next_run(dcz_patch *p);

/* patch_huffman.c. Tables and streams are read from OLD, or from the patch at its cursor. */
typedef enum { DCZ_FROM_OLD, DCZ_FROM_PATCH } dcz_patch_from;

dcz_patch_table dcz_patch_read_table(dcz_patch *p, dcz_patch_from from, uint32_t *at,
                                     uint32_t alphabet);
uint32_t dcz_patch_lone(const dcz_patch *p, dcz_patch_table table);
uint32_t dcz_patch_symbol(dcz_patch *p, dcz_patch_from from, dcz_patch_table table);
uint32_t dcz_patch_number(dcz_patch *p, dcz_patch_table table);
void dcz_patch_put_symbol(dcz_patch *p, dcz_patch_table table, uint32_t symbol);
void dcz_patch_put_rest(dcz_patch *p);

/* patch_recode.c */
void dcz_patch_begin_recode(dcz_patch *p, uint32_t head);
void dcz_patch_recode(dcz_patch *p);

#endif
