"""Anatomies that never lived, and motion with known truth."""
