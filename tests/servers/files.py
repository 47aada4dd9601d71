"""A server of files for tests, by HTTP or HTTPS: with ranges, cuts, redirects and errors."""

import ssl
import subprocess
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Answer = tuple[int, dict[str, str], bytes]
Answering = Callable[[dict[str, str]], Answer]


@dataclass
class FileServer:
    """Answers GET with `contents[path]`, or with what `answers[path](headers)` returns.

    After `cut` bytes of a content the connection ends, as often as `cuts` says.
    """

    address: str = ""
    contents: dict[str, bytes] = field(default_factory=dict[str, bytes])
    answers: dict[str, Callable[[dict[str, str]], Answer]] = field(
        default_factory=dict[str, Callable[[dict[str, str]], Answer]]
    )
    etags: dict[str, str] = field(default_factory=dict[str, str])
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list[tuple[str, dict[str, str]]])
    cut: int = 0
    cuts: int = 0

    def answer(self, path: str, headers: dict[str, str]) -> Answer:
        self.requests.append((path, headers))
        if path in self.answers:
            return self.answers[path](headers)
        if path not in self.contents:
            return 404, {}, b""
        content, etag = self.contents[path], self.etags.get(path)
        named = {"ETag": etag} if etag else {}
        asked, condition = headers.get("range", ""), headers.get("if-range")
        if asked and (condition is None or condition == etag):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            end = min(int(last) + 1, len(content)) if last else len(content)
            return 206, {**named, "Content-Range": f"bytes {first}-{end - 1}/{len(content)}"}, content[int(first) : end]
        return 200, named, content


@contextmanager
def serving(certificate: Path | None = None) -> Generator[FileServer]:
    """A running server; by HTTPS if there is a file with a certificate and its key."""
    files = FileServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, more, content = files.answer(self.path, headers)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **more}.items():
                self.send_header(name, value)
            self.end_headers()
            if files.cuts and len(content) > files.cut:
                files.cuts -= 1
                content = content[: files.cut]
                self.close_connection = True
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "http" if certificate is None else "https"
        files.address = f"{scheme}://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield files
        finally:
            server.shutdown()
            thread.join()


def certificate_in(folder: Path) -> Path:
    """A file with a new certificate for 127.0.0.1 and its key."""
    key, certificate, both = folder / "key.pem", folder / "certificate.pem", folder / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    return both
