"""Networks of today's kinds with random weights, for `never_slower`."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WORDS = 8000
# of the recommender: rows of a table, tables, rows that a bag adds up
ITEMS, TABLES, BAG = 20_000, 4, 16


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.around = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + self.around(x))


class ResNet(nn.Sequential):
    """Blocks of ResNet-18, one of each width. Input (count, 3, 32, 32)."""

    def __init__(self) -> None:
        widths = ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))
        blocks = [_Residual(*each) for each in widths]
        head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 100))
        super().__init__(nn.Conv2d(3, 64, 3, 1, 1), nn.ReLU(), *blocks, *head)


class MobileNet(nn.Sequential):
    """MobileNet's depthwise and pointwise convolutions. Input (count, 3, 64, 64)."""

    def __init__(self) -> None:
        parts: list[nn.Module] = [nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU6()]
        for inputs, outputs, stride in ((32, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2), (512, 512, 1)):
            parts += [nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs), nn.ReLU6()]
            parts += [nn.Conv2d(inputs, outputs, 1), nn.ReLU6()]
        super().__init__(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))


def minilm() -> nn.Module:
    """Two of the six blocks of MiniLM. Input int64 (count, length)."""
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=WORDS, hidden_size=384, num_hidden_layers=2, num_attention_heads=12, intermediate_size=1536
    )
    return BertModel(config, add_pooling_layer=False)


def gpt2() -> nn.Module:
    """Two of the twelve blocks of GPT-2, with its output layer. Input int64 (count, length)."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=WORDS, n_layer=2, use_cache=False)
    return GPT2LMHeadModel(config)


class Speech(nn.Module):
    """Two layers of an LSTM over sequences of features. Input (count, length, 80)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.LSTM(80, 512, 2, batch_first=True)
        self.output = nn.Linear(512, 500)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.layers(x)[0][:, -1])


class Recommender(nn.Module):
    """Tables whose rows are added up, and a perceptron. Input int64 (count, TABLES * BAG)."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.EmbeddingBag(ITEMS, 64, mode="sum") for _ in range(TABLES))
        widths = (64 * TABLES, 512, 256, 1)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([table(part) for table, part in zip(self.tables, x.chunk(TABLES, 1), strict=True)], 1)
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)
