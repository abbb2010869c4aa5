"""Layers that take one vector or element at a time, and the common part of all layers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from deepcompression.runtime.weights import FileTensors, Weight
from deepcompression.tensors.dtypes import Floats, Shape


class Step(ABC):
    """A layer with its weights.

    kernel  names the code that computes it
    weight  None for a layer without one
    nbytes  held in memory: weight, bias and the like
    """

    kernel: str = "NumPy"
    weight: Weight | None = None
    nbytes: int = 0

    def shape(self, given: Shape) -> Shape:
        """The shape of the output for an input of a shape. Raises ValueError for a shape that does not fit."""
        return given

    @abstractmethod
    def __call__(self, x: Floats) -> Floats:
        """The output for an input that fits. `x` is not changed."""


class Layer(ABC):
    """A layer by the name of its tensors, with the arguments of torch's module of the same name."""

    name: str

    @abstractmethod
    def bind(self, tensors: FileTensors) -> Step:
        """The layer with the weights of a file. Raises ValueError or TypeError for tensors that do not fit."""

    def __str__(self) -> str:
        return f"{type(self).__name__} {getattr(self, 'name', '')}".rstrip()


class Plain(Layer, Step):
    """A layer without weights: its own step."""

    def bind(self, tensors: FileTensors) -> Step:
        return self


class ReLU(Plain):
    """max(x, 0)."""

    def __call__(self, x: Floats) -> Floats:
        return np.maximum(x, np.float32(0))


@dataclass(frozen=True)
class LeakyReLU(Plain):
    """x, and `negative_slope` times x below 0."""

    negative_slope: float = 0.01

    def __call__(self, x: Floats) -> Floats:
        y: Floats = np.where(x > 0, x, x * np.float32(self.negative_slope))
        return y


class Sigmoid(Plain):
    """1 / (1 + exp(-x))."""

    def __call__(self, x: Floats) -> Floats:
        return np.float32(1) / (np.float32(1) + np.exp(-x))


class Tanh(Plain):
    def __call__(self, x: Floats) -> Floats:
        return np.tanh(x)


@dataclass(frozen=True)
class Softmax(Plain):
    """exp(x) / sum(exp(x)) along a dimension."""

    dim: int = -1

    def shape(self, given: Shape) -> Shape:
        if not -len(given) <= self.dim < len(given):
            raise ValueError(f"dim={self.dim} is outside of shape {list(given)}")
        return given

    def __call__(self, x: Floats) -> Floats:
        powers: Floats = np.exp(x - x.max(self.dim, keepdims=True, initial=-np.inf))
        powers /= powers.sum(self.dim, keepdims=True)
        return powers


@dataclass(frozen=True)
class Flatten(Plain):
    """Flattens the dimensions from `start_dim` on into one."""

    start_dim: int = 1

    def shape(self, given: Shape) -> Shape:
        if not 0 <= self.start_dim < len(given):
            raise ValueError(f"Flatten needs dimension {self.start_dim}; found an input of shape {list(given)}")
        return (*given[: self.start_dim], math.prod(given[self.start_dim :]))

    def __call__(self, x: Floats) -> Floats:
        return x.reshape(self.shape(x.shape))


@dataclass(frozen=True)
class Linear(Layer):
    """A fully connected layer: x W^T + b for x (..., columns).

    Takes NAME.weight (rows, columns) and, if the file has it, NAME.bias (rows,).
    """

    name: str

    def bind(self, tensors: FileTensors) -> Step:
        weight = tensors.weight(f"{self.name}.weight", 2)
        return BoundLinear(weight, tensors.vector_or_none(f"{self.name}.bias", weight.shape[0]))


class Weighted(Step):
    """A layer with a weight and perhaps a bias."""

    def __init__(self, weight: Weight, bias: Floats | None) -> None:
        self.weight: Weight = weight
        self.bias = bias
        self.kernel = weight.kernel
        self.nbytes = weight.nbytes + (0 if bias is None else bias.nbytes)


class BoundLinear(Weighted):
    def shape(self, given: Shape) -> Shape:
        rows, columns = self.weight.shape
        if not given or given[-1] != columns:
            remedy = "; a Flatten() before it makes vectors of images" if len(given) > 2 else ""
            raise ValueError(f"expected vectors of {columns}, found an input of shape {list(given)}{remedy}")
        return (*given[:-1], rows)

    def __call__(self, x: Floats) -> Floats:
        return self.weight.product(x, self.bias)


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Batch normalisation with the running statistics, of (count, channels, ...): BatchNorm1d, 2d and 3d of torch.

    Takes NAME.running_mean, NAME.running_var and, if the file has them, NAME.weight and NAME.bias, all (channels,).
    """

    name: str
    eps: float = 1e-5

    def bind(self, tensors: FileTensors) -> Step:
        channels = tensors.length(f"{self.name}.running_mean")
        mean = tensors.vector(f"{self.name}.running_mean", channels).astype(np.float64)
        variance = tensors.vector(f"{self.name}.running_var", channels).astype(np.float64)
        weight = tensors.vector_or_none(f"{self.name}.weight", channels)
        bias = tensors.vector_or_none(f"{self.name}.bias", channels)
        tensors.taken.add(f"{self.name}.num_batches_tracked")
        factor = (1 if weight is None else weight) / np.sqrt(variance + self.eps)
        return BoundBatchNorm(factor, (0 if bias is None else bias) - mean * factor)


class BoundBatchNorm(Step):
    def __init__(self, factor: np.ndarray, term: np.ndarray) -> None:
        self.factor: Floats = factor.astype(np.float32)
        self.term: Floats = term.astype(np.float32)
        self.nbytes = self.factor.nbytes + self.term.nbytes

    def shape(self, given: Shape) -> Shape:
        if len(given) < 2 or given[1] != len(self.factor):
            raise ValueError(f"expected (count, {len(self.factor)}, ...), found an input of shape {list(given)}")
        return given

    def __call__(self, x: Floats) -> Floats:
        along = (-1, *[1] * (x.ndim - 2))
        y: Floats = x * self.factor.reshape(along)
        y += self.term.reshape(along)
        return y
