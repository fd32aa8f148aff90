"""Read listings that are pages of text: HTML indexes and JSON. The content of files is never read here.

Law: An access token is sent only to the server that it belongs to; it is not forwarded on a redirect.
"""

import html.parser
import http.client
import re
import urllib.error
import urllib.parse
import urllib.request

from pirig.checkpoints.address import Address, inside
from pirig.checkpoints.transfer import Pace, Transient, patiently
from pirig.errors import ConfigError


class NotThere(ConfigError):
    """The server answered 404."""


def linked(base: str, address: Address, pace: Pace) -> list[str]:
    """Return the keys of the files that HTML indexes link to, in the address's folder and below. Skip other links."""
    top, host = f"/{address.path}/", urllib.parse.urlsplit(base).netloc
    pages, seen, keys = [base + urllib.parse.quote(top)], {top}, []
    while pages:
        page = pages.pop()
        text, _ = patiently(page, lambda page=page: read_page(page, pace), pace)
        links = _Links()
        links.feed(text)
        for link in links.found:
            url = urllib.parse.urlsplit(urllib.parse.urljoin(page, link))
            path = urllib.parse.unquote(url.path)  # decoded, since servers encode the same name in several ways
            outside = url.netloc != host or not path.startswith(top)
            if outside or url.query or url.fragment or path in seen:
                continue
            seen.add(path)
            inside(path.removeprefix(top).rstrip("/"), of=page)
            if path.endswith("/"):
                pages.append(url.geturl())
            else:
                keys.append(path[1:])
    return sorted(keys)


class _Links(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found.extend(value for name, value in attrs if name == "href" and value)


def read_page(url: str, pace: Pace, *, token: str = "", named: str = "") -> tuple[str, str]:
    """Return the text of a page and the address of the next page (Link header). Errors refer to the page as `named`."""
    request = urllib.request.Request(url)
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=pace.silence_s) as answer:
            following = re.search(r'<([^>]+)>\s*;\s*rel="?next"?', answer.headers.get("Link", ""))
            text = answer.read().decode()  # without a size, because `read(n)` does not detect a truncated page
            return text, following[1] if following else ""
    except urllib.error.HTTPError as error:
        raise by_status(error.code, named or url, str(error)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{url} is no text; expected a listing; a URL that ends in '/' names a folder") from error
    except (OSError, http.client.HTTPException) as error:
        raise Transient(f"{type(error).__name__}: {error}") from error


def by_status(status: int, url: str, text: str) -> Exception:
    if status == 404:
        return NotThere(absent(url))
    return ConfigError(refused(url)) if status in (401, 403) else Transient(text)


def absent(url: str) -> str:
    return f"nothing is at {url} (404); expected a file or a folder; check the spelling"


def refused(url: str) -> str:
    return (
        f"{url}: access is refused (401 or 403); expected a public file or folder; check the spelling, and for a "
        "repository that asks for a licence or a key, set HF_TOKEN"
    )
