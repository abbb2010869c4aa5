// Fuzzes the reader of whole files, with right checksums: an index, one payload of any coder, or a file as it is.
#include "common/fields.hpp"
#include "common/survivors.hpp"
#include "file/reader.hpp"
#include "fuzz/fuzz.hpp"
#include "values/values.hpp"

using namespace dcz::fuzz;

namespace {

constexpr std::uint64_t kMostBytes = 1u << 18;

using Vector = std::vector<std::uint8_t>;

void put_checksum(Vector& bytes, std::uint32_t checksum) {
  for (unsigned i = 0; i < 4; ++i) bytes.push_back(static_cast<std::uint8_t>(checksum >> (8 * i)));
}

Vector file_of(Bytes index, Bytes payloads) {
  Vector file{0x89, 'D', 'C', 'Z', 1};
  dcz::put_varint(file, index.size());
  dcz::append(file, index);
  put_checksum(file, dcz::checksum_of(file));
  dcz::append(file, payloads);
  return file;
}

// A file of one tensor without a name.
Vector file_of_payload(Input input) {
  Vector index{0, 1, 0, 0};
  index.push_back(static_cast<std::uint8_t>(input.number(1, dcz::coders().size())));
  index.push_back(static_cast<std::uint8_t>(input.number(0, dcz::kDtypes.size() - 1)));
  const auto shape = input.shape(kMostBytes);
  dcz::put_varint(index, shape.size());
  for (const std::uint64_t axis : shape) dcz::put_varint(index, axis);
  dcz::put_varint(index, input.rest().size());
  put_checksum(index, dcz::checksum_of(input.rest()));
  return file_of(index, input.rest());
}

// The dense tensor, put together from its shared form.
Vector dense_of(const dcz::SharedTensor& shared, const dcz::Entry& entry) {
  const unsigned item = entry.dtype->item_bytes();
  Vector dense(entry.bytes);
  if (shared.codes.empty()) return dense;
  const dcz::Survivors survivors(shared.bitmap, dense.size() / item);
  dcz::place_codes(shared.codes, survivors, shared.codebook, item, dense);
  return dense;
}

void read(Bytes file) {
  std::unique_ptr<dcz::Reader> reader;
  if (refused([&] { reader = std::make_unique<dcz::Reader>(dcz::memory_source(file), "", kMostBytes); })) return;
  const auto& entries = reader->index().entries;
  for (std::size_t number = 0; number < entries.size(); ++number) {
    if (entries[number].tied_to != number) continue;
    Vector dense(entries[number].bytes, 0xaa), again(entries[number].bytes, 0x55);
    if (refused([&] { reader->decode(number, dense, 1); })) {
      // it has no say in them
      check(std::ranges::all_of(dense, [&](std::uint8_t each) { return each == dense[0]; }));
      refused([&] { reader->shared(number, 1); });
      continue;
    }
    reader->decode(number, again, 3);
    check(dense == again);
    const auto shared = reader->shared(number, 1);
    if (shared) check(dense_of(*shared, entries[number]) == dense);
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const auto kind = input.number(0, 2);
  if (kind == 0) read(input.rest());
  if (kind == 1) read(file_of(input.rest(), {}));
  if (kind == 2) read(file_of_payload(input));
  return 0;
}
