"""ddddocr: an OCR network for short texts, as ONNX; 62 % of its bytes are one layer of 8210 x 1024."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from benchmarks.packages import Release, unpacked
from benchmarks.real_models.network import FOLDER, Array, Inputs, OnnxModel
from benchmarks.real_models.rendering import text


class Ocr(OnnxModel):
    release = Release(
        "ddddocr",
        "1.6.1",
        "ddddocr-1.6.1-py3-none-any.whl",
        "c7c70f4ae2d0335440ae8b272eea48c9f6888ecef46785fe2311f0c97a133935",
    )
    member = "ddddocr/common.onnx"
    task = "characters read right, % of those rendered"
    counts = (64, 200)

    def inputs(self, seed: int, count: int) -> Inputs:
        rng = np.random.Generator(np.random.PCG64(seed))
        drawn = [text(rng) for _ in range(count)]
        batches = [{"input1": pixels[None, None].astype(np.float32) / 255} for pixels, _ in drawn]
        return Inputs(batches, [word for _, word in drawn])

    def characters(self) -> list[str]:
        """The text of each class; class 0 is CTC's blank. The package calls this network its beta."""
        source = (unpacked(self.release, FOLDER) / "ddddocr/charsets.py").read_text(encoding="utf-8")
        lists = {
            target.id: node.value
            for node in ast.parse(source).body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        found: list[str] = ast.literal_eval(lists["CHARSET_BETA"])
        return found

    def score(self, outputs: Sequence[Array], original: Sequence[Array], truth: Any) -> float:
        characters = self.characters()
        right = 0
        for output, word in zip(outputs, truth, strict=True):
            classes = output.reshape(-1, output.shape[-1]).argmax(1)
            kept = classes[np.diff(classes, prepend=-1) != 0]
            read = "".join(characters[each] for each in kept if each)
            matcher = SequenceMatcher(None, word, read, autojunk=False)
            right += sum(block.size for block in matcher.get_matching_blocks())
        return 100 * right / sum(map(len, truth))
