"""Networks for boards: a graph, its int8 arithmetic, and the C files that run it with the sources of device/.

Imports only rooms above it in docs/design.md.
"""
