// Segments of lanes: how they begin, how they end, and how they are written. The rounds in between are the kernels'.
#include "lanes.hpp"

#include <algorithm>

#include "bits.hpp"

namespace dcz {

bool start_lanes(const LaneSegment& segment, LaneState& state) {
  if (static_cast<std::size_t>(segment.end - segment.begin) < kLanes * kWindowBytes) return false;
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    state.unused[lane] = load_le64(segment.begin + lane * kWindowBytes);
    state.used_bits[lane] = 0;
  }
  state.next = segment.begin + kLanes * kWindowBytes;
  return true;
}

bool finish_lanes(const LaneCode& code, const LaneSegment& segment, LaneState& state, std::size_t done) {
  while (done < segment.count) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const std::uint64_t bytes = state.used_bits[lane] / 8;
      if (state.next > segment.end || static_cast<std::uint64_t>(segment.end - state.next) < bytes) return false;
      std::uint64_t& unused = state.unused[lane];
      std::uint64_t& used = state.used_bits[lane];
      for (std::uint64_t i = 0; i < bytes; ++i, used -= 8) unused |= std::uint64_t{*state.next++} << (64 - used);
      for (unsigned i = 0; i < code.layout.turn && done < segment.count; ++i) {
        const std::uint16_t single = code.singles[unused & (code.singles.size() - 1)];
        segment.symbols[done++] = static_cast<std::uint8_t>(single >> 8);
        unused >>= single & 0xff;
        used += single & 0xff;
      }
    }
  }
  // What the windows still hold is padding.
  return state.next == segment.end &&
         std::all_of(state.unused.begin(), state.unused.end(), [](std::uint64_t bits) { return bits == 0; });
}

namespace {

// One lane's code bits as whole bytes, and how many of them each turn completes.
struct LaneWriter {
  std::uint8_t* out;
  std::uint64_t pending = 0;
  unsigned pending_bits = 0;

  std::uint8_t put(std::uint64_t bits, unsigned width) {
    pending |= bits << pending_bits;
    store_le64(out, pending);
    pending_bits += width;
    const unsigned bytes = pending_bits / 8;
    out += bytes;
    pending = bytes < 8 ? pending >> (8 * bytes) : 0;
    pending_bits &= 7u;
    return static_cast<std::uint8_t>(bytes);
  }
};

// What each symbol gives: its code, its length, and whether it is an exception.
struct Piece {
  std::uint16_t bits;
  std::uint8_t length, exception;
};

std::array<Piece, 256> pieces_of(const LaneCode& code, std::uint8_t stand_in) {
  std::array<Piece, 256> pieces;
  for (std::size_t symbol = 0; symbol < pieces.size(); ++symbol) {
    const bool exception = code.lengths[symbol] == 0;
    const std::size_t coded = exception ? stand_in : symbol;
    pieces[symbol] = {code.bits[coded], code.lengths[coded], exception};
  }
  return pieces;
}

// Writes `Turn` symbols into a lane.
template <unsigned Turn>
std::uint8_t put_turn(const std::array<Piece, 256>& pieces, const std::uint8_t* symbols, std::size_t number,
                      LaneWriter& writer, std::vector<std::size_t>& exceptions) {
  std::uint64_t bits = 0;
  unsigned width = 0, exceptional = 0;
  for (unsigned i = 0; i < Turn; ++i) {
    const Piece piece = pieces[symbols[i]];
    bits |= std::uint64_t{piece.bits} << width;
    width += piece.length;
    exceptional |= piece.exception;
  }
  if (exceptional) {
    for (unsigned i = 0; i < Turn; ++i) {
      if (pieces[symbols[i]].exception) exceptions.push_back(number + i);
    }
  }
  return writer.put(bits, width);
}

}  // namespace

std::vector<std::uint8_t> encode_lanes(const LaneCode& code, std::span<const std::uint8_t> symbols,
                                       std::uint8_t stand_in, std::size_t first,
                                       std::vector<std::size_t>& exceptions) {
  const auto pieces = pieces_of(code, stand_in);
  const std::size_t round = code.layout.round(), rounds = (symbols.size() + round - 1) / round;
  const std::size_t lane_bytes = rounds * kWindowBytes + 2 * kWindowBytes;
  std::vector<std::uint8_t> bytes(kLanes * lane_bytes), slid(rounds * kLanes);
  std::array<LaneWriter, kLanes> writers;
  for (std::size_t lane = 0; lane < kLanes; ++lane) writers[lane].out = bytes.data() + lane * lane_bytes;

  std::size_t turn = 0;
  const std::size_t whole = symbols.size() / code.layout.turn;
  const auto put_turns = [&](auto put) {
    for (; turn < whole; ++turn) {
      const std::size_t at = turn * code.layout.turn;
      slid[turn] = put(symbols.data() + at, first + at, writers[turn % kLanes]);
    }
  };
  if (code.layout.turn == kNarrow.turn) {
    put_turns([&](const std::uint8_t* s, std::size_t n, LaneWriter& w) {
      return put_turn<kNarrow.turn>(pieces, s, n, w, exceptions);
    });
  } else {
    put_turns([&](const std::uint8_t* s, std::size_t n, LaneWriter& w) {
      return put_turn<kWide.turn>(pieces, s, n, w, exceptions);
    });
  }
  for (std::size_t at = whole * code.layout.turn; at < symbols.size(); ++at) {
    put_turn<1>(pieces, symbols.data() + at, first + at, writers[turn % kLanes], exceptions);
  }
  for (LaneWriter& writer : writers) store_le64(writer.out, writer.pending);

  // The windows first, then what slides into them.
  std::vector<std::uint8_t> segment(kLanes * (lane_bytes + kWindowBytes));
  std::uint8_t* out = segment.data();
  std::array<const std::uint8_t*, kLanes> next;
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    const std::uint8_t* const start = bytes.data() + lane * lane_bytes;
    std::copy_n(start, kWindowBytes, out);
    out += kWindowBytes;
    next[lane] = start + kWindowBytes;
  }
  for (std::size_t i = 0; i + kLanes < slid.size(); ++i) {
    const std::uint8_t*& from = next[i % kLanes];
    store_le64(out, load_le64(from));
    out += slid[i];
    from += slid[i];
  }
  segment.resize(static_cast<std::size_t>(out - segment.data()));
  return segment;
}

}  // namespace dcz
