"""`python -m recontour` is the same as `recontour`."""

from recontour.cli import main

main()
