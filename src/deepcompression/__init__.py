"""Deep Compression (Han, Mao, Dally; ICLR 2016) for PyTorch: prune and retrain, share weights, Huffman-code, into one
small safe file.

    model --prune--> masks --(caller trains)--> share --> codebooks + codes --(caller trains centroids)--+
                                                                                                        |
      run <-- packed weights <-- bitmap, codes <--decode-- .dcz file <--encode-- CompressedTensor <------+
                                                    load <--+

`import deepcompression`, reading files and the whole command line work without torch. Functions that take a model
import torch when they are called.
"""

from typing import TYPE_CHECKING

from deepcompression.common.lazy_names import lazy_names

if TYPE_CHECKING:
    from deepcompression.calibration.calibrate import calibrate
    from deepcompression.calibration.plan import Plan, plan, sensitivity
    from deepcompression.coding.encode_part import Encode
    from deepcompression.common.binary import FormatError
    from deepcompression.convert.tensors import compress_tensors
    from deepcompression.convert.to_dcz import compress_checkpoint
    from deepcompression.delta.apply import apply_patch
    from deepcompression.delta.make import PatchSizes, make_patch
    from deepcompression.embedded.export import export
    from deepcompression.embedded.result import Exported
    from deepcompression.file.effect import Effect
    from deepcompression.file.reader import DczFile, load_tensors
    from deepcompression.file.report import Report
    from deepcompression.file.writer import save_tensors
    from deepcompression.nn.explain import Explanation, explain
    from deepcompression.nn.run import run
    from deepcompression.pruning.criteria import Prune
    from deepcompression.pruning.schedule import Gradual, OneShot, Rounds
    from deepcompression.recipe.recipe import Recipe
    from deepcompression.recipe.rule import Rule
    from deepcompression.sharing.share_weights import Share
    from deepcompression.tensors.entry import Tie
    from deepcompression.tensors.tensor import CompressedTensor, DenseTensor
    from deepcompression.training.prune_model import Pruner, prune
    from deepcompression.training.resume import resume
    from deepcompression.training.retraining import DeadNeurons, dead_neurons, freeze, scaled_dropout
    from deepcompression.training.save_load import load, save
    from deepcompression.training.share_model import share
    from deepcompression.training.stages import compress, finalize
else:
    # each name of the imports above -> the module that defines it
    _PLACES = {
        "CompressedTensor": "deepcompression.tensors.tensor",
        "DczFile": "deepcompression.file.reader",
        "DeadNeurons": "deepcompression.training.retraining",
        "DenseTensor": "deepcompression.tensors.tensor",
        "Effect": "deepcompression.file.effect",
        "Encode": "deepcompression.coding.encode_part",
        "Explanation": "deepcompression.nn.explain",
        "Exported": "deepcompression.embedded.result",
        "FormatError": "deepcompression.common.binary",
        "Gradual": "deepcompression.pruning.schedule",
        "OneShot": "deepcompression.pruning.schedule",
        "PatchSizes": "deepcompression.delta.make",
        "Plan": "deepcompression.calibration.plan",
        "Prune": "deepcompression.pruning.criteria",
        "Pruner": "deepcompression.training.prune_model",
        "Recipe": "deepcompression.recipe.recipe",
        "Report": "deepcompression.file.report",
        "Rounds": "deepcompression.pruning.schedule",
        "Rule": "deepcompression.recipe.rule",
        "Share": "deepcompression.sharing.share_weights",
        "Tie": "deepcompression.tensors.entry",
        "apply_patch": "deepcompression.delta.apply",
        "calibrate": "deepcompression.calibration.calibrate",
        "compress": "deepcompression.training.stages",
        "compress_checkpoint": "deepcompression.convert.to_dcz",
        "compress_tensors": "deepcompression.convert.tensors",
        "dead_neurons": "deepcompression.training.retraining",
        "explain": "deepcompression.nn.explain",
        "export": "deepcompression.embedded.export",
        "finalize": "deepcompression.training.stages",
        "freeze": "deepcompression.training.retraining",
        "load": "deepcompression.training.save_load",
        "load_tensors": "deepcompression.file.reader",
        "make_patch": "deepcompression.delta.make",
        "plan": "deepcompression.calibration.plan",
        "prune": "deepcompression.training.prune_model",
        "resume": "deepcompression.training.resume",
        "run": "deepcompression.nn.run",
        "save": "deepcompression.training.save_load",
        "save_tensors": "deepcompression.file.writer",
        "scaled_dropout": "deepcompression.training.retraining",
        "sensitivity": "deepcompression.calibration.plan",
        "share": "deepcompression.training.share_model",
    }

    __getattr__, __dir__ = lazy_names(__name__, _PLACES)

__version__ = "0.1.0"

__all__ = [
    "CompressedTensor",
    "DczFile",
    "DeadNeurons",
    "DenseTensor",
    "Effect",
    "Encode",
    "Explanation",
    "Exported",
    "FormatError",
    "Gradual",
    "OneShot",
    "PatchSizes",
    "Plan",
    "Prune",
    "Pruner",
    "Recipe",
    "Report",
    "Rounds",
    "Rule",
    "Share",
    "Tie",
    "apply_patch",
    "calibrate",
    "compress",
    "compress_checkpoint",
    "compress_tensors",
    "dead_neurons",
    "explain",
    "export",
    "finalize",
    "freeze",
    "load",
    "load_tensors",
    "make_patch",
    "plan",
    "prune",
    "resume",
    "run",
    "save",
    "save_tensors",
    "scaled_dropout",
    "sensitivity",
    "share",
]
