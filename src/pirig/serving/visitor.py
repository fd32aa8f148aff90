"""A client's connection, as the server has it, with what `websockets` leaves unbounded.

Law 1: a frame that has begun is whole within its time, or the connection ends: a slow sender would hold its memory for
ever. Law 2: what a client does not take does not pile up: each ping is answered with a pong, read or not.
"""

import asyncio
from typing import Any, ClassVar

import websockets.asyncio.server as ws
from websockets.frames import DATA_OPCODES, CloseCode, Frame

from pirig.serving.limits import Limits

_LINGERING = 1 << 20  # [bytes], beside one answer
_LEAVES_WITHIN_S = 2.0  # a client that has been told to


class Visitor(ws.ServerConnection):
    """A server subclasses it with its own values, since `websockets` makes the instances."""

    limits: ClassVar[Limits]
    present: ClassVar[set[ws.ServerConnection]]
    """Those who were let in; a visitor leaves it by itself."""

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
        """Ends the connection, whether the client listens or not."""
        self.protocol.fail(CloseCode.POLICY_VIOLATION, reason)
        self.send_data()
        self.transport.close()
        self.loop.call_later(_LEAVES_WITHIN_S, self.transport.abort)

    def _has_begun(self) -> bool:
        """Bytes of a frame are here, or fragments of a message, and not its end."""
        opened = self.request is not None  # a handshake has a time of its own
        return opened and (bool(self.protocol.reader.buffer) or self.protocol.current_size is not None)

    def _is_late(self) -> None:
        self._late = None
        if self.recv_messages.paused:  # by us: it is ahead of its answers
            self._late = self.loop.call_later(self.limits.frame_timeout_s, self._is_late)
            return
        self.dismiss(
            f"a frame was not whole within {self.limits.frame_timeout_s:g} s (--frame-timeout-s of the server)"
        )

    def _cancel(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
