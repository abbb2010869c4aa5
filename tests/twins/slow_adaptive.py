"""The section "Adaptive" of docs/format.md in plain Python: slow and obvious."""

import math
from collections import defaultdict

LIMIT = 3072
LEVELS = [0, 1, 3, 5, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192]


def _squash_table() -> list[int]:
    powers = [2**32]
    for _ in range(LIMIT):
        powers.append(powers[-1] * 4278222859 // 2**32)
    ones = [2**48 // (2**32 + power) for power in powers]
    return [65536 - one for one in ones[:0:-1]] + ones


SQUASH = _squash_table()
STRETCH = [next(x for x in range(-LIMIT, LIMIT + 1) if SQUASH[x + LIMIT] >= 16 * p + 8) for p in range(4096)]


class RangeDecoder:
    def __init__(self, data: bytes) -> None:
        self.data, self.at, self.range = data, 8, 2**64 - 1
        self.value = int.from_bytes(data[:8].ljust(8, b"\0"), "big")

    def bit(self, p: int) -> int:
        ones = self.range // 65536 * p
        bit = int(self.value < ones)
        if bit:
            self.range = ones
        else:
            self.value -= ones
            self.range -= ones
        if self.range < 2**32:
            word = int.from_bytes(self.data[self.at : self.at + 4].ljust(4, b"\0"), "big")
            self.at += 4
            self.value = self.value * 2**32 + word
            self.range *= 2**32
        return bit

    def finish(self) -> None:
        if len(self.data) > self.at or self.data[-1:] == b"\0":
            raise ValueError("the mask and codes end elsewhere than their bytes")


class Counter:
    def __init__(self, p16: int = 32768, count: int = 0, limit: int = 1023) -> None:
        self.p, self.count, self.limit = p16 * 64, count, limit

    def stretched(self) -> int:
        return STRETCH[self.p >> 10]

    def learn(self, bit: int) -> None:
        target = 2**22 - 1 if bit else 0
        self.p += (target - self.p) * (131072 // (2 * self.count + 3)) >> 16
        self.count += self.count < self.limit


class Mixer:
    def __init__(self, inputs: int, percent: int, haste: int) -> None:
        self.haste = haste
        self.weights, self.count = [65536 * percent // 100] * inputs, 0

    def bit(self, decoder: RangeDecoder, inputs: list[Counter]) -> int:
        stretched = [counter.stretched() for counter in inputs]
        dot = sum(w * s for w, s in zip(self.weights, stretched, strict=True)) >> 16
        p = SQUASH[max(-LIMIT, min(LIMIT, dot)) + LIMIT]
        bit = decoder.bit(p)
        error = (65536 * bit - p) * (self.haste + 65536 // (self.count + 128)) >> 4
        self.count += self.count < 1023
        for i, s in enumerate(stretched):
            moved = self.weights[i] + (error * s + 2**17 >> 18)
            self.weights[i] = (moved + 2**31) % 2**32 - 2**31
        for counter in inputs:
            counter.learn(bit)
        return bit


def level(size: int) -> int:
    return sum(size >= first for first in LEVELS[1:])


def signed_level(size: int) -> int:
    return level(size) if size >= 0 else -level(-size)


def sign(size: int) -> int:
    return (size > 0) - (size < 0)


def strength(size: int) -> int:
    return sign(size) * (1 + (abs(size) > 24))


def grid(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Elements of a row, of a kernel, of a line."""
    size = math.prod(shape)
    if len(shape) < 2 or size // shape[0] > 65536:
        return min(size, 65536), 1, 1
    kernel = math.prod(shape[2:])
    if kernel > 64:
        return size // shape[0], 1, 1
    return size // shape[0], kernel, next((axis for axis in shape[:1:-1] if axis > 1), 1)


def decode_codebook(decoder: RangeDecoder, centroids: int, width: int) -> list[int]:
    changed, rises = Counter(limit=255), Counter(limit=255)
    further = [Counter(limit=255) for _ in range(16)]

    def learned(counter: Counter) -> int:
        bit = decoder.bit(max(1, counter.p >> 6))
        counter.learn(bit)
        return bit

    def plain(bits: int) -> int:
        return sum(decoder.bit(32768) << i for i in reversed(range(bits)))

    codebook = [plain(width)] if centroids else []
    last = before = width + 8
    while len(codebook) < centroids:
        size = expected = (2 * last + before + 1) // 3
        if learned(changed):
            direction = 1 if learned(rises) else -1
            size += direction
            while 2 <= size <= 2 * width + 1 and learned(further[min(abs(size - expected), 15)]):
                size += direction
        if not 2 <= size <= 2 * width + 1:
            raise ValueError("a step of an impossible size")
        before, last = last, size
        low = size // 2 - 2
        step = 1 if size < 4 else (2 + size % 2 << low) + plain(low)
        codebook.append(codebook[-1] + step)
        if codebook[-1] >= 2**width:
            raise ValueError("a centroid is too large")
    return codebook


def decode(
    data: bytes, shape: tuple[int, ...], survivors: int, centroids: int, width: int
) -> tuple[list[int], list[int], list[int]]:
    """Codebook, positions and codes. Raises ValueError for malformed bytes."""
    decoder = RangeDecoder(data)
    size = math.prod(shape)
    codebook = decode_codebook(decoder, centroids, width)
    negative = sum(centroid < 2 ** (width - 1) for centroid in codebook)
    positions: list[int] = []
    codes: list[int] = []
    if size == 0:
        decoder.finish()
        return codebook, positions, codes

    row, kernel, line = grid(shape)
    sides = [negative, centroids - negative]
    bits = [max(0, side - 1).bit_length() for side in sides]
    density = max(16, min(65520, survivors * 65536 // size))
    mixed_bits = 2 if survivors > size // 2 else 5
    full = survivors > size - size // 16

    column_survives = defaultdict(lambda: Counter(density, 3, 127))
    column_positive, by_pulls, by_strengths, by_signs, by_column, by_slopes = (defaultdict(Counter) for _ in range(6))
    by_history, by_count, by_sizes = (defaultdict(lambda: Counter(density, 1)) for _ in range(3))
    column_pull: dict[int, int] = defaultdict(int)
    kernel_size: dict[int, int] = defaultdict(lambda: 384)
    trees: dict[tuple[object, ...], Counter] = {}
    column_signs: dict[int, tuple[int, ...]] = defaultdict(lambda: (0,) * 6)
    survival = defaultdict(lambda: Mixer(5, 26, -20))
    signs = defaultdict(lambda: Mixer(6, 28, 8) if kernel > 1 else Mixer(5, 35, 8))
    magnitudes = defaultdict(lambda: Mixer(3, 33, 8))
    all_size = 384
    above: dict[int, int] = {}

    def node_counter(name: str, context: int, side: int, node: int) -> Counter:
        depth = node.bit_length() - 1
        half = 2 ** (bits[side] - depth - 1)
        first = (2 * node * half) - 2 ** bits[side]
        zeros = min(max(sides[side] - first, 0), half)
        ones = min(max(sides[side] - first - half, 0), half)
        start = Counter(max(64, min(65472, 65536 * ones // (zeros + ones))), 4 * depth + 1) if zeros else Counter()
        return trees.setdefault((name, context, side, node), start)

    for begin in range(0, size, row):
        here: dict[int, int] = {}
        alive: list[int] = []
        row_survives, row_positive, row_size = Counter(density, 6, 255), Counter(32768, 2), all_size
        for j in range(min(row, size - begin)):
            k, x = j % kernel, j % kernel % line
            if kernel == 1:
                west, west2, north, north2, northwest = (
                    here.get(j - 1, 0), here.get(j - 2, 0), above.get(j, 0), 0, above.get(j - 1, 0)
                )  # fmt: skip
            else:
                west = here.get(j - 1, 0) if x > 0 else 0
                west2 = here.get(j - 2, 0) if x > 1 else 0
                north = here.get(j - line, 0) if k >= line else 0
                north2 = here.get(j - 2 * line, 0) if k >= 2 * line else 0
                northwest = here.get(j - line - 1, 0) if k >= line and x > 0 else 0
                if line == kernel:
                    north, northwest = above.get(j, 0), above.get(j - 1, 0)

            seen = 8 if kernel == 1 else min(k, 8)
            history = tuple(([0] * 8 + alive)[len(alive) + 8 - seen :])
            recent, own = (sum(alive[-32:]), row_survives.p >> 17), (k, sum(alive[len(alive) - k :]))
            count = recent if kernel == 1 else own
            sizes = (level(abs(west) + abs(west2) // 2), level(abs(north) + abs(northwest) // 2))
            inputs = [row_survives, column_survives[j], by_history[history], by_count[count], by_sizes[sizes]]
            if full:
                alive.append(decoder.bit(max(1, by_history[history].p >> 6)))
                by_history[history].learn(alive[-1])
            else:
                alive.append(survival[k if kernel > 1 else (west != 0, north != 0)].bit(decoder, inputs))
            if not alive[-1]:
                continue
            if len(positions) == survivors:
                raise ValueError("more survivors than stated")
            positions.append(begin + j)
            here[j] = 64
            if centroids == 0:
                continue

            pull = west + north - (northwest >> 1)
            side = 1 if negative == 0 else 0
            if all(sides):
                strengths = (strength(west), strength(north), strength(west2), sign(northwest))
                pulls = (signed_level(pull), signed_level(column_pull[j] >> 2))
                inputs = [by_strengths[strengths], column_positive[j], row_positive, by_pulls[pulls]]
                if kernel > 1:
                    around = (min(k, 9), *map(sign, (west, north, west2, north2, northwest)))
                    slopes = (signed_level(2 * west - west2), signed_level(2 * north - north2))
                    side = signs[k].bit(decoder, [*inputs, by_signs[around], by_slopes[slopes]])
                else:
                    side = signs[k].bit(decoder, [*inputs, by_column[column_signs[j]]])
                    column_signs[j] = (*column_signs[j][1:], side)

            mean = min(13, row_size + kernel_size[j // kernel] >> 7)
            toward = signed_level(pull if side else -pull)
            node = 1
            for depth in range(bits[side]):
                toward_counter = node_counter("pull", toward, side, node)
                if depth < mixed_bits:
                    inputs = [node_counter("place", k, side, node), node_counter("mean", mean, side, node)]
                    bit = magnitudes[depth].bit(decoder, [*inputs, toward_counter])
                else:
                    counter = toward_counter if kernel > 1 and depth < 5 else node_counter("deep", 0, side, node)
                    bit = decoder.bit(max(1, counter.p >> 6))
                    counter.learn(bit)
                node = 2 * node + bit
            magnitude = node - 2 ** bits[side]
            if magnitude >= sides[side]:
                raise ValueError("a code is outside of the codebook")
            codes.append(negative + magnitude if side else negative - 1 - magnitude)

            length = max(1, (magnitude + 1) * 127 >> bits[side])
            here[j] = length if side else -length
            row_size += 16 * length - row_size >> 5
            all_size += 16 * length - all_size >> 7
            kernel_size[j // kernel] += 16 * length - kernel_size[j // kernel] >> 4
            column_pull[j] += 16 * here[j] - column_pull[j] >> 3
        above = here
    if len(positions) != survivors:
        raise ValueError("fewer survivors than stated")
    decoder.finish()
    return codebook, positions, codes
