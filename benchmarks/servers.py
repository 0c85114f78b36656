"""Starts servers as processes, and measures them with wrk."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import IO
from urllib.error import HTTPError
from urllib.request import Request, urlopen

HERE = Path(__file__).parent
PROJECT = HERE.parent
OURS = PROJECT / "freezemodel_serve.py"
sys.path.insert(0, str(PROJECT))  # for imports from the project, where a benchmark runs as a script
ROW = list(range(10))
ONE = json.dumps({"x": [ROW]}).encode()
JSON = "application/json"
_START_TIME = 120.0  # seconds in which a server must give its first answer


@dataclass(frozen=True)
class Rate:
    """The result of wrk: requests/s, and the latency in milliseconds."""

    rate: float
    median: float
    p99: float


@dataclass(frozen=True)
class Target:
    """A server to measure: the URL, the body to post, and its headers."""

    url: str
    body: bytes = ONE
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()

    def all_headers(self) -> dict[str, str]:
        return {"Content-Type": self.content_type, **dict(self.headers)}


def free_port() -> int:
    """A port on which nothing listens, and that no connection takes before a server does.

    Linux gives a connection one of the ports from 32,768 (net.ipv4.ip_local_port_range).
    """
    while True:
        port = random.randrange(10_000, 32_768)
        with suppress(OSError), socket.create_server(("", port)):
            return port


@contextmanager
def running(command: Sequence[object], target: Target) -> Iterator[Target]:
    """A server process that has given its first answer. Raises SystemExit if it gives none."""
    environment = {**os.environ, "PYTHONPATH": f"{PROJECT}{os.pathsep}{HERE}", "TF_CPP_MIN_LOG_LEVEL": "3"}
    words = [str(word) for word in command]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            words, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=HERE, start_new_session=True
        )
        try:
            _wait_for_answer(words, process, target, output)
            yield target
        finally:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(15)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # child processes that it left behind
            process.wait()


def _wait_for_answer(words: Sequence[str], process: subprocess.Popen[bytes], target: Target, output: IO[bytes]) -> None:
    end = time.monotonic() + _START_TIME
    while True:
        try:
            urlopen(Request(target.url, target.body, target.all_headers()), timeout=20).read()
            return
        except HTTPError as error:  # MLServer and BentoML listen before they have loaded
            problem = f"answers {error.code}: {error.read()[:300]!r}"
        except OSError as error:
            problem = str(error)
        if process.poll() is not None or time.monotonic() > end:
            output.seek(0)
            tail = output.read()[-2000:].decode(errors="replace")
            raise SystemExit(f"{' '.join(words)} gives no answer: {problem}\n{tail}")
        time.sleep(0.2)


@contextmanager
def serving(*flags: object, body: bytes = ONE) -> Iterator[Target]:
    """freezemodel_serve.py, running with these flags."""
    port = free_port()
    target = Target(f"http://127.0.0.1:{port}/api/predict", body)
    with running([sys.executable, OURS, "--port", port, *flags], target):
        yield target


def wrk(target: Target, connections: int, seconds: int) -> Rate:
    """Post the same body again and again. Raises SystemExit if an answer is not 2xx."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "body").write_bytes(target.body)
        script = Path(folder) / "post.lua"
        script.write_text(
            'wrk.method = "POST"\n'
            + "".join(f'wrk.headers["{name}"] = "{value}"\n' for name, value in target.all_headers().items())
            + f'local file = io.open("{folder}/body", "rb")\nwrk.body = file:read("*a")\nfile:close()\n'
        )
        words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--timeout", "30", "--latency", "-s", str(script)]
        output = subprocess.run([*words, target.url], check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in output:
        raise SystemExit(f"{target.url} refuses: {output}")
    units = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
    middle, p99 = (
        float(value) * units[unit]
        for value, unit in (re.findall(rf"^ +{p}% +([\d.]+)(us|ms|s|m)", output, re.MULTILINE)[0] for p in (50, 99))
    )
    rate = re.search(r"Requests/sec: +([\d.]+)", output)
    assert rate is not None
    return Rate(float(rate[1]), middle, p99)


def in_turns(targets: Mapping[str, Target], connections: int, seconds: int, rounds: int) -> dict[str, Rate]:
    """The medians of some rounds. Each server has its turn in each round, so that a busy machine slows all."""
    measured: dict[str, list[Rate]] = {name: [] for name in targets}
    for _ in range(rounds):
        for name, target in targets.items():
            measured[name].append(wrk(target, connections, seconds))
    return {
        name: Rate(median(r.rate for r in rates), median(r.median for r in rates), median(r.p99 for r in rates))
        for name, rates in measured.items()
    }
