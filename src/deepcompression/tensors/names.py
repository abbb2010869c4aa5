"""Names of tensors in a torch model's `state_dict`: plain ones, and those of the parts of masks and codebooks."""

from __future__ import annotations

# The parts of a tensor in training, as torch names them: the trained parameter, and the buffers of its parametrization.
# A codebook on a grid also has a part with the grid's name.
MASK_PARTS = ("original", "0.mask", "0.step", "0.recipe")
CODEBOOK_PARTS = ("original", "0.positions", "0.codes")
SIZE = "0.size"

_WITHIN = ("_orig_mod", "_checkpoint_wrapped_module")


def plain_name(name: str) -> str:
    """The name without the parts that torch.compile and checkpointing of activations insert."""
    return ".".join(part for part in name.split(".") if part not in _WITHIN)


def state_key(name: str, part: str) -> str:
    """The key of a part of a tensor: `fc1.parametrizations.weight.0.mask`; the tensor's own name for no part."""
    module, _, local = name.rpartition(".")
    return f"{module}.parametrizations.{local}.{part}".removeprefix(".") if part else name


def weight_of(key: str) -> str | None:
    """The inverse of `state_key` for the trained parameter: its tensor's name; None for another key."""
    *module, within, local, part = ["", "", "", *key.split(".")]
    return ".".join([*module[3:], local]) if (within, part) == ("parametrizations", "original") else None
