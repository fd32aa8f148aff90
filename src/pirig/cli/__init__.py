"""Implement pirig's commands. Each parses its flags, calls `pirig.launch`, and prints."""
