"""A small HTTP server in a thread, for what a real server cannot be made to do on demand: hang, fail, or talk nonsense."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextmanager
def page_server(
    answer: Callable[[Any], None], *, posted: Callable[[bytes], None] | None = None
) -> Iterator[ThreadingHTTPServer]:
    """Serve until the end of the block; ``server_port`` has the port.

    Args:
        answer: Gets the handler of each GET and writes whatever it likes.
        posted: Gets the body of each POST.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if posted is not None:
                posted(body)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    try:
        yield httpd
    finally:
        httpd.shutdown()
        httpd.server_close()


def replying(text: str | bytes, status: int = 200) -> Callable[[Any], None]:
    """An answer that is always the same."""

    def answer(handler: Any) -> None:
        handler.send_response(status)
        handler.end_headers()
        handler.wfile.write(text if isinstance(text, bytes) else text.encode())

    return answer
