"""Callbacks for the trainers of `transformers` (Hugging Face) and `lightning`; import each by itself.

Accelerate and plain loops need no callback: they call `pruner.step()`.
Imports training, recipe, coding and the rooms that those import.
"""
