// The C interface: files.
#include <memory>
#include <utility>

#include "boundary.hpp"
#include "handles.hpp"

namespace dcz::c {
namespace {

dcz_text text_of(const std::string& text) { return {text.c_str(), text.size()}; }

dcz_reader* opened(std::unique_ptr<Source> source, std::string name, std::uint64_t limit_bytes) {
  return new dcz_reader{Reader(std::move(source), std::move(name), limit_bytes > 0 ? limit_bytes : kLimitBytes)};
}

void check_number(const char* what, std::size_t number, std::size_t count) {
  if (number < count) return;
  throw std::invalid_argument(std::string(what) + " number " + std::to_string(number) + " of " + std::to_string(count) +
                              ": numbers begin at 0");
}

}  // namespace

const Entry& entry_of(const dcz_reader* reader, std::size_t number) {
  const auto& entries = given(reader, "reader").reader.index().entries;
  check_number("there is no tensor", number, entries.size());
  return entries[number];
}

}  // namespace dcz::c

using namespace dcz::c;

extern "C" {

dcz_status dcz_reader_open(const char* path, uint64_t limit_bytes, dcz_reader** reader) {
  return guarded([&] {
    given(reader, "reader");
    const std::string name = &given(path, "path");
    *reader = opened(dcz::file_source(name), name, limit_bytes);
  });
}

dcz_status dcz_reader_open_memory(const void* bytes, size_t size, uint64_t limit_bytes, dcz_reader** reader) {
  return guarded([&] {
    given(reader, "reader");
    if (size > 0) given(static_cast<const char*>(bytes), "bytes");
    const std::span<const std::uint8_t> memory(static_cast<const std::uint8_t*>(bytes), size);
    *reader = opened(dcz::memory_source(memory), "", limit_bytes);
  });
}

void dcz_reader_close(dcz_reader* reader) { delete reader; }

size_t dcz_reader_count(const dcz_reader* reader) { return reader ? reader->reader.index().entries.size() : 0; }

dcz_status dcz_reader_entry(const dcz_reader* reader, size_t number, dcz_entry* entry, size_t size) {
  return guarded([&] {
    const dcz::Entry& found = entry_of(reader, number);
    give({text_of(found.name), found.dtype->name.data(), found.coder->name.data(), found.shape.data(),
          found.shape.size(), found.bytes, found.length, found.tied_to},
         entry, size, "entry");
  });
}

dcz_status dcz_reader_find(const dcz_reader* reader, const char* name, size_t* number) {
  return guarded([&] {
    const auto& numbers = given(reader, "reader").reader.index().numbers;
    given(number, "number");
    const auto found = numbers.find(&given(name, "name"));
    if (found == numbers.end()) {
      throw std::invalid_argument("no tensor of the file has the name " + dcz::in_quotes(name));
    }
    *number = found->second;
  });
}

size_t dcz_reader_metadata_count(const dcz_reader* reader) {
  return reader ? reader->reader.index().metadata.size() : 0;
}

dcz_status dcz_reader_metadata(const dcz_reader* reader, size_t number, dcz_text* key, dcz_text* value) {
  return guarded([&] {
    const auto& metadata = given(reader, "reader").reader.index().metadata;
    check_number("there is no metadata entry", number, metadata.size());
    given(key, "key");
    given(value, "value") = text_of(metadata[number].second);
    *key = text_of(metadata[number].first);
  });
}

dcz_status dcz_reader_decode(const dcz_reader* reader, size_t number, void* elements, size_t size, uint32_t threads) {
  return guarded([&] {
    const dcz::Entry& entry = entry_of(reader, number);
    const std::string what = "the buffer for tensor " + dcz::in_quotes(entry.name);
    if (size > 0) given(static_cast<char*>(elements), what.c_str());
    if (size != entry.bytes) {
      throw std::invalid_argument(what + " has " + std::to_string(size) + " bytes, expected " +
                                  std::to_string(entry.bytes));
    }
    reader->reader.decode(number, {static_cast<std::uint8_t*>(elements), size}, threads_of(threads));
  });
}

dcz_status dcz_reader_check(const dcz_reader* reader, size_t number) {
  return guarded([&] {
    entry_of(reader, number);
    reader->reader.check(number);
  });
}
}
