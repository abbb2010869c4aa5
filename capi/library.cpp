// The C interface: versions, messages, instruction sets.
#include <array>
#include <thread>

#include "boundary.hpp"
#include "common/cpu.hpp"

namespace dcz::c {
namespace {

constexpr std::size_t kMessageBytes = 1024;

std::array<char, kMessageBytes>& message() {
  thread_local std::array<char, kMessageBytes> bytes{};
  return bytes;
}

}  // namespace

dcz_status fail(dcz_status status, const char* text) noexcept {
  auto& kept = message();
  std::size_t length = std::min(std::strlen(text), kMessageBytes - 1);
  // no character is cut
  if (text[length] != '\0') {
    while (length > 0 && (static_cast<unsigned char>(text[length]) & 0xc0u) == 0x80u) --length;
  }
  std::memcpy(kept.data(), text, length);
  kept[length] = '\0';
  return status;
}

void check_length(const char* what, std::size_t found, std::size_t expected, const char* unit) {
  if (found == expected) return;
  throw std::invalid_argument(std::string(what) + " has " + std::to_string(found) + " " + unit + ", expected " +
                              std::to_string(expected));
}

unsigned threads_of(std::uint32_t threads) {
  return threads > 0 ? threads : std::max(std::thread::hardware_concurrency(), 1u);
}

}  // namespace dcz::c

using namespace dcz::c;

extern "C" {

const char* dcz_version(void) { return DCZ_LIBRARY_VERSION; }

uint32_t dcz_abi_version(void) { return DCZ_ABI_VERSION; }

const char* dcz_message(void) { return message().data(); }

const char* dcz_instruction_sets(void) {
  static const std::string names = [] {
    std::string all;
    for (const std::string& each : dcz::instruction_sets()) all += (all.empty() ? "" : " ") + each;
    return all;
  }();
  return names.c_str();
}

dcz_status dcz_instruction_set(const char** name) {
  return guarded([&] { given(name, "name") = dcz::name_of(dcz::instruction_set()).data(); });
}

dcz_status dcz_force_instruction_set(const char* name) {
  return guarded([&] { dcz::force_instruction_set(&given(name, "name")); });
}
}
