"""`run`: a model that computes from packed weights."""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from deepcompression.common.binary import LIMIT_BYTES
from deepcompression.common.extras import named_extra
from deepcompression.file.reader import DczFile
from deepcompression.packed.packing import check_activations
from deepcompression.recipe.targets import unwrapped

if TYPE_CHECKING:
    import torch
    from torch.nn import Module


@named_extra()
def run(
    model: Module,
    path: str | os.PathLike[str] | None = None,
    *,
    activations: str = "float32",
    batch: int | None = None,
    linear: Sequence[str] = (),
    dense: Sequence[str] = (),
    device: str | torch.device | None = None,
    prefer: str = "time",
    tune: bool = False,
    limit_bytes: int = LIMIT_BYTES,
    strict: bool = True,
) -> Module:
    """A new module that computes from the compressed weights of a file, or of a model that was just shared.

    model        is not changed; with a file, it may be on the device meta, as for `load`
    path         a `.dcz` file that fits the model, as for `load`; None takes the tensors of the model
    activations  `float32`, as exact as a dense layer, or `int8`: faster, each vector rounded to 255 steps
    batch        number of vectors that are mostly multiplied at once, such as all tokens of all sequences of an input;
                 by it forms are chosen, and layers that pay. None: unknown, so layers must pay for 1 as for 64
    linear       globs of names of matrices that your own modules use in F.linear alone, so that they can be packed
    dense        globs of names of weights that stay dense
    device       for which all weights are packed, and where the result is; None for where each is in the model
    prefer       `time`: a weight is held compressed where its layer is then expected to be no slower than dense;
                 `memory`: wherever it then takes fewer bytes
    tune         True: products, convolutions and look-ups are measured here, some ms each, instead of expected;
                 the times are kept in the user's cache folder
    strict       False: tensors that the file or the model lacks are kept or left out

    Layers for which that pays compute from packed weights, all others as before; `explain` says which and why. The
    module is for inference only: it is in the mode `eval`, and packed layers have no gradients. Wrappers of
    DistributedDataParallel and torch.compile are left out. Warns about what is left out, kept, guessed, or shared with
    the model.

    Raises FormatError for a bad file, and TypeError for an option of another kind. Raises ValueError, naming the
    tensors, for a file that does not fit the model, for patterns that match nothing, for a device that cannot be had,
    and for a model that is sharded. Raises torch.OutOfMemoryError, with the bytes, if the device is too small.
    """
    import torch

    from deepcompression.nn.build import Options, assemble
    from deepcompression.nn.devices import checked_device, moved
    from deepcompression.nn.weight_source import FileSource, ModelSource
    from deepcompression.nn.what_pays import PREFERENCES
    from deepcompression.training.sharded import is_sharded

    check_activations(activations)
    if prefer not in PREFERENCES:
        raise ValueError(f"prefer is {' or '.join(PREFERENCES)}; found {prefer!r}")
    if not isinstance(tune, bool):
        raise TypeError(f"tune is True or False; found {tune!r}")
    named = _checked_batch(batch), _patterns("linear", linear), _patterns("dense", dense)
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"run takes a torch.nn.Module; found {type(model).__name__}")
    if any(map(is_sharded, model.parameters())):
        raise ValueError(
            "the model is sharded (fully_shard): save it on all ranks, then call dc.run on a new model with the file"
        )
    model = unwrapped(model)
    target = None if device is None else checked_device(device)
    options = Options(activations, *named, target, prefer, tune)

    def placed(small: Module) -> Module:
        return small if target is None else moved(small, target)

    with torch.no_grad():
        if path is None:
            return placed(assemble(model, ModelSource(model), options))
        with DczFile(path, limit_bytes) as file:
            with closing(FileSource(file, model, strict)) as source:
                small = placed(assemble(model, source, options))
            source.fit.warn(str(path))
            return small


def _checked_batch(batch: Any) -> int | None:
    if batch is None:
        return None
    # NumPy's integers, too
    number = operator.index(batch) if hasattr(batch, "__index__") and not isinstance(batch, bool) else 0
    if not 1 <= number <= sys.maxsize:
        raise ValueError(f"batch is a number of vectors, from 1 to {sys.maxsize}; found {batch!r}")
    return number


def _patterns(option: str, given: Any) -> tuple[str, ...]:
    found = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else (None,)
    if not all(isinstance(each, str) for each in found):
        raise TypeError(f"{option} is a list of patterns, such as {option}=['head.*']; found {given!r}")
    return found
