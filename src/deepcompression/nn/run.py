"""`run`: a model that computes from packed weights."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from deepcompression.common.binary import LIMIT_BYTES
from deepcompression.common.extras import named_extra
from deepcompression.common.options import checked_count, checked_flag
from deepcompression.file.reader import DczFile
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
    lazy: bool = False,
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
    lazy         True: the weight of a layer is read, decoded and packed when the layer is first used; until then the
                 file stays open. Not with `tune`, nor for other devices than the CPU
    strict       False: tensors that the file or the model lacks are kept or left out

    Layers for which that pays compute from packed weights, all others as before; `explain` says which and why. The
    module is for inference only: it is in the mode `eval`, and packed layers have no gradients. Wrappers of
    DistributedDataParallel and torch.compile are left out. Warns about what is left out, kept, guessed, or shared with
    the model.

    Raises FormatError for a bad file. Raises TypeError or ValueError, naming the option, for one that makes no sense,
    before anything is read. Raises ValueError, naming the tensors, for a file that does not fit the model,
    for patterns that match nothing, for a device that cannot be had, and for a model that is sharded. Raises
    torch.OutOfMemoryError, with the bytes, if the model does not fit the device.
    """
    import torch

    from deepcompression.nn.build import assemble
    from deepcompression.nn.moving import moved
    from deepcompression.nn.options import checked_options
    from deepcompression.nn.weight_source import FileSource, ModelSource
    from deepcompression.training.sharded import is_sharded

    options = checked_options(
        activations=activations, batch=batch, linear=linear, dense=dense, device=device, prefer=prefer, tune=tune
    )
    checked_flag("strict", strict)
    checked_count("limit_bytes", "bytes", limit_bytes, least=0)
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"run takes a torch.nn.Module; found {type(model).__name__}")
    if any(map(is_sharded, model.parameters())):
        raise ValueError(
            "the model is sharded (fully_shard): save it on all ranks, then call dc.run on a new model with the file"
        )
    model = unwrapped(model)
    if checked_flag("lazy", lazy):
        from deepcompression.nn.lazy import Lazy, check_lazy

        check_lazy(model, path is not None, options.device, tune)

    def placed(small: Module) -> Module:
        return small if options.device is None else moved(small, options.device)

    with torch.no_grad():
        if path is None:
            return placed(assemble(model, ModelSource(model), options))
        with ExitStack() as stack:
            file = stack.enter_context(DczFile(path, limit_bytes))
            source = stack.enter_context(closing(FileSource(file, model, strict)))
            waiting = Lazy(file, source.stored) if lazy else None
            small = placed(assemble(model, source, options, waiting))
            source.fit.warn(str(path))
            if waiting is not None:
                source.close()
                # the weights that wait read it
                stack.pop_all()
            return small
