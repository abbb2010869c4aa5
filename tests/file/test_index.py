from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcompression.coding.coders import CODERS
from deepcompression.common import binary
from deepcompression.common.binary import MAX_DIMENSIONS, FormatError
from deepcompression.file import index
from deepcompression.file.index import MAGIC, Entry, read_head, read_header, write_head
from deepcompression.tensors.dtypes import STORAGE

NAMES = st.text(max_size=12) | st.sampled_from(
    ["conv1.weight", "conv1.bias", "conv10.weight", "größe", "grün", "", "a"]
)


def entry(name, coder="raw", dtype="F32", shape=(2,), length=8, checksum=7):
    return Entry(name, dtype, shape, coder=coder, length=length, checksum=checksum)


def reread(entries, metadata=None):
    head = write_head(entries, metadata or {})
    start, length = read_header(head[:14])
    assert start + length + 4 == len(head)
    return (*read_head(head, start), len(head))


ENTRIES = st.builds(
    entry,
    NAMES,
    st.sampled_from(sorted(CODERS)),
    st.sampled_from(sorted(STORAGE)),
    st.lists(st.integers(0, 300), max_size=4).map(tuple),
    st.integers(0, 2**40),
    st.integers(0, 2**32 - 1),
)


@settings(derandomize=True, deadline=None)
@given(st.lists(ENTRIES, unique_by=lambda e: e.name, max_size=8), st.dictionaries(NAMES, NAMES, max_size=4))
def test_any_index_comes_back_with_the_place_of_each_payload(entries, metadata):
    found, texts, offset = reread(entries, metadata)
    assert list(found) == [e.name for e in entries]
    assert texts == metadata
    for e in entries:
        assert found[e.name] == replace(e, offset=offset)
        offset += e.length


def test_metadata_comes_in_the_order_of_its_bytes():
    assert write_head([], {"a": "1", "b": "2"}) == write_head([], {"b": "2", "a": "1"})


def test_a_name_costs_only_what_the_one_before_does_not_have():
    alone = len(write_head([entry("conv1.weight")], {}))
    assert len(write_head([entry("conv1.weight"), entry("conv1.bias")], {})) - alone == len("bias") + 11


def test_names_may_share_half_a_character():
    assert list(reread([entry("ü"), entry("ö")])[0]) == ["ü", "ö"]


def test_a_tie_takes_everything_from_its_tensor_and_no_bytes():
    first = entry("a", length=5)
    entries, _, end = reread([first, replace(first, name="b", tied_to="a"), entry("c")])
    assert entries["b"] == replace(entries["a"], name="b", tied_to="a")
    assert entries["c"].offset == end + 5


def test_dense_bytes_follow_from_shape_and_dtype():
    assert entry("a", dtype="F64", shape=(3, 5)).nbytes == 120


def test_names_that_take_too_much_together_are_refused_by_writer_and_reader(monkeypatch):
    entries = [entry("n" * 50 + str(i)) for i in range(9)]
    head = write_head(entries, {})
    monkeypatch.setattr(index, "MAX_INDEX_BYTES", 400)
    with pytest.raises(FormatError, match=r"the names up to offset \d+ take more than 400 bytes"):
        read_head(head, 7)
    with pytest.raises(ValueError, match="names and metadata take more than 400 bytes"):
        write_head(entries, {})
    with pytest.raises(ValueError, match="names and metadata take more than 400 bytes"):
        write_head([], {"key": "v" * 400})


def test_few_bytes_cannot_claim_many_names():
    # each name is the one before and one byte more: their full length grows with the square of the index
    count = 20_000
    body = binary.varint(0) + binary.varint(count) + b"\0\1n\1\0\0\0\0\0\0\0"
    body += b"".join(binary.varint(i) + b"\1n\0\0" for i in range(1, count))
    head = MAGIC + b"\1" + binary.varint(len(body)) + body
    assert len(head) < 150_000
    with pytest.raises(FormatError, match="take more than 100000000 bytes"):
        read_head(head + binary.checksum(head).to_bytes(4, "little"), len(head) - len(body))


def test_more_entries_than_allowed_are_refused_by_writer_and_reader(monkeypatch):
    entries, metadata = [entry(str(i)) for i in range(4)], {"a": "", "b": "", "c": "", "d": ""}
    many_tensors, much_metadata = write_head(entries, {}), write_head([], metadata)
    monkeypatch.setattr(index, "MAX_ENTRIES", 3)
    for head, what in ((many_tensors, "tensors"), (much_metadata, "metadata entries")):
        with pytest.raises(FormatError, match=rf"number of {what} at offset \d+ is 4, at most 3 are allowed"):
            read_head(head, 6)
    for arguments in ((entries, {}), ([], metadata)):
        with pytest.raises(ValueError, match="more than 3 tensors or metadata entries cannot be stored"):
            write_head(*arguments)


def test_a_large_index_is_refused_before_it_is_read():
    with pytest.raises(FormatError, match="the index takes 100000001 bytes, more than 100000000"):
        read_header(MAGIC + b"\1" + binary.varint(100_000_001))


@pytest.mark.parametrize("start", [b"", b"\x89", b"PK\3\4", b"\x89DCX\1\0", b"\x89dcz\1\0"])
def test_another_magic_is_refused(start):
    with pytest.raises(FormatError, match=r"not a .dcz file: it begins with .*, expected 89 44 43 5a"):
        read_header(start)


def test_as_many_dimensions_as_allowed_come_back():
    shape = (1,) * MAX_DIMENSIONS
    assert reread([entry("a", shape=shape)])[0]["a"].shape == shape
    with pytest.raises(FormatError, match=r"tensor 'a': 33 dimensions are more than 32"):
        reread([entry("a", shape=(*shape, 1))])
