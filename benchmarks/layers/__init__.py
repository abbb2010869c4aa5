"""Layers, convolutions and whole models computed from packed weights, beside other libraries."""
