"""ONNX models as checkpoints: the graph apart from the data of its tensors."""
