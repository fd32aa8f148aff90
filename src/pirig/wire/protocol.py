"""Implement the openpi policy protocol, without sockets.

    server                          client
      | ---- metadata (binary) ----> |     once, on connect
      | <--- observation (binary) -- |  \\
      | ---- answer (binary) ------> |   | repeated
      | ---- error (text) ---------> |  /  instead of an answer

Rule 1: Nothing in this module opens a connection, reads from one or waits.
Rule 2: No other module depends on the content of a frame.
Rule 3: A text frame is always an error. The reference then closes the connection with code 1011. Our server keeps it
open, so that a client can continue after a bad request. A client must handle both.
"""

from typing import Any

from pirig.errors import BusyError, ConfigError, PirigError, ProtocolError, RemotePolicyError
from pirig.types import Metadata, Observation
from pirig.wire import codec

HEALTH_PATH = "/healthz"
HEALTH_BODY = "OK\n"
_MOST_SAID = 20_000  # characters of an error that are kept in logs and results; the reference's tracebacks have fewer
_BUSY = f"{BusyError.__name__}: "


def greeting(metadata: Metadata) -> bytes:
    return codec.pack(dict(metadata))


def request(obs: Observation) -> bytes:
    return codec.pack(obs)


def answer(output: dict[str, Any], *, infer_ms: float, prev_total_ms: float | None) -> bytes:
    """Encode the answer to a request.

    `infer_ms`: inference time [ms]. `prev_total_ms`: time of the connection's previous request, from its receipt until
    its answer was sent [ms]; None for the first request.
    """
    timing = {"infer_ms": infer_ms}
    if prev_total_ms is not None:
        timing["prev_total_ms"] = prev_total_ms
    return codec.pack({**output, "server_timing": timing})


def error(problem: Exception) -> str:
    """Return the text frame that reports an error to a client.

    Only messages of pirig's own errors leave the machine, because those of other errors may name its files.
    """
    said = str(problem) if isinstance(problem, PirigError) else "the policy failed; the server's log has the traceback"
    return f"{type(problem).__name__}: {said}"


def read(frame: bytes | memoryview | str, *, max_bytes: int = codec.MAX_BYTES) -> dict[str, Any]:
    """Decode a binary frame from a server or a client.

    Raises RemotePolicyError for a text frame, BusyError for a text frame that reports a full server, and ProtocolError
    for anything that is not a frame.
    """
    if isinstance(frame, str):
        if frame.startswith(_BUSY):
            raise BusyError(f"the policy server reported: {frame.removeprefix(_BUSY)}")
        raise RemotePolicyError(f"the policy server reported: {frame[:_MOST_SAID]}")
    value = codec.unpack(frame, max_bytes=max_bytes)
    if not isinstance(value, dict):
        raise ProtocolError(f"a frame must hold a map; found {type(value).__name__}")
    return value


def authorization(api_key: str) -> dict[str, str]:
    """Return the HTTP headers with the API key; none if it is empty.

    Raises ConfigError for a key that a header cannot contain.
    """
    if not (api_key.isascii() and api_key.isprintable()) or " " in api_key:
        raise ConfigError("PIRIG_API_KEY has a space or a letter that is not ASCII; choose a key without")
    return {"Authorization": f"Api-Key {api_key}"} if api_key else {}
