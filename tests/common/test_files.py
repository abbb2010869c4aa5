"""Files that appear whole or not at all: errors name the file that was asked for."""

from __future__ import annotations

import pytest

from deepcompression.common.files import atomic_path


def test_a_folder_is_no_file_to_write_and_nothing_is_left(tmp_path):
    (tmp_path / "inside").mkdir()
    with pytest.raises(IsADirectoryError, match=r"inside'$"), atomic_path(tmp_path / "inside"):
        pytest.fail("the block runs")
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]


def test_an_error_names_the_file_and_not_the_one_that_it_is_written_to(tmp_path):
    path = tmp_path / "m.dcz"
    with pytest.raises(FileNotFoundError, match=r"m\.dcz'$"), atomic_path(path) as partial:
        partial.open("rb")
    assert not list(tmp_path.iterdir())
