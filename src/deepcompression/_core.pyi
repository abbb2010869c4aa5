"""Types of the C++ core (core/bindings/). Arrays are one-dimensional and C-contiguous; another dtype is a TypeError.

`data` is bytes or anything of bytes that NumPy could view. Malformed data raises FormatError, a caller's mistake
ValueError. Every function releases the GIL.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer

class FormatError(ValueError):
    """Data that docs/format.md does not allow."""

def code_lengths(counts: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Optimal Huffman code lengths of at most 16 bits; 0 for a count of 0, 1 for a symbol that occurs alone."""

def pack_table(lengths: NDArray[np.uint8]) -> bytes:
    """The table of docs/format.md; at least one symbol must occur."""

def unpack_table(data: Buffer, offset: int, alphabet: int) -> tuple[NDArray[np.uint8], int]:
    """The lengths of the table at `offset`, zeros up to the alphabet's size, and the offset behind it."""

def symbol_counts(symbols: NDArray[np.uint16], alphabet: int) -> NDArray[np.uint64]:
    """How often each symbol below `alphabet` occurs."""

def encode_symbols(symbols: NDArray[np.uint16], lengths: NDArray[np.uint8]) -> bytes:
    """The stream of docs/format.md; empty if only one symbol has a code."""

def decode_symbols(
    data: Buffer, offset: int, length: int, lengths: NDArray[np.uint8], count: int
) -> NDArray[np.uint16]:
    """The `count` symbols of the stream that is exactly `length` bytes at `offset`."""

def instruction_sets() -> list[str]:
    """Those that this build and this CPU have kernels for, slowest first: `portable`; `avx2`, `avx512`; `neon`."""

def instruction_set() -> str:
    """The one in use: the forced one, else the one named by DEEPCOMPRESSION_CPU in the environment, else the best."""

def force_instruction_set(name: str) -> None:
    """Uses one for the whole process; an empty name ends that. ValueError if the CPU or the build does not have it."""

def encode_block(symbols: NDArray[np.uint8]) -> bytes:
    """The block of docs/format.md; the same bytes on every CPU."""

def decode_block(data: Buffer, offset: int, count: int, threads: int = 1) -> tuple[NDArray[np.uint8], int]:
    """The `count` symbols of the block at `offset`, and the offset behind it."""

def block_bytes(counts: NDArray[np.uint64]) -> int:
    """About as many bytes as `encode_block` makes of symbols with these counts, at most 256 of them."""

def gap_counts(positions: NDArray[np.int64], gap_bits: int) -> tuple[NDArray[np.uint64], int]:
    """Counts of the 2^gap_bits gaps that `to_gaps` would give, and of the fillers among them."""

def to_gaps(positions: NDArray[np.int64], gap_bits: int) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
    """Gaps of strictly ascending positions, and which of them are fillers; gap_bits is 2 to 16."""

def to_positions(gaps: NDArray[np.uint16], filler: NDArray[np.bool_], size: int) -> NDArray[np.int64]:
    """Positions of the entries that are no fillers; FormatError if any entry reaches `size`."""

def lloyd(
    ordered: NDArray[np.float32], centroids: NDArray[np.float32], weights: NDArray[np.uint64] | None = None
) -> NDArray[np.float32]:
    """Lloyd's k-means of ascending values, each as often as its weight says, from 1 to 256 ascending centroids until
    nothing changes.

    Strictly ascending; no cluster is empty: a centroid without values moves to the value farthest from its own.
    ValueError if there are fewer distinct values than centroids.
    """

def optimal_centroids(
    ordered: NDArray[np.float32], k: int, weights: NDArray[np.uint64] | None = None
) -> NDArray[np.float32]:
    """The k centroids, 1 to 256, of least squared error for ascending values; ValueError as `lloyd`."""

def assign(values: NDArray[np.float32], centroids: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Index of the nearest of 1 to 256 ascending centroids, the lower of two equally near. Values are not NaN."""

def round_columns(
    centroids: NDArray[np.float32],
    zero: int,
    prices: NDArray[np.float32] | None,
    shape: list[int],
    first: int,
    width: int,
    weights: NDArray[np.float32],
    upper: NDArray[np.float32] | None,
    importance: NDArray[np.float32],
    row_weights: NDArray[np.float32],
    survives: NDArray[np.uint8] | None,
    targets: NDArray[np.float32],
    codes: NDArray[np.int16],
    errors: NDArray[np.float32],
    counts: NDArray[np.float64],
    sums_of_weights: NDArray[np.float64],
    sums: NDArray[np.float64],
    threads: int = 1,
) -> float:
    """Rounds columns `first` to `first` + `width` of weights (groups, rows, columns), flat, to centroids: see
    core/sharing/column_rounding.hpp.

    targets  (groups, rows, width), the weights with the errors of earlier columns, of which those of these are taken
             over. Codes and errors of these columns are set; counts and sums by code are added to. Gives the cost.
    """

def pack_ascending(values: NDArray[np.uint64], width: int) -> bytes:
    """The codebook of docs/format.md: strictly ascending integers of `width` bits."""

def unpack_ascending(data: Buffer, offset: int, count: int, width: int) -> tuple[NDArray[np.uint64], int]:
    """The `count` integers of the codebook at `offset`, and the offset behind it."""

def encode_planes(elements: NDArray[np.uint8], item_bytes: int, is_float: bool) -> bytes:
    """The values of docs/format.md: elements of `item_bytes` 1, 2, 4 or 8 as a block for each of their bytes."""

def encode_plane(
    dense: NDArray[np.uint8], bitmap: NDArray[np.uint8], item_bytes: int, byte: int, is_float: bool
) -> NDArray[np.uint8]:
    """The block of one of those bytes, 0 for the least significant, of the survivors by the bitmap, of all elements by
    an empty one.
    """

def count_digits(values: NDArray[np.float32], counts: NDArray[np.uint64]) -> int:
    """Adds to the counts of values by the first 16 bits of an integer that ascends with them; gives the number of those
    that are not finite, which are not counted.
    """

def add_to_bins(
    values: NDArray[np.float32],
    first: NDArray[np.uint64],
    split: NDArray[np.uint8],
    counts: NDArray[np.uint64],
    sums: NDArray[np.float64],
) -> None:
    """Adds finite values to the count and sum of their bins: those of digit d (as of `count_digits`) go by the next
    `split[d]` bits to a bin from `first[d]` on.
    """

def count_magnitudes(
    elements: NDArray[np.uint8], item_bytes: int, prefix: int, shift: int, counts: NDArray[np.uint64]
) -> None:
    """Adds to the counts of floats of 2, 4 or 8 bytes by 16 bits from `shift` on of their bits without the sign, where
    the higher bits are `prefix`.
    """

def fillers_by_gap_bits(bitmap: NDArray[np.uint8], size: int) -> NDArray[np.uint64]:
    """The fillers among the gaps of a bitmap's survivors, for gaps of 2, 3 ... 16 bits."""

def decode_planes(
    data: Buffer,
    offset: int,
    bitmap: NDArray[np.uint8],
    item_bytes: int,
    is_float: bool,
    dense: NDArray[np.uint8],
    threads: int = 1,
) -> int:
    """Writes the values at `offset` to the places in `dense`, all zero before, whose bits are set; an empty bitmap
    stands for all. Gives the offset behind them.
    """

def decode_codes(
    data: Buffer,
    offset: int,
    bitmap: NDArray[np.uint8],
    codebook: NDArray[np.uint8],
    item_bytes: int,
    dense: NDArray[np.uint8],
    threads: int = 1,
) -> int:
    """Writes the codebook's elements for the block of codes at `offset` as `decode_planes` does."""

def place_codes(
    codes: NDArray[np.uint8],
    bitmap: NDArray[np.uint8],
    codebook: NDArray[np.uint8],
    item_bytes: int,
    dense: NDArray[np.uint8],
) -> None:
    """Writes the codebook's elements for codes that are below its size, as `decode_codes` does."""

def recognise_shared(
    elements: NDArray[np.uint8], item_bytes: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint64], NDArray[np.uint8]] | None:
    """Of elements of 2, 4 or 8 bytes that are not zero in all bits: their bitmap, distinct ones as ascending integers,
    and which of those each is; None if more than 256 are distinct.
    """

def encode_mask(bitmap: NDArray[np.uint8], shape: NDArray[np.uint64]) -> bytes:
    """The mask of docs/format.md. Element i is bit i % 8 of byte i // 8 of the bitmap."""

def decode_mask(
    data: Buffer, offset: int, shape: NDArray[np.uint64], threads: int = 1
) -> tuple[NDArray[np.uint8], int, int]:
    """The bitmap of the mask at `offset`, the number of its survivors, and the offset behind it."""

def positions_of(bitmap: NDArray[np.uint8], size: int) -> NDArray[np.int64]:
    """The ascending positions of a bitmap of `size` elements."""

def bitmap_of(positions: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
    """The bitmap of strictly ascending positions below `size`."""

def mix_encode(
    shape: list[int],
    survivors: int,
    codebook: NDArray[np.uint64],
    width: int,
    bitmap: NDArray[np.uint8],
    codes: NDArray[np.uint8],
) -> bytes:
    """The mixed string of docs/format.md: the centroids as ascending integers of `width` bits, which elements survive
    and the codes of those that do; without centroids, and codes, the survivors alone.
    """

def mix_decode(
    data: Buffer, shape: list[int], survivors: int, centroids: int, width: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint8], NDArray[np.uint8]]:
    """The codebook, the bitmap and the codes of the string that is all of `data`."""

def pack_window(
    rows: int,
    columns: int,
    bitmap: NDArray[np.uint8],
    codes: NDArray[np.uint8],
    codebook: NDArray[np.float32],
    grid_bits: int,
    scale8: float,
    int8: NDArray[np.int16],
    scale16: float,
    int16: NDArray[np.int16],
    layout: str,
) -> NDArray[np.uint8]:
    """Packed weights of the form window (core/packed/window/window.hpp).

    `int8` and `int16` are the digits of the centroids; `layout` is by_row, by_slot, digits24 or one_window.
    """

def pack_tile(
    rows: int,
    columns: int,
    bitmap: NDArray[np.uint8],
    codes: NDArray[np.uint8],
    codebook: NDArray[np.float32],
) -> NDArray[np.uint8]:
    """Packed weights of the form tile (core/packed/tile/tile.hpp)."""

def has_sparse_convolution() -> bool:
    """Whether the instruction set in use has a kernel for `convolve_sparse`."""

def convolve_sparse(packed: int, packed_bytes: int, shape: list[int], x: int, bias: int, y: int, threads: int) -> bool:
    """A convolution of stride 1 from the form tile: addresses of packed weights, float32 x, bias or 0, and y; `shape`
    has the 13 numbers of core/packed/convolution/convolution.hpp. False, and y as it was, if x is not finite.
    """

def decode_rows(packed: int, packed_bytes: int, first: int, count: int, out: int, threads: int) -> None:
    """Dense rows of the form tile: addresses of packed weights and of float32 `out` (count, columns). IndexError for
    rows that they do not have.
    """

def gather_rows(packed: int, packed_bytes: int, rows: int, count: int, out: int, threads: int) -> None:
    """The same for the `count` int64 row numbers at the address `rows`."""

def pack_panel(
    rows: int, columns: int, bitmap: NDArray[np.uint8], codes: NDArray[np.uint8], codebook: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Packed weights of the form panel (core/packed/panel/panel.hpp)."""

def pack_quad(
    rows: int,
    columns: int,
    bitmap: NDArray[np.uint8],
    codes: NDArray[np.uint8],
    codebook: NDArray[np.float32],
    on_grid: bool,
    scale8: float,
    int8: NDArray[np.int16],
) -> NDArray[np.uint8]:
    """Packed weights of the form quad (core/packed/quad/quad.hpp); `on_grid`: scale8 * int8 is exactly the codebook."""

def pack_factored(
    rows: int, columns: int, bitmap: NDArray[np.uint8], codes: NDArray[np.uint8], codebook: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Packed weights of the form factored (core/packed/factored/factored.hpp).

    Raises ValueError for centroids that are not finite.
    """

def packed_header(packed: NDArray[np.uint8]) -> dict[str, Any]:
    """The fields of `packing.Header`. Raises ValueError for bytes that are no packed weights."""

def check_packed(packed: NDArray[np.uint8]) -> None:
    """Raises ValueError for packed weights with anything out of its bounds."""

def multiply(packed: int, packed_bytes: int, x: int, vectors: int, bias: int, y: int, int8: bool, threads: int) -> None:
    """y = x W^T + bias: addresses of packed weights, float32 x (vectors, columns), bias or 0, y (vectors, rows)."""
