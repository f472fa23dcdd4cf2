"""What a clinician reads of a fraction: a page, a PDF, and a course of them."""
