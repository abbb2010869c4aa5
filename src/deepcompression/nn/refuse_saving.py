"""A running model is not saved in the layout of its dense model: other tools would read it as random weights."""

from __future__ import annotations

from functools import partial
from typing import Any, NoReturn

from torch import nn

# the methods by which Hugging Face's models write a folder
_METHODS = ("save_pretrained", "push_to_hub")


def refuse_saving(small: nn.Module) -> None:
    """Makes the methods of all modules that write a folder raise TypeError, with the remedy."""
    for module in small.modules():
        for method in _METHODS:
            if hasattr(module, method):
                module.__dict__[method] = partial(_refuse, method)


def _refuse(method: str, *_: Any, **__: Any) -> NoReturn:
    raise TypeError(
        f"{method} would write packed weights, which load as random ones: call it on the model that was passed to "
        "dc.run after dc.load, or write the file's folder by dcz decompress; torch.save(model) keeps a running model"
    )
