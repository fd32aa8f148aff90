"""Quantize the linear layers of any PyTorch model to integers that are stored packed and multiplied as integers."""
