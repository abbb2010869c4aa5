"""A segment of lanes, decoded by one program (docs/format.md, "Lanes")."""

import triton
import triton.language as tl


@triton.jit
def decode_segments(words, begins, firsts, table, symbols, exact, last_word, turn: tl.constexpr, longest: tl.constexpr):
    """One segment: its symbols, and whether its bytes are exactly those of them. Every read is clamped to the words."""
    segment = tl.program_id(0)
    begin, end = tl.load(begins + segment), tl.load(begins + segment + 1)
    first, last = tl.load(firsts + segment), tl.load(firsts + segment + 1)
    lane = tl.arange(0, 64)
    unused = _eight_bytes(words, last_word, begin + 8 * lane)
    used = tl.zeros((64,), tl.uint64)
    following = begin + 512
    for place in range(first, last, 64 * turn):
        # the whole bytes that a lane used up leave its window; as many slide in, lane after lane
        slides = (used >> 3).to(tl.int64)
        before = tl.cumsum(slides, 0) - slides
        kept = ~(tl.full((64,), 0xFFFFFFFFFFFFFFFF, tl.uint64) << (used & 56))
        fresh = _eight_bytes(words, last_word, following + before) & kept
        unused = unused | (fresh << ((64 - used) & 63))
        following += tl.sum(slides, 0)
        used = used & 7
        found = tl.zeros((64,), tl.uint64)
        here = last - place - lane * turn
        for i in tl.static_range(turn):
            entry = tl.load(table + (unused & ((1 << longest) - 1)).to(tl.int32))
            live = here > i
            found = found | (tl.where(live, entry >> 8, 0).to(tl.uint64) << (8 * i))
            length = tl.where(live, entry & 255, 0).to(tl.uint64)
            unused = unused >> length
            used = used + length
        # a turn is one word of the symbols, since segments begin with whole rounds
        at = place // turn + lane
        if turn == 8:
            tl.store(symbols + at, found.to(tl.int64))
        else:
            tl.store(symbols + at, found.to(tl.int32))
    rest = tl.max((unused != 0).to(tl.int32), 0)
    tl.store(exact + segment, ((following == end) & (rest == 0)).to(tl.int32))


@triton.jit
def _eight_bytes(words, last_word, at):
    """The eight bytes at each place, the first one lowest."""
    word = tl.minimum(at >> 3, last_word)
    shift = (8 * (at & 7)).to(tl.uint64)
    low = tl.load(words + word).to(tl.uint64, bitcast=True) >> shift
    high = tl.load(words + word + 1).to(tl.uint64, bitcast=True)
    # in two steps, since a shift by 64 is undefined
    return low | ((high << 1) << (63 - shift))
