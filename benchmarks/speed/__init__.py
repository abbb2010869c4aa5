"""How long coding, reading and clustering take, beside other libraries."""
