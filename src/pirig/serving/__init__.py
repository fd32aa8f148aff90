"""Serve and query policies over a WebSocket, or over a local socket with shared memory."""
