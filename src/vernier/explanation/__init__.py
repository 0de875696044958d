"""Which input pixels a network uses, what it computes on the way, and how results compare."""
