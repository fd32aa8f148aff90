"""Checkpoints: how they get onto this machine."""
