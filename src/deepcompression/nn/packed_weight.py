"""Packed weights in the place of parameters: the unchanged forward of a module computes from them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, float32, get_num_threads, is_grad_enabled
from torch.compiler import is_dynamo_compiling

from deepcompression import _core
from deepcompression.nn.handlers import remedy
from deepcompression.nn.operators import (
    FLOATS,
    convolution,
    facts_of,
    inference_only,
    refuse_device,
    rows,
    spelled,
)
from deepcompression.nn.product import product
from deepcompression.nn.stand_in import StandIn
from deepcompression.nn.watchers import as_autocast, carries_derivatives, is_ordinary, nothing_watches, refuse_backward
from deepcompression.nn.what_pays import convolution_pays
from deepcompression.packed.convolution import ConvolutionSettings
from deepcompression.packed.multiply import rows as rows_of_tile
from deepcompression.packed.packing import Header, header
from deepcompression.packed.torch_reference import CONVOLUTIONS

_ALIGNMENT = 64
# so many shapes of inputs are remembered
_SHAPES = 64


def aligned(packed: Tensor) -> Tensor:
    """Packed bytes at an address that suits kernels; a copy of bytes elsewhere, for example in a mapped file."""
    if packed.device.type == "cpu" and packed.data_ptr() % _ALIGNMENT:
        return packed.clone()
    return packed


class PackedWeight(StandIn):
    """A packed matrix.

    packed       uint8 buffer: the bytes that kernels compute from
    activations  kind of the vectors that it multiplies, `float32` or `int8`
    keeps_dense  whether a convolution that is slower than dense for its inputs decodes its weights once and keeps them

    Computes from float32, bfloat16 and float16 on any device, with results of the same dtype. Raises ValueError for
    bytes that are no packed weight of this shape.
    """

    packed: Tensor

    def __init__(
        self,
        layer: str,
        packed: Tensor,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        activations: str = "float32",
        transposed: bool = False,
    ) -> None:
        super().__init__(layer, shape, dtype, transposed)
        self.activations, self.keeps_dense = activations, False
        self.register_buffer("packed", None)
        self._accept(packed)

    def _accept(self, packed: Tensor) -> None:
        """Replaces the bytes. Raises ValueError for bytes that are no packed weight of this shape."""
        try:
            found = _checked(packed, self.packed_shape)
        except ValueError as error:
            raise ValueError(f"{self.layer}: {error}") from None
        self._hold(packed, found)

    def _hold(self, packed: Tensor, header: Header) -> None:
        """Replaces the bytes and the header. Raises ValueError for a device that cannot compute from them."""
        form, device = header.form, packed.device
        refuse_device(self.layer, form, device)
        self._buffers["packed"] = aligned(packed)
        self.header, self.facts = header, facts_of(header)
        # the dense weights of a convolution, once they are decoded, and whether inputs of a shape want them
        self.kept: Tensor | None = None
        self.kept_from: Tensor | None = None
        self.kept_version = 0
        self.wants_dense: dict[tuple[Any, ...], bool] = {}
        self.rows, self.columns, self.int8 = header.rows, header.columns, self.activations == "int8"
        self.on_core = form != "tile" and device.type == "cpu"

    def parts(self) -> list[PackedWeight]:
        return [self]

    def linear(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x (..., columns) -> x W^T + bias, (..., rows)."""
        y = at_once(self.__dict__, x, bias) if nothing_watches() else None
        if y is not None:
            return y
        self._check_input(x, bias)
        if x.dim() < 1 or x.shape[-1] != self.columns:
            raise ValueError(f"{self.layer}: x has {self.columns} columns; found shape {list(x.shape)}")
        from deepcompression.nn.registered import linear_operator

        return as_autocast(linear_operator(x, self.packed, bias, self.facts, self.activations, self.layer))

    def convolve(self, x: Tensor, bias: Tensor | None, settings: ConvolutionSettings) -> Tensor:
        """x (batch, channels, ...) or (channels, ...) -> its convolution."""
        self._check_tile()
        self._check_input(x, bias)
        wants = is_grad_enabled() and (x.requires_grad or (bias is not None and bias.requires_grad))
        given = (x, self.packed, bias, self.facts, list(self.shape))
        if is_ordinary(x) and not wants:
            if self.keeps_dense and x.dtype is float32 and self._is_slow(x, settings):
                return CONVOLUTIONS[len(self.shape) - 2](x, self._decoded(), bias, *settings)
            return convolution(*given, settings)
        from deepcompression.nn.registered import convolution_operator

        return as_autocast(convolution_operator(*given, *spelled(settings), self.layer))

    def _is_slow(self, x: Tensor, settings: ConvolutionSettings) -> bool:
        """Whether a convolution of inputs like x is faster dense. Each shape is judged once."""
        key = (x.shape, settings, get_num_threads())
        if key not in self.wants_dense:
            # inputs of ever new lengths may come
            if len(self.wants_dense) == _SHAPES:
                self.wants_dense.clear()
            self.wants_dense[key] = not convolution_pays(x, self.shape, self.header.survivors, settings)
        return self.wants_dense[key]

    def _decoded(self) -> Tensor:
        packed = self.packed
        # functional_call puts other bytes here for one call; bytes that are written over have another version
        version = 0 if packed.is_inference() else packed._version
        if self.kept is None or self.kept_from is not packed or self.kept_version != version:
            found = rows_of_tile(packed.numpy(), 0, self.rows, threads=get_num_threads())
            self.kept, self.kept_from, self.kept_version = torch.from_numpy(found).view(self.shape), packed, version
        return self.kept

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "kept": None, "kept_from": None}

    def rows_of(self, indices: Tensor) -> Tensor:
        """Rows by their numbers, int32 or int64 of any shape: (*indices.shape, columns)."""
        self._check_tile()
        if not isinstance(indices, Tensor) or indices.dtype not in (torch.int32, torch.int64):
            found = indices.dtype if isinstance(indices, Tensor) else type(indices).__name__
            raise TypeError(f"{self.layer}: indices are a tensor of int32 or int64; found {found}")
        if indices.device != self.packed.device:
            raise ValueError(
                f"{self.layer}: indices are on {indices.device}, the packed weight on {self.packed.device}"
            )
        settings = (indices, self.packed, self.facts, list(self.shape), self.dtype, self.layer)
        if is_ordinary(indices):
            return rows(*settings)
        from deepcompression.nn.registered import rows_operator

        return cast(Tensor, rows_operator(*settings))

    def _check_tile(self) -> None:
        if self.header.form != "tile" or self.transposed:
            kind = "transpose" if self.transposed else f"form {self.header.form}"
            raise TypeError(f"{self.layer} is packed in the {kind}; this takes the form tile: {remedy(self.layer)}")

    def _check_input(self, x: Tensor, bias: Tensor | None) -> None:
        """Raises TypeError or ValueError, naming the layer, for a dtype, a device or a bias that does not fit."""
        if not isinstance(x, Tensor):
            raise TypeError(f"{self.layer}: x is a tensor; found {_kind(x)}")
        if not is_dynamo_compiling() and carries_derivatives(x):
            raise RuntimeError(inference_only(self.layer))
        if x.layout is not torch.strided or x.is_nested:
            found = "a nested tensor" if x.is_nested else x.layout
            raise TypeError(
                f"{self.layer}: x is dense, of the layout torch.strided; found {found}: call "
                f"{'to_padded_tensor(0)' if x.is_nested else 'to_dense()'} before"
            )
        if x.dtype not in FLOATS:
            raise TypeError(
                f"{self.layer} is packed, and computes from float32, bfloat16 or float16; x is {x.dtype}: "
                f"convert x, or {remedy(self.layer)}"
            )
        if x.device != self.packed.device:
            raise ValueError(f"{self.layer}: x is on {x.device}, the packed weight on {self.packed.device}")
        if bias is not None and (tuple(bias.shape) != (self.rows,) or bias.device != x.device):
            raise ValueError(
                f"{self.layer}: the bias has shape [{self.rows}], on {x.device}; "
                f"found {list(bias.shape)}, on {bias.device}"
            )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        before = self.packed
        super()._apply(fn, recurse)
        # Module.type converts all buffers, bytes too
        after = self.packed if self.packed.dtype == torch.uint8 else before.to(self.packed.device)
        # the bytes that stay if `_hold` refuses the device
        self._buffers["packed"] = before
        self._hold(after, self.header)
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        untyped: Any = super()
        untyped.__setstate__(state)
        self._hold(self.packed, self.header)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """As torch does, but the bytes that are loaded may be more or fewer."""
        key = prefix + "packed"
        found = state_dict.get(key)
        if found is None:
            missing_keys.extend([key] * strict)
        elif not isinstance(found, Tensor):
            error_msgs.append(f"{self.layer}: {key} is a tensor; found {type(found).__name__}")
        else:
            try:
                self._accept(
                    found if local_metadata.get("assign_to_params_buffers") else found.to(self.device, copy=True)
                )
            except ValueError as error:
                error_msgs.append(str(error))
        self._expect_own_name(prefix, unexpected_keys)
        if strict:
            unexpected_keys.extend(name for name in state_dict if name.startswith(prefix) and name != key)

    def extra_repr(self) -> str:
        facts = self.header
        weights = facts.rows * facts.columns
        share = f"{100 * facts.survivors / weights:.3g} %" if weights else "none"
        return f"{tuple(self.shape)}, {facts.form}, {self.activations}, {share} of weights, {facts.centroids} centroids"


class PackedParts(StandIn):
    """One weight whose rows are packed in parts: attention needs the projections of queries, keys and values apart."""

    def __init__(self, layer: str, parts: list[PackedWeight]) -> None:
        rows = sum(part.shape[0] for part in parts)
        super().__init__(layer, (rows, *parts[0].shape[1:]), parts[0].dtype)
        for number, part in enumerate(parts):
            self.add_module(str(number), part)

    def parts(self) -> list[PackedWeight]:
        return [cast(PackedWeight, part) for part in self.children()]

    def chunk(self, count: int) -> list[PackedWeight]:
        """The parts. Raises ValueError for another count."""
        parts = self.parts()
        if count != len(parts):
            raise ValueError(f"{self.layer} is packed in {len(parts)} parts; found chunk({count})")
        return parts

    def linear(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        parts = self.parts()
        biases = [None] * len(parts) if bias is None else torch.split(bias, [part.shape[0] for part in parts])
        return torch.cat([part.linear(x, own) for part, own in zip(parts, biases, strict=True)], -1)


def at_once(state: dict[str, Any], x: Tensor, bias: Tensor | None) -> Tensor | None:
    """The product of the weight with these attributes, without torch's dispatcher, which takes longer than a small
    layer: if nothing watches. None for what kernels do not take as it is.

    Attributes of modules are read here from their dictionary, since `Module.__getattr__` makes each of them slow.
    """
    y = product(state["_buffers"]["packed"], x, bias, state["int8"], get_num_threads()) if state["on_core"] else None
    if y is not None and is_grad_enabled() and (x.requires_grad or (bias is not None and bias.requires_grad)):
        return refuse_backward(y, state["layer"], x, bias)
    return y


def _kind(x: Any) -> str:
    remedy = ": torch.fx.symbolic_trace does not follow packed weights; torch.export.export does"
    return type(x).__name__ + (remedy if type(x).__module__ == "torch.fx.proxy" else "")


def _checked(packed: Tensor, shape: torch.Size) -> Header:
    if packed.dtype != torch.uint8 or packed.dim() != 1 or not packed.is_contiguous():
        raise ValueError(f"packed weights are contiguous bytes; found {packed.dtype} of shape {list(packed.shape)}")
    array = aligned(packed.detach().cpu()).numpy()
    _core.check_packed(array)
    found = header(array)
    rows, columns = shape[0], math.prod(shape[1:])
    if (found.rows, found.columns) != (rows, columns):
        raise ValueError(f"it is {rows} x {columns}; the packed weight is {found.rows} x {found.columns}")
    return found
