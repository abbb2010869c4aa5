"""Bytes, files, locks and messages that every other room uses.

Imports nothing of ours but the core.
"""
