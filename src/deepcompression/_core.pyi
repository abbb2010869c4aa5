"""
The C++ core. Arrays are one-dimensional and C-contiguous; another dtype is a TypeError.

Malformed data raises FormatError, a caller's mistake ValueError. Every function releases the GIL.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy
from numpy.typing import NDArray
from typing_extensions import Buffer


class FormatError(ValueError):
    """Data that docs/format.md does not allow."""

def instruction_sets() -> list[str]:
    """
    Those that this build and this CPU have kernels for, slowest first: `portable`; `avx2`, `avx512`; `neon`.
    """

def instruction_set() -> str:
    """
    The one in use: the forced one, else the one named by DEEPCOMPRESSION_CPU in the environment, else the best.
    """

def force_instruction_set(name: str) -> None:
    """
    Uses one for the whole process; an empty name ends that. ValueError if the CPU or the build does not have it.
    """

def code_lengths(counts: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> Annotated[NDArray[numpy.uint8], dict(shape=(None,))]: ...

def pack_table(lengths: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> bytes: ...

def unpack_table(data: Buffer, offset: int, alphabet: int) -> tuple[Annotated[NDArray[numpy.uint8], dict(shape=(None,))], int]: ...

def symbol_counts(symbols: Annotated[NDArray[numpy.uint16], dict(shape=(None,), order='C', device='cpu', writable=False)], alphabet: int) -> Annotated[NDArray[numpy.uint64], dict(shape=(None,))]: ...

def encode_symbols(symbols: Annotated[NDArray[numpy.uint16], dict(shape=(None,), order='C', device='cpu', writable=False)], lengths: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> bytes: ...

def decode_symbols(data: Buffer, offset: int, length: int, lengths: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], count: int) -> Annotated[NDArray[numpy.uint16], dict(shape=(None,))]: ...

def encode_block(symbols: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> bytes: ...

def decode_block(data: Buffer, offset: int, count: int, alphabet: int = 256, threads: int = 1) -> tuple[Annotated[NDArray[numpy.uint8], dict(shape=(None,))], int]: ...

def pack_ascending(values: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)], width: int) -> bytes: ...

def unpack_ascending(data: Buffer, offset: int, count: int, width: int) -> tuple[Annotated[NDArray[numpy.uint64], dict(shape=(None,))], int]: ...

def encode_planes(elements: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], item_bytes: int, is_float: bool) -> bytes: ...

def encode_plane(dense: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], bitmap: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], item_bytes: int, byte: int, is_float: bool) -> Annotated[NDArray[numpy.uint8], dict(shape=(None,))]: ...

def fillers_by_gap_bits(bitmap: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], size: int) -> Annotated[NDArray[numpy.uint64], dict(shape=(None,))]: ...

def decode_planes(data: Buffer, offset: int, bitmap: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], item_bytes: int, is_float: bool, dense: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu')], threads: int = 1) -> int: ...

def decode_codes(data: Buffer, offset: int, bitmap: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], codebook: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], item_bytes: int, dense: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu')], threads: int = 1) -> int: ...

def block_bytes(counts: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> int: ...

def gap_counts(positions: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], gap_bits: int) -> tuple[Annotated[NDArray[numpy.uint64], dict(shape=(None,))], int]: ...

def to_gaps(positions: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], gap_bits: int) -> tuple[Annotated[NDArray[numpy.uint16], dict(shape=(None,))], Annotated[NDArray[numpy.bool_], dict(shape=(None,))]]: ...

def to_positions(gaps: Annotated[NDArray[numpy.uint16], dict(shape=(None,), order='C', device='cpu', writable=False)], filler: Annotated[NDArray[numpy.bool_], dict(shape=(None,), order='C', device='cpu', writable=False)], size: int) -> Annotated[NDArray[numpy.int64], dict(shape=(None,))]: ...

def place_codes(codes: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], bitmap: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], codebook: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], item_bytes: int, dense: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu')]) -> None: ...

def encode_mask(bitmap: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], shape: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> bytes: ...

def decode_mask(data: Buffer, offset: int, shape: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)], threads: int = 1) -> tuple[Annotated[NDArray[numpy.uint8], dict(shape=(None,))], int, int]: ...

def positions_of(bitmap: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], size: int) -> Annotated[NDArray[numpy.int64], dict(shape=(None,))]: ...

def bitmap_of(positions: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], size: int) -> Annotated[NDArray[numpy.uint8], dict(shape=(None,))]: ...

def mix_encode(shape: Sequence[int], survivors: int, codebook: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)], width: int, bitmap: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], codes: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> bytes: ...

def mix_decode(data: Buffer, shape: Sequence[int], survivors: int, centroids: int, width: int) -> tuple[Annotated[NDArray[numpy.uint64], dict(shape=(None,))], Annotated[NDArray[numpy.uint8], dict(shape=(None,))], Annotated[NDArray[numpy.uint8], dict(shape=(None,))]]: ...

def count_digits(values: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], counts: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu')]) -> int: ...

def add_to_bins(values: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], first: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)], split: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], counts: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu')], sums: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu')]) -> None: ...

def count_magnitudes(elements: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], item_bytes: int, prefix: int, shift: int, counts: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu')]) -> None: ...

def recognise_shared(elements: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], item_bytes: int) -> tuple[Annotated[NDArray[numpy.uint8], dict(shape=(None,))], Annotated[NDArray[numpy.uint64], dict(shape=(None,))], Annotated[NDArray[numpy.uint8], dict(shape=(None,))]] | None: ...

def lloyd(ordered: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], centroids: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], weights: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)] | None = None) -> Annotated[NDArray[numpy.float32], dict(shape=(None,))]: ...

def optimal_centroids(ordered: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], k: int, weights: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)] | None = None) -> Annotated[NDArray[numpy.float32], dict(shape=(None,))]: ...

def round_columns(centroids: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], zero: int, prices: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)] | None, shape: Sequence[int], first: int, width: int, weights: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], upper: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)] | None, importance: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], row_weights: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], survives: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)] | None, targets: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu')], codes: Annotated[NDArray[numpy.int16], dict(shape=(None,), order='C', device='cpu')], errors: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu')], counts: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu')], sums_of_weights: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu')], sums: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu')], threads: int = 1) -> float: ...

def assign(values: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], centroids: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> Annotated[NDArray[numpy.uint8], dict(shape=(None,))]: ...

class Matrix:
    """
    A shared matrix: which elements survive, and the code of each that does.
    """

    def __init__(self, rows: int, columns: int, bitmap: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], codes: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], codebook: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> None:
        """Element r * columns + c survives if its bit of the bitmap is set."""

    @property
    def rows(self) -> int: ...

    @property
    def columns(self) -> int: ...

    @property
    def survivors(self) -> int: ...

    @property
    def centroids(self) -> int: ...

    @property
    def finite(self) -> bool:
        """Whether all centroids are."""

class Digits:
    """The digits of the centroids of a matrix, on a grid or nearest to one."""

    def __init__(self, grid_bits: int, scale8: float, int8: Annotated[NDArray[numpy.int16], dict(shape=(None,), order='C', device='cpu', writable=False)], scale16: float = 0.0, int16: Annotated[NDArray[numpy.int16], dict(shape=(None,), order='C', device='cpu', writable=False)] | None = None) -> None:
        """
        grid_bits is 8 if scale8 * int8 is the codebook exactly, 16 if scale16 * int16 is, else 0.
        """

    @property
    def grid_bits(self) -> int: ...

def forms() -> list[str]:
    """The names of the packed forms, in the order of their numbers."""

def pack(form: str, matrix: Matrix, digits: Digits, layout: str = '') -> Annotated[NDArray[numpy.uint8], dict(shape=(None,))]:
    """
    Packed weights. Two forms have a layout: window by_row or by_slot, wide one_window or two_windows.

    Raises ValueError for parts that do not fit together, and in the forms factored and wide for centroids that are not finite.
    """

def packed_header(packed: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> dict[str, Any]:
    """
    The fields of `packing.Header`. Raises ValueError for bytes that are no packed weights.
    """

def check_packed(packed: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> None:
    """Raises ValueError for packed weights with anything out of its bounds."""

class ConvolutionShape:
    """A convolution of stride 1 in two dimensions."""

    def __init__(self, *, batch: int, groups: int, channels: int, height: int, width: int, kernel_height: int, kernel_width: int, padding_top: int, padding_left: int, dilation_height: int, dilation_width: int, out_height: int, out_width: int) -> None:
        """channels are those of one group."""

def has_sparse_convolution() -> bool:
    """Whether the instruction set in use has a kernel for `convolve_sparse`."""

def convolve_sparse(packed: int, packed_bytes: int, shape: ConvolutionShape, x: int, bias: int, y: int, threads: int) -> bool:
    """
    A convolution from the form tile: addresses of packed weights, float32 x, bias or 0, and y. False, and y as it was, if x is not finite.
    """

def multiply(packed: int, packed_bytes: int, x: int, vectors: int, bias: int, y: int, int8: bool, threads: int) -> None:
    """
    y = x W^T + bias: addresses of packed weights, float32 x (vectors, columns), bias or 0, y (vectors, rows).
    """

def decode_rows(packed: int, packed_bytes: int, first: int, count: int, out: int, threads: int) -> None:
    """
    Dense rows of the form tile: addresses of packed weights and of float32 `out` (count, columns). Raises IndexError for rows that they do not have.
    """

def gather_rows(packed: int, packed_bytes: int, rows: int, count: int, out: int, threads: int) -> None:
    """The same for the `count` int64 row numbers at the address `rows`."""
