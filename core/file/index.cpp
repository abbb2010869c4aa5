// The head of a file -> its entries and metadata (docs/format.md, "The file").
#include "file/index.hpp"

#include <zlib.h>

#include <algorithm>
#include <optional>

#include "common/bits.hpp"
#include "file/utf8.hpp"

namespace dcz {
namespace {

constexpr std::array<std::uint8_t, 4> kMagic{0x89, 'D', 'C', 'Z'};
constexpr std::uint8_t kVersion = 1;

// Of the index, and of all names written in full: each name may repeat the one before.
constexpr std::uint64_t kMostIndexBytes = 100'000'000;
constexpr std::uint64_t kMostEntries = 1u << 20;
constexpr std::uint64_t kMostDimensions = 32;

std::string hex_of(std::span<const std::uint8_t> bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const std::uint8_t byte : bytes) {
    if (!text.empty()) text += ' ';
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text.empty() ? "nothing" : text;
}

std::string text_of(std::span<const std::uint8_t> bytes, std::uint64_t at) {
  if (!is_utf8(bytes)) throw FormatError("text at offset " + std::to_string(at) + " is not UTF-8");
  return {bytes.begin(), bytes.end()};
}

std::uint64_t read_count(Cursor& index, const char* what) {
  const std::uint64_t at = index.offset(), count = index.varint(what);
  if (count > kMostEntries) {
    throw FormatError(std::string(what) + " at offset " + std::to_string(at) + " is " + std::to_string(count) +
                      ", at most " + std::to_string(kMostEntries) + " are allowed");
  }
  return count;
}

void read_metadata(Cursor& index, Index& found) {
  std::optional<std::span<const std::uint8_t>> previous;
  for (std::uint64_t left = read_count(index, "number of metadata entries"); left > 0; --left) {
    const std::uint64_t at = index.offset();
    const auto key = index.text("metadata key");
    if (previous && !std::ranges::lexicographical_compare(*previous, key)) {
      throw FormatError("metadata keys do not ascend at offset " + std::to_string(at));
    }
    previous = key;
    std::string name = text_of(key, at);
    found.metadata.emplace_back(std::move(name), text_of(index.text("metadata value"), at));
  }
}

[[noreturn]] void refuse_number(const char* what, unsigned number, const std::string& known) {
  throw FormatError(std::string(what) + " " + std::to_string(number) + " is not known, only " + known +
                    ": a newer deepcompression may read it");
}

const Coder& coder_by(unsigned number) {
  const auto found = std::ranges::find(coders(), number, &Coder::number);
  if (found != coders().end()) return *found;
  std::string known;
  for (const Coder& each : coders()) {
    known += (known.empty() ? "" : ", ") + std::to_string(each.number) + " " + std::string(each.name);
  }
  refuse_number("coder", number, known);
}

// The rest of an entry, behind its name.
Entry read_entry(Cursor& index, const Index& found, std::uint64_t offset) {
  const unsigned coder = index.u8("coder");
  const std::size_t own = found.entries.size();
  if (coder == 0) {
    const std::uint64_t target = index.varint("number of the tied tensor");
    if (target >= own || found.entries[static_cast<std::size_t>(target)].tied_to != target) {
      throw FormatError("it is tied to tensor number " + std::to_string(target) +
                        ", which is not an earlier one of its own");
    }
    return found.entries[static_cast<std::size_t>(target)];
  }
  Entry entry{};
  entry.tied_to = own;
  entry.offset = offset;
  entry.coder = &coder_by(coder);
  const unsigned dtype = index.u8("dtype");
  if (dtype >= kDtypes.size()) refuse_number("dtype", dtype, "0 to " + std::to_string(kDtypes.size() - 1));
  entry.dtype = &kDtypes[dtype];
  const std::uint64_t dimensions = index.varint("number of dimensions");
  if (dimensions > kMostDimensions) {
    throw FormatError(std::to_string(dimensions) + " dimensions are more than " + std::to_string(kMostDimensions));
  }
  for (std::uint64_t i = 0; i < dimensions; ++i) entry.shape.push_back(index.varint("dimension"));
  const auto bytes = size_bytes(*entry.dtype, entry.shape);
  if (!bytes) throw FormatError("the shape " + to_text(entry.shape) + " is too large");
  entry.bytes = *bytes;
  entry.length = index.varint("length of the payload");
  entry.checksum = index.u32("checksum");
  return entry;
}

void read_entries(Cursor& index, std::uint64_t offset, Index& found) {
  std::vector<std::uint8_t> name;
  std::uint64_t named_bytes = 0;
  for (std::uint64_t left = read_count(index, "number of tensors"); left > 0; --left) {
    const std::uint64_t at = index.offset(), shared = index.varint("length of the shared name");
    if (shared > name.size()) {
      throw FormatError("name at offset " + std::to_string(at) + " shares " + std::to_string(shared) +
                        " bytes with a name of " + std::to_string(name.size()));
    }
    const auto rest = index.text("name");
    name.resize(static_cast<std::size_t>(shared));
    name.insert(name.end(), rest.begin(), rest.end());
    named_bytes += name.size();
    if (named_bytes > kMostIndexBytes) {
      throw FormatError("the names up to offset " + std::to_string(at) + " take more than " +
                        std::to_string(kMostIndexBytes) + " bytes");
    }
    std::string text = text_of(name, at);
    if (found.numbers.contains(text)) {
      throw FormatError("tensor " + in_quotes(text) + " is in the index twice, again at offset " + std::to_string(at));
    }
    try {
      found.entries.push_back(read_entry(index, found, offset));
    } catch (const FormatError& error) {
      throw FormatError("tensor " + in_quotes(text) + ": " + error.what());
    }
    Entry& entry = found.entries.back();
    entry.name = std::move(text);
    const std::size_t number = found.entries.size() - 1;
    // beyond every file's end it stays there
    if (entry.tied_to == number) offset += std::min(entry.length, ~std::uint64_t{0} - offset);
    found.numbers.emplace(entry.name, number);
  }
}

}  // namespace

std::uint32_t checksum_of(std::span<const std::uint8_t> bytes) {
  return static_cast<std::uint32_t>(crc32_z(0, bytes.data(), bytes.size()));
}

std::string hex(std::uint32_t checksum) {
  std::string text(8, '0');
  for (std::size_t i = 0; i < 8; ++i) text[i] = "0123456789abcdef"[checksum >> (28 - 4 * i) & 15];
  return text;
}

std::string in_quotes(std::string_view name) {
  std::string text = "'";
  for (const char each : name) {
    const auto byte = static_cast<std::uint8_t>(each);
    if (byte >= 0x20 && byte < 0x7f) {
      if (each == '\'' || each == '\\') text += '\\';
      text += each;
    } else {
      text += "\\x";
      text += "0123456789abcdef"[byte >> 4];
      text += "0123456789abcdef"[byte & 15];
    }
  }
  return text + "'";
}

Header read_header(std::span<const std::uint8_t> start) {
  const auto magic = start.first(std::min(start.size(), kMagic.size()));
  if (!std::ranges::equal(magic, kMagic)) {
    throw FormatError("not a .dcz file: it begins with " + hex_of(magic) + ", expected " + hex_of(kMagic));
  }
  Cursor cursor(start);
  cursor.take(kMagic.size(), "magic");
  const unsigned version = cursor.u8("version");
  if (version != kVersion) refuse_number("version", version, std::to_string(kVersion));
  const std::uint64_t length = cursor.varint("length of the index");
  if (length > kMostIndexBytes) {
    throw FormatError("the index takes " + std::to_string(length) + " bytes, more than " +
                      std::to_string(kMostIndexBytes));
  }
  return {static_cast<std::size_t>(cursor.offset()), length};
}

Index read_head(std::span<const std::uint8_t> head, std::size_t start) {
  const std::size_t end = head.size() - kChecksumBytes;
  const std::uint32_t expected = load_le<std::uint32_t>(head.data() + end), found = checksum_of(head.first(end));
  if (found != expected) {
    throw FormatError("the index is damaged: its checksum is " + hex(found) + ", expected " + hex(expected));
  }
  Cursor cursor(head.subspan(start, end - start), start);
  Index index;
  read_metadata(cursor, index);
  read_entries(cursor, head.size(), index);
  cursor.end("the index");
  return index;
}

}  // namespace dcz
