"""Callbacks for other people's trainers: `transformers` (Hugging Face) and `lightning`, each imported by itself.

Accelerate and plain loops need no callback: they call `pruner.step()`.
Imports training, recipe, coding and what those import.
"""
