"""Linear layers of any PyTorch model in a few bits: integers that are stored packed and multiplied as integers."""
