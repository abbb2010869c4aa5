"""What a program in C finds: the installed library, by CMake and by pkg-config; the example runs with it."""

import c_interface as c
import numpy as np
import pytest
from packed_matrices import matrix

from deepcompression.file.writer import save_tensors
from deepcompression.tensors.tensor import DenseTensor

EXAMPLE = c.ROOT / "examples" / "c"


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """Where the library is installed: not where it was built."""
    to = tmp_path_factory.mktemp("installed") / "prefix"
    c.run("cmake", "--install", c.built(), "--prefix", to, "--component", "deepcompression")
    return to


@pytest.fixture
def file(tmp_path):
    tensors = {"fc.weight": matrix(5, 30, 0.4, 4), "fc.bias": DenseTensor.from_numpy(np.ones(5, np.float32))}
    save_tensors(tmp_path / "m.dcz", tensors, {})
    return tmp_path / "m.dcz", tensors["fc.weight"].numpy()


def by_cmake(prefix, to):
    c.run("cmake", "-S", EXAMPLE, "-B", to, f"-DCMAKE_PREFIX_PATH={prefix}")
    c.run("cmake", "--build", to)


def by_pkg_config(prefix, to):
    (packages,) = prefix.rglob("pkgconfig")
    to.mkdir()
    flags = "CFLAGS=-Wall -Wextra -Wconversion -pedantic -Werror"
    c.run("make", "-f", EXAMPLE / "Makefile", "-C", to, f"VPATH={EXAMPLE}", flags, PKG_CONFIG_PATH=str(packages))


@pytest.mark.parametrize("build", [by_cmake, by_pkg_config])
def test_the_example_lists_a_file_and_multiplies_a_layer(build, file, prefix, tmp_path):
    build(prefix, tmp_path / "build")
    path, dense = file
    lines = c.run(tmp_path / "build" / "layer", path, "fc.weight").splitlines()
    assert lines[0].startswith("fc.weight F32 [5, 30] ")
    assert lines[0].endswith(" of 600 bytes")
    assert lines[1] == "fc.bias F32 [5] fast 10 of 20 bytes"
    expected = dense @ (1 / np.arange(1, 31))
    np.testing.assert_allclose(np.array(lines[2:], float), expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(AssertionError, match="no tensor of the file has the name 'absent'"):
        c.run(tmp_path / "build" / "layer", path, "absent")


def test_what_is_installed_names_no_folder_of_the_build(prefix):
    assert (prefix / "include" / "deepcompression.h").is_file()
    for path in [*prefix.rglob("*.cmake"), *prefix.rglob("*.pc")]:
        assert str(c.ROOT) not in path.read_text(), path
        assert str(prefix) not in path.read_text(), path


def test_the_library_names_its_abi_and_no_path(prefix):
    (library,) = prefix.rglob("libdeepcompression.so")
    dynamic = c.run("readelf", "-d", library)
    assert "Library soname: [libdeepcompression.so.1]" in dynamic
    assert "RUNPATH" not in dynamic
    assert "RPATH" not in dynamic
