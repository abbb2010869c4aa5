"""Sparse matrices of other libraries that compute y = x W^T: torch, oneMKL, SciPy. A table as in peers.py."""

from __future__ import annotations

import ctypes
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.layers.peers import SPARSE, Array, Layer, Made, Peer, size_bytes
from benchmarks.packages import UnavailableError


def scipy_csr(layer: Layer, x: Array, threads: int) -> Made:
    from scipy.sparse import csr_array

    starts, columns, values = layer.csr
    matrix = csr_array((values, columns, starts), layer.weight.shape)
    given = x[0] if len(x) == 1 else np.ascontiguousarray(x.T)
    return lambda: (matrix @ given).T, size_bytes(*layer.csr)


def torch_csr(layer: Layer, x: Array, threads: int) -> Made:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        starts, columns, values = (torch.from_numpy(part) for part in layer.csr)
        matrix = torch.sparse_csr_tensor(starts, columns, values, layer.weight.shape)
    given = torch.from_numpy(x[0] if len(x) == 1 else np.ascontiguousarray(x.T))
    if len(x) == 1:
        return lambda: matrix @ given, size_bytes(*layer.csr)
    return lambda: (matrix @ given).T, size_bytes(*layer.csr)


def sparse_dot_mkl(layer: Layer, x: Array, threads: int) -> Made:
    import sparse_dot_mkl as package
    from scipy.sparse import csr_matrix

    starts, columns, values = layer.csr
    matrix = csr_matrix((values, columns, starts), layer.weight.shape)
    given = x[0] if len(x) == 1 else np.ascontiguousarray(x.T)
    return lambda: package.dot_product_mkl(matrix, given).T, size_bytes(*layer.csr)


class _MatrixDescription(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("mode", ctypes.c_int), ("diagonal", ctypes.c_int)]


def load_mkl() -> ctypes.CDLL:
    """oneMKL from the package `mkl`. Raises UnavailableError."""
    from importlib.metadata import PackageNotFoundError, files

    try:
        found = [file.locate() for file in files("mkl") or () if file.name.startswith("libmkl_rt.so")]
    except PackageNotFoundError:
        raise UnavailableError("the package mkl is not installed") from None
    return ctypes.CDLL(str(Path(str(found[0])).resolve()))


def onemkl(layer: Layer, x: Array, threads: int, row_major: bool = False) -> Made:
    """The inspector-executor: a handle made once and optimized for its use."""
    no_transpose, rows_first, columns_first, aggressive, many = 10, 101, 102, 81, 1_000_000
    mkl, batch = load_mkl(), len(x)
    row_major = row_major and batch > 1
    starts, columns, values = layer.csr
    handle, integer = ctypes.c_void_p(), ctypes.c_int

    def address(array: Array) -> ctypes.c_void_p:
        return ctypes.c_void_p(array.ctypes.data)

    def check(status: int) -> None:
        if status:
            raise UnavailableError(f"oneMKL gave status {status}")

    parts = (address(starts), address(starts[1:]), address(columns), address(values))
    shape = (integer(layer.rows), integer(layer.columns))
    check(mkl.mkl_sparse_s_create_csr(ctypes.byref(handle), 0, *shape, *parts))
    description = _MatrixDescription(20, 40, 50)  # general; the kinds of triangle and diagonal do not matter
    order = rows_first if row_major else columns_first
    if batch == 1:
        check(mkl.mkl_sparse_set_mv_hint(handle, no_transpose, description, many))
    else:
        check(mkl.mkl_sparse_set_mm_hint(handle, no_transpose, description, order, batch, many))
    check(mkl.mkl_sparse_set_memory_hint(handle, aggressive))
    check(mkl.mkl_sparse_optimize(handle))
    given = np.ascontiguousarray(x.T) if row_major else x
    out = np.empty((layer.rows, batch) if row_major else (batch, layer.rows), np.float32)
    y = out.T if row_major else out
    one, zero = ctypes.c_float(1), ctypes.c_float(0)
    if batch == 1:
        call = partial(mkl.mkl_sparse_s_mv, no_transpose, one, handle, description, address(given), zero, address(out))
    else:
        widths = (batch, batch) if row_major else (layer.columns, layer.rows)
        call = partial(
            mkl.mkl_sparse_s_mm,
            *(no_transpose, one, handle, description, order, address(given), batch, widths[0], zero, address(out)),
            widths[1],
        )

    # the arrays that the handle points at live as long as the function
    def run(kept: object = (layer, given, parts)) -> Array:
        call()
        return y

    return run, size_bytes(*layer.csr)


PEERS = {
    "torch sparse CSR": Peer(SPARSE, torch_csr),
    "oneMKL": Peer(SPARSE, onemkl),
    "oneMKL, row major": Peer(SPARSE, partial(onemkl, row_major=True)),
    "sparse-dot-mkl": Peer(SPARSE, sparse_dot_mkl),
    "scipy": Peer(SPARSE, scipy_csr),
}
