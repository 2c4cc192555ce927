"""An S3 server on this machine, which answers with errors when it is told to."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server


class Silent(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        """Print nothing."""


@dataclass
class ObjectStorage:
    """The server.

    Parameters
    ----------
    fails
        Called with the method and path of each request: whether to answer with an error.
    error
        What it answers then.
    requests
        Methods and paths of all requests so far.
    """

    fails: Callable[[str, str], bool] = lambda *_: False
    error: str = "503 Service Unavailable"
    requests: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""
    _app: Any = field(default_factory=lambda: DomainDispatcherApplication(create_backend_app))

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        request = (
            environ["REQUEST_METHOD"],
            f"{environ['PATH_INFO']}?{environ['QUERY_STRING']}",
        )
        self.requests.append(request)
        if self.fails(*request):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response(self.error, [("Content-Length", "0")])
            return [b""]
        return self._app(environ, start_response)

    def fail_times(self, n: int) -> None:
        """Answer the next `n` requests with an error."""
        left = iter(range(n))
        self.fails = lambda *_: next(left, None) is not None


@contextmanager
def serve() -> Iterator[ObjectStorage]:
    """Run the server on a free port of the loopback interface."""
    storage = ObjectStorage()
    server = make_server("127.0.0.1", 0, storage, threaded=True, request_handler=Silent)
    server.daemon_threads = True
    storage.url = f"http://127.0.0.1:{server.port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield storage
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
