"""Measure how long /healthz takes while thousands of connections are idle.

    python benchmarks/idle.py [--connections 4000]

It ends with status 0 whatever it measures; the line says what is wanted.
"""

from __future__ import annotations

import argparse
import resource
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit
from urllib.request import urlopen

from servers import PROJECT, serving

FROZEN = Path(PROJECT / "results" / "frozen_model.pb")
WANTED = 0.05  # seconds
_FILES = 500  # that this process and a server open beside the connections


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=4000, help="how many connections are idle")
    connections = parser.parse_args(argv).connections
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and connections + _FILES > most:
        parser.error(f"a process may open {most:,} files here; ask for fewer connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (connections + _FILES, most))
    with serving("--frozen-model", FROZEN) as target, ExitStack() as idle:
        parts = urlsplit(target.url)
        assert parts.hostname is not None
        assert parts.port is not None
        for _ in range(connections):
            idle.enter_context(socket.create_connection((parts.hostname, parts.port)))
        seconds = []
        for _ in range(20):
            started = time.perf_counter()
            urlopen(f"http://{parts.netloc}/healthz", timeout=60).read()
            seconds.append(time.perf_counter() - started)
    shown = f"median {median(seconds) * 1000:.1f} ms, longest {max(seconds) * 1000:.1f} ms"
    print(f"/healthz beside {connections:,} idle connections: {shown} (wanted: under {WANTED * 1000:.0f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
