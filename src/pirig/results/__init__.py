"""This package stores the results of a run on disk and evaluates them without a simulator."""
