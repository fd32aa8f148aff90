"""What follows a run while it goes on: progress, early stop, autotune, the live page, trackers."""
