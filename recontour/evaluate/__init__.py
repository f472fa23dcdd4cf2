"""Results against truth: scores, tables of many cases, and cohorts of RTSTRUCTs against references."""
