// A `.dcz` file open for reading: nothing is believed before it is checked.
#include "file/reader.hpp"

#include <algorithm>
#include <utility>

#include "common/bits.hpp"
#include "values/recognise_shared.hpp"

namespace dcz {
namespace {

// Small tensors may be stored dense though they are shared.
constexpr std::uint64_t kSmallSize = 1u << 16;

std::optional<SharedTensor> recognised(std::span<const std::uint8_t> dense, unsigned item_bytes) {
  auto found = recognise_shared(dense, item_bytes);
  if (!found) return std::nullopt;
  // codebooks ascend in the order of values, not of bits
  std::vector<std::uint64_t> ordered;
  for (const std::uint64_t bits : found->distinct) ordered.push_back(ordered_bits(bits, 8 * item_bytes));
  std::vector<std::uint64_t> ascending = ordered;
  std::ranges::sort(ascending);
  std::vector<std::uint8_t> number;
  for (const std::uint64_t each : ordered) {
    number.push_back(static_cast<std::uint8_t>(std::ranges::lower_bound(ascending, each) - ascending.begin()));
  }
  for (std::uint8_t& code : found->codes) code = number[code];
  return SharedTensor{std::move(found->bitmap), codebook_of(ascending, item_bytes), std::move(found->codes)};
}

std::uint64_t capped_sum(std::uint64_t a, std::uint64_t b) { return a + std::min(b, ~std::uint64_t{0} - a); }

}  // namespace

Reader::Reader(std::unique_ptr<Source> source, std::string name, std::uint64_t limit_bytes)
    : source_(std::move(source)), prefix_(name.empty() ? "" : std::move(name) + ": ") {
  try {
    open(limit_bytes);
  } catch (const FormatError& error) {
    throw FormatError(prefix_ + error.what());
  }
}

Bytes Reader::read(std::uint64_t offset, std::uint64_t length, const char* what) const {
  const std::uint64_t size = source_->size();
  if (offset > size || length > size - offset) {
    throw FormatError(std::string(what) + " at offset " + std::to_string(offset) + " needs " + std::to_string(length) +
                      " bytes, the file ends at " + std::to_string(size) + ": it is cut off or damaged");
  }
  return source_->read(offset, static_cast<std::size_t>(length));
}

void Reader::open(std::uint64_t limit_bytes) {
  const std::uint64_t size = source_->size();
  const Header header = read_header(read(0, std::min<std::uint64_t>(size, kHeaderBytes), "header").span);
  const Bytes head = read(0, header.start + header.length + kChecksumBytes, "index");
  index_ = read_head(head.span, header.start);
  std::uint64_t end = head.span.size(), decoded = 0;
  for (std::size_t number = 0; number < index_.entries.size(); ++number) {
    const Entry& entry = index_.entries[number];
    if (entry.tied_to != number) continue;
    end = capped_sum(entry.offset, entry.length);
    decoded = capped_sum(decoded, entry.bytes);
  }
  if (end != size) {
    throw FormatError("the payloads end at " + std::to_string(end) + ", the file at " + std::to_string(size) +
                      ": it is cut off or damaged");
  }
  if (decoded > limit_bytes) {
    throw FormatError("the tensors take " + std::to_string(decoded) + " bytes when decoded, the limit is " +
                      std::to_string(limit_bytes));
  }
}

template <typename Use>
void Reader::with_payload(std::size_t number, const Use& use) const {
  const Entry& entry = index_.entries.at(number);
  try {
    const Bytes bytes = read(entry.offset, entry.length, "payload");
    if (const std::uint32_t found = checksum_of(bytes.span); found != entry.checksum) {
      throw FormatError("the payload at offset " + std::to_string(entry.offset) + " is damaged: its checksum is " +
                        hex(found) + ", expected " + hex(entry.checksum));
    }
    Cursor payload(bytes.span, entry.offset);
    use(payload, stored_as(*entry.dtype, entry.shape, entry.bytes));
  } catch (const FormatError& error) {
    throw FormatError(prefix_ + "tensor " + in_quotes(entry.name) + ": " + error.what());
  }
}

void Reader::check(std::size_t number) const {
  with_payload(number, [](Cursor&, const Stored&) {});
}

void Reader::decode(std::size_t number, std::span<std::uint8_t> dense, unsigned threads) const {
  Dense memory(dense);
  try {
    with_payload(number, [&](Cursor& payload, const Stored& tensor) {
      index_.entries[number].coder->decode(payload, tensor, threads, memory);
      payload.end("the payload");
    });
  } catch (...) {
    memory.clear();
    throw;
  }
}

std::optional<SharedTensor> Reader::shared(std::size_t number, unsigned threads) const {
  const Entry& entry = index_.entries.at(number);
  std::optional<SharedTensor> found;
  if (entry.coder->decode_shared) {
    with_payload(number, [&](Cursor& payload, const Stored& tensor) {
      found = entry.coder->decode_shared(payload, tensor, threads);
      if (found) payload.end("the payload");
    });
  }
  const unsigned item_bytes = entry.dtype->item_bytes();
  if (found || !entry.dtype->weight || entry.bytes / item_bytes > kSmallSize) return found;
  std::vector<std::uint8_t> dense(static_cast<std::size_t>(entry.bytes));
  decode(number, dense, threads);
  return recognised(dense, item_bytes);
}

}  // namespace dcz
