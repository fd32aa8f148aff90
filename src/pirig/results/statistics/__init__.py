"""Counts, intervals and tests. Pure functions of results; each formula names its source."""
