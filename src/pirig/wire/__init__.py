"""Implement the encoding and the rules of the openpi policy protocol, without sockets."""
