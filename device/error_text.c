/* Errors as text: a file of its own, which a program without messages does not link. */
#include "dcz.h"

const char *dcz_error_text(dcz_error error) {
  static const char *const texts[] = {
      "no error",
      "the file cannot be read",
      "not a .dcz file",
      "a newer version of the format, or a dtype or coder of one",
      "the file ends too early",
      "a checksum does not match: bytes are damaged",
      "the index is malformed",
      "no tensor or metadata entry of this name or number",
      "this build cannot decode the coder of the tensor",
      "the payload is malformed",
      "the work buffer is too small, or not aligned to 4 bytes",
      "too large for this library or for the room given",
      "no such row, or bytes outside of a file",
      "the patch is for another file",
  };
  return (uint32_t)error < sizeof texts / sizeof *texts ? texts[error] : "an error of the callback";
}
