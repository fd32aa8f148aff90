"""Limit the server's end of a client connection where `websockets` has no limit.

Law 1: A frame must be complete within its time limit, or the connection is closed. Otherwise a slow sender would occupy
memory forever.
Law 2: A connection is closed if the data that its client does not read exceeds a limit. Otherwise pongs would
accumulate, because the library answers each ping whether or not the client reads.
"""

import asyncio
from typing import Any, ClassVar

import websockets.asyncio.server as ws
from websockets.frames import DATA_OPCODES, CloseCode, Frame

from pirig.serving.limits import Limits

_LINGERING = 1 << 20  # unread data, besides one answer [bytes]
_LEAVES_WITHIN_S = 2.0  # time for a client to read the reason and disconnect


class Visitor(ws.ServerConnection):
    """A server subclasses this with its own class variables, because `websockets` creates the instances."""

    limits: ClassVar[Limits]
    present: ClassVar[set[ws.ServerConnection]]
    """The accepted connections. A connection removes itself when it is lost."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self._late: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._has_begun():
            self._cancel()
        elif self._late is None:
            self._late = self.loop.call_later(self.limits.frame_timeout_s, self._is_late)
        if self.transport.get_write_buffer_size() > self.limits.max_bytes + _LINGERING:  # Law 2
            self.transport.abort()

    def process_event(self, event: Any) -> None:
        if isinstance(event, Frame) and event.opcode in DATA_OPCODES and event.fin:
            self._cancel()
        super().process_event(event)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel()
        self.present.discard(self)
        super().connection_lost(exc)

    def dismiss(self, reason: str) -> None:
        """Close the connection with a reason, even if the client does not read."""
        self.protocol.fail(CloseCode.POLICY_VIOLATION, reason)
        self.send_data()
        self.transport.close()
        self.loop.call_later(_LEAVES_WITHIN_S, self.transport.abort)

    def _has_begun(self) -> bool:
        """Return whether a frame or a fragmented message has arrived in part."""
        opened = self.request is not None  # a handshake has its own time limit
        return opened and (bool(self.protocol.reader.buffer) or self.protocol.current_size is not None)

    def _is_late(self) -> None:
        self._late = None
        if self.recv_messages.paused:  # by the server, because the client sends faster than it is answered
            self._late = self.loop.call_later(self.limits.frame_timeout_s, self._is_late)
            return
        self.dismiss(
            f"a frame was not whole within {self.limits.frame_timeout_s:g} s (--frame-timeout-s of the server)"
        )

    def _cancel(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
