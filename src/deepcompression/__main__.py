"""`python -m deepcompression`: the same as `dcz`."""

from deepcompression.cli import main

main()
