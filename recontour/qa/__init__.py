"""Figures, checks and records by which a result is judged."""
