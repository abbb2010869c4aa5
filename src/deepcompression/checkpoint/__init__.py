"""Checkpoint files of other tools <-> named tensors, read one at a time, written as safetensors or ONNX.

Imports common and tensors.
"""

from deepcompression.checkpoint.checkpoint import Checkpoint
from deepcompression.checkpoint.onnx.graph import GRAPH
from deepcompression.checkpoint.open import open_checkpoint, read_tensors, tensors_of
from deepcompression.checkpoint.other_tools import Recognised, RecognisedCheckpoint, recognise
from deepcompression.checkpoint.write import write_checkpoint, write_tensors
from deepcompression.tensors.entry import TensorEntry

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
