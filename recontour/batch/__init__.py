"""Many fractions: found, planned, done one overlapping the next, on one machine or on many, and gone on with."""
