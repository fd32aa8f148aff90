"""What a run leaves on disk, and what can be computed from it without a simulator."""
