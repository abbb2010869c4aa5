"""Batches of inputs for a torch model: checked, cut into rows, and their outputs by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from deepcompression.common.messages import those

# The number of draws whose mean is a gain; each is one backward pass of a part of the inputs. So many batches are draws
# as they are; fewer ones are cut.
DRAWS = 32


class Batch(NamedTuple):
    """One call of the model.

    number  of the batch, as the user counts them
    inputs  a tensor, a tuple or list of positional arguments, or a dict of named ones
    whole   the batch is one input, which cannot be cut
    """

    number: int
    inputs: Any
    whole: bool

    @property
    def length(self) -> int:
        """The number of its inputs: the length of its tensors' first axis, if they agree in it; scalars have none."""
        lengths = {len(part) for part in tensors_in(self.inputs) if part.dim()}
        return max(1, lengths.pop()) if len(lengths) == 1 and not self.whole else 1

    def rows(self, numbers: NDArray[np.int64]) -> Batch:
        """Some of its inputs: ascending numbers."""
        if len(numbers) == self.length:
            return self
        return self._replace(inputs=_cut(self.inputs, torch.from_numpy(numbers)))

    def pieces(self, count: int) -> list[Batch]:
        """Its inputs in at most `count` batches."""
        length = self.length
        size = -(-length // count)
        if size == length:
            return [self]
        return [self._replace(inputs=_cut(self.inputs, slice(start, start + size))) for start in range(0, length, size)]

    def run(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """The tensors that the model returns, by name; complex ones as pairs of floats.

        Raises ValueError for inputs that do not fit the model, and for outputs without floats.
        """
        try:
            # a model may write into its inputs, which are the user's
            output = _call(model, _mapped(self.inputs, torch.Tensor.clone))
        except (RuntimeError, TypeError, IndexError, KeyError, AssertionError) as error:
            raise ValueError(
                f"calibration batch {self.number} ({_describe(self.inputs)}) does not fit the model: {error}"
            ) from error
        found = {
            name or "output": torch.view_as_real(part.resolve_conj()) if part.is_complex() else part
            for name, part in _named(output)
            if isinstance(part, torch.Tensor)
        }
        if not any(part.is_floating_point() for part in found.values()):
            raise ValueError(f"the model returns no floating-point tensor; found {type(output).__name__}")
        return found

    def check(self, outputs: Mapping[str, torch.Tensor]) -> None:
        """Raises ValueError for outputs that are not finite; -inf, which masks of logarithms hold, is allowed."""
        floats = [part for part in outputs.values() if part.is_floating_point()]
        if bad := sum(int((~(part.isfinite() | part.isneginf())).sum()) for part in floats):
            raise ValueError(f"for calibration batch {self.number} the model gives {those(bad, 'value', 'not finite')}")


def batches_of(batches: Iterable[Any]) -> list[Batch]:
    """Batches of a user. Raises TypeError and ValueError for what cannot be one."""
    if isinstance(batches, torch.Tensor | Mapping | str) or not isinstance(batches, Iterable):
        raise TypeError(f"batches are an iterable of inputs, found one {type(batches).__name__}: put it into a list")
    found = list(batches)
    if not found:
        raise ValueError("there are no calibration batches: give some hundred inputs like those the model will see")
    for number, batch in enumerate(found):
        if not isinstance(batch, torch.Tensor | tuple | list | Mapping):
            raise TypeError(
                f"calibration batch {number} is a {type(batch).__name__}; expected a tensor, a tuple of positional "
                "arguments or a dict of named ones"
            )
        for part in tensors_in(batch):
            if part.is_floating_point() and (bad := int((~part.isfinite()).sum())):
                raise ValueError(f"calibration batch {number} has {those(bad, 'value', 'not finite')}: mend the inputs")
    return [Batch(number, inputs, len(found) >= DRAWS) for number, inputs in enumerate(found)]


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """The tensors in nested tuples, lists and dicts."""
    return (part for _, part in _named(value) if isinstance(part, torch.Tensor))


def _named(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The parts of nested tuples, lists, dicts and dataclasses, by keys or numbers with dots between them."""
    if isinstance(value, Mapping):
        parts = value
    elif isinstance(value, tuple | list):
        parts = dict(zip(getattr(value, "_fields", range(len(value))), value, strict=True))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = vars(value)
    else:
        yield name, value
        return
    for key, part in parts.items():
        yield from _named(part, f"{name}.{key}" if name else str(key))


def _cut(value: Any, part: Any) -> Any:
    def own(tensor: torch.Tensor) -> torch.Tensor:
        return tensor[part.to(tensor.device) if isinstance(part, torch.Tensor) else part] if tensor.dim() else tensor

    return _mapped(value, own)


def _describe(batch: Any) -> str:
    return ", ".join(
        f"{str(part.dtype).removeprefix('torch.')} {list(part.shape)}" if isinstance(part, torch.Tensor) else repr(part)
        for _, part in _named(batch)
    )


def _call(model: nn.Module, batch: Any) -> Any:
    if isinstance(batch, torch.Tensor):
        return model(batch)
    return model(**batch) if isinstance(batch, Mapping) else model(*batch)


def _mapped(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """The same nested lists and dicts, with other tensors; tuples become lists."""
    if isinstance(value, Mapping):
        return {key: _mapped(each, change) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [_mapped(each, change) for each in value]
    return change(value) if isinstance(value, torch.Tensor) else value
