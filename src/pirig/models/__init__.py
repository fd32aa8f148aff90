"""Implement π0 and π0.5: sizes, weights and computation. Nothing here depends on files, transforms or LIBERO."""
