"""The outputs of a calibrated network as one array."""

import numpy as np


def flat(outputs):
    """All floating-point outputs, one after the other, in float32."""
    floats = [each for each in outputs.values() if np.issubdtype(each.dtype, np.floating)]
    return np.concatenate(floats).astype(np.float32)
