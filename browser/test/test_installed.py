"""The package as users get it: what is in the archive, its types, and a program in Node and in a bundled page."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import tarfile
from pathlib import Path

import pytest
from conftest import FOLDERS, ROOT
from playwright.sync_api import Page
from server import TestServer

BROWSER, TEST = ROOT / "browser", ROOT / "browser" / "test"
VITE = TEST / "programs" / "node_modules" / "vite" / "bin" / "vite.js"
LENET = FOLDERS["/networks/"] / "lenet-5.dcz"
PAGE = '<!doctype html><meta charset=utf-8><link rel=icon href="data:,"><script type=module src=page.ts></script>'
SHAPES = [
    ["conv1.weight", 20, 1, 5, 5],
    ["conv1.bias", 20],
    ["conv2.weight", 50, 20, 5, 5],
    ["conv2.bias", 50],
    ["fc1.weight", 500, 800],
    ["fc1.bias", 500],
    ["fc2.weight", 10, 500],
    ["fc2.bias", 10],
]


def run(folder: Path, *command: str | Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    name = json.loads(run(BROWSER, "npm", "pack", "--json", "--ignore-scripts", "--pack-destination", folder))
    return folder / (name[0] if isinstance(name, list) else next(iter(name.values())))["filename"]


@pytest.fixture(scope="module")
def installed(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh folder with the package in it, and nothing else."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    run(folder, "npm", "install", "--offline", "--ignore-scripts", archive)
    assert [each.name for each in (folder / "node_modules").iterdir() if each.name[0] != "."] == ["deepcompression"]
    for path in (TEST / "user").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_the_archive_holds_the_built_package_and_nothing_else(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        names = {each.name.removeprefix("package/") for each in tar if each.isfile()}
    root = BROWSER / "src"
    sources = {path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.ts")}
    modules = {f"dist/{name}{end}" for name in sources for end in (".js", ".d.ts")}
    wasm = {name for name in names if re.fullmatch(r"dist/(decode|compute)\.wasm", name)}
    assert names == modules | wasm | {"LICENSE", "README.md", "package.json"}
    assert "dist/decode.wasm" in wasm
    assert archive.stat().st_size < 150_000


def test_the_archive_needs_no_other_package(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        content = tar.extractfile("package/package.json")
        assert content is not None
        described = json.load(content)
    assert not described.keys() & {"dependencies", "peerDependencies", "optionalDependencies", "bundleDependencies"}
    assert not described.get("scripts", {}).keys() & {"install", "preinstall", "postinstall"}


def test_a_program_in_node_opens_files_and_addresses(server: TestServer, installed: Path) -> None:
    lines = run(installed, "node", "node.mjs", LENET, server.url("/networks/lenet-5.dcz")).splitlines()
    assert [json.loads(line) for line in lines] == [SHAPES, SHAPES]


@pytest.mark.parametrize(("module", "resolution"), [("es2022", "bundler"), ("nodenext", "nodenext")])
def test_the_types_are_whole_for_each_way_to_find_modules(installed: Path, module: str, resolution: str) -> None:
    compiled(installed, "page.ts", module, resolution)


def test_the_examples_of_the_documentation_are_right(installed: Path) -> None:
    examples = re.findall(r"^```ts\n(.*?)^```", (ROOT / "docs" / "browser.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(examples) == 2
    for number, example in enumerate(examples):
        (installed / f"example{number}.ts").write_text(example)
        compiled(installed, f"example{number}.ts", "es2022", "bundler")


def compiled(folder: Path, name: str, module: str, resolution: str) -> None:
    options = ["--noEmit", "--strict", "--exactOptionalPropertyTypes", "--target", "es2022", "--types", ""]
    options += ["--lib", "es2023,dom,dom.iterable,dom.asynciterable", "--skipLibCheck", "false"]
    compiler = BROWSER / "node_modules" / "typescript" / "bin" / "tsc"
    run(folder, "node", compiler, *options, "--module", module, "--moduleResolution", resolution, name)


@pytest.mark.long
def test_a_bundler_takes_the_decoder_and_the_worker_along(server: TestServer, page: Page, installed: Path) -> None:
    (installed / "index.html").write_text(PAGE)
    run(installed, "node", VITE, "build", "--base=./")
    server.mount("/bundled/", installed / "dist")
    page.goto(server.url("/bundled/index.html"))
    page.wait_for_function("() => globalThis.compare")
    here, worker = page.evaluate("(address) => compare(address)", server.url("/networks/lenet-5.dcz"))
    assert here == worker
    found = here.splitlines()
    assert [line.split()[0] for line in found[:-2]] == [name for name, *_ in SHAPES]
    assert found[-2:] == ["fc2.bias", "not-found"]


@pytest.mark.long
def test_a_development_server_serves_them_too_with_the_setting_of_the_documentation(
    page: Page, installed: Path
) -> None:
    documented = re.search(r"`(optimizeDeps: [^`]*)`", (ROOT / "docs" / "browser.md").read_text())
    assert documented is not None
    (installed / "vite.config.js").write_text(f"export default {{ {documented[1]} }};")
    (installed / "development.html").write_text(PAGE)
    (installed / "lenet-5.dcz").write_bytes(LENET.read_bytes())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["node", str(VITE), "--host", "127.0.0.1", "--port", str(port), "--strictPort"]
    with subprocess.Popen(command, cwd=installed, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert any("Local:" in line for line in process.stdout)
            page.goto(f"http://127.0.0.1:{port}/development.html")
            page.wait_for_function("() => globalThis.compare")
            here, worker = page.evaluate("() => compare('lenet-5.dcz')")
        finally:
            process.terminate()
    assert here == worker
    assert here.splitlines()[-2:] == ["fc2.bias", "not-found"]
