"""Policies over a WebSocket, both ends."""
