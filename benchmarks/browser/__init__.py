"""Measurements of the npm package beside the Python package."""
