"""Measure the server on ONNX Runtime and on LiteRT, without TensorFlow, beside the same model in TensorFlow.

    python benchmarks/runtimes.py [--rounds 5] [--seconds 3] [--write]

Needs wrk, and `make .venv-serve/installed`. It exports the toy and the ResNet of the project into a temporary folder.
The servers have their turns in each round, so that a busy machine slows all; of the rounds it prints the median, and
the least and the most. The ratios are those of a round's servers, beside TensorFlow's. --write writes the table into
docs/serving.md. A figure that misses its goal is no failure: the exit status is 0.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median
from urllib.error import URLError
from urllib.request import Request, urlopen

import numpy as np
from servers import ONE, OURS, PROJECT, Target, free_port, running, wrk
from serving_report import replace_between

SERVE = PROJECT / ".venv-serve" / "bin" / "python"
DOCUMENT = PROJECT / "docs" / "serving.md"
MARKS = "<!-- runtimes: written by benchmarks/runtimes.py -->", "<!-- end of runtimes -->"
RUNTIMES = {"TensorFlow": "frozen-model", "ONNX Runtime": "onnx", "LiteRT": "tflite"}
FILES = {"frozen-model": "m.pb", "onnx": "m.onnx", "tflite": "m.tflite"}
MODELS = {"toy": PROJECT / "results" / "frozen_model.pb", "ResNet": PROJECT / "pretrainedresnet" / "1"}
CONNECTIONS = {"toy": 16, "ResNet": 32}
WANTED = {"ready": "at most 0.3", "memory": "at most 0.3", "requests/s": "at least 1.1 (ONNX Runtime)"}


def export(folder: Path) -> None:
    """Write each model for each runtime, below the folder."""
    for model, path in MODELS.items():
        (folder / model).mkdir()
        source = ("--frozen-model" if path.suffix else "--saved-model", path)
        for script, flag in (("onnx_from_frozen", "onnx"), ("tflite_from_frozen", "tflite")):
            _run(script, *source, f"--{flag}", folder / model / FILES[flag])
        if path.suffix:
            (folder / model / FILES["frozen-model"]).write_bytes(path.read_bytes())
        else:
            _run("freezemodel_save", *source, "--frozen-model", folder / model / FILES["frozen-model"])


def _run(script: str, *words: object) -> None:
    command = [sys.executable, str(PROJECT / f"{script}.py"), *map(str, words)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def make_command(folder: Path, runtime: str, port: int) -> list[object]:
    flag = RUNTIMES[runtime]
    python = sys.executable if flag == "frozen-model" else SERVE
    return [python, OURS, "--port", port, f"--{flag}", folder / FILES[flag]]


def measure_start(folder: Path, runtime: str, body: bytes) -> tuple[float, float, float]:
    """Seconds from the start of the process to the first answer, those of a processor, then megabytes in memory.

    The project's modules are compiled once, as for a user.
    """
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = list(map(str, make_command(folder, runtime, port)))
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    request = Request(f"http://127.0.0.1:{port}/api/predict", body, {"Content-Type": "application/json"})
    try:
        while True:
            try:
                urlopen(request, timeout=20).read()
                break
            except URLError:
                if process.poll() is not None:
                    raise SystemExit(f"the server on {runtime} has ended") from None
                time.sleep(0.005)
        seconds = time.perf_counter() - started
        busy = sum(map(measure_processor_time, list_tree(process.pid)))
        for _ in range(200):
            urlopen(request, timeout=20).read()
        return seconds, busy, sum(map(_measure_memory, list_tree(process.pid)))
    finally:
        process.terminate()
        process.wait()


def list_tree(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(inner for child in children for inner in list_tree(int(child)))]


def measure_processor_time(pid: int) -> float:
    """The seconds that a process had a processor: proc_pid_stat(5), utime and stime."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _measure_memory(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found[1]) / 1000 if found else 0.0


def measure_rates(folder: Path, body: bytes, connections: int, seconds: int, rounds: int) -> Mapping[str, list[float]]:
    """Requests/s of each runtime in each round."""
    rates: dict[str, list[float]] = {runtime: [] for runtime in RUNTIMES}
    with ExitStack() as servers:
        targets = {}
        for runtime in RUNTIMES:
            port = free_port()
            target = Target(f"http://127.0.0.1:{port}/api/predict", body)
            targets[runtime] = servers.enter_context(running(make_command(folder, runtime, port), target))
        for target in targets.values():
            wrk(target, connections, 1)
        for _ in range(rounds):
            for runtime, target in targets.items():
                rates[runtime].append(wrk(replace(target), connections, seconds).rate)
    return rates


def compare(figures: Mapping[str, Sequence[float]], form: str) -> list[str]:
    """A cell for each runtime: the median, and its ratio to TensorFlow's in the same round, with least and most."""
    cells = [form.format(median(figures["TensorFlow"]))]
    for runtime in list(RUNTIMES)[1:]:
        ratios = sorted(one / other for one, other in zip(figures[runtime], figures["TensorFlow"], strict=True))
        cells.append(
            f"{form.format(median(figures[runtime]))}: {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )
    return cells


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each run of wrk")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args(argv)
    image = np.random.default_rng(0).integers(0, 256, [1, 28, 28, 1]).tolist()
    bodies = {"toy": ONE, "ResNet": json.dumps({"x": image}).encode()}
    rows = []
    with tempfile.TemporaryDirectory() as place:
        export(Path(place))
        for model, body in bodies.items():
            folder = Path(place) / model
            starts: dict[str, list[tuple[float, float, float]]] = {runtime: [] for runtime in RUNTIMES}
            for _ in range(args.rounds):
                for runtime, found in starts.items():
                    found.append(measure_start(folder, runtime, body))
            ready, busy, memory = ({r: [one[i] for one in found] for r, found in starts.items()} for i in range(3))
            rows.append((f"{model}: first answer, from the start", WANTED["ready"], *compare(ready, "{:.2f} s")))
            rows.append((f"{model}: processor time until then", "", *compare(busy, "{:.2f} s")))
            rows.append((f"{model}: resident memory", WANTED["memory"], *compare(memory, "{:.0f} MB")))
            rates = measure_rates(folder, body, CONNECTIONS[model], args.seconds, args.rounds)
            title = f"{model}: requests/s at {CONNECTIONS[model]} connections"
            rows.append((title, WANTED["requests/s"], *compare(rates, "{:,.0f}")))
    table = [("measured", "wanted", *RUNTIMES), ("---",) * 5, *rows]
    text = "\n".join(f"| {' | '.join(row)} |" for row in table)
    print(text)
    if args.write:
        replace_between(DOCUMENT, MARKS, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
