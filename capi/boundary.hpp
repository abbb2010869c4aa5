// The border of the C interface: exceptions become a status and this thread's message, arguments are checked.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>

#include "common/error.hpp"
#include "deepcompression.h"

namespace dcz::c {

// Keeps the message for `dcz_message`. It takes no memory.
dcz_status fail(dcz_status status, const char* message) noexcept;

template <typename Work>
dcz_status guarded(const Work& work) noexcept {
  try {
    work();
    return DCZ_DONE;
  } catch (const FormatError& error) {
    return fail(DCZ_BAD_FILE, error.what());
  } catch (const std::invalid_argument& error) {
    return fail(DCZ_BAD_CALL, error.what());
  } catch (const std::system_error& error) {
    return fail(DCZ_SYSTEM, error.what());
  } catch (const std::bad_alloc&) {
    return fail(DCZ_SYSTEM, "there is not enough memory");
  } catch (const std::length_error&) {  // of a container larger than any memory
    return fail(DCZ_SYSTEM, "there is not enough memory");
  } catch (const std::exception& error) {
    return fail(DCZ_BUG, error.what());
  } catch (...) {
    return fail(DCZ_BUG, "an unknown error");
  }
}

template <typename T>
T& given(T* argument, const char* what) {
  if (argument == nullptr) throw std::invalid_argument(std::string(what) + " is NULL");
  return *argument;
}

void check_length(const char* what, std::size_t found, std::size_t expected, const char* unit);

// For structs that may grow at their end: callers built with an older header know the beginning alone.
template <typename Struct>
void give(const Struct& found, Struct* to, std::size_t size, const char* what) {
  std::memcpy(&given(to, what), &found, std::min(size, sizeof found));
}

// 0 stands for all CPUs.
unsigned threads_of(std::uint32_t threads);

}  // namespace dcz::c
