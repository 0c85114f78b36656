"""Measure servers behind proxies: what a proxy costs, and what more servers bring, up to four behind HAProxy.

    python benchmarks/scale.py [--rounds 5] [--seconds 3] [--connections 16] [--write]

Needs wrk, nginx, haproxy, `make .venv-serve/installed` and results/frozen_model.pb; Ray Serve is measured too where
`make .venv-ray/installed` has put it. The configurations are those in deploy/, with a line for each server. All run on
this machine, where more servers bring nothing without more processors; the last lines say so. Each arrangement has its
turn in each round; the ratios are those of a round, beside one server without a proxy. The processor time is that of
server and proxy together: it depends less than requests/s on what else the machine does. --write writes the table
into docs/serving.md.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from runtimes import list_tree, measure_processor_time
from servers import HERE, OURS, PROJECT, Target, free_port, running, wrk
from serving_report import replace_between

DOCUMENT = PROJECT / "docs" / "serving.md"
MARKS = "<!-- scale: written by benchmarks/scale.py -->", "<!-- end of scale -->"
SERVE = PROJECT / ".venv-serve" / "bin" / "python"
RAY = PROJECT / ".venv-ray" / "bin" / "python"
MOST = 4
DIRECT = "one server, no proxy"
_NGINX = "pid pid; error_log stderr; events {{}} http {{ access_log off; include {file}; }}"


def configure(name: str, port: int, servers: Sequence[int]) -> str:
    """The configuration in deploy/ with this port, and lines for servers on these ports."""
    text = (PROJECT / "deploy" / name).read_text()
    for listens in ("listen 8080", "bind :8080"):
        text = text.replace(listens, f"{listens.split()[0]} 127.0.0.1:{port}")
    lines = re.findall(r"^ +server \w*\s?127\.0\.0\.1:5000.*\n", text, re.MULTILINE)
    text = re.sub(r"^ +server \w*\s?127\.0\.0\.2:5000.*\n", "", text, flags=re.MULTILINE)
    for line in lines:
        own = [line.replace("5000", str(server)).replace("one", f"s{server}") for server in servers]
        text = text.replace(line, "".join(own))
    return text


@contextmanager
def proxied(name: str, servers: Sequence[int]) -> Iterator[Target]:
    """A proxy before the servers on these ports."""
    port = free_port()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        folder.chmod(0o755)  # nginx's workers are another user
        file = folder / {"nginx": "nginx.conf", "haproxy": "haproxy.cfg"}[name]
        file.write_text(configure(file.name, port, servers))
        (folder / "whole.conf").write_text(_NGINX.format(file=file))
        program = shutil.which(name) or shutil.which(name, path="/usr/sbin")
        if program is None:
            raise SystemExit(f"no {name} here; install it")
        whole = ["-p", folder, "-c", folder / "whole.conf", "-g", "daemon off;"]
        command = [program, *(whole if name == "nginx" else ["-db", "-q", "-f", file])]
        with running(command, Target(f"http://127.0.0.1:{port}/api/predict")) as target:
            yield target


@dataclass(frozen=True)
class Arrangement:
    """Where to ask, and the processes that answer."""

    target: Target
    processes: frozenset[int]


@dataclass(frozen=True)
class Figures:
    """Requests/s, and the processor time of one, in microseconds, in each round."""

    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)


def measure_busy(processes: Iterable[int]) -> float:
    return sum(map(measure_processor_time, processes))


def measure(connections: int, seconds: int, rounds: int) -> dict[str, Figures]:
    """The figures of each arrangement."""
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:

        def start(context: AbstractContextManager[Target], *behind: Arrangement) -> Arrangement:
            before = set(list_tree(os.getpid()))
            target = stack.enter_context(context)
            own = frozenset(list_tree(os.getpid())) - before
            return Arrangement(target, own.union(*(server.processes for server in behind)))

        model = Path(place) / "toy.onnx"
        export = [sys.executable, PROJECT / "onnx_from_frozen.py", "--onnx", model]
        subprocess.run(list(map(str, export)), check=True, stdout=subprocess.DEVNULL)
        ports = [free_port() for _ in range(MOST + 1)]
        targets = [Target(f"http://127.0.0.1:{port}/api/predict") for port in ports]
        servers = [
            start(running([SERVE, OURS, "--port", port, "--onnx", model], target))
            for port, target in zip(ports[:MOST], targets, strict=False)
        ]
        found = {DIRECT: servers[0]}
        found["nginx, two servers"] = start(proxied("nginx", ports[:2]), *servers[:2])
        for count in range(1, MOST + 1):
            name = f"HAProxy, {('one server', 'two servers', 'three servers', 'four servers')[count - 1]}"
            found[name] = start(proxied("haproxy", ports[:count]), *servers[:count])
        if RAY.exists():
            found["Ray Serve, two replicas"] = start(
                running([RAY, HERE / "ray_server.py", model, ports[-1]], targets[-1])
            )
        figures = {name: Figures() for name in found}
        for number in range(rounds + 1):
            for name, arrangement in found.items():
                before = measure_busy(arrangement.processes)
                rate = wrk(arrangement.target, connections, seconds).rate
                if number:  # the first round is for warming up
                    figures[name].rates.append(rate)
                    figures[name].costs.append((measure_busy(arrangement.processes) - before) / rate / seconds * 1e6)
        return figures


def show(values: Sequence[float], direct: Sequence[float]) -> str:
    """The median, and the ratio to those of a direct server, round by round: median, least and most."""
    ratios = sorted(value / one for value, one in zip(values, direct, strict=True))
    return f"{median(values):,.0f}: {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each run of wrk")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args(argv)
    figures = measure(args.connections, args.seconds, args.rounds)
    direct = figures[DIRECT]
    table = [("toy", "processor time of a request, µs", f"requests/s at {args.connections} connections"), ("---",) * 3]
    table += [(name, show(f.costs, direct.costs), show(f.rates, direct.rates)) for name, f in figures.items()]
    text = "\n".join(f"| {' | '.join(row)} |" for row in table)
    processors = len(os.sched_getaffinity(0))
    text += f"\n\nMeasured on {processors} processors, which the servers shared with the proxy and with wrk."
    if processors < MOST + 2:
        text += (
            "\nSo it shows the cost of a proxy in front of a model that takes next to no time. What more servers"
            "\nbring on machines of their own it cannot show: that takes a processor for each of them."
        )
    print(text)
    if args.write:
        replace_between(DOCUMENT, MARKS, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
