"""Download, read and write checkpoints, and the files beside their weights. Nothing here depends on a model."""
