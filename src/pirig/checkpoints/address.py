"""Parse URLs, and map them to the paths of their copies. Nothing here opens a socket or a file.

    gs://BUCKET/PATH                 HOME/BUCKET/PATH, the layout of openpi's cache
    https://HOST/PATH                HOME/HOST/PATH; a folder if the URL ends in "/"
    hf://ORG/REPO[@REV][/PATH]       HOME/huggingface/ORG/REPO@REV/PATH; the default REV is main

Law: A path from an external source stays inside its folder. A path that is absolute, empty or contains `..` is
    rejected.
"""

import dataclasses
import pathlib
import urllib.parse

from pirig.errors import ConfigError

TOKENIZER_PATH = "big_vision/paligemma_tokenizer.model"  # of PaliGemma, below the folder of downloads
TOKENIZER = f"gs://{TOKENIZER_PATH}"
_EXPECTED = "gs://BUCKET/PATH, https://HOST/PATH, http://HOST/PATH, hf://ORG/REPO[@REVISION][/PATH], or a local path"


@dataclasses.dataclass(frozen=True)
class Hub:
    """The server that hf:// addresses are fetched from."""

    endpoint: str = "https://huggingface.co"
    token: str = ""  # for repositories that require one; sent to the endpoint only


@dataclasses.dataclass(frozen=True)
class Address:
    """A parsed URL."""

    url: str
    scheme: str  # gs, https, http, hf
    root: str  # bucket, host[:port], or ORG/REPO
    path: str  # inside root, without leading or trailing slashes; "" is root itself (hf only)
    revision: str = ""  # hf only
    folder: bool = False  # the URL ends in "/"

    def place(self, home: pathlib.Path) -> pathlib.Path:
        """Return the path of the copy below `home`."""
        top = home / "huggingface" / f"{self.root}@{self.revision}" if self.scheme == "hf" else home / self.root
        return top / self.path


def local_path(url: str) -> pathlib.Path | None:
    """Return the path that a URL without a scheme or with file:// names, or None for any other URL."""
    if not url:
        raise ConfigError(f"an empty address names nothing; expected {_EXPECTED}")
    if "://" not in url:
        return pathlib.Path(url)
    if not url.startswith("file://"):
        return None
    host, slash, path = url.removeprefix("file://").partition("/")
    if host not in ("", "localhost") or not slash:
        raise ConfigError(f"{url!r} names the host {host!r}; expected file:///PATH; give the path itself")
    return pathlib.Path("/" + urllib.parse.unquote(path))


def parse(url: str) -> Address:
    """Parse a URL. Raises ConfigError if it names nothing that can be fetched."""
    scheme, _, rest = url.partition("://")
    if scheme not in ("gs", "https", "http", "hf"):
        raise ConfigError(f"{url!r} has the scheme {scheme!r}; expected {_EXPECTED}")
    if "?" in rest or "#" in rest:
        raise ConfigError(f"{url!r} has a query or a fragment; expected a plain path; download it by hand")
    words = [word for word in rest.split("/") if word]
    at = 2 if scheme == "hf" else 1
    if len(words) < at + (scheme != "hf") or rest.startswith("/"):
        raise ConfigError(f"{url!r} names no file and no folder; expected {_EXPECTED}")
    root, path, revision = "/".join(words[:at]), "/".join(words[at:]), ""
    if scheme == "hf":
        root, _, revision = root.partition("@")
        revision = revision or "main"
    elif "@" in root:
        raise ConfigError(f"{scheme}://…@{root.rpartition('@')[2]} has a user or a password in it; expected none")
    if scheme in ("http", "https"):
        path = urllib.parse.unquote(path)
    for part in filter(None, (root, path, revision)):
        inside(part, of=url)
    return Address(url, scheme, root, path, revision, url.endswith("/"))


def inside(name: str, *, of: str) -> str:
    """Return `name` unchanged. Raises ConfigError if it leads out of its folder or is not a plain path."""
    if not name or "\0" in name or "\\" in name or any(word in ("", ".", "..") for word in name.split("/")):
        raise ConfigError(
            f"{of} has the path {name!r}; expected a path inside its folder, without '..'; "
            "nothing was fetched; do not trust this source"
        )
    return name
