"""This package computes counts, intervals and tests as pure functions of results; each formula names its source."""
