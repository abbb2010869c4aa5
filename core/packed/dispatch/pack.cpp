// A shared matrix -> packed weights in any form; the names of forms and layouts.
#include "packed/dispatch/pack.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>

#include "packed/factored/factored.hpp"
#include "packed/panel/panel.hpp"
#include "packed/quad/quad.hpp"
#include "packed/tile/tile.hpp"
#include "packed/word/word.hpp"

namespace dcz {
namespace {

using Pack = PageBytes(const Matrix& matrix, const Digits& digits, WindowLayout layout, unsigned threads);

PageBytes pack_digits8(const Matrix& matrix, const Digits& digits, WindowLayout, unsigned) {
  const auto grid = digits.grid == Grid::int8 ? Grid::int8 : Grid::none;
  return pack_quad(matrix, {grid, digits.scale8, digits.int8});
}

template <PageBytes (*kPack)(const Matrix&)>
PageBytes without_digits(const Matrix& matrix, const Digits&, WindowLayout, unsigned) {
  return kPack(matrix);
}

struct FormPack {
  Form form;
  std::string_view name;
  Pack* pack;
};

constexpr std::array kForms{
    FormPack{Form::window, "window", pack_window},
    FormPack{Form::panel, "panel", without_digits<pack_panel>},
    FormPack{Form::tile, "tile", without_digits<pack_tile>},
    FormPack{Form::quad, "quad", pack_digits8},
    FormPack{Form::factored, "factored", without_digits<pack_factored>},
    FormPack{Form::word, "word", without_digits<pack_word>},
};

// By their numbers in the header.
constexpr std::array<std::string_view, 4> kLayouts{"by_row", "by_slot", "digits24", "one_window"};

}  // namespace

std::vector<std::string_view> form_names() {
  std::vector<std::string_view> names;
  for (const FormPack& each : kForms) names.push_back(each.name);
  return names;
}

std::vector<std::string_view> layout_names() { return {kLayouts.begin(), kLayouts.end()}; }

std::string_view name_of(Form form) { return std::ranges::find(kForms, form, &FormPack::form)->name; }

std::string_view name_of(WindowLayout layout) { return kLayouts[static_cast<std::size_t>(layout)]; }

Form form_by(std::string_view name) {
  const auto found = std::ranges::find(kForms, name, &FormPack::name);
  if (found == kForms.end()) throw std::invalid_argument("no packed form has the name " + std::string(name));
  return found->form;
}

WindowLayout layout_by(std::string_view name) {
  const auto found = std::ranges::find(kLayouts, name);
  if (found == kLayouts.end()) {
    throw std::invalid_argument("the form window has the layout by_row, by_slot, digits24 or one_window; found " +
                                std::string(name));
  }
  return static_cast<WindowLayout>(found - kLayouts.begin());
}

PageBytes pack(Form form, const Matrix& matrix, const Digits& digits, WindowLayout layout, unsigned threads) {
  return std::ranges::find(kForms, form, &FormPack::form)->pack(matrix, digits, layout, threads);
}

}  // namespace dcz
