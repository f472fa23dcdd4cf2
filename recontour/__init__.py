"""Contours for a daily scan, from the planning scan's contours, by joint registration and segmentation."""

__version__ = "0.1.0"
