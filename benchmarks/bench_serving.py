"""Measure requests/s and latency of the server beside other servers, on this machine, in one run, with wrk.

    python benchmarks/bench_serving.py [--seconds 5] [--rounds 3] [--write]

Needs wrk, h2load (Debian's packages wrk and nghttp2-client) and, for the other servers, `make bench-environments`. The
report names a server that is not installed. Each pair of servers is measured in turns, so that a busy machine slows
both. --write writes the results into docs/serving_benchmark.md and .svg, and the first table into the README.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import serving_report
from protocols import measure_protocols
from rpc import measure_grpc
from servers import HERE, ONE, PROJECT, ROW, Target, free_port, in_turns, running, serving
from serving_report import CONNECTIONS, NOOP, SEED, Figure, Pair, Report

if TYPE_CHECKING:
    from numpy.typing import NDArray


# The same row in the Open Inference Protocol, which MLServer takes.
_OPEN_INFERENCE = json.dumps(
    {"inputs": [{"name": "x", "shape": [1, len(ROW)], "datatype": "FP32", "data": [ROW]}]}
).encode()
OTHERS = {"litserve": "LitServe", "bentoml": "BentoML", "mlserver": "MLServer"}
SIZES = (1, 8, 32, 64, 128)  # batch sizes of the bare loop
FROZEN = PROJECT / "results" / "frozen_model.pb"


def say(text: str) -> None:
    print(text, flush=True)


def small_model(report: Report, seconds: int, rounds: int) -> None:
    """The toy model at 1, 16 and 64 connections, beside each of the other servers."""
    commands: dict[str, list[object]] = {
        NOOP: [sys.executable, HERE / "noop_server.py", FROZEN],
        SEED: [sys.executable, HERE / "seed_server.py", FROZEN],
    }
    for name, title in OTHERS.items():
        python = HERE / "environments" / name / "bin" / "python"
        if not (HERE / "environments" / name / "installed").exists():
            report.missing.append(title)
            say(f"{title} is not installed; `make bench-environments` installs it")
            continue
        code = f"from importlib.metadata import version; print(version({name!r}))"
        installed = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
        commands[f"{title} {installed}"] = [python, HERE / f"{name}_server.py", FROZEN]
    for name, command in commands.items():
        port = free_port()
        theirs = Target(f"http://127.0.0.1:{port}/api/predict")
        if name.startswith("MLServer"):
            theirs = Target(f"http://127.0.0.1:{port}/v2/models/toy/infer", _OPEN_INFERENCE)
        with serving("--frozen-model", FROZEN) as ours, running([*command, port], theirs):
            for connections in CONNECTIONS:
                measured = in_turns({"ours": ours, "theirs": theirs}, connections, seconds, rounds)
                pair = Pair(name, connections, measured["ours"], measured["theirs"])
                report.pairs.append(pair)
                say(
                    f"{connections:2} connections: {pair.ours.rate:,.0f} requests/s, "
                    f"{name} {pair.theirs.rate:,.0f}; {pair.ratio:.2f} times"
                )


def larger_bodies(report: Report, seconds: int, rounds: int) -> None:
    """1,000 rows a request beside the usual design; .npy beside JSON for 10,000 x 100 numbers."""
    rows = json.dumps({"x": [ROW] * 1000}).encode()
    with ExitStack() as stack:
        port = free_port()
        seed = Target(f"http://127.0.0.1:{port}/api/predict", rows)
        ours = replace(stack.enter_context(serving("--frozen-model", FROZEN)), body=rows)
        stack.enter_context(running([sys.executable, HERE / "seed_server.py", FROZEN, port], seed))
        measured = in_turns({"ours": ours, "seed": seed}, 4, seconds, rounds)
    ratio = measured["ours"].rate / measured["seed"].rate
    result = f"{ratio:.2f} times ({measured['ours'].rate:,.0f} requests/s)"
    report.add(Figure(f"1,000 rows a request, beside {SEED}", "at least 1.5 times", result, ratio >= 1.5), say)
    with tempfile.TemporaryDirectory() as folder:
        model = wide_model(Path(folder))
        numbers = np.random.default_rng(0).normal(size=(10_000, 100)).astype(np.float32)
        file = io.BytesIO()
        np.save(file, numbers)
        first = json.dumps({"x": numbers[:1].tolist()}).encode()
        flags = ["--inputs", "x", "--outputs", "y", "--max-rows", 10_000]
        with serving("--frozen-model", model, *flags, body=first) as target:
            text = replace(target, body=json.dumps({"x": numbers.tolist()}).encode())
            raw = replace(target, body=file.getvalue(), content_type="application/x-npy")
            measured = in_turns({"npy": raw, "json": text}, 1, seconds, rounds)
    ratio = measured["npy"].rate / measured["json"].rate
    result = f"{ratio:.1f} times ({measured['npy'].rate:,.1f} requests/s)"
    report.add(Figure(".npy beside JSON, 10,000 x 100 numbers", "at least 5 times", result, ratio >= 5), say)


def wide_model(folder: Path) -> Path:
    from serialization.tensorflow import tf, tf1

    with tf1.Graph().as_default() as graph:
        x = tf1.placeholder(tf.float32, [None, 100], name="x")
        tf.reduce_sum(x, axis=1, name="y")
    file = folder / "wide.pb"
    file.write_bytes(graph.as_graph_def().SerializeToString())
    return file


def batching(report: Report, seconds: int, rounds: int) -> None:
    """The ResNet at 32 connections with and without batches, beside a bare loop over its callable, in turns."""
    folder = PROJECT / "pretrainedresnet" / "1"
    image = np.random.default_rng(0).integers(0, 256, (1, 28, 28, 1)).astype(np.uint8)
    file = io.BytesIO()
    np.save(file, image)
    body = json.dumps({"x": image.tolist()}).encode()
    loop = bare_loop(folder, image)
    with (
        serving("--saved-model", folder, "--max-batch-size", 1, body=body) as without,
        serving("--saved-model", folder, body=body) as batched,
    ):
        targets = {"off": without, "JSON": batched}
        targets["npy"] = replace(batched, body=file.getvalue(), content_type="application/x-npy")
        measured = [(in_turns(targets, 32, seconds, 1), loop(min(seconds, 2))) for _ in range(rounds)]
    off, by_json, by_npy = (median(rates[name].rate for rates, _ in measured) for name in targets)
    best, size = max((median(bare[size] for _, bare in measured), size) for size in SIZES)
    title = "ResNet, 32 connections, one image a request"
    result = f"{by_json / off:.2f} times ({by_json:,.0f} images/s)"
    report.add(Figure(f"{title}, beside batching off", "at least 1.5 times", result, by_json / off >= 1.5), say)
    for form, rate in {"JSON": by_json, ".npy": by_npy}.items():
        result = f"{rate / best:.2f} ({rate:,.0f} of {best:,.0f} images/s at {size})"
        name = f"{title} as {form}, beside a bare loop at its best batch"
        report.add(Figure(name, "at least 0.5", result, rate / best >= 0.5), say)


def bare_loop(folder: Path, image: NDArray[Any]) -> Callable[[int], dict[int, float]]:
    """A function that measures images/s of the compiled callable alone, for some seconds at each batch size."""
    import savedmodel_pretrained
    from serialization.files.locate import find_saved_model
    from serialization.run.predictor import Predictor

    session, signature = savedmodel_pretrained.load_session(find_saved_model(folder))
    predict = Predictor(session, signature)
    feeds = {size: {signature.inputs[0].key: np.repeat(image, size, axis=0)} for size in SIZES}
    for feed in feeds.values():
        predict(feed)

    def measure(seconds: int) -> dict[int, float]:
        rates = {}
        for size, feed in feeds.items():
            count, started = 0, time.perf_counter()
            while time.perf_counter() - started < seconds:
                predict(feed)
                count += size
            rates[size] = count / (time.perf_counter() - started)
        return rates

    return measure


def workers(report: Report, seconds: int, rounds: int) -> None:
    """Two worker processes beside one, with small and with large requests.

    With one row a request, one worker and wrk already use two cores.
    """
    rows = json.dumps({"x": [ROW] * 1000}).encode()
    with serving("--frozen-model", FROZEN) as one, serving("--frozen-model", FROZEN, "--workers", 2) as two:
        for rows_sent, body in {"one row": ONE, "1,000 rows": rows}.items():
            targets = {"one": replace(one, body=body), "two": replace(two, body=body)}
            measured = in_turns(targets, 64, seconds, rounds)
            ratio = measured["two"].rate / measured["one"].rate
            result = f"{ratio:.2f} times ({measured['two'].rate:,.0f} requests/s)"
            name = f"two workers beside one, 64 connections, {rows_sent} a request"
            report.add(Figure(name, "at least 1.3 times", result, ratio >= 1.3), say)


def soak(report: Report, requests: int) -> None:
    """Send good and bad requests, and measure the growth of the worker's memory, files and threads after a tenth."""
    bad = [b"{", b'{"x": [[1]]}', b'{"x": [[0,1,2,3,4,5,6,7,8,"9"]]}', b'{"x": []}', b'{"y": 1}']
    with tempfile.TemporaryDirectory() as folder, serving("--frozen-model", FROZEN) as target:
        script = Path(folder) / "mixed.lua"
        bodies = ", ".join("[==[" + body.decode() + "]==]" for body in [ONE, ONE, ONE, ONE, ONE, *bad])
        script.write_text(
            f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\nlocal bodies = {{{bodies}}}\n'
            "local n = 0\nfunction request() n = n + 1; return wrk.format(nil, nil, nil, bodies[n % #bodies + 1]) end\n"
        )
        worker = worker_listening_on(target.url.rpartition(":")[2].partition("/")[0])
        done, first = 0, None
        while done < requests:
            words = ["wrk", "-t1", "-c16", "-d3", "-s", str(script), target.url]
            output = subprocess.run(words, check=True, capture_output=True, text=True).stdout
            found = re.search(r"(\d+) requests in", output)
            assert found is not None
            done += int(found[1])
            if first is None and done >= requests // 10:
                first = state_of(worker)
        last = state_of(worker)
    assert first is not None
    grown = last[0] / first[0] - 1
    result = f"{100 * grown:+.2f} % memory ({first[0]:.0f} to {last[0]:.0f} MB), {last[1] - first[1]:+} files, "
    result += f"{last[2] - first[2]:+} threads"
    holds = grown < 0.02 and last[1] <= first[1] and last[2] <= first[2]
    title = f"{done:,} requests, half of them bad, after the first tenth"
    report.add(Figure(title, "less than 2 % memory, no files, no threads", result, holds), say)


def worker_listening_on(port: str) -> int:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            parent = re.search(r"PPid:\t(\d+)", (folder / "status").read_text())
            assert parent is not None
            above = Path(f"/proc/{parent[1]}/cmdline").read_bytes()
        except OSError:
            continue
        if any(b"spawn_main" in word for word in words) and f"--port\0{port}\0".encode() in above:
            return int(folder.name)
    raise SystemExit("no worker found")


def state_of(pid: int) -> tuple[float, int, int]:
    """Resident megabytes, open files and threads of a process, after it has closed wrk's connections."""
    time.sleep(1)
    status = Path(f"/proc/{pid}/status").read_text()
    memory = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert memory is not None
    files, threads = (len(list(Path(f"/proc/{pid}/{kind}").iterdir())) for kind in ("fd", "task"))
    return int(memory[1]) / 1000, files, threads


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=5, help="the length of a round")
    parser.add_argument("--rounds", type=int, default=3, help="the number of rounds; the medians are reported")
    parser.add_argument("--soak", type=int, default=200_000, help="the number of requests in the soak test")
    parser.add_argument("--write", action="store_true", help="write docs/serving_benchmark.* and the README's table")
    parts = ("small", "larger", "protocols", "grpc", "batching", "workers", "soak")
    parser.add_argument("--only", choices=parts, nargs="+", default=parts)
    args = parser.parse_args(argv)
    if args.write and set(args.only) != set(parts):
        parser.error("--write needs all parts; leave --only out")
    for tool, package in {"wrk": "wrk", "h2load": "nghttp2-client"}.items():
        if shutil.which(tool) is None:
            parser.error(f"{tool} is not installed; on Debian: apt-get install {package}")
    if not FROZEN.exists():
        parser.error("no results/frozen_model.pb; `make run` makes it")
    cpu = re.findall(r"model name\t: (.*)", Path("/proc/cpuinfo").read_text())
    versions = ", ".join(
        f"{name} {version(name)}" for name in ("tensorflow", "granian", "flask", "msgspec", "pysimdjson")
    )
    report = Report(
        f"Measured on {len(cpu)} cores of {cpu[0] if cpu else 'an unknown CPU'}, which wrk shares; Python "
        f"{sys.version.split()[0]}, {versions}; medians of "
        f"{args.rounds} round{'s' if args.rounds > 1 else ''} of {args.seconds} s, in turns."
    )
    if "small" in args.only:
        small_model(report, args.seconds, args.rounds)
    if "larger" in args.only:
        larger_bodies(report, args.seconds, args.rounds)
    if "protocols" in args.only:
        measure_protocols(report, say, args.seconds, args.rounds, FROZEN, wide_model)
    if "grpc" in args.only:
        measure_grpc(report, say, args.seconds, args.rounds, FROZEN)
    if "batching" in args.only:
        batching(report, args.seconds, args.rounds)
    if "workers" in args.only:
        workers(report, args.seconds, args.rounds)
    if "soak" in args.only:
        soak(report, args.soak)
    if args.write:
        serving_report.write(report, PROJECT)
    else:
        say(serving_report.markdown(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
