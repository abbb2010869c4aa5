"""All coders in C: the same bytes as Python's reader, from memory and through a callback, under sanitizers."""

import struct
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import device_c
import handmade
import mutations
import numpy as np
import pytest
from cases import CASES, content, large_cases

from deepcompression.coding.coders import CODERS, encode
from deepcompression.coding.encode_part import Encode
from deepcompression.common.binary import FormatError
from deepcompression.file.reader import DczFile
from deepcompression.file.writer import save_tensors
from deepcompression.tensors.dtypes import STORAGE, WEIGHT_DTYPES, size_bytes
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor, Tensor

GOLDEN = Path(__file__).parents[1] / "golden"
SOURCES = [
    "tests/device/decode_files.c",
    *("device/dcz.c", "device/rows.c"),
    *sorted(path.relative_to(device_c.ROOT).as_posix() for path in (device_c.DEVICE / "full").glob("*.c")),
]
WAYS = ("memory", "callback")

# as in the program
LIMIT_BYTES = 1 << 21

# of dcz.h
READ, CODER, PAYLOAD, SIZE = 1, 8, 9, 11


class Found(NamedTuple):
    """A file as the program read it: the error of dcz_open, or for each tensor its bytes or an error."""

    error: int
    tensors: list[bytes | int]

    @property
    def refused(self) -> bool:
        return self.error != 0 or any(isinstance(tensor, int) for tensor in self.tensors)


def decoded(
    files: Sequence[bytes], way: str, *arguments: str, switches: Sequence[str] = ("-DDCZ_WITH_ALL",)
) -> list[Found]:
    program = device_c.compile(SOURCES, switches, "decode_files")
    out = device_c.run(program, [way, *arguments], b"".join(struct.pack("<I", len(file)) + file for file in files))
    found, at = [], 0

    def take(code: str) -> int:
        nonlocal at
        at += struct.calcsize(code)
        return int(struct.unpack_from(code, out, at - struct.calcsize(code))[0])

    for _ in files:
        error = take("<B")
        tensors: list[bytes | int] = []
        for _ in range(0 if error else take("<I")):
            flaw = take("<B")
            length = 0 if flaw else take("<I")
            tensors.append(flaw or out[at : at + length])
            at += length
        found.append(Found(error, tensors))
    assert at == len(out)
    return found


def dense_bytes(path: Path) -> list[bytes]:
    with DczFile(path) as file:
        return [content(file.read_dense(name))[2] for name in file]


@pytest.mark.parametrize("way", WAYS)
def test_every_good_golden_file_gives_the_bytes_of_python_s_reader(way):
    paths = sorted((GOLDEN / "good").iterdir())
    for path, found in zip(paths, decoded([path.read_bytes() for path in paths], way), strict=True):
        assert found == Found(0, dense_bytes(path)), path.name


@pytest.mark.parametrize("way", WAYS)
def test_every_bad_golden_file_is_refused(way):
    paths = sorted((GOLDEN / "bad").iterdir())
    accepted = [
        path.stem
        for path, found in zip(paths, decoded([path.read_bytes() for path in paths], way), strict=True)
        if not found.refused
    ]
    assert accepted == []


# payloads by `fast` of U8: all would be zero if nobody looked behind the last survivor
ZEROS = {
    "the last gap is an escape": ((10,), "00 00 02 02 01 01 02"),
    "a pattern has a bit behind the end": ((3,), "00 00 04 04 01 08"),
    "an escape steps behind the end": ((3,), "00 00 03 02 02 01 02 02"),
    "a number is longer than needed": ((10,), "00 00 02 02 80 00"),
    "a class is none of two": ((2, 2), "00 02 01 00 01 02 00 02 02 00 00 00 00"),
    "a group is none of two": ((2, 2), "00 02 01 00 01 02 01 00 01 02 00 02 00 00"),
}


@pytest.mark.parametrize("flaw", ZEROS)
def test_a_mask_with_a_flaw_is_refused_even_if_no_element_survives(flaw, tmp_path):
    shape, payload = ZEROS[flaw]
    data = handmade.file([handmade.entry(bytes.fromhex(payload), 4, "U8", shape)], bytes.fromhex(payload))
    (tmp_path / "zeros.dcz").write_bytes(data)
    with pytest.raises(FormatError):
        dense_bytes(tmp_path / "zeros.dcz")
    for way in WAYS:
        assert decoded([data], way) == [Found(0, [PAYLOAD])]


def files_of(tensors: Mapping[str, Tensor], folder: Path, coders: Iterable[str] = CODERS) -> list[Path]:
    """A file for each coder, with the tensors that it can hold."""
    paths = []
    for coder in coders:
        held = {}
        for name, tensor in tensors.items():
            with suppress(ValueError):
                encode(tensor, coder)
                held[name] = tensor
        paths.append(folder / f"{coder}.dcz")
        save_tensors(paths[-1], held, {}, {name: Encode(coder=coder) for name in held})
    return paths


def assert_read_as_by_python(paths: list[Path]) -> None:
    expected = [dense_bytes(path) for path in paths]
    for way in WAYS:
        for path, bytes_of, found in zip(paths, expected, decoded([p.read_bytes() for p in paths], way), strict=True):
            assert found.error == 0, path.name
            with DczFile(path) as file:
                wrong = [name for name, a, b in zip(file, found.tensors, bytes_of, strict=True) if a != b]
            assert wrong == [], path.name


def test_tensors_of_every_dtype_and_shape_by_every_coder(tmp_path):
    # golden files have every width of gaps
    cases = {name: tensor for name, tensor in CASES.items() if not name.startswith("step ")}
    assert_read_as_by_python(files_of(cases, tmp_path))


def test_tensors_that_fill_lanes(tmp_path):
    assert_read_as_by_python(files_of(large_cases(), tmp_path, ["fast"]))


def random_tensors(seed: int) -> dict[str, Tensor]:
    rng = np.random.default_rng(seed)
    tensors: dict[str, Tensor] = {}
    shapes = [(900,), (40, 31), (3, 500), (12, 4, 3, 3), (8, 16, 5), (6, 2, 1, 7), (2, 3, 2, 2, 2), (70, 9, 1, 1)]
    for number, shape in enumerate(shapes):
        for density in (0.03, 0.3, 0.7, 0.99, 1.0):
            size = int(np.prod(shape))
            rows = rng.random(shape[0])[:, None] < 0.5 if number % 2 else 1.0
            survives = rng.random((shape[0], size // shape[0])) < density * np.where(rows, 1.0, 0.1)
            dtype = str(rng.choice(WEIGHT_DTYPES))
            k = int(rng.choice([1, 2, 7, 33, 256]))
            codebook = np.sort(rng.choice(1000, k, replace=False) - rng.integers(0, 1000)).astype(np.float32)
            positions = np.flatnonzero(survives)
            codes = np.minimum(rng.geometric(4 / (k + 3), len(positions)) - 1, k - 1).astype(np.uint8)
            shared = CompressedTensor(shape, positions, np.unique(codebook).astype("<f4"), codes, "F32")
            tensors[f"{shape} {density} shared"] = shared
            if dtype != "F32":
                elements = rng.integers(0, 256, (size, STORAGE[dtype].itemsize)).astype(np.uint8)
                elements[~survives.reshape(-1)] = 0
                tensors[f"{shape} {density} values"] = DenseTensor.of_bytes(dtype, shape, elements.reshape(-1))
    return tensors


def test_random_tensors_by_every_coder(tmp_path):
    assert_read_as_by_python(files_of(random_tensors(1), tmp_path))


def python_s(path: Path) -> Found | None:
    """What Python's reader gives without a limit; None where the two cannot agree."""
    try:
        file = DczFile(path, 1 << 63)
    except FormatError as error:
        # C does not need this entry: it measures the payload
        return None if "metadata device.work" in str(error) else Found(1, [])
    tensors: list[bytes | int] = []
    with file:
        for name, entry in file.entries.items():
            if size_bytes(entry.dtype, entry.shape) > LIMIT_BYTES:
                return None
            try:
                tensors.append(content(file.read_dense(name))[2])
            except FormatError:
                tensors.append(1)
    return Found(0, tensors)


@pytest.fixture(scope="module")
def sound():
    return mutations.samples()


@pytest.mark.parametrize("way", WAYS)
def test_mutated_files_are_refused_or_read_as_python_reads_them(way, sound, tmp_path):
    first = {"memory": 0, "callback": 10_000}[way]
    numbers = range(first, first + 400)
    files = [mutations.case(number, sound).data for number in numbers]
    path, refused, read = tmp_path / "case.dcz", 0, 0
    for number, file, found in zip(numbers, files, decoded(files, way), strict=True):
        path.write_bytes(file)
        expected = python_s(path)
        if expected is None or SIZE in (found.error, *found.tensors):
            continue
        assert (found.error != 0) == (expected.error != 0), number
        for ours, theirs in zip(found.tensors, expected.tensors, strict=True):
            assert ours == theirs or (isinstance(ours, int) and isinstance(theirs, int)), number
            refused += isinstance(ours, int)
            read += isinstance(ours, bytes)
    # of either kind there are many
    assert refused > 50
    assert read > 50


def test_a_roomy_build_reads_and_refuses_the_same(sound):
    files = [path.read_bytes() for folder in ("good", "bad") for path in sorted((GOLDEN / folder).iterdir())]
    files += [mutations.case(number, sound).data for number in range(20_000, 20_300)]
    assert decoded(files, "memory", switches=("-DDCZ_WITH_ALL", "-DDCZ_ROOMY")) == decoded(files, "memory")


def test_a_callback_that_fails_at_any_read_is_an_error(tmp_path):
    tensors = {name: CASES[name] for name in ("F32 256 centroids", "F16 full", "U8 some")}
    for path in files_of(tensors, tmp_path):
        file = path.read_bytes()
        reads, failed = 0, True
        while failed:
            [found] = decoded([file], "callback", str(reads))
            failed = found.refused
            errors = {found.error} | {tensor for tensor in found.tensors if isinstance(tensor, int)}
            assert errors <= {0, READ}, (path.name, reads)
            reads += 1 + reads // 4
        assert reads > 10


def test_a_coder_without_its_switch_is_refused_by_name():
    path = GOLDEN / "good" / "every-coder.dcz"
    raw, sparse, _ = dense_bytes(path)
    found = decoded([path.read_bytes()], "memory", switches=["-O0", "-DDCZ_WITH_SPARSE"])
    assert found == [Found(0, [raw, sparse, CODER])]
