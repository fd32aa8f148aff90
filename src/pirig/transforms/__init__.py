"""Convert a simulator's observations to a policy's inputs, and its outputs to actions, by pure functions."""
