"""A released model becomes one patient's: fine-tuned on his planning scan, moved, and kept only where that helps."""
