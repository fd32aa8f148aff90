"""Serves a policy over a WebSocket.

Law 1: the event loop never waits for the policy, so pings, `/healthz` and other clients are answered during an
inference of any length. Servers that infer inside the loop miss pings, and lose clients to close code 1011.
Law 2: what one client sends, or what the policy raises for it, costs no other client anything.
Law 3: a request whose client has gone gives up its place; so stopping, and clients that ask again, wait for one
inference at most.
The port opens when the caller has warmed the policy up; so an open port means ready.
"""

import asyncio
import concurrent.futures
import contextlib
import hmac
import http
import logging
import signal
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import websockets
import websockets.asyncio.server as ws

from pirig.errors import ProtocolError, StartError
from pirig.interfaces import Policy
from pirig.serving.batching import Batcher
from pirig.wire import codec, protocol

_log = logging.getLogger(__name__)
_PING_EVERY_S = 60
_PONG_WITHIN_S = 600  # a client may be busy rendering; one that is gone is noticed by TCP long before


class PolicyServer:
    """One policy, any number of clients; one batch at a time, in a thread of its own."""

    def __init__(
        self,
        policy: Policy,
        *,
        host: str = "0.0.0.0",
        port: int = 8000,
        api_key: str = "",
        max_bytes: int = codec.MAX_BYTES,
        batcher: Batcher | None = None,
    ):
        """`port` 0 takes a free one. `api_key`: refuse clients that do not send it. `batcher`: one that has the policy
        already; it ends with the server.
        """
        self._host, self._port = host, port
        self._api_key, self._max_bytes = api_key, max_bytes
        self._greeting = protocol.greeting(policy.metadata)
        self._batcher = batcher or Batcher(policy)
        self._stopped: concurrent.futures.Future[None] = concurrent.futures.Future()

    def run(self, on_ready: Callable[[int], object] = lambda port: None) -> None:
        """Serves until `stop`, SIGINT or SIGTERM. `on_ready` hears the port. Raises StartError for a port in use."""
        try:
            asyncio.run(self._run(on_ready))
        finally:
            self._batcher.close(wait=False)

    def stop(self) -> None:
        """From any thread, at any time, for good. Clients see close code 1001; a running inference ends unheard."""
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            self._stopped.set_result(None)

    async def _run(self, on_ready: Callable[[int], object]) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, self.stop)
        try:
            server = await ws.serve(
                self._serve,
                self._host,
                self._port,
                process_request=self._admit,
                compression=None,
                max_size=self._max_bytes,
                ping_interval=_PING_EVERY_S,
                ping_timeout=_PONG_WITHIN_S,
            )
        except OSError as e:
            raise StartError(
                f"cannot listen on {self._host}:{self._port}: {e.strerror}; "
                "stop what uses the port, or choose another --port"
            ) from e
        async with server:
            on_ready(server.sockets[0].getsockname()[1])
            await asyncio.wrap_future(self._stopped)

    async def _serve(self, connection: ws.ServerConnection) -> None:
        peer = connection.remote_address
        _log.info("client %s connected", peer)
        closed = asyncio.create_task(connection.wait_closed())
        with contextlib.suppress(websockets.ConnectionClosed, asyncio.CancelledError):
            await connection.send(self._greeting)
            total_ms = None
            async for frame in connection:
                start = time.perf_counter()
                await connection.send(await self._respond(frame, total_ms, closed))
                total_ms = 1e3 * (time.perf_counter() - start)
        _log.info("client %s left", peer)

    async def _respond(
        self, frame: bytes | str, prev_total_ms: float | None, closed: "asyncio.Task[None]"
    ) -> bytes | str:
        """Raises CancelledError where the client has left meanwhile."""
        try:
            if isinstance(frame, str):
                raise ProtocolError("a request must be a binary frame; found text")
            obs = protocol.read(frame, max_bytes=self._max_bytes)
        except ProtocolError as e:
            _log.warning("bad request: %s", e)
            return protocol.error(e)
        answer = asyncio.wrap_future(self._batcher.submit(obs))

        def give_up(_: object) -> None:  # Law 3
            answer.cancel()

        closed.add_done_callback(give_up)
        try:
            output, infer_ms = await answer
            return protocol.answer(output, infer_ms=infer_ms, prev_total_ms=prev_total_ms)
        except Exception as e:
            _log.exception("the policy failed")
            return protocol.error(e)
        finally:
            closed.remove_done_callback(give_up)

    def _admit(self, connection: ws.ServerConnection, request: Any) -> Any:
        """Answers health checks, and turns away clients without the key, before a WebSocket is opened."""
        if request.path.partition("?")[0] == protocol.HEALTH_PATH:
            return connection.respond(http.HTTPStatus.OK, protocol.HEALTH_BODY)
        expected = protocol.authorization(self._api_key).get("Authorization", "")
        given = request.headers.get("Authorization", "")
        if expected and not hmac.compare_digest(given.encode(), expected.encode()):
            return connection.respond(http.HTTPStatus.UNAUTHORIZED, "this server wants another API key\n")
        return None


@contextlib.contextmanager
def serve_in_thread(policy: Policy, *, port: int = 0, **options: Any) -> Generator[int]:
    """Serves on loopback, on a free port unless `port` is given, while the block runs. Yields the port."""
    server = PolicyServer(policy, host="127.0.0.1", port=port, **options)
    ready: concurrent.futures.Future[int] = concurrent.futures.Future()
    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="policy-server") as thread:
        running = thread.submit(server.run, ready.set_result)
        try:
            concurrent.futures.wait([ready, running], return_when=concurrent.futures.FIRST_COMPLETED)
            if running.done():
                running.result()
            yield ready.result()
        finally:
            server.stop()
    running.result()
