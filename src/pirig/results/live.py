"""Serve a page that updates itself, from a thread of the process whose progress it shows.

Law 1: Clients cannot change anything; the server answers only GET and HEAD.
Law 2: It serves the page, its state, the frames and the reports of runs that have ended, and no other file.
Law 3: It accepts only addresses and this machine's own names as host, so that no web site in a user's browser can
    read it by resolving the site's name to this address (DNS rebinding).
Law 4: A browser runs only our script, which is identified by its hash; neither the name of a run nor the metadata of
    its policy can become a script.

    /                 the page
    /state?seen=N     JSON: revision, title, fragments (HTML by id); only `now` if N is the current revision
    /frame/I.png      the latest image that the policy of worker I received
    /report/I         the report of the I-th run that ended, counted from 0
"""

import base64
import contextlib
import hashlib
import http.server
import ipaddress
import json
import logging
import pathlib
import re
import socket
import sys
import threading
import urllib.parse
from collections.abc import Collection, Generator
from typing import Any, Protocol

from pirig.errors import MissingResource
from pirig.results.page.html import resource

_log = logging.getLogger(__name__)
_MOST_AT_ONCE = 32  # connections, each with its own thread; a browser opens six
_OURS = base64.b64encode(hashlib.sha256(resource("live.js").encode()).digest()).decode()
_POLICY = "; ".join(  # inline styles set single values, such as a bar's length, and cannot run code
    (
        "default-src 'none'",
        f"script-src 'sha256-{_OURS}'",
        "style-src 'unsafe-inline'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


class View(Protocol):
    """A `View` supplies what the server shows; its methods are called from many threads."""

    @property
    def frames(self) -> pathlib.Path: ...

    def page(self) -> str: ...

    def state(self, seen: int) -> dict[str, Any]: ...

    def report(self, number: int) -> str:
        """Return the report's page, or an empty string if there is none."""
        ...


@contextlib.contextmanager
def serving(view: View, host: str, port: int) -> Generator[str]:
    """Serve the page while the block runs, and yield its address.

    Port 0 selects any free port. Raises StartError if the server cannot listen.
    """

    class Handler(_Handler):
        shown, names = view, {"localhost", socket.gethostname().lower(), host.lower()}

    try:
        server = _Server((host, port), Handler)
    except (OSError, OverflowError) as e:
        raise MissingResource(
            f"cannot serve the live page on {host}:{port}: {e}; choose another --live PORT or --live-host"
        ) from e
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True, name="live page")
    thread.start()
    try:
        yield f"http://{host}:{server.server_address[1]}/"
    finally:
        Handler.is_open = False
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(http.server.ThreadingHTTPServer):
    """The server handles at most `_MOST_AT_ONCE` connections, each in its own thread.

    It closes any further connection at once, and the browser tries again.
    """

    daemon_threads = True

    def __init__(self, *arguments: Any):
        self._room = threading.BoundedSemaphore(_MOST_AT_ONCE)
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # an OSError means that the browser has disconnected
            _log.exception("the live page could not answer")


class _Handler(http.server.BaseHTTPRequestHandler):
    shown: View
    names: Collection[str]
    is_open = True  # each request checks it, because the threads of kept-alive connections outlast the server
    protocol_version = "HTTP/1.1"
    timeout = 60  # [s], for an idle connection

    def do_GET(self) -> None:
        if not self.is_open:
            self.close_connection = True
            return
        if not self._is_for_us():
            return self._answer(
                "text/plain; charset=utf-8", b"ask for localhost, or for an address (as 10.0.0.5)\n", 403
            )
        address = urllib.parse.urlsplit(self.path)
        if address.path == "/":
            self._answer("text/html; charset=utf-8", self.shown.page().encode())
        elif address.path == "/state":
            seen = urllib.parse.parse_qs(address.query).get("seen", ["-1"])[0]
            number = int(seen) if re.fullmatch(r"-?\d{1,9}", seen) else -1
            self._answer("application/json", json.dumps(self.shown.state(number)).encode())
        elif address.path == "/favicon.ico":
            self._answer("image/x-icon", b"", 204)
        elif (found := re.fullmatch(r"/frame/(\d{1,6})\.png", address.path)) and (data := self._frame(found[1])):
            self._answer("image/png", data)
        elif (found := re.fullmatch(r"/report/(\d{1,6})", address.path)) and (text := self.shown.report(int(found[1]))):
            self._answer("text/html; charset=utf-8", text.encode())
        else:
            self._answer("text/plain; charset=utf-8", b"there are /, /state, /frame/WORKER.png and /report/N\n", 404)

    do_HEAD = do_GET

    def _is_for_us(self) -> bool:
        name = re.sub(r":\d+$", "", self.headers.get("Host", "")).strip("[]").lower()
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self.names
        return True  # DNS rebinding needs a name as host

    def _frame(self, worker: str) -> bytes:
        try:
            return (self.shown.frames / f"{int(worker)}.png").read_bytes()
        except OSError:
            return b""

    def _answer(self, kind: str, data: bytes, status: int = 200) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(data))),
            ("Cache-Control", "no-store"),
            ("Content-Security-Policy", _POLICY),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def version_string(self) -> str:
        return "pirig"

    def log_message(self, format: str, *args: object) -> None:
        """Suppress the server's messages, because the log belongs to the run."""
