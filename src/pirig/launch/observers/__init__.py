"""Follow a run while it goes on: progress, early stop, autotune, live page, trackers."""
