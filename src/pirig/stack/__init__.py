"""The machine and its containers: what is there, and what is wrong with it. Knows no policy and no simulator."""
