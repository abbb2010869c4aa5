"""The paper's experiments, repeated with the public names of deepcompression alone."""
