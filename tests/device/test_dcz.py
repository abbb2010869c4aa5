"""The container in C: it opens what docs/format.md allows and nothing else, from memory and through a callback.

tests/device/reader.c reads each file in both ways.
"""

import random
import re
from pathlib import Path

import handmade
import pytest
import second_reader
from bad_files import BAD
from cases import dense, pruned, shared
from device_reader import Error, read_files
from golden_files import GOOD

from deepcompression.file.writer import save_tensors
from deepcompression.tensors.entry import Tie

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
DECODED = (handmade.RAW, handmade.DEVICE)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The bytes of a file with a bit of everything that the C source decodes."""
    path = tmp_path_factory.mktemp("device") / "small.dcz"
    tensors = {
        "fc.weight": shared(40, [0, 3, 9, 30], 2, shape=(5, 8)),
        "fc.bias": dense("F32", (2,)),
        "tied": Tie("fc.weight"),
        "größe": pruned("I8", 30, [3, 29]),
        "größer": dense("F16", ()),
        "none": dense("U8", (3, 0)),
    }
    save_tensors(path, tensors, {"made by": "tests", "größe": "€"}, profile="device")
    return path.read_bytes()


def same(found, data):
    """Whether the tensors that this build can decode are those of the second reader."""
    _, expected = second_reader.read(data)
    assert [tensor.name for tensor in found.tensors] == list(expected)
    for tensor, (dtype, shape, elements) in zip(found.tensors, expected.values(), strict=True):
        assert tensor.error == tensor.checked == Error.OK
        assert (second_reader.DTYPES[tensor.dtype], tensor.ndim) == (dtype, len(shape))
        assert tensor.rows * tensor.cols * tensor.size == len(elements)
        if tensor.coder in DECODED:
            assert (tensor.read, tensor.elements) == (Error.OK, elements)
        else:
            assert tensor.read == Error.CODER
    return True


def test_every_good_golden_file_opens_and_what_this_build_decodes_is_right():
    files = [(GOLDEN / "good" / f"{name}.dcz").read_bytes() for name in GOOD]
    coders = set()
    for found, data in zip(read_files(files), files, strict=True):
        assert found.error == Error.OK
        assert same(found, data)
        coders |= {tensor.coder for tensor in found.tensors}
    assert coders == set(range(1, 8))


def test_every_bad_golden_file_ends_in_an_error():
    for name, found in zip(BAD, read_files([data for data, _ in BAD.values()]), strict=True):
        assert found.first_error != Error.OK, name


# the index of each is refused when the file is opened, with its own error
OPENED = {
    "empty": Error.MAGIC,
    "wrong-magic": Error.MAGIC,
    "future-version": Error.VERSION,
    "unknown-coder": Error.VERSION,
    "unknown-dtype": Error.VERSION,
    "cut-index": Error.TRUNCATED,
    "cut-payload": Error.TRUNCATED,
    "flipped-bit-in-index": Error.CHECKSUM,
    "bytes-behind-the-payloads": Error.INDEX,
    "bytes-behind-the-index": Error.INDEX,
}


@pytest.mark.parametrize("name", OPENED)
def test_a_bad_file_has_the_error_of_its_story(name):
    assert read_files([BAD[name][0]])[0].error == OPENED[name]


def test_an_error_of_the_callback_is_handed_on_from_each_of_its_calls(small):
    groups = (GOLDEN / "good" / "ties-names-and-metadata.dcz").read_bytes()
    for found, data in zip(read_files([small, groups], failures=True), [small, groups], strict=True):
        assert same(found, data)


def test_every_truncation_is_refused(small):
    assert same(read_files([small])[0], small)
    for found in read_files(small[:length] for length in range(len(small))):
        assert found.error in (Error.MAGIC, Error.TRUNCATED)


def test_any_flipped_bit_is_found(small):
    files = []
    for bit in range(8 * len(small)):
        data = bytearray(small)
        data[bit // 8] ^= 1 << bit % 8
        files.append(bytes(data))
    for found in read_files(files):
        assert found.error != Error.OK or Error.CHECKSUM in {tensor.checked for tensor in found.tensors}


def test_mutated_indices_with_right_checksums_are_refused_or_read_as_the_second_reader_does(small):
    with_index = DczFileHead(small)
    rng = random.Random(1)
    files = [with_index.replaced(handmade.mutated(rng, with_index.index)) for _ in range(3000)]
    opened = 0
    for found, data in zip(read_files(files), files, strict=True):
        try:
            _, expected = second_reader.read(data)
        except second_reader.RefusedError:
            expected = None
        if expected is None:
            assert found.first_error != Error.OK
        else:
            opened += same(found, data)
    assert opened > 20


class DczFileHead:
    """A sound file, taken apart around its index."""

    def __init__(self, whole: bytes) -> None:
        source = second_reader.Bytes(whole)
        source.take(5)
        self.index = source.take(source.varint())
        source.crc()
        self.payloads = whole[source.at :]

    def replaced(self, index: bytes) -> bytes:
        return handmade.seal(b"\x89DCZ\1" + handmade.text(index)) + self.payloads


RAW = [b"\0\0\0\0" * 2]


def of_names(*names: bytes) -> bytes:
    return handmade.file([handmade.entry(b"", shape=(0,), name=name) for name in names])


LONG = b"n" * 80


@pytest.mark.parametrize(
    ("names", "error"),
    [
        ([b"a", b"b", b"ab", b"", b"ba"], Error.OK),
        ([b"a", b"b", b"a"], Error.INDEX),
        ([b"", b"b", b""], Error.INDEX),
        ([b"\xc3"], Error.INDEX),
        ([b"\xed\xa0\x80"], Error.INDEX),
        ([b"\xf4\x90\x80\x80"], Error.INDEX),
        ([b"\xc0\x80"], Error.INDEX),
        (["größe €𝄞".encode()], Error.OK),
        ([LONG, b"b", LONG], Error.INDEX),
        # "Longer names are not checked."
        ([LONG + b"1", b"b", LONG + b"1"], Error.OK),
        ([LONG + b"\xff"], Error.OK),
    ],
)
def test_names_are_unique_and_utf8_as_far_as_the_header_says(names, error):
    assert read_files([of_names(*names)])[0].error == error


def test_a_build_that_does_not_check_names_opens_what_others_refuse():
    found = read_files([of_names(b"a", b"b", b"a"), of_names(b"\xff")], ["-DDCZ_NAME=0"])
    assert [each.error for each in found] == [Error.OK, Error.OK]


def test_more_tensors_than_a_build_takes_are_too_large_for_it():
    names = [b"%d" % number for number in range(8)]
    found = read_files([of_names(*names[:7]), of_names(*names)], ["-DDCZ_TENSORS=7"])
    assert [each.error for each in found] == [Error.OK, Error.SIZE]


def test_a_name_that_shares_a_part_of_a_character_is_checked_as_a_whole():
    first = handmade.entry(b"", shape=(0,), name="ö".encode())
    for rest, error in ((b"\xa4", Error.OK), (b"x", Error.INDEX)):
        second = b"\1" + handmade.text(rest) + handmade.entry(b"", shape=(0,))[3:]
        assert read_files([handmade.file([first, second])])[0].error == error


@pytest.mark.parametrize(
    ("shape", "dtype", "rows", "cols", "size"),
    [
        ((), "F32", 1, 1, 4),
        ((7,), "F64", 1, 7, 8),
        ((3, 4, 5), "I8", 3, 20, 1),
        ((3, 0, 5), "I8", 3, 0, 1),
        ((0, 5), "I16", 0, 5, 2),
        ((1,) * 31 + (2,), "U8", 1, 2, 1),
        ((3, 5), "I4", 1, 8, 1),
        ((3, 5), "F6_E2M3", 1, 12, 1),
        ((3, 5), "C128", 1, 30, 8),
        ((3, 0), "C128", 1, 0, 8),
    ],
)
def test_a_tensor_has_the_rows_and_columns_of_its_shape(shape, dtype, rows, cols, size):
    data = handmade.one(bytes(rows * cols * size), dtype=dtype, shape=shape)
    tensor = read_files([data])[0].tensors[0]
    assert (tensor.first_error, tensor.ndim) == (Error.OK, len(shape))
    assert (tensor.rows, tensor.cols, tensor.size) == (rows, cols, size)


@pytest.mark.parametrize("shape", [(2**30,), (2**16, 2**14), (2**40,), (2**32, 0), (0, 2**60)])
def test_a_tensor_beyond_32_bits_is_found_to_be_too_large_in_a_file_that_opens(shape):
    found = read_files(
        [handmade.file([handmade.entry(b"\0", 4, shape=shape), handmade.entry(b"", shape=(0,), name=b"b")], b"\0")]
    )[0]
    assert found.error == Error.OK
    assert [tensor.error for tensor in found.tensors] == [Error.SIZE, Error.OK]


@pytest.mark.parametrize(
    ("shape", "dtype", "error"),
    [
        ((2**61,), "F32", Error.INDEX),
        ((2**61 - 1,), "F32", Error.OK),
        ((2**62, 2**62), "U8", Error.INDEX),
        ((2**62, 2**62, 0), "U8", Error.INDEX),
        ((2**63 - 1, 4), "I2", Error.OK),
        ((2**62, 8), "I2", Error.INDEX),
        ((2**62, 2**62, 2**62), "I2", Error.INDEX),
        ((2**59,), "C128", Error.INDEX),
        ((2**59 - 1,), "C128", Error.OK),
    ],
)
def test_shapes_are_refused_from_2_63_bytes_on(shape, dtype, error):
    assert read_files([handmade.one(b"", coder=4, dtype=dtype, shape=shape)])[0].error == error


def test_errors_are_numbered_as_in_the_header_and_each_has_a_text():
    header = (ROOT / "device/dcz.h").read_text()
    listed = re.search(r"typedef enum \{(.*?)\} dcz_error;", header, re.DOTALL)[1]
    assert re.findall(r"DCZ_(?:ERROR_)?(\w+)", re.sub(r"/\*.*?\*/", "", listed)) == [error.name for error in Error]
    texts = re.findall(r'^\s+"(.+)",$', (ROOT / "device/error_text.c").read_text(), re.MULTILINE)
    assert len(texts) == len(Error)
