"""The library for C, built from these sources, and called as a program in C would call it."""

from __future__ import annotations

import ctypes
import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char_p, c_float, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build"

DONE, BAD_CALL, BAD_FILE, SYSTEM = 0, 2, 3, 4
FLOAT32, INT8 = 0, 1


class Text(ctypes.Structure):
    _fields_ = (("bytes", c_void_p), ("length", c_size_t))

    @property
    def text(self) -> str:
        return ctypes.string_at(self.bytes, self.length).decode()


class Entry(ctypes.Structure):
    _fields_ = (
        ("name", Text),
        ("dtype", c_char_p),
        ("coder", c_char_p),
        ("shape", POINTER(c_uint64)),
        ("dimensions", c_size_t),
        ("bytes", c_uint64),
        ("stored_bytes", c_uint64),
        ("tied_to", c_size_t),
    )


class Facts(ctypes.Structure):
    _fields_ = (
        ("rows", c_uint64),
        ("columns", c_uint64),
        ("survivors", c_uint64),
        ("centroids", c_uint64),
        ("form", c_char_p),
        ("bytes", c_void_p),
        ("size", c_size_t),
    )


class Product(ctypes.Structure):
    _fields_ = (
        ("vectors", c_size_t),
        ("x", POINTER(c_float)),
        ("x_length", c_size_t),
        ("bias", POINTER(c_float)),
        ("bias_length", c_size_t),
        ("y", POINTER(c_float)),
        ("y_length", c_size_t),
        ("activations", c_int32),
        ("threads", c_uint32),
    )


# the tools of the virtual environment come first
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def run(*command: str | Path, **environment: str) -> str:
    """What the command printed; it must succeed."""
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": PATH, **environment},
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def folder() -> Path:
    """Of the package's own build, whose objects the library shares; else one of its own."""
    for cache in sorted(BUILD.glob("cp3*/CMakeCache.txt")):
        tools = re.findall("^CMAKE_(?:MAKE_PROGRAM|COMMAND):.+?=(.+)$", cache.read_text(), re.MULTILINE)
        # those of an isolated build are gone
        if all(Path(tool).exists() for tool in tools) and (cache.parent / "capi").exists():
            return cache.parent
    ninja = ("-G", "Ninja") if shutil.which("ninja", path=PATH) else ()
    if not (BUILD / "c" / "CMakeCache.txt").exists():
        run("cmake", "-S", ROOT, "-B", BUILD / "c", *ninja, "-DDCZ_C_INTERFACE=ON")
    return BUILD / "c"


@functools.cache
def built() -> Path:
    """The folder in which the library has been built."""
    BUILD.mkdir(exist_ok=True)
    with FileLock(BUILD / "c-interface.lock"):
        found = folder()
        run("cmake", "--build", found, "--target", "deepcompression", "--parallel", str(os.cpu_count()))
    return found / "capi"


@functools.cache
def library() -> ctypes.CDLL:
    found = ctypes.CDLL(str(built() / "libdeepcompression.so"))
    for name in ("dcz_version", "dcz_message", "dcz_instruction_sets"):
        getattr(found, name).restype = c_char_p
    found.dcz_abi_version.restype = c_uint32
    for name in ("dcz_reader_count", "dcz_reader_metadata_count"):
        getattr(found, name).restype = c_size_t
        getattr(found, name).argtypes = (c_void_p,)
    handles, sizes = POINTER(c_void_p), POINTER(c_size_t)
    for name, arguments in {
        "dcz_reader_open": (c_char_p, c_uint64, handles),
        "dcz_reader_open_memory": (c_char_p, c_size_t, c_uint64, handles),
        "dcz_reader_entry": (c_void_p, c_size_t, POINTER(Entry), c_size_t),
        "dcz_reader_find": (c_void_p, c_char_p, sizes),
        "dcz_reader_metadata": (c_void_p, c_size_t, POINTER(Text), POINTER(Text)),
        "dcz_reader_decode": (c_void_p, c_size_t, c_void_p, c_size_t, c_uint32),
        "dcz_reader_check": (c_void_p, c_size_t),
        "dcz_packed_make": (c_void_p, c_size_t, c_int32, c_size_t, c_uint32, handles),
        "dcz_packed_describe": (c_void_p, POINTER(Facts), c_size_t),
        "dcz_packed_multiply": (c_void_p, POINTER(Product), c_size_t),
        "dcz_instruction_set": (POINTER(c_char_p),),
        "dcz_force_instruction_set": (c_char_p,),
    }.items():
        getattr(found, name).argtypes = arguments
        getattr(found, name).restype = c_int32
    for name in ("dcz_reader_close", "dcz_packed_free"):
        getattr(found, name).argtypes = (c_void_p,)
        getattr(found, name).restype = None
    return found


class CallError(Exception):
    """A call that failed, with its status."""

    def __init__(self, status: int) -> None:
        super().__init__(library().dcz_message().decode())
        self.status = status


def call(name: str, *arguments: object) -> None:
    """Raises CallError for another status than DCZ_DONE."""
    if status := getattr(library(), name)(*arguments):
        raise CallError(status)


@contextmanager
def opened(source: Path | bytes, limit_bytes: int = 0) -> Iterator[c_void_p]:
    reader = c_void_p()
    if isinstance(source, bytes):
        call("dcz_reader_open_memory", source, len(source), limit_bytes, byref(reader))
    else:
        call("dcz_reader_open", str(source).encode(), limit_bytes, byref(reader))
    yield reader
    library().dcz_reader_close(reader)


def entry(reader: c_void_p, number: int) -> Entry:
    found = Entry()
    call("dcz_reader_entry", reader, number, byref(found), ctypes.sizeof(found))
    return found


def entries(reader: c_void_p) -> list[Entry]:
    return [entry(reader, number) for number in range(library().dcz_reader_count(reader))]


def find(reader: c_void_p, name: str) -> int:
    number = c_size_t()
    call("dcz_reader_find", reader, name.encode(), byref(number))
    return number.value


def decode(reader: c_void_p, number: int, threads: int = 1) -> bytes:
    elements = np.empty(entry(reader, number).bytes, np.uint8)
    elements[: 1 << 20] = 0xAA  # bad files claim far more than they may touch
    call("dcz_reader_decode", reader, number, elements.ctypes.data, len(elements), threads)
    return elements.tobytes()


@contextmanager
def packed(reader: c_void_p, number: int, activations: int = FLOAT32, vectors: int = 1) -> Iterator[c_void_p]:
    found = c_void_p()
    call("dcz_packed_make", reader, number, activations, vectors, 1, byref(found))
    yield found
    library().dcz_packed_free(found)


def facts(weights: c_void_p) -> Facts:
    found = Facts()
    call("dcz_packed_describe", weights, byref(found), ctypes.sizeof(found))
    return found


def product(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    bias: NDArray[np.float32] | None = None,
    activations: int = FLOAT32,
    threads: int = 1,
) -> Product:
    """The arrays must outlive it."""

    def floats(array: NDArray[np.float32]) -> object:
        return array.ctypes.data_as(POINTER(c_float))

    biased = (None, 0) if bias is None else (floats(bias), bias.size)
    return Product(len(x), floats(x), x.size, *biased, floats(y), y.size, activations, threads)


def multiply(
    weights: c_void_p,
    x: NDArray[np.float32],
    bias: NDArray[np.float32] | None = None,
    activations: int = FLOAT32,
    threads: int = 1,
) -> NDArray[np.float32]:
    y = np.full((len(x), facts(weights).rows), np.nan, np.float32)
    of = product(x, y, bias, activations, threads)
    call("dcz_packed_multiply", weights, byref(of), ctypes.sizeof(of))
    return y
