// Segments: finding their sections, and checking them.
#include "packed/segments/segments.hpp"

#include <cstring>
#include <stdexcept>
#include <string>

namespace dcz {
namespace {

std::string name_of(Form form) { return form == Form::panel ? "panel" : form == Form::quad ? "quad" : "factored"; }

}  // namespace

SegmentReader::SegmentReader(std::span<const std::uint8_t> packed, const SegmentLimits& limits, Segments& found)
    : SectionReader(packed), limits_(limits), found_(found) {
  found.header = read_packed_header(packed);
  const PackedHeader& header = found.header;
  SegmentShape& shape = found.shape;
  shape = {};
  if (packed.size() >= sizeof header + sizeof shape) std::memcpy(&shape, packed.data() + sizeof header, sizeof shape);
  if (header.form != limits.form || shape.block_columns == 0 || shape.block_columns > limits.most_columns ||
      shape.panel_rows == 0 || shape.panel_rows > kMostPanelRows || shape.groups > header.bytes ||
      header.units != (header.rows + shape.panel_rows - 1) / shape.panel_rows) {
    throw std::invalid_argument("packed weights of the form " + name_of(limits.form) + " that contradict themselves");
  }
  found.blocks = blocks_of(header.columns, shape);
  // the product of the two could overflow
  if (header.units != 0 && found.blocks > header.bytes / sizeof(SegmentEnd) / header.units) {
    throw std::invalid_argument("packed weights whose sections do not fill them");
  }
  next<SegmentShape>(1);
  found.codebook = next<float>(std::size_t{1} << header.code_bits);
}

void SegmentReader::find_groups() {
  const std::size_t groups = found_.shape.groups;
  found_.ends = next<SegmentEnd>(found_.header.units * found_.blocks);
  found_.rows = next<std::uint16_t>(limits_.group_rows * groups);
  found_.turns = next<std::uint16_t>(groups);
}

void check_groups(const Segments& segments, const SegmentLimits& limits) {
  SegmentEnd begin{0, 0};
  for (std::size_t segment = 0; segment < segments.panels() * segments.blocks; ++segment) {
    const SegmentEnd end = segments.ends[segment];
    if (end.groups < begin.groups || end.groups > segments.shape.groups) {
      throw std::invalid_argument("packed weights with a segment outside of the groups");
    }
    if (any_past(segments.turns + begin.groups, end.groups - begin.groups, limits.most_turns)) {
      throw std::invalid_argument("packed weights with a group longer than its block");
    }
    std::uint64_t turns = begin.turns;
    for (std::size_t group = begin.groups; group < end.groups; ++group) turns += segments.turns[group];
    if (turns != end.turns) throw std::invalid_argument("packed weights whose groups do not fill their segment");
    begin = end;
  }
  if (begin.groups != segments.shape.groups || begin.turns != segments.header.length) {
    throw std::invalid_argument("packed weights whose segments do not fill the stream");
  }
  // groups of one row are never short of rows
  const std::size_t last_row = segments.shape.panel_rows - std::size_t{limits.group_rows == 1};
  if (any_past(segments.rows, limits.group_rows * segments.shape.groups, last_row)) {
    throw std::invalid_argument("packed weights with a row outside its panel");
  }
}

}  // namespace dcz
