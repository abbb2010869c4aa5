// Reads the coder `device`, by the C source that boards use.
#include "rows/decode.hpp"

#include <device/rows.h>

#include <stdexcept>
#include <string>

#include "common/error.hpp"

namespace dcz {
namespace {

void check(dcz_error error, std::uint64_t row) {
  if (error == DCZ_OK) return;
  throw FormatError("rows of the coder device: " + std::string(dcz_error_text(error)) + ", at row " +
                    std::to_string(row));
}

// The rows of a payload, opened. They point into this object.
class Rows {
 public:
  explicit Rows(const DevicePayload& payload) {
    constexpr std::uint64_t kMost = 0x7fffffff;
    const std::uint64_t height = payload.rows, width = payload.columns;
    if (payload.bytes.size() > kMost || height > kMost || width > kMost ||
        height * width > kMost / payload.item_bytes) {
      throw FormatError("the coder device holds elements of fewer than 2^31 bytes, in fewer bytes");
    }
    file_.source = {payload.bytes.data(), nullptr, nullptr, static_cast<std::uint32_t>(payload.bytes.size())};
    tensor_.coder = DCZ_DEVICE;
    tensor_.dtype = static_cast<std::uint8_t>(payload.dtype);
    tensor_.size = static_cast<std::uint8_t>(payload.item_bytes);
    tensor_.rows = static_cast<std::uint32_t>(payload.rows);
    tensor_.cols = static_cast<std::uint32_t>(payload.columns);
    tensor_.length = file_.source.size;
    check(dcz_work_size(&file_, &tensor_, &work_bytes), 0);
    work_.resize((work_bytes + 3) / 4);
    check(dcz_rows_open(&rows, &file_, &tensor_, work_.data(), work_bytes), 0);
  }

  dcz_rows rows{};
  std::uint32_t work_bytes = 0;

 private:
  dcz_file file_{};
  dcz_tensor tensor_{};
  std::vector<std::uint32_t> work_;
};

}  // namespace

void decode_rows(const DevicePayload& payload, std::span<std::uint8_t> dense) {
  Rows from(payload);
  const std::uint64_t row_bytes = payload.columns * payload.item_bytes;
  if (row_bytes > 0 ? dense.size() % row_bytes != 0 || dense.size() / row_bytes != payload.rows : !dense.empty()) {
    throw std::invalid_argument("the dense tensor has another size");
  }
  for (std::uint64_t row = 0; row < payload.rows; ++row) {
    check(dcz_rows_next(&from.rows, dense.data() + row * row_bytes), row);
  }
}

Entries decode_entries(const DevicePayload& payload, unsigned filler) {
  Rows from(payload);
  const std::uint64_t elements = payload.rows * payload.columns;
  Entries entries;
  entries.bitmap.resize(static_cast<std::size_t>((elements + 7) / 8));
  for (std::uint64_t row = 0, begin = 0; row < payload.rows; ++row, begin += payload.columns) {
    check(dcz_row_begin(&from.rows), row);
    DCZ_WALK(&from.rows, column, symbol, {
      if (symbol == filler) {
        ++entries.fillers;
      } else {
        const std::uint64_t at = begin + column;
        entries.bitmap[at / 8] = static_cast<std::uint8_t>(entries.bitmap[at / 8] | 1u << (at % 8));
        entries.symbols.push_back(static_cast<std::uint8_t>(symbol));
      }
    })
    check(dcz_row_end(&from.rows), row);
  }
  return entries;
}

DeviceSizes device_sizes(const DevicePayload& payload) {
  const Rows from(payload);
  return {from.rows.first, from.work_bytes};
}

}  // namespace dcz
