"""The openpi policy protocol, without sockets.

    server                          client
      | ---- metadata (binary) ----> |     once, on connect
      | <--- observation (binary) -- |  \\
      | ---- answer (binary) ------> |   | repeated
      | ---- error (text) ---------> |  /  instead of an answer

Rule 1: nothing here opens, reads or waits. Rule 2: nothing outside knows what stands in a frame.
Rule 3: a text frame is always an error. The reference closes with 1011 after it; we stay open, so that a client whose
request was bad can go on. A client must cope with both.
"""

from typing import Any

from pirig.errors import BusyError, ConfigError, PirigError, ProtocolError, RemotePolicyError
from pirig.types import Metadata, Observation
from pirig.wire import codec

HEALTH_PATH = "/healthz"
HEALTH_BODY = "OK\n"
_MOST_SAID = 20_000  # letters of an error that reach logs and results; a traceback of the reference's has fewer
_BUSY = f"{BusyError.__name__}: "


def greeting(metadata: Metadata) -> bytes:
    return codec.pack(dict(metadata))


def request(obs: Observation) -> bytes:
    return codec.pack(obs)


def answer(output: dict[str, Any], *, infer_ms: float, prev_total_ms: float | None) -> bytes:
    """`prev_total_ms`: the connection's previous request from receipt to sent answer; None on the first."""
    timing = {"infer_ms": infer_ms}
    if prev_total_ms is not None:
        timing["prev_total_ms"] = prev_total_ms
    return codec.pack({**output, "server_timing": timing})


def error(problem: Exception) -> str:
    """What a client is told. Only messages that pirig wrote leave the machine: others may name its files."""
    said = str(problem) if isinstance(problem, PirigError) else "the policy failed; the server's log has the traceback"
    return f"{type(problem).__name__}: {said}"


def read(frame: bytes | memoryview | str, *, max_bytes: int = codec.MAX_BYTES) -> dict[str, Any]:
    """Reads any binary frame of either side.

    Raises RemotePolicyError for a text frame, BusyError for one that says so, and ProtocolError for what is no frame.
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
    """Headers that carry the key; none for an empty one. Raises ConfigError for one that no header can carry."""
    if not (api_key.isascii() and api_key.isprintable()) or " " in api_key:
        raise ConfigError("PIRIG_API_KEY has a space or a letter that is not ASCII; choose a key without")
    return {"Authorization": f"Api-Key {api_key}"} if api_key else {}
