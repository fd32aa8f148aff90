"""Assemble and start runs. Only here do policies, simulators, results and machines meet. Nothing here prints."""
