"""Grids, volumes, displacement fields and contours: where things are, in LPS mm."""
