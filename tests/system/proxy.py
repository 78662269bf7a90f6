"""A proxy on loopback before an S3 server, which counts, fails and damages what a test says."""

import http.client
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Request:
    """What came: its method and path with query, and how many for the same came before."""

    method: str
    path: str
    before: int

    @property
    def what(self) -> tuple[str, str]:
        """The method and what it concerns: a part is the same part in every upload."""
        return self.method, re.sub("uploadId=[^&]*", "", self.path)

    @property
    def is_part(self) -> bool:
        return self.method == "PUT" and "partNumber=" in self.path

    @property
    def is_object(self) -> bool:
        return "/objects/" in self.path


# A status answers in the server's stead; a function changes the server's answer's body.
Rule = Callable[[Request], int | Callable[[bytes], bytes] | None]


class Proxy:
    """The proxy's address, what it saw, and its rule, which may be changed at any time."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.seen: list[Request] = []
        self.rule: Rule = lambda request: None
        self.lock = threading.Lock()

    def count(self, method: str) -> int:
        """How many requests of a method concerned objects, whole or in parts."""
        return sum(request.method == method and request.is_object for request in self.seen)


@contextmanager
def running(server_port: int) -> Iterator[Proxy]:
    """Serve while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            with proxy.lock:
                request = Request(self.command, self.path, 0)
                request = replace(request, before=sum(seen.what == request.what for seen in proxy.seen))
                proxy.seen.append(request)
                ruled = proxy.rule(request)
            if isinstance(ruled, int):
                status, headers, answer = ruled, [], b""
            else:
                server = http.client.HTTPConnection("127.0.0.1", server_port, timeout=30)
                server.request(self.command, self.path, body, dict(self.headers))
                response = server.getresponse()
                status, answer, headers = response.status, response.read(), response.getheaders()
                if ruled:
                    answer = ruled(answer)
                server.close()
            self.send_response_only(status)
            length = str(len(answer))
            for name, value in headers:
                if name.lower() == "content-length" and self.command == "HEAD":
                    length = value
                if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = forward

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy = Proxy(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
