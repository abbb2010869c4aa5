"""Recipes: what to do to which tensor. Presets lie in `presets`.

Imports coding, pruning, sharing.
"""
