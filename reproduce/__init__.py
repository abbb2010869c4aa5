"""The paper's experiments, done again with the public names of deepcompression alone."""
