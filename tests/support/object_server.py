"""A real HTTP server on localhost for tests of downloads, with faults to order.

It speaks four dialects over one dict `objects` (`bucket/path` -> content):

    GET /BUCKET?list-type=2&prefix=P             Google's XML listing (folder markers end in "/")
    GET /BUCKET/FOLDER/                          an HTML index
    GET /api/models/ORG/REPO/tree/REV            the Hugging Face listing, two files a page
    GET /ORG/REPO/resolve/REV/PATH               redirects to /cdn/…, as Hugging Face does
    GET and HEAD /BUCKET/PATH                    content, with Range and ETag

`served` counts the bytes of content that went out, per object; `contents` lists the GETs of content.
"""

import collections
import dataclasses
import hashlib
import http.server
import json
import threading
import time
import urllib.parse
from xml.sax.saxutils import escape


@dataclasses.dataclass
class Fault:
    """What goes wrong with the next `times` GETs of content whose object's name has `where` in it."""

    kind: str  # cut, short, wrong, stall, slow, or a status such as "503"
    where: str = ""
    times: int = 1


class ObjectServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, objects):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects = dict(objects)
        self.faults = []
        self.listed_sizes = {}  # object -> the size that listings claim
        self.listed_too = []  # names that listings have and that are no objects
        self.etags = {}  # object -> instead of the MD5
        self.statuses = {}  # path -> status of every request for it
        self.moved = set()  # paths that answer with a redirect to another host
        self.cut_pages = 0  # so many listings to come end in mid-page
        self.ranges = True
        self.plain_pages = {}  # path -> HTML
        self.served = collections.Counter()
        self.contents = []
        self.tokens = []  # (path, Authorization header) of each request
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        """A client that goes away is part of these tests."""

    def etag(self, name):
        return self.etags.get(name, hashlib.md5(self.objects[name]).hexdigest())

    def fault(self, name):
        with self.lock:
            for fault in self.faults:
                if fault.times and fault.where in name:
                    fault.times -= 1
                    return fault.kind
        return ""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: ObjectServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer takes 40 ms

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        address = urllib.parse.urlsplit(self.path)
        path, query = urllib.parse.unquote(address.path), urllib.parse.parse_qs(address.query)
        server, words = self.server, path.strip("/").split("/")
        with server.lock:
            server.tokens.append((path, self.headers.get("Authorization")))
        if path in server.statuses:
            self._answer(server.statuses[path], b"no")
        elif path in server.moved and self.headers["Host"].startswith("127"):
            self._answer(302, b"", location=server.url.replace("127.0.0.1", "localhost") + self.path)
        elif "list-type" in query:
            self._answer(200, self._google(words[0], query), "application/xml")
        elif path.startswith("/api/models/"):
            self._hugging_face("/".join(words[2:4]), query)
        elif words[2:3] == ["resolve"]:
            place = urllib.parse.quote("/".join(words[:2] + words[4:]))  # on another host, as there
            self._answer(302, b"", location=server.url.replace("127.0.0.1", "localhost") + f"/cdn/{place}?signed=1")
        elif path in server.plain_pages:
            self._answer(200, server.plain_pages[path].encode(), "text/html")
        elif path.endswith("/"):
            self._index(path[1:])
        elif path.removeprefix("/cdn")[1:] in server.objects:
            self._content(path.removeprefix("/cdn")[1:])
        else:
            self._answer(404, b"none")

    def _google(self, bucket, query):
        server, prefix = self.server, f"{bucket}/{query.get('prefix', [''])[0]}"
        names = sorted(name for name in [*server.objects, *server.listed_too] if name.startswith(prefix))
        start = int(query.get("continuation-token", ["0"])[0])
        rows = []
        for name in names[start : start + 3]:
            size = server.listed_sizes.get(name, len(server.objects.get(name, b"")))
            etag = server.etag(name) if name in server.objects else "0"
            rows.append(
                f"<Contents><Key>{escape(name.removeprefix(bucket + '/'))}</Key><Size>{size}</Size>"
                f"<LastModified>2025-06-01T00:00:00.000Z</LastModified><ETag>&quot;{etag}&quot;</ETag></Contents>"
            )
        more = start + 3 < len(names)
        token = f"<NextContinuationToken>{start + 3}</NextContinuationToken>" if more else ""
        return f"<ListBucketResult>{''.join(rows)}{token}</ListBucketResult>".encode()

    def _hugging_face(self, repo, query):
        server, start = self.server, int(query.get("cursor", ["0"])[0])
        names = sorted(name for name in server.objects if name.startswith(repo + "/"))
        if not names:
            return self._answer(404, b"{}")
        rows = [{"type": "directory", "path": "a folder", "size": 0, "oid": "0"}]
        for name in names[start : start + 2]:
            data = server.objects[name]
            row = {"type": "file", "path": name.removeprefix(repo + "/"), "size": len(data)}
            row["oid"] = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            if name.endswith(".safetensors"):
                row |= {"oid": "0", "lfs": {"oid": hashlib.sha256(data).hexdigest(), "size": len(data)}}
            rows.append(row)
        more = f'<{server.url}/api/models/{repo}/tree/main?recursive=true&cursor={start + 2}>; rel="next"'
        link = {"link": more} if start + 2 < len(names) else {}
        return self._answer(200, json.dumps(rows).encode(), "application/json", **link)

    def _index(self, folder):
        server, inside = self.server, set()
        for name in server.objects:
            if name.startswith(folder) and name != folder:
                head, slash, _ = name.removeprefix(folder).partition("/")
                inside.add(head + slash)
        if not inside:
            return self._answer(404, b"none")
        links = ["?C=N;O=D", "../", *map(urllib.parse.quote, sorted(inside)), "http://elsewhere.invalid/x"]
        page = "".join(f'<a href="{link}">a link</a>' for link in links)
        return self._answer(200, page.encode(), "text/html")

    def _content(self, name):
        server, data = self.server, self.server.objects[name]
        fault = server.fault(name) if self.command == "GET" else ""
        headers = {"etag": f'"{server.etag(name)}"', "last_modified": "Sun, 01 Jun 2025 00:00:00 GMT"}
        status, size = 200, len(data)
        if server.ranges and "Range" in self.headers:
            first, last = self.headers["Range"].removeprefix("bytes=").split("-")
            start, stop = int(first), min(int(last) + 1, size)
            data, status = data[start:stop], 206
            headers["content_range"] = f"bytes {start}-{stop - 1}/{size}"
        if self.command == "GET":
            with server.lock:
                server.contents.append((name, self.headers.get("Range")))
        if fault.isdigit():
            return self._answer(int(fault), b"later")
        if fault == "wrong":
            data = bytes([data[0] ^ 255]) + data[1:]
        half = len(data) // 2
        self._head(status, max(1, half) if fault == "short" else len(data), "application/octet-stream", **headers)
        if self.command == "HEAD":
            return None
        pieces = (
            [data[:half], data[half:]] if fault != "slow" else [data[i : i + 512] for i in range(0, len(data), 512)]
        )
        for piece in pieces[: 1 if fault in ("short", "cut") else None]:
            self.wfile.write(piece)
            with server.lock:
                server.served[name] += len(piece)
            time.sleep({"slow": 0.01, "stall": 3}.get(fault, 0))
        self.close_connection = fault == "cut"

    def _answer(self, status, body, kind="text/plain", **headers):
        self._head(status, len(body), kind, **headers)
        if status == 200 and self.server.cut_pages:
            self.server.cut_pages -= 1
            self.close_connection, body = True, body[: len(body) // 2]
        if self.command == "GET":
            self.wfile.write(body)

    def _head(self, status, length, kind, **headers):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
