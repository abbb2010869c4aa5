"""The library as a file: its symbols, its versions, and its header in C and C++."""

import re
import tomllib

import c_interface as c
import pytest

HEADER = c.ROOT / "include" / "deepcompression.h"


def exported():
    return set(re.findall(r"^ +(dcz_\w+);$", (c.ROOT / "capi" / "exports.map").read_text(), re.MULTILINE))


def test_the_library_exports_what_the_list_says_and_nothing_else():
    library = c.built() / "libdeepcompression.so"
    lines = c.run("nm", "-D", "--defined-only", library).splitlines()
    found = {line.split()[2] for line in lines if line.split()[1] != "A"}
    assert found == {f"{name}@@DEEPCOMPRESSION_1" for name in exported()}


def test_the_header_declares_what_the_list_says():
    declared = re.findall(r"^DCZ_API [^;(]*?\b(dcz_\w+)\(", HEADER.read_text(), re.MULTILINE)
    assert sorted(declared) == sorted(exported())


def test_the_versions_are_the_project_s_and_the_header_s():
    project = tomllib.loads((c.ROOT / "pyproject.toml").read_text())["project"]
    assert c.library().dcz_version().decode() == project["version"]
    abi = re.search(r"define DCZ_ABI_VERSION (\d+)", HEADER.read_text())
    assert c.library().dcz_abi_version() == int(abi[1])
    assert (c.built() / f"libdeepcompression.so.{abi[1]}").exists()


@pytest.mark.parametrize("language", [("cc", "-std=c99", "-xc"), ("c++", "-std=c++11", "-xc++")])
def test_the_header_stands_alone_in_c_and_in_c_plus_plus(language, tmp_path):
    flags = ("-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror", "-fsyntax-only")
    (tmp_path / "alone").write_text('#include "deepcompression.h"\nint main(void) { return (int)DCZ_DONE; }\n')
    c.run(*language, *flags, f"-I{HEADER.parent}", tmp_path / "alone")


def test_a_program_may_include_the_headers_of_boards_too(tmp_path):
    """As one that holds an exported network does."""
    device = c.ROOT / "device"
    names = ["deepcompression.h", *sorted(path.name for path in device.glob("*.h"))]
    (tmp_path / "both").write_text("".join(f'#include "{name}"\n' for name in names))
    c.run("cc", "-std=c99", "-xc", "-Werror", "-fsyntax-only", f"-I{HEADER.parent}", f"-I{device}", tmp_path / "both")
