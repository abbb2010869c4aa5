// The coder `device`: rows in groups, decoded by the C source that boards use.
#include <algorithm>
#include <string>

#include "coding/coders.hpp"
#include "common/shape.hpp"
#include "huffman/huffman.hpp"
#include "rows/decode.hpp"
#include "values/values.hpp"

namespace dcz {
namespace {

constexpr unsigned kMostCodeBits = 12;

std::uint64_t rows_of(const Stored& tensor) { return tensor.shape.size() > 1 ? tensor.shape[0] : 1; }

std::uint64_t columns_of(const Stored& tensor) {
  return extent(tensor.shape, tensor.shape.size() > 1 ? 1 : 0, tensor.shape.size());
}

void read_table(Cursor& payload, std::size_t alphabet) {
  const std::uint64_t start = payload.offset();
  const auto lengths = payload.part([&](auto data, auto& at) { return unpack_table(data, at, alphabet); });
  if (const unsigned longest = *std::ranges::max_element(lengths); longest > kMostCodeBits) {
    throw FormatError("the code table at offset " + std::to_string(start) + " has a code of " +
                      std::to_string(longest) + " bits, at most " + std::to_string(kMostCodeBits) + " fit");
  }
}

// Checks a payload up to its groups. Gives the codebook, empty in dtypes without one.
std::vector<std::uint8_t> read_codebook(Cursor& payload, const Stored& tensor) {
  const unsigned kind = payload.u8("kind of content");
  if (kind == 0) {
    payload.end("a tensor without survivors");
    return {};
  }
  if (kind != 1) {
    throw FormatError("the kind of content at offset " + std::to_string(payload.offset() - 1) + " is 0 or 1; found " +
                      std::to_string(kind));
  }
  const std::uint64_t rows = rows_of(tensor), columns = columns_of(tensor), group = payload.varint("rows of a group");
  if (group < 1 || group > rows || columns == 0) {
    throw FormatError("a group has 1 to " + std::to_string(rows) + " rows of some elements; found " +
                      std::to_string(group) + " rows of " + std::to_string(columns));
  }
  const unsigned item = tensor.item_bytes();
  std::vector<std::uint64_t> ordered;
  if (tensor.dtype.weight) {
    const std::size_t centroids = payload.u8("number of centroids") + std::size_t{1};
    ordered = payload.part([&](auto data, auto& at) { return unpack_ascending(data, at, centroids, 8 * item); });
  } else if (item > 1) {
    throw FormatError("the coder device holds " + std::string(kWeightNames) + " and dtypes of a byte; found " +
                      std::string(tensor.dtype.name));
  }
  const unsigned escape = payload.u8("escape");
  if (escape < 1) {
    throw FormatError("the escape at offset " + std::to_string(payload.offset() - 1) + " is from 1 to 255; found 0");
  }
  read_table(payload, escape + std::size_t{1});
  read_table(payload, ordered.empty() ? 256 : std::min<std::size_t>(ordered.size() + 1, 256));
  std::uint64_t total = 0;
  for (std::uint64_t left = rows; left > 0; left -= std::min(left, group)) {
    const std::uint64_t length = payload.varint("length of a group");
    total += std::min(length, ~std::uint64_t{0} - total);
  }
  if (total != payload.left()) {
    throw FormatError("the groups take " + std::to_string(total) + " bytes, " + std::to_string(payload.left()) +
                      " are left at offset " + std::to_string(payload.offset()));
  }
  return codebook_of(ordered, item);
}

// Calls decode(whole payload), and takes it.
template <typename Decode>
void by_rows(Cursor& payload, const Stored& tensor, const Decode& decode) {
  payload.part([&](auto data, auto& at) {
    const auto dtype = static_cast<unsigned>(&tensor.dtype - kDtypes.data());
    decode(DevicePayload{data, dtype, tensor.item_bytes(), rows_of(tensor), columns_of(tensor)});
    at = data.size();
  });
}

}  // namespace

void decode_device(Cursor& payload, const Stored& tensor, unsigned, Dense& memory) {
  read_codebook(payload, tensor);
  by_rows(payload, tensor, [&](const DevicePayload& from) {
    device_sizes(from);  // all checks before the first row
    decode_rows(from, memory.to_fill());
  });
}

std::optional<SharedTensor> decode_device_shared(Cursor& payload, const Stored& tensor, unsigned) {
  if (!tensor.dtype.weight) return std::nullopt;
  SharedTensor found{{}, read_codebook(payload, tensor), {}};
  const auto pruned = static_cast<unsigned>(found.codebook.size() / tensor.item_bytes());
  by_rows(payload, tensor, [&](const DevicePayload& from) {
    Entries entries = decode_entries(from, pruned);
    found.bitmap = std::move(entries.bitmap);
    found.codes = std::move(entries.symbols);
  });
  return found;
}

}  // namespace dcz
