"""Real proxies in front of a server, each with its configuration in deploy/, on free ports."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import PROJECT, make_environment
from servers import free_port
from serving_models import soon

if TYPE_CHECKING:
    from typing_extensions import Self

DEPLOY = PROJECT / "deploy"
SECOND = "127.0.0.2"  # the address of the second server in the configurations


@dataclass(frozen=True)
class Proxy:
    """A proxy: its file in deploy/, the words that follow its name in a folder with that file, and Debian's package."""

    file: str
    words: Sequence[str]
    package: str | None  # None for one that make installs


PROXIES = {
    "nginx": Proxy("nginx.conf", ("-p", ".", "-c", "whole.conf", "-g", "daemon off;"), "nginx-light"),
    "haproxy": Proxy("haproxy.cfg", ("-db", "-q", "-f", "haproxy.cfg"), "haproxy"),
    "envoy": Proxy(
        "envoy.yaml", ("-c", "envoy.yaml", "--disable-hot-restart", "--concurrency", "1", "-l", "error"), None
    ),
}
# deploy/nginx.conf is a part of a configuration. This is the rest: one process, and its files in its own folder.
_FOLDERS = " ".join(f"{name}_temp_path {name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
_HTTP = f"{{ access_log off; include nginx.conf; {_FOLDERS} }}"
_NGINX = f"master_process off; pid pid; error_log stderr; events {{}} http {_HTTP}"


def find_program(name: str) -> str:
    """The path of a proxy's program, which make has installed, or installs now; one of Debian may be missing."""
    package = PROXIES[name].package
    if package is None:
        return str(make_environment(name) / "bin" / name)
    program = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if program is None:
        pytest.skip(f"optional: no {name} here; install the package {package}")
    return program


@contextmanager
def behind(
    name: str, folder: Path, server: tuple[str, int], replaced: Mapping[str, str] = {}
) -> Iterator[tuple[str, int]]:
    """Run the proxy in front of a server, or of several on the port of that one; gives the proxy's address.

    `replaced` has words of the configuration, and those in their place. Without it, all servers are the one.
    """
    program, port = find_program(name), free_port()
    text = (DEPLOY / PROXIES[name].file).read_text()
    for old, new in {"8080": str(port), "5000": str(server[1]), **replaced}.items():
        assert old in text, f"deploy/{PROXIES[name].file} has no {old}"
        text = text.replace(old, new)
    if SECOND not in replaced:
        text = text.replace(SECOND, server[0])
    folder.mkdir(exist_ok=True)
    (folder / PROXIES[name].file).write_text(text)
    (folder / "whole.conf").write_text(_NGINX)
    log = folder / "log"
    with (
        log.open("w") as written,
        subprocess.Popen([program, *PROXIES[name].words], cwd=folder, stdout=written, stderr=written) as process,
    ):
        try:
            assert soon(lambda: process.poll() is not None or _listens(port))
            assert process.poll() is None, log.read_text()
            yield "127.0.0.1", port
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


class Listener:
    """Gives each connection to its address to `answer`, in a thread of its own, until it is closed."""

    def __init__(self, address: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self._listener = socket.create_server(address)
        self.address: tuple[str, int] = self._listener.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def answer(self, connection: socket.socket) -> None:
        raise NotImplementedError

    def _accept(self) -> None:
        with suppress(OSError):  # it is closed
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self.answer, args=[connection], daemon=True).start()


class Tap(Listener):
    """Stands between a proxy and its server, passes bytes on, and notes which of the two ends each connection.

    Only connections with a POST are counted: proxies have others for their checks. With `cut`, it ends a connection
    when a second request arrives on it, as a server does whose end of an idle connection crosses a request.
    """

    def __init__(self, server: tuple[str, int], *, cut: bool = False) -> None:
        self._server = server
        self._cut = cut
        self.ended_by: list[str] = []
        self.connections = self.cuts = 0
        super().__init__()

    def answer(self, connection: socket.socket) -> None:
        with connection, socket.create_connection(self._server) as server:
            ends: list[str] = []
            requests: list[None] = []
            back = threading.Thread(target=self._pass_on, args=(server, connection, "server", ends, []), daemon=True)
            back.start()
            self._pass_on(connection, server, "proxy", ends, requests)
            back.join()
            if requests:
                self.ended_by.append(ends[0])

    def _pass_on(
        self, source: socket.socket, sink: socket.socket, name: str, ends: list[str], requests: list[None]
    ) -> None:
        with suppress(OSError):  # the other side has ended the connection
            while data := source.recv(65536):
                if name == "proxy" and data.startswith(b"POST "):
                    requests.append(None)
                    self.connections += len(requests) == 1
                    if self._cut and len(requests) > 1:
                        self.cuts += 1
                        break
                sink.sendall(data)
        ends.append(name)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
