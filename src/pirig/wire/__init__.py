"""Bytes and rules of the openpi policy protocol, apart from sockets."""
