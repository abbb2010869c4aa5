/* The rows of a tensor, one after the other: coders `raw` and `device` (docs/format.md).

   Weights are never whole in memory. dcz_rows_next gives dense rows. Layers walk the survivors of a
   row instead, by DCZ_WALK, and skip what is pruned. */
#ifndef DCZ_ROWS_H
#define DCZ_ROWS_H

#include "dcz.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Switches of the other coders, which need the files of full/: -DDCZ_WITH_ALL, or some of them. */
#ifdef DCZ_WITH_ALL
#define DCZ_WITH_SPARSE
#define DCZ_WITH_HUFFMAN
#define DCZ_WITH_FAST
#define DCZ_WITH_SMALL
#define DCZ_WITH_DEFLATE
#endif

#if defined(DCZ_WITH_SPARSE) || defined(DCZ_WITH_HUFFMAN) || defined(DCZ_WITH_FAST) || \
    defined(DCZ_WITH_SMALL) || defined(DCZ_WITH_DEFLATE)
#define DCZ_FULL
#endif

/* A canonical Huffman code of at most 256 symbols and 12 bits, ready to decode. The symbols of
   codes longer than DCZ_QUICK_BITS follow it in memory, in the order of their codes. */
enum { DCZ_QUICK_BITS = 6, DCZ_CODE_BITS = 12 };

typedef struct {
  uint16_t
      quick[1 << DCZ_QUICK_BITS]; /* by the next 6 bits: the entry of the code that they begin */
  uint16_t
      limit[DCZ_CODE_BITS - DCZ_QUICK_BITS]; /* codes below, cut to 12 bits, have <= 7 ... bits */
  uint16_t
      start[DCZ_CODE_BITS - DCZ_QUICK_BITS]; /* code + start = place among the symbols behind */
  uint16_t escape;                           /* E of a code of gaps; 0 for a code of codes */
} dcz_code;

/* An entry is (length of the code << 8 | value), the length 0 for a lone symbol. The value is the
   symbol; for a gap g it is the step g + 1, and for the escape E it is E.
   DCZ_LONG: the code has more than 6 bits, dcz_long gives its entry. DCZ_ESCAPE: of E. With one of
   these marks, the length reads as more than DCZ_SLOW. */
enum { DCZ_SLOW = 15, DCZ_LONG = 0x4000, DCZ_ESCAPE = 0x8000 };

typedef struct {
  dcz_cursor bytes; /* of the group at hand */
  uint32_t bits;    /* the bits that come next, the first one highest */
  int32_t shift;    /* 24 - the number of valid ones */
  uint32_t column;  /* of the next survivor, counted from the start of the row at hand */
  uint32_t row;     /* the row that comes next */
  uint32_t rows, cols;
  uint32_t behind;              /* the row behind the group at hand */
  uint32_t limit;               /* elements of that group */
  uint32_t group;               /* rows of a group */
  uint32_t lengths, begin;      /* offsets: the length of the next group, its bytes */
  uint32_t first;               /* offset of the first group's bytes; of raw elements */
  uint32_t first_lengths, end;  /* offsets: the first length; the end of the payload */
  const dcz_code *gaps, *codes; /* NULL: no element survives, or the coder is `raw` */
  const uint8_t
      *codebook; /* elements of the centroids, then of a filler; NULL for one-byte dtypes */
  uint32_t centroids;
  uint32_t taken;        /* bytes of the work buffer */
  struct dcz_full *full; /* a tensor of another coder, in the work buffer */
  uint8_t coder, size;
} dcz_rows;

/* Begins before row 0. `work` is aligned to 4 bytes and has dcz_work_size bytes or more; it must
   last, as must `file`. Checks the head of the payload. */
dcz_error dcz_rows_open(dcz_rows *rows, const dcz_file *file, const dcz_tensor *tensor, void *work,
                        uint32_t size);

/* Makes this row the next one; `row` may be the number of rows, the end. The coder `device` starts
   at the row's group, found by the lengths of all groups before. */
dcz_error dcz_rows_seek(dcz_rows *rows, uint32_t row);

/* The elements of the next row, `cols` of `size` bytes, little-endian. DCZ_ERROR_RANGE behind the
   last row. An error in a group is found with the group's last row at the latest: rows of the group
   that were given before may be wrong then. An error stays until rows are opened again. */
dcz_error dcz_rows_next(dcz_rows *rows, void *row);

/* For layers, coder `device` alone: DCZ_WALK between dcz_row_begin and dcz_row_end, once for each
   row.

       error = dcz_row_begin(&rows);
       DCZ_WALK(&rows, column, symbol, { sum += x[column] * (int8_t)symbol; })
       error = dcz_row_end(&rows);

   The statement runs for each survivor, columns ascending and below `cols`. `column` and `symbol`
   are uint32_t. The element is codebook[symbol], or the byte `symbol` itself for one-byte dtypes.
   Among survivors there may be fillers: elements that are zero. */
dcz_error dcz_group_begin(dcz_rows *rows);
dcz_error dcz_group_end(dcz_rows *rows);

static inline dcz_error dcz_row_begin(dcz_rows *rows) {
  return rows->row < rows->behind ? rows->bytes.error : dcz_group_begin(rows);
}

static inline dcz_error dcz_row_end(dcz_rows *rows) {
  rows->column -= rows->cols;
  return ++rows->row < rows->behind ? rows->bytes.error : dcz_group_end(rows);
}

/* The entry of the code of more than 6 bits that `bits` begin with. */
uint32_t dcz_long(const dcz_code *code, uint32_t bits);

/* The next survivor's column for the one at `column`: a step whose entry is slow. */
uint32_t dcz_slow_step(dcz_rows *rows, uint32_t column);

/* The parts of the loop. Arguments ending in _ are variables of the caller, but for rows_, a
   pointer.

   A refill brings 25 bits or more to hand, and a step and a code take at most 24 of them. */
#define DCZ_REFILL(rows_, bits_, shift_, now_)              \
  while ((shift_) >= 0) {                                   \
    if ((now_) == (rows_)->bytes.stop) {                    \
      dcz_cursor_more(&(rows_)->bytes);                     \
      (now_) = (rows_)->bytes.now;                          \
    }                                                       \
    (bits_) |= (uint32_t)(*(now_)++) << (uint32_t)(shift_); \
    (shift_) -= 8;                                          \
  }

#define DCZ_ENTRY(code_, bits_) ((uint32_t)(code_)->quick[(bits_) >> (32 - DCZ_QUICK_BITS)])

#define DCZ_TAKE(length_, bits_, shift_) \
  (bits_) <<= (length_);                 \
  (shift_) += (int32_t)(length_);

#define DCZ_WALK(rows_, column, symbol, ...)                                     \
  {                                                                              \
    dcz_rows *const walked_ = (rows_);                                           \
    const dcz_code *const gaps_ = walked_->gaps, *const codes_ = walked_->codes; \
    const uint8_t *now_ = walked_->bytes.now;                                    \
    const uint32_t cols_ = walked_->cols;                                        \
    uint32_t bits_ = walked_->bits, column = walked_->column;                    \
    int32_t shift_ = walked_->shift;                                             \
    while (column < cols_) {                                                     \
      uint32_t entry_, length_, symbol;                                          \
      DCZ_REFILL(walked_, bits_, shift_, now_)                                   \
      entry_ = DCZ_ENTRY(codes_, bits_);                                         \
      length_ = entry_ >> 8;                                                     \
      if (length_ > DCZ_SLOW) {                                                  \
        entry_ = dcz_long(codes_, bits_);                                        \
        length_ = entry_ >> 8;                                                   \
      }                                                                          \
      DCZ_TAKE(length_, bits_, shift_)                                           \
      symbol = entry_ & 0xff;                                                    \
      __VA_ARGS__                                                                \
      entry_ = DCZ_ENTRY(gaps_, bits_);                                          \
      length_ = entry_ >> 8;                                                     \
      if (length_ > DCZ_SLOW && length_ & DCZ_LONG >> 8) {                       \
        entry_ = dcz_long(gaps_, bits_);                                         \
        length_ = entry_ >> 8;                                                   \
      }                                                                          \
      if (length_ > DCZ_SLOW) {                                                  \
        walked_->bytes.now = now_;                                               \
        walked_->bits = bits_;                                                   \
        walked_->shift = shift_;                                                 \
        column = dcz_slow_step(walked_, column);                                 \
        now_ = walked_->bytes.now;                                               \
        bits_ = walked_->bits;                                                   \
        shift_ = walked_->shift;                                                 \
      } else {                                                                   \
        DCZ_TAKE(length_, bits_, shift_)                                         \
        column += entry_ & 0xff;                                                 \
      }                                                                          \
    }                                                                            \
    walked_->bytes.now = now_;                                                   \
    walked_->bits = bits_;                                                       \
    walked_->shift = shift_;                                                     \
    walked_->column = column;                                                    \
  }

#ifdef __cplusplus
}
#endif

#endif
