// The bytes of a file, read by range: from memory, or from a path.
#include "file/source.hpp"

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "common/error.hpp"

namespace dcz {
namespace {

class Memory final : public Source {
 public:
  explicit Memory(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

  std::uint64_t size() const override { return bytes_.size(); }
  Bytes read(std::uint64_t offset, std::size_t length) const override {
    return {bytes_.subspan(static_cast<std::size_t>(offset), length), {}};
  }

 private:
  std::span<const std::uint8_t> bytes_;
};

[[noreturn]] void refuse(const std::string& path, std::error_code why) {
  throw std::system_error(why ? why : std::make_error_code(std::errc::io_error), path);
}

class File final : public Source {
 public:
  explicit File(const std::string& path) : path_(path) {
    std::error_code why;
    const auto kind = std::filesystem::status(path, why).type();
    if (kind == std::filesystem::file_type::directory) why = std::make_error_code(std::errc::is_a_directory);
    if (kind != std::filesystem::file_type::regular) {
      refuse(path, why ? why : std::make_error_code(std::errc::invalid_seek));
    }
    errno = 0;
    stream_.open(path, std::ios::binary);
    if (!stream_.is_open()) refuse(path, {errno, std::generic_category()});
    size_ = std::filesystem::file_size(path, why);
    if (why) refuse(path, why);
  }

  std::uint64_t size() const override { return size_; }

  Bytes read(std::uint64_t offset, std::size_t length) const override {
    Bytes found{{}, std::vector<std::uint8_t>(length)};
    found.span = found.owned;
    const std::lock_guard lock(reading_);
    errno = 0;
    stream_.clear();
    stream_.seekg(static_cast<std::streamoff>(offset));
    stream_.read(reinterpret_cast<char*>(found.owned.data()), static_cast<std::streamsize>(length));
    if (stream_.eof()) throw FormatError("the file has become shorter while it was open");
    if (!stream_) refuse(path_, {errno, std::generic_category()});
    return found;
  }

 private:
  std::string path_;
  std::uint64_t size_ = 0;
  mutable std::ifstream stream_;
  mutable std::mutex reading_;
};

}  // namespace

std::unique_ptr<Source> memory_source(std::span<const std::uint8_t> bytes) { return std::make_unique<Memory>(bytes); }

std::unique_ptr<Source> file_source(const std::string& path) { return std::make_unique<File>(path); }

}  // namespace dcz
