"""Recipes: the rules of how to prune, share and encode each tensor. `presets` holds the presets.

Imports checkpoint, coding, pruning, sharing.
"""
