"""Assembles and starts runs: the only place where policies, simulators, results and machines meet. Prints nothing."""
