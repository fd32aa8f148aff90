"""List the files behind an address, and read a range of bytes of a file.

    gs      Google Cloud Storage, anonymous                tag: ETag      checksum: MD5, if the ETag is one
    https   an HTML index and the files that it links to   tag: ETag      checksum: none
    hf      Hugging Face's API and `resolve` addresses     tag: checksum  checksum: SHA-256 (LFS), git's SHA-1

Law 1: Content is read by obstore and must have the size and tag of the listing. A difference is an error, so that two
    versions of a file are never mixed.
Law 2: There are two kinds of errors. Transient errors may disappear on a retry; ConfigError and StartError will not.
Law 3: A token is sent only to the server that HF_ENDPOINT names.
"""

import concurrent.futures
import contextlib
import dataclasses
import datetime
import json
import re
import urllib.parse
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import (
    BaseError,
    InvalidPathError,
    NotSupportedError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import GCSStore, HTTPStore

from pirig.checkpoints.address import Address, Hub, inside
from pirig.checkpoints.journal import RemoteFile
from pirig.checkpoints.pages import NotThere, absent, by_status, linked, read_page, refused
from pirig.checkpoints.transfer import Pace, Transient, patiently
from pirig.errors import ConfigError, PeerError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

_PIECE_BYTES = 1 << 16  # fastest of 1 B, 64 KiB, 256 KiB, 1 MiB; a cut connection loses less than one
# transfer.patiently retries instead: its retries are logged and bounded.
_NO_RETRIES: "RetryConfig" = {"max_retries": 0, "retry_timeout": datetime.timedelta(0)}


@dataclasses.dataclass(frozen=True)
class Remote:
    """The files behind an address, and the store to read them from."""

    files: tuple[RemoteFile, ...]
    store: GCSStore | HTTPStore
    tagged: bool  # the tag of a file's content is comparable with the listing's tag

    def read(self, file: RemoteFile, start: int, length: int) -> Iterator[bytes]:
        """Read a range of a file, as `transfer.Read` specifies."""
        whole = length == file.size  # requested without a range, because every server supports that
        with _translated(file.url):
            found = obstore.get(self.store, file.key, options={} if whole else {"range": (start, start + length)})
            size, tag = found.meta["size"], _plain(found.meta["e_tag"])
            changed = self.tagged and file.tag and tag and tag != file.tag
            if changed or size != file.size:
                kind = PeerError if changed else Transient  # without a new tag, this may be a truncated answer
                raise kind(
                    f"{file.url} is not what was listed: found {size} bytes, tag {tag or 'none'}; "
                    f"expected {file.size} bytes, tag {file.tag or 'none'}; if it just changed, start again"
                )
            yield from found.stream(min_chunk_size=_PIECE_BYTES)


def open_remote(address: Address, pace: Pace, streams: int, hub: Hub = Hub()) -> Remote:  # noqa: B008  a frozen value
    """List the files behind an address.

    Raises ConfigError if there are none or access is denied, and StartError if no server answers.
    """
    if address.scheme == "hf":
        remote = _hugging_face(address, pace, streams, hub)
    else:
        remote = (_google if address.scheme == "gs" else _web)(address, pace, streams)
    files = _tidy(remote.files, address)
    if not files:
        raise ConfigError(f"{address.url} is an empty folder; expected files; check the path")
    return dataclasses.replace(remote, files=files)


def _google(address: Address, pace: Pace, streams: int) -> Remote:
    client = _client(pace) | {"allow_http": True}  # because GOOGLE_BASE_URL may name a server without TLS
    store = GCSStore(address.root, skip_signature=True, client_options=client, retry_config=_NO_RETRIES)

    def file(name: str, key: str, size: int, tag: str | None) -> RemoteFile:
        plain = _plain(tag)
        checksum = f"md5:{plain}" if re.fullmatch("[0-9a-f]{32}", plain) else ""
        return RemoteFile(name, f"gs://{address.root}/{key}", key, size, plain, checksum)

    def single() -> tuple[RemoteFile, ...]:
        with _translated(address.url):
            found = obstore.head(store, address.path)
        return (file(".", address.path, found["size"], found["e_tag"]),)

    def listing() -> tuple[RemoteFile, ...]:
        prefix = address.path + "/"
        with _translated(address.url):
            found = [meta for chunk in obstore.list(store, address.path) for meta in chunk]
        if not found:
            raise NotThere(absent(address.url))
        files = (file(meta["path"].removeprefix(prefix), meta["path"], meta["size"], meta["e_tag"]) for meta in found)
        return tuple(file for file in files if file.key != address.path)  # excludes the folder's marker

    if not address.folder:
        with contextlib.suppress(NotThere):
            return Remote(patiently(address.url, single, pace), store, tagged=True)
    return Remote(patiently(address.url, listing, pace), store, tagged=True)


def _web(address: Address, pace: Pace, streams: int) -> Remote:
    base = f"{address.scheme}://{address.root}"
    client = _client(pace) | {"allow_http": address.scheme == "http"}
    store = HTTPStore(base, client_options=client, retry_config=_NO_RETRIES)

    def file(key: str) -> RemoteFile:
        url = f"{base}/{key}"

        def head() -> RemoteFile:
            with _translated(url):
                found = obstore.head(store, key)
            name = key.removeprefix(address.path + "/") if address.folder else "."
            return RemoteFile(name, url, key, found["size"], _plain(found["e_tag"]), "")

        return patiently(url, head, pace)

    if not address.folder:
        return Remote((file(address.path),), store, tagged=True)
    with concurrent.futures.ThreadPoolExecutor(max(1, streams)) as pool:
        return Remote(tuple(pool.map(file, linked(base, address, pace))), store, tagged=True)


def _hugging_face(address: Address, pace: Pace, streams: int, hub: Hub) -> Remote:
    endpoint, token = hub.endpoint.rstrip("/"), hub.token
    revision = urllib.parse.quote(urllib.parse.unquote(address.revision), safe="")
    page = f"{endpoint}/api/models/{address.root}/tree/{revision}?recursive=true"
    rows = []
    while page:
        text, following = patiently(
            address.url, lambda page=page: read_page(page, pace, token=token, named=address.url), pace
        )
        try:
            rows += [row for row in json.loads(text) if row["type"] == "file"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise PeerError(f"{page} answered no listing: {text[:80]!r}; is HF_ENDPOINT right?") from error
        page = endpoint + urllib.parse.urlsplit(following)._replace(scheme="", netloc="").geturl() if following else ""
    base = f"{endpoint}/{address.root}/resolve/{revision}"
    client = _client(pace) | {"allow_http": endpoint.startswith("http://")}
    if token:
        client |= {"default_headers": {"Authorization": f"Bearer {token}"}}  # dropped on a redirect to another host
    files = []
    for row in rows:
        prefix = f"{address.path}/" if address.path else ""
        if row["path"] == address.path or row["path"].startswith(prefix):
            name = "." if row["path"] == address.path else row["path"].removeprefix(prefix)
            checksum = f"sha256:{row['lfs']['oid']}" if row.get("lfs") else f"git-sha1:{row['oid']}"
            files.append(RemoteFile(name, f"{base}/{row['path']}", row["path"], row["size"], checksum, checksum))
    if rows and not files:
        raise NotThere(absent(address.url))
    return Remote(tuple(files), HTTPStore(base, client_options=client, retry_config=_NO_RETRIES), tagged=False)


def _tidy(files: tuple[RemoteFile, ...], address: Address) -> tuple[RemoteFile, ...]:
    """Remove folder markers: empty files whose names are also folders. Raises ConfigError for an impossible name."""
    folders = {"/".join(words[:n]) for words in (f.name.split("/") for f in files) for n in range(1, len(words))}
    for file in files:
        if file.name != ".":
            inside(file.name, of=address.url)
        if file.name in folders and file.size:
            raise ConfigError(f"{file.url} is a file and a folder; expected one of the two; fetch a path below it")
    return tuple(file for file in files if file.name not in folders)


def _client(pace: Pace) -> "ClientConfig":
    silence = datetime.timedelta(seconds=pace.silence_s)
    day = datetime.timedelta(days=1)  # a slow part is not an error, but a silent server is
    return {"timeout": day, "connect_timeout": silence, "read_timeout": silence}


@contextlib.contextmanager
def _translated(url: str) -> Generator[None]:
    """Translate errors of obstore to errors of pirig."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotThere(absent(url)) from error
    except OSError as error:
        raise Transient(f"{type(error).__name__}: {_first_line(error)}") from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise ConfigError(refused(url)) from error
    except InvalidPathError as error:
        raise ConfigError(f"{url}: {_first_line(error)}; expected paths without '..'; nothing was fetched") from error
    except NotSupportedError as error:
        raise ConfigError(
            f"{url}: the server sends only whole files ({_first_line(error)}), and this one is too large for that; "
            "download it by hand and give its path"
        ) from error
    except BaseError as error:
        status = re.search(r"status code: (\d{3})", str(error))
        raise by_status(int(status[1]) if status else 0, url, _first_line(error)) from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _plain(tag: str | None) -> str:
    return (tag or "").removeprefix("W/").strip('"')  # weak and strong tags identify the same content
