"""Registration and segmentation outputs become one clean shape per ROI."""
