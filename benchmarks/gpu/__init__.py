"""Products from compressed weights on one GPU, beside other libraries."""
