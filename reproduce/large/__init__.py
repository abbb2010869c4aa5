"""The paper's large networks, AlexNet and VGG-16: their data, training in turn, and files."""
