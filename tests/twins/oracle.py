"""Slow, obvious twins of the core in plain Python and NumPy, written from docs/format.md and the paper."""

import heapq
import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


# Code lengths


def code_lengths(counts: Sequence[int]) -> list[int]:
    """Package-merge on sets of symbols; sorting is stable, so that a leaf goes before a package of the same weight."""
    leaves = sorted((count, (symbol,)) for symbol, count in enumerate(counts) if count)
    if len(leaves) == 1:
        return [int(count > 0) for count in counts]
    merged: list[tuple[int, tuple[int, ...]]] = []
    for _ in range(16):
        pairs = zip(merged[::2], merged[1::2], strict=False)
        packages = [(a[0] + b[0], a[1] + b[1]) for a, b in pairs]
        merged = sorted(leaves + packages, key=lambda item: item[0])
    lengths = [0] * len(counts)
    for _, symbols in merged[: max(0, 2 * len(leaves) - 2)]:
        for symbol in symbols:
            lengths[symbol] += 1
    return lengths


def huffman_bits(counts: Sequence[int]) -> int:
    """Size of an optimal code without a limit of length: the sum of the inner nodes of Huffman's tree."""
    heap = [count for count in counts if count]
    heapq.heapify(heap)
    bits = 0
    while len(heap) > 1:
        heapq.heappush(heap, joined := heapq.heappop(heap) + heapq.heappop(heap))
        bits += joined
    return bits


def limited_bits(counts: Sequence[int], limit: int = 16) -> int:
    """Size of an optimal code of limited length: every way to make some of a level's nodes leaves, commonest first."""
    ordered = sorted((count for count in counts if count), reverse=True)

    @cache
    def below(depth: int, nodes: int, placed: int) -> float:
        left = len(ordered) - placed
        if left == 0:
            return 0 if nodes == 0 else math.inf
        if depth > limit or nodes == 0:
            return math.inf
        return min(
            depth * sum(ordered[placed : placed + leaves])
            + below(depth + 1, min(2 * (nodes - leaves), left), placed + leaves)
            for leaves in range(min(nodes, left) + 1)
        )

    return int(below(1, 2, 0))


# Tables and streams, as strings of "0" and "1"


def pack_bits(bits: str) -> bytes:
    padded = bits + "0" * (-len(bits) % 8)
    return bytes(int(padded[i : i + 8][::-1], 2) for i in range(0, len(padded), 8))


def unpack_bits(data: bytes) -> str:
    return "".join(f"{byte:08b}"[::-1] for byte in data)


def varint(value: int) -> bytes:
    out = []
    while value >= 0x80:
        out.append(value % 0x80 + 0x80)
        value //= 0x80
    return bytes([*out, value])


def gamma(v: int) -> str:
    digits = f"{v + 1:b}"
    return "0" * (len(digits) - 1) + digits


def pack_table(lengths: Sequence[int]) -> bytes:
    n = max(symbol for symbol, length in enumerate(lengths) if length) + 1
    bits, previous, symbol = "", 4, 0
    while symbol < n:
        if lengths[symbol] == 0:
            end = next(s for s in range(symbol, n) if lengths[s])
            bits += gamma(2) + gamma(end - symbol - 1)
            symbol = end
            continue
        step = lengths[symbol] - previous
        bits += gamma({0: 0, 1: 1}.get(step, 2 * step if step > 0 else -2 * step + 1))
        previous = lengths[symbol]
        symbol += 1
    return varint(n) + pack_bits(bits)


def unpack_table(data: bytes, alphabet: int) -> tuple[list[int], int]:
    """The lengths and the bytes read; ValueError or IndexError where a reader must refuse."""
    n = size = 0
    while True:
        n |= (data[size] & 0x7F) << (7 * size)
        size += 1
        if data[size - 1] < 0x80:
            break
    if varint(n) != data[:size] or size > 9 or not 1 <= n <= alphabet:
        raise ValueError("n")
    bits, at = unpack_bits(data[size:]), 0

    def number() -> int:
        nonlocal at
        zeros = bits.index("1", at) - at
        at += 2 * zeros + 1
        if at > len(bits):
            raise ValueError("truncated")
        return int(bits[at - zeros - 1 : at], 2) - 1

    lengths: list[int] = []
    previous = 4
    while len(lengths) < n:
        v = number()
        if v == 2:
            run = number() + 1
            if run > n:
                raise ValueError("run")
            lengths += [0] * run
            continue
        previous += {0: 0, 1: 1}.get(v, v // 2 if v % 2 == 0 else -(v // 2))
        if not 1 <= previous <= 16:
            raise ValueError("length")
        lengths.append(previous)
    used = [length for length in lengths if length]
    if len(lengths) > n or lengths[-1] == 0 or "1" in bits[at : at + -at % 8]:
        raise ValueError("end")
    if sum(2 ** (16 - length) for length in used) != 2**16 and used != [1]:
        raise ValueError("code space")
    return lengths + [0] * (alphabet - n), size + (at + 7) // 8


def canonical_codes(lengths: Sequence[int]) -> dict[int, str]:
    codes, code, previous = {}, 0, 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(lengths) if length):
        code <<= length - previous
        codes[symbol] = f"{code:0{length}b}"
        code, previous = code + 1, length
    return codes


def encode_symbols(symbols: Sequence[int], lengths: Sequence[int]) -> bytes:
    codes = canonical_codes(lengths)
    return pack_bits("".join(codes[symbol] for symbol in symbols)) if len(codes) > 1 else b""


def decode_symbols(data: bytes, lengths: Sequence[int], count: int) -> list[int]:
    """ValueError where a reader must refuse."""
    symbols = {code: symbol for symbol, code in canonical_codes(lengths).items()}
    if len(symbols) < 2:
        out = list(symbols.values()) * count
    else:
        out, code = [], ""
        for bit in unpack_bits(data):
            if len(out) == count:
                break
            code += bit
            if code in symbols:
                out.append(symbols[code])
                code = ""
    if len(out) != count or encode_symbols(out, lengths) != data:
        raise ValueError("stream")
    return out


# Gaps


def to_paper_gaps(positions: Sequence[int], gap_bits: int) -> tuple[list[int], list[bool]]:
    """The paper's figure 2: where a step exceeds the bound, a filler zero is put at the bound."""
    bound = 2**gap_bits
    gaps, filler = [], []
    last = -1
    for position in positions:
        while position - last > bound:
            last += bound
            gaps.append(bound - 1)
            filler.append(True)
        gaps.append(position - last - 1)
        filler.append(False)
        last = position
    return gaps, filler


def from_paper_gaps(gaps: Sequence[int], filler: Sequence[bool]) -> list[int]:
    entries = np.cumsum(np.asarray(gaps, np.int64) + 1) - 1
    return [int(entry) for entry, fills in zip(entries, filler, strict=True) if not fills]


# k-means


def assign(values: Floats, centroids: Floats) -> NDArray[np.intp]:
    wide = centroids.astype(np.float64)
    return np.searchsorted((wide[:-1] + wide[1:]) / 2, values.astype(np.float64), side="left")


def lloyd(ordered: Floats, centroids: Floats) -> Floats:
    """Means of the nearest until nothing changes; an empty cluster moves to the value farthest from its centroid."""
    while True:
        codes = assign(ordered, centroids)
        empty = [c for c in range(len(centroids)) if not (codes == c).any()]
        if empty:
            distance = np.abs(ordered.astype(np.float64) - centroids[codes])
            centroids = np.sort(np.append(np.delete(centroids, empty[0]), ordered[distance.argmax()]))
            continue
        means = [math.fsum(ordered[codes == c]) / (codes == c).sum() for c in range(len(centroids))]
        if (np.float32(means) == centroids).all():
            return centroids
        centroids = np.float32(means)


def partition_error(ordered: Floats, codes: NDArray[np.integer]) -> float:
    """Squared error about the clusters' own means."""
    clusters = [ordered[codes == code].astype(np.float64) for code in np.unique(codes)]
    return math.fsum(math.fsum((cluster - math.fsum(cluster) / len(cluster)) ** 2) for cluster in clusters)


def optimal_error(ordered: Floats, k: int) -> float:
    """Least squared error of k clusters: the textbook's dynamic program, O(k n^2)."""
    n = len(ordered)
    values = ordered.astype(np.float64)
    cost = np.full((n + 1, n + 1), np.inf)
    for begin in range(n):
        about = values[begin:] - values[begin]  # sums about a value of the cluster itself cancel little
        number = np.arange(1, n - begin + 1)
        cost[begin, begin + 1 :] = np.maximum(0, np.cumsum(about**2) - np.cumsum(about) ** 2 / number)
    best = cost[0]
    for _ in range(k - 1):
        best = (best[:, None] + cost).min(axis=0)
    return float(best[n])
