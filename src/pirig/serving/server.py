"""Serve a policy over a WebSocket.

Law 1: The event loop never waits for the policy, so pings, `/healthz` and other clients are answered during an
inference of any length. A server that infers inside the loop misses pings, and loses clients to close code 1011.
Law 2: A client's request, or an error that the policy raises for it, does not affect other clients.
Law 3: A request whose client has disconnected is cancelled. Therefore stopping, and clients that send a request again,
wait for one inference at most.
Law 4: The memory and the number of connections that clients can use are bounded (`limits.py`). A client that is refused
or disconnected receives the limit and its flag.
Law 5: Browsers are refused, so that no web page can use a server on the machine of its reader. Browsers send an Origin
header, and clients of this protocol do not.
Law 6: The caller warms the policy up before the port opens, so an open port means that the server is ready.
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
from collections.abc import Callable

import websockets
import websockets.asyncio.server as ws
from websockets.frames import CloseCode
from websockets.http11 import Request, Response

from pirig.errors import BusyError, MissingResource, PolicyError, ProtocolError
from pirig.interfaces import Policy
from pirig.serving.batching import Answer, Batcher
from pirig.serving.limits import Limits
from pirig.serving.visitor import Visitor
from pirig.wire import protocol

_log = logging.getLogger(__name__)
_PING_EVERY_S = 60
_PONG_WITHIN_S = 600  # a client may be busy rendering; TCP notices a dead one much earlier
_OPEN_WITHIN_S = 10  # time limit of a handshake
_GENEROUS = Limits()


class PolicyServer:
    """Serve one policy to many clients. One batch at a time is inferred, in a thread of its own."""

    def __init__(
        self,
        policy: Policy,
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        api_key: str = "",
        limits: Limits = _GENEROUS,
        batcher: Batcher | None = None,
    ):
        """Prepare the server; `run` opens the port.

        `port`: 0 means any free port. `api_key`: clients that do not send it are refused. `batcher`: an existing
        batcher of the policy. The server closes it, and `limits.max_queue` does not apply to it.
        """
        self._host, self._port, self._limits = host, port, limits
        self._expected = protocol.authorization(api_key).get("Authorization", "").encode()
        self._greeting = protocol.greeting(policy.metadata)
        self._visitors: set[ws.ServerConnection] = set()
        self._is_full = False
        self._batcher = batcher or Batcher(policy, max_queue=limits.max_queue)
        self._stopped: concurrent.futures.Future[None] = concurrent.futures.Future()

    def run(self, on_ready: Callable[[int], object] = lambda port: None) -> None:
        """Serve until `stop`, SIGINT or SIGTERM. Calls `on_ready` with the port once it is open.

        Raises StartError if the port cannot be opened, e.g. because it is in use.
        """
        try:
            asyncio.run(self._run(on_ready))
        finally:
            self._batcher.close(wait=False)

    def stop(self) -> None:
        """Stop the server permanently. May be called from any thread at any time.

        Clients receive close code 1001. The inference in progress finishes, but its answers are dropped.
        """
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            self._stopped.set_result(None)

    async def _run(self, on_ready: Callable[[int], object]) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, self.stop)

        class OurVisitor(Visitor):
            limits, present = self._limits, self._visitors

        try:
            server = await ws.serve(
                self._serve,
                self._host,
                self._port,
                process_request=self._admit,
                create_connection=OurVisitor,
                origins=[None],
                server_header=None,
                compression=None,
                max_size=self._limits.max_bytes,
                max_queue=1,
                open_timeout=_OPEN_WITHIN_S,
                ping_interval=_PING_EVERY_S,
                ping_timeout=_PONG_WITHIN_S,
            )
        except (OSError, OverflowError, UnicodeError) as e:  # port in use, invalid port, invalid host name
            raise MissingResource(
                f"cannot listen on {self._host}:{self._port}: {getattr(e, 'strerror', '') or e}; "
                "stop what uses the port, or choose another --port or --host"
            ) from e
        async with server:
            on_ready(server.sockets[0].getsockname()[1])
            await asyncio.wrap_future(self._stopped)

    async def _serve(self, connection: ws.ServerConnection) -> None:
        assert isinstance(connection, Visitor)
        peer = connection.remote_address
        _log.info("client %s connected", peer)
        closed = asyncio.create_task(connection.wait_closed())
        with contextlib.suppress(websockets.ConnectionClosed, asyncio.CancelledError):
            await self._send(connection, self._greeting)
            total_ms = None
            while True:
                frame = await self._next(connection)
                start = time.perf_counter()
                await self._send(connection, await self._respond(frame, total_ms, closed))
                total_ms = 1e3 * (time.perf_counter() - start)
        said = connection.protocol.close_sent
        if said and said.code in (CloseCode.POLICY_VIOLATION, CloseCode.MESSAGE_TOO_BIG):
            flag = " (--max-frame-mib)" if said.code == CloseCode.MESSAGE_TOO_BIG else ""
            _log.warning("client %s was disconnected: %s%s", peer, said.reason, flag)
        else:
            _log.info("client %s left", peer)

    async def _next(self, connection: Visitor) -> bytes | str:
        limit_s = self._limits.idle_timeout_s
        try:
            async with asyncio.timeout(limit_s or None):
                return await connection.recv()
        except TimeoutError:
            connection.dismiss(f"no request within {limit_s:g} s (--idle-timeout-s of the server)")
            return await connection.recv()  # raises ConnectionClosed

    async def _send(self, connection: Visitor, frame: bytes | str) -> None:
        limit_s = self._limits.frame_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                await connection.send(frame)
        except TimeoutError:
            connection.dismiss(f"an answer was not taken within {limit_s:g} s (--frame-timeout-s of the server)")
            await connection.recv()

    async def _respond(
        self, frame: bytes | str, prev_total_ms: float | None, closed: "asyncio.Task[None]"
    ) -> bytes | str:
        """Return the reply to a request. Raises CancelledError if the client has disconnected meanwhile."""
        try:
            if isinstance(frame, str):
                raise ProtocolError("a request must be a binary frame; found text")
            obs = protocol.read(frame, max_bytes=self._limits.max_bytes)
        except ProtocolError as e:
            _log.warning("bad request: %s", e)
            return protocol.error(e)
        answer = asyncio.wrap_future(self._batcher.submit(obs))

        def give_up(_: object) -> None:  # Law 3
            answer.cancel()

        closed.add_done_callback(give_up)
        try:
            output, infer_ms = await self._in_time(answer)
            return protocol.answer(output, infer_ms=infer_ms, prev_total_ms=prev_total_ms)
        except BusyError as e:
            _log.info("refused: %s", e)
            return protocol.error(e)
        except Exception as e:
            _log.exception("the policy failed")
            return protocol.error(e)
        finally:
            closed.remove_done_callback(give_up)

    async def _in_time(self, answer: "asyncio.Future[Answer]") -> Answer:
        limit_s = self._limits.request_timeout_s
        try:
            async with asyncio.timeout(limit_s or None) as deadline:
                return await answer
        except TimeoutError as e:
            if not deadline.expired():
                raise  # the policy raised it
            raise PolicyError(f"no answer within {limit_s:g} s (--request-timeout-s of the server)") from e

    def _admit(self, connection: ws.ServerConnection, request: Request) -> Response | None:
        """Answer health checks, and refuse clients that lack the API key or exceed the limit.

        This happens before the WebSocket is opened. Returns None for an accepted client.
        """
        if request.path.partition("?")[0] == protocol.HEALTH_PATH:
            return connection.respond(http.HTTPStatus.OK, protocol.HEALTH_BODY)
        given = "\n".join(request.headers.get_all("Authorization"))
        if self._expected and not hmac.compare_digest(given.encode(errors="surrogateescape"), self._expected):
            return connection.respond(http.HTTPStatus.UNAUTHORIZED, "this server wants another API key\n")
        if len(self._visitors) >= self._limits.max_clients:
            full = f"{len(self._visitors)} clients are connected, and no more may (--max-clients of the server)"
            if not self._is_full:
                _log.warning("%s; others are turned away", full)
            self._is_full = True
            return connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, f"{full}; try again later\n")
        self._is_full = False
        self._visitors.add(connection)
        return None
