"""The tables of docs/accuracy.md: recontour and its rivals on made patients and a real scan, moved by known fields."""
