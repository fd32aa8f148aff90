"""Checkpoints on disk and far away: download, read, write, what lies beside the weights. Knows no model."""
