// A shared matrix -> packed weights in any form; the names of forms and layouts.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "packed/packed.hpp"
#include "packed/window/window.hpp"

namespace dcz {

// In the order of their numbers.
std::vector<std::string_view> form_names();
std::vector<std::string_view> layout_names();

std::string_view name_of(Form form);
std::string_view name_of(WindowLayout layout);

// Both throw std::invalid_argument for a name that there is not.
Form form_by(std::string_view name);
WindowLayout layout_by(std::string_view name);

// Only the form window has layouts, and only it, if many weights survive, is packed by several threads. The bytes do
// not depend on them. Throws std::invalid_argument for parts that do not fit together, and for centroids that are not
// finite in the form factored and in the layouts digits24 and one_window.
PageBytes pack(Form form, const Matrix& matrix, const Digits& digits, WindowLayout layout, unsigned threads = 1);

}  // namespace dcz
