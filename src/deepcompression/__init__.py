"""Deep Compression (Han, Mao, Dally; ICLR 2016) for PyTorch: prune and retrain, share weights, Huffman-code, into one
small safe file.

    model --prune--> masks --(caller trains)--> share --> codebooks + codes --(caller trains centroids)--+
                                                                                                        |
      run <-- packed weights <-- bitmap, codes <--decode-- .dcz file <--encode-- CompressedTensor <------+
                                                    load <--+

`import deepcompression`, reading files and the whole command line work without torch; functions that take a model
import it when called.
"""

from deepcompression.calibrate import calibrate
from deepcompression.compress import compress, compress_tensors, finalize, load, resume, save
from deepcompression.explanation import Explanation
from deepcompression.file import DczFile, Tie, load_tensors, save_tensors
from deepcompression.plan import Plan, plan, sensitivity
from deepcompression.prune import Pruner, prune
from deepcompression.recipe import Encode, Prune, Recipe, Rule, Share
from deepcompression.report import Report
from deepcompression.retraining import DeadNeurons, dead_neurons, freeze, scaled_dropout
from deepcompression.run import explain, run
from deepcompression.schedule import Gradual, OneShot, Rounds
from deepcompression.share import share
from deepcompression.streaming import compress_checkpoint
from deepcompression.tensor import CompressedTensor, DenseTensor
from deepcompression.wire import FormatError

__version__ = "0.1.0"

__all__ = [
    "CompressedTensor",
    "DczFile",
    "DeadNeurons",
    "DenseTensor",
    "Encode",
    "Explanation",
    "FormatError",
    "Gradual",
    "OneShot",
    "Plan",
    "Prune",
    "Pruner",
    "Recipe",
    "Report",
    "Rounds",
    "Rule",
    "Share",
    "Tie",
    "calibrate",
    "compress",
    "compress_checkpoint",
    "compress_tensors",
    "dead_neurons",
    "explain",
    "finalize",
    "freeze",
    "load",
    "load_tensors",
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
