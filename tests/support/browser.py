"""A headless Chromium, driven by its own DevTools protocol over a WebSocket: nothing to install but the browser."""

import base64
import contextlib
import itertools
import json
import pathlib
import shutil
import struct
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-port=0",
)  # fmt: skip
_START_S, _ANSWER_S = 60, 60

CONTRAST = """(() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = c => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1);
                      return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const part = v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = c => .2126 * part(c[0]) + .7152 * part(c[1]) + .0722 * part(c[2]);
  const behind = e => { for (; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor);
                        if (c[3] == 255) return c; } return [255, 255, 255, 255]; };
  const found = [];
  for (const e of document.body.querySelectorAll("*")) {
    const words = [...e.childNodes].filter(n => n.nodeType == 3 && n.data.trim()).map(n => n.data.trim()).join(" ");
    if (!words || !e.checkVisibility() || ["SCRIPT", "STYLE", "title"].includes(e.tagName)) continue;
    const style = getComputedStyle(e);
    const [a, b] = [light(rgba(e instanceof SVGElement ? style.fill : style.color)), light(behind(e))];
    found.push([(Math.max(a, b) + .05) / (Math.min(a, b) + .05), words.slice(0, 60)]);
  }
  return found;
})()"""
"""[contrast, words] of every visible text; W3C, WCAG 2.2, relative luminance and contrast ratio."""


class Tab:
    """One page. `complaints` holds what the console said that is no information, and every failed request."""

    def __init__(self, socket: ClientConnection):
        self._socket, self._numbers = socket, itertools.count(1)
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            self.call(f"{domain}.enable")

    def open(self, address: str, *, width: int, height: int = 900, dark: bool = False, media: str = "") -> None:
        """`address`: of a page, or a file of this machine."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Page.navigate", url=address if "://" in address else pathlib.Path(address).as_uri())
        self.wait_for("document.readyState == 'complete'")

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression. Raises AssertionError where it throws."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, condition: str, within_s: float = 60) -> None:
        deadline = time.monotonic() + within_s
        while not self.evaluate(f"Boolean({condition})"):
            assert time.monotonic() < deadline, f"never true: {condition}\n{self.evaluate('document.body.innerText')}"
            time.sleep(0.05)

    def text(self, selector: str) -> str:
        """White space is one blank."""
        return " ".join(self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText").split())

    def images(self) -> list[str]:
        """The names that a screen reader has for the page's images; empty where there is none."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        roles = [
            (n.get("role", {}).get("value"), n.get("name", {}).get("value", "")) for n in nodes if not n["ignored"]
        ]
        return [name for role, name in roles if role in ("image", "img")]

    def screenshot(self, path: pathlib.Path) -> bytes:
        """Of the whole page, as PNG."""
        data = base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"])
        path.write_bytes(data)
        return data

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=_ANSWER_S))
            if message.get("id") == number:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]
            self._hear(message.get("method"), message.get("params", {}))

    def _hear(self, event: str | None, said: dict[str, Any]) -> None:
        if event == "Runtime.exceptionThrown":
            self.complaints.append(str(said["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert"):
            self.complaints.append(str(said["args"]))
        elif event == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{said['entry']['text']} {said['entry'].get('url', '')}")


def assert_readable(
    tab: Tab, page: str, *, width: int, dark: bool, texts: int, images: int, picture: pathlib.Path
) -> None:
    """Nothing sticks out or is too faint, each image has a name, and the browser has nothing to complain about.

    `texts`, `images`: how many the page must have at least. `picture`: where it is kept.
    """
    tab.complaints.clear()
    tab.open(page, width=width, dark=dark)
    tab.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    found = tab.evaluate(CONTRAST)
    assert len(found) > texts
    assert [text for text in found if text[0] < 4.5] == []
    names = tab.images()
    assert len(names) >= images
    assert all(names)
    tab.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = false)")
    across, down = struct.unpack(">II", tab.screenshot(picture)[16:24])
    assert across == width
    assert down > 700
    assert tab.complaints == []


@contextlib.contextmanager
def browser() -> Iterator[Tab]:
    """A tab of a browser that is gone afterwards."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            with connect(_address(pathlib.Path(profile), process), max_size=None) as socket:
                yield Tab(socket)
        finally:
            process.kill()
            process.wait()


def _address(profile: pathlib.Path, process: subprocess.Popen) -> str:
    """Of the only tab's DevTools."""
    port, deadline = profile / "DevToolsActivePort", time.monotonic() + _START_S
    while not (port.exists() and port.read_text().count("\n")):
        assert process.poll() is None, f"chromium ended with {process.returncode}"
        assert time.monotonic() < deadline, "chromium does not open its DevTools"
        time.sleep(0.05)
    with urllib.request.urlopen(f"http://127.0.0.1:{port.read_text().split()[0]}/json", timeout=_ANSWER_S) as answer:
        return next(tab["webSocketDebuggerUrl"] for tab in json.load(answer) if tab["type"] == "page")
