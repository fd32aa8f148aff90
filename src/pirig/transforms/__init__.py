"""Pure functions between what a simulator shows and what a policy sees."""
