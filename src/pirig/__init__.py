"""Find out how good a π0 / π0.5 policy is on LIBERO, with numbers that can be trusted.

ARCHITECTURE.md has the floor plan; `pirig --help` lists the commands.
"""

__version__ = "0.1.0"
