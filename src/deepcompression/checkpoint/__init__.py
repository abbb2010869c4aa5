"""Checkpoint files of other tools <-> named tensors, read one at a time, written as safetensors or ONNX.

Imports common and tensors.
"""

from typing import TYPE_CHECKING

from deepcompression.common.lazy_names import lazy_names

if TYPE_CHECKING:
    from deepcompression.checkpoint.checkpoint import Checkpoint
    from deepcompression.checkpoint.onnx.graph import GRAPH
    from deepcompression.checkpoint.open import open_checkpoint, read_tensors, tensors_of
    from deepcompression.checkpoint.other_tools import Recognised, RecognisedCheckpoint, recognise
    from deepcompression.checkpoint.write import write_checkpoint, write_tensors
    from deepcompression.tensors.entry import TensorEntry
else:
    # each name of the imports above -> the module that defines it
    _PLACES = {
        "Checkpoint": "deepcompression.checkpoint.checkpoint",
        "GRAPH": "deepcompression.checkpoint.onnx.graph",
        "Recognised": "deepcompression.checkpoint.other_tools",
        "RecognisedCheckpoint": "deepcompression.checkpoint.other_tools",
        "TensorEntry": "deepcompression.tensors.entry",
        "open_checkpoint": "deepcompression.checkpoint.open",
        "read_tensors": "deepcompression.checkpoint.open",
        "recognise": "deepcompression.checkpoint.other_tools",
        "tensors_of": "deepcompression.checkpoint.open",
        "write_checkpoint": "deepcompression.checkpoint.write",
        "write_tensors": "deepcompression.checkpoint.write",
    }

    __getattr__, __dir__ = lazy_names(__name__, _PLACES)

__all__ = [
    "GRAPH",
    "Checkpoint",
    "Recognised",
    "RecognisedCheckpoint",
    "TensorEntry",
    "open_checkpoint",
    "read_tensors",
    "recognise",
    "tensors_of",
    "write_checkpoint",
    "write_tensors",
]
