"""The memory that a small device needs to decode a file (docs/format.md, "Work buffer")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from deepcompression.common.binary import FormatError
from deepcompression.file.index import Entry

_KEY = "device.work"


def with_work(metadata: Mapping[str, str], payloads: Iterable[tuple[Entry, bytes]]) -> dict[str, str]:
    """The metadata of a file, with the largest work buffer of its payloads of the coder `device`, if it has any."""
    from deepcompression.coding.device import work_bytes

    sizes = [work_bytes(data, entry.dtype, entry.shape) for entry, data in payloads if entry.coder == "device"]
    others = {key: value for key, value in metadata.items() if key != _KEY}
    return {**others, _KEY: str(max(sizes))} if sizes else others


def take_work(metadata: dict[str, str]) -> int:
    """Removes the bytes of the work buffer from a file's metadata; 0 if there are none. Raises FormatError for a value
    that is no number.
    """
    value = metadata.pop(_KEY, "0")
    # fewer digits than Python's own limit
    if not (value.isascii() and value.isdecimal() and len(value) < 20):
        raise FormatError(f"its metadata {_KEY} is no number of bytes: {value[:40]!r}")
    return int(value)
