"""The C of compute.wasm keeps to its arrays and has no undefined behaviour."""

from tests.helpers.device_c import ROOT, compile, run

NAMES = ("pack", "vector", "vectors", "dense", "rows", "tiles")


def test_packing_and_products_stay_within_their_arrays() -> None:
    sources = ["browser/test/compute.c", *(f"browser/wasm/compute_{name}.c" for name in NAMES)]
    assert run(compile(sources, [f"-I{ROOT / 'browser' / 'wasm'}"], "browser-compute")) == b""
