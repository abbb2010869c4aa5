/* The coder `deflate`, element by element. docs/format.md, "deflate". */
#include "deflate.h"

#include "turn.h"

dcz_error dcz_deflate_open(dcz_deflate *deflate, dcz_work *work, const dcz_source *source,
                           const dcz_tensor *tensor) {
  const uint32_t size = tensor->rows * tensor->cols, end = tensor->offset + tensor->length;
  const uint32_t window = dcz_inflate_window(size * tensor->size);
  dcz_inflater *first;
  dcz_error error = DCZ_OK;
  uint32_t i;
  deflate->left = size;
  deflate->size = tensor->size;
  deflate->turned = tensor->dtype <= DCZ_BF16;
  for (i = 0; i < tensor->size; ++i) {
    uint8_t *bytes;
    deflate->planes[i] = dcz_work_take(work, sizeof(dcz_inflater));
    bytes = dcz_work_take(work, window);
    if (bytes == NULL) continue;
    dcz_inflate_open(deflate->planes[i], source, tensor->offset, end, bytes, window);
  }
  if (work->next == NULL) return DCZ_OK;
  /* the last plane's goes ahead, from plane to plane */
  first = deflate->planes[tensor->size - 1u];
  for (i = 0; i + 1 < tensor->size && error == DCZ_OK; ++i) {
    uint8_t byte;
    dcz_inflate_copy(deflate->planes[i], first);
    error = dcz_inflate_next(first, &byte, 0, size);
  }
  return error != DCZ_OK || size > 0 ? error : dcz_inflate_end(first);
}

dcz_error dcz_deflate_next(dcz_deflate *deflate, uint8_t *to, uint32_t count) {
  const uint32_t size = deflate->size;
  dcz_error error = DCZ_OK;
  uint32_t i;
  for (i = 0; i < size && error == DCZ_OK; ++i) {
    error = dcz_inflate_next(deflate->planes[i], to + (size - 1 - i), size, count);
  }
  for (i = 0; deflate->turned && i < count; ++i) dcz_turn_back(to + i * size, size);
  deflate->left -= count;
  if (error == DCZ_OK && count > 0 && deflate->left == 0)
    error = dcz_inflate_end(deflate->planes[size - 1]);
  return error;
}
