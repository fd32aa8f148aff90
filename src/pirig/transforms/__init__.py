"""Pure functions that convert a simulator's observations to a policy's inputs, and its outputs to actions."""
