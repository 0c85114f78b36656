"""Measure the server beside others, on this machine, in one run: requests a second and their latency, with wrk.

    python benchmarks/bench_serving.py [--seconds 5] [--write docs/serving_benchmark.md]

Needs wrk (Debian's package) and, for the servers of others, `make bench-environments`; one that is not installed is
left out and said to be. Every pair is measured side by side, in turns, so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

import numpy as np  # noqa: E402

HERE = Path(__file__).parent
OURS = PROJECT / "freezemodel_serve.py"
ROW = list(range(10))
ONE = json.dumps({"x": [ROW]}).encode()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@contextmanager
def running(*command: object, port: int, body: bytes = ONE) -> Iterator[str]:
    """A server process, once it answers this body."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    quiet = subprocess.DEVNULL
    process = subprocess.Popen([str(w) for w in command], stdout=quiet, stderr=quiet, env=environment, cwd=HERE)
    url = f"http://127.0.0.1:{port}/api/predict"
    try:
        while True:
            try:
                urlopen(Request(url, body, {"Content-Type": "application/json"}), timeout=20).read()
                break
            except HTTPError as error:
                raise SystemExit(f"{command} answers {error.code}: {error.read()[:300]!r}") from None
            except OSError:
                if process.poll() is not None:
                    raise SystemExit(f"{command} ended") from None
                time.sleep(0.2)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wrk(
    url: str, connections: int, seconds: int, body: bytes = ONE, content_type: str = "application/json"
) -> tuple[float, float, float]:
    """Requests a second, and the median and the 99th percentile of the latency in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "body").write_bytes(body)
        script = Path(folder) / "post.lua"
        script.write_text(
            'wrk.method = "POST"\n'
            f'wrk.headers["Content-Type"] = "{content_type}"\n'
            f'local file = io.open("{folder}/body", "rb")\nwrk.body = file:read("*a")\nfile:close()\n'
        )
        words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--timeout", "30", "--latency", "-s", script, url]
        said = subprocess.run([str(w) for w in words], check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in said:
        raise SystemExit(f"{url} refuses: {said}")
    units = {"us": 0.001, "ms": 1.0, "s": 1000.0}
    median, last = (
        float(value) * units[unit]
        for value, unit in (re.findall(rf"^ +{p}% +([\d.]+)(us|ms|s)", said, re.MULTILINE)[0] for p in (50, 99))
    )
    rate = re.search(r"Requests/sec: +([\d.]+)", said)
    assert rate is not None
    return float(rate[1]), median, last


def in_turns(
    urls: dict[str, str], connections: int, seconds: int, rounds: int = 3, **request: object
) -> dict[str, tuple[float, float, float]]:
    """The median of some rounds, in each of which every server has its turn."""
    measured: dict[str, list[tuple[float, float, float]]] = {name: [] for name in urls}
    for _ in range(rounds):
        for name, url in urls.items():
            measured[name].append(wrk(url, connections, seconds, **request))  # type: ignore[arg-type]
    return {name: sorted(values)[rounds // 2] for name, values in measured.items()}


def small_model(seconds: int, frozen: Path) -> list[str]:
    """The toy model at 1, 16 and 64 connections, beside the other servers."""
    lines = [
        "| server | connections | requests/s | median ms | p99 ms | freezemodel_serve is |",
        "| - | -: | -: | -: | -: | -: |",
    ]
    others = {
        "no-op WSGI under the same granian": [sys.executable, HERE / "noop_server.py", frozen, None, 4],
        "app.run and session.run": [sys.executable, HERE / "seed_server.py", frozen, None],
    }
    for name in ("litserve",):
        python = HERE / "environments" / name / "bin" / "python"
        if python.exists() and (HERE / f"{name}_server.py").exists():
            others[name] = [python, HERE / f"{name}_server.py", frozen, None]
        else:
            lines.append(f"| {name} | | not installed | | | |")
    for name, command in others.items():
        with ExitStack() as stack:
            port, other = free_port(), free_port()
            ours = stack.enter_context(
                running(sys.executable, OURS, "--frozen-model", frozen, "--port", port, port=port)
            )
            words = [other if word is None else word for word in command]
            urls = {"freezemodel_serve": ours, name: stack.enter_context(running(*words, port=other))}
            for connections in (1, 16, 64):
                measured = in_turns(urls, connections, seconds)
                ratio = measured["freezemodel_serve"][0] / measured[name][0]
                for server, (rate, median, last) in measured.items():
                    said = f"{ratio:.2f} times" if server == name else ""
                    lines.append(f"| {server} | {connections} | {rate:,.0f} | {median:.2f} | {last:.2f} | {said} |")
                print("\n".join(lines[-2:]), flush=True)
    return lines


def larger_bodies(seconds: int, frozen: Path) -> list[str]:
    """1,000 rows against the usual design; .npy against JSON for 10,000 x 100 numbers."""
    rows = json.dumps({"x": [ROW] * 1000}).encode()
    lines = []
    with ExitStack() as stack:
        port, other = free_port(), free_port()
        ours = stack.enter_context(running(sys.executable, OURS, "--frozen-model", frozen, "--port", port, port=port))
        seed = stack.enter_context(running(sys.executable, HERE / "seed_server.py", frozen, other, port=other))
        measured = in_turns({"ours": ours, "seed": seed}, 4, seconds, body=rows)
        ratio = measured["ours"][0] / measured["seed"][0]
        lines.append(f"- 1,000 rows: {measured['ours'][0]:,.0f} requests/s, {ratio:.2f} times app.run and session.run")
    with tempfile.TemporaryDirectory() as folder:
        model = wide_model(Path(folder))
        numbers = np.random.default_rng(0).normal(size=(10_000, 100)).astype(np.float32)
        file = io.BytesIO()
        np.save(file, numbers)
        text = json.dumps({"x": numbers.tolist()}).encode()
        port = free_port()
        flags = ["--inputs", "x", "--outputs", "y", "--max-rows", 10_000, "--port", port]
        first = json.dumps({"x": numbers[:1].tolist()}).encode()
        with running(sys.executable, OURS, "--frozen-model", model, *flags, port=port, body=first) as url:
            npy, jsn = [], []
            for _ in range(3):
                npy.append(wrk(url, 1, seconds, file.getvalue(), "application/x-npy")[0])
                jsn.append(wrk(url, 1, seconds, text)[0])
            raw, parsed = statistics.median(npy), statistics.median(jsn)
            lines.append(f"- 10,000 x 100 numbers: {raw:,.1f} requests/s as .npy, {raw / parsed:.1f} times JSON")
    print("\n".join(lines), flush=True)
    return lines


def wide_model(folder: Path) -> Path:
    from serialization.tensorflow import tf, tf1

    with tf1.Graph().as_default() as graph:
        x = tf1.placeholder(tf.float32, [None, 100], name="x")
        tf.reduce_sum(x, axis=1, name="y")
    file = folder / "wide.pb"
    file.write_bytes(graph.as_graph_def().SerializeToString())
    return file


def batching(seconds: int) -> list[str]:
    """The ResNet under 32 connections, with batches and without, and a bare loop over the compiled callable."""
    import savedmodel_pretrained
    from serialization import signature
    from serialization.predictor import Predictor

    folder = PROJECT / "pretrainedresnet" / "1"
    image = np.random.default_rng(0).integers(0, 256, (1, 28, 28, 1)).astype(np.uint8)
    body = json.dumps({"x": image.tolist()}).encode()
    with ExitStack() as stack:
        urls = {}
        for name, flags in {"off": ["--max-batch-size", 1], "on": ["--max-batch-size", 32]}.items():
            port = free_port()
            command = [sys.executable, OURS, "--saved-model", folder, "--port", port, *flags]
            urls[name] = stack.enter_context(running(*command, port=port, body=body))
        measured = in_turns(urls, 32, seconds, body=body)
    session, signature_def = savedmodel_pretrained.load(folder)
    wanted = signature.from_def(signature_def)
    predict = Predictor(session, wanted)
    best, best_size = 0.0, 0
    for size in (1, 8, 32, 64, 128):
        feed = {wanted.inputs[0].key: np.repeat(image, size, axis=0)}
        predict(feed)
        count, started = 0, time.perf_counter()
        while time.perf_counter() - started < 2:
            predict(feed)
            count += size
        rate = count / (time.perf_counter() - started)
        best, best_size = max((best, best_size), (rate, size))
    on, off = measured["on"][0], measured["off"][0]
    line = (
        f"- ResNet, 32 connections, one image a request: {on:,.0f} images/s in batches, {on / off:.2f} times without; "
        f"{on / best:.2f} of a bare loop at its best batch size ({best:,.0f} images/s at {best_size})"
    )
    print(line, flush=True)
    return [line]


def workers(seconds: int, frozen: Path) -> list[str]:
    """Two worker processes beside one; the load generator takes its share of the cores."""
    with ExitStack() as stack:
        urls = {}
        for count in (1, 2):
            port = free_port()
            command = [sys.executable, OURS, "--frozen-model", frozen, "--port", port, "--workers", count]
            urls[str(count)] = stack.enter_context(running(*command, port=port))
        measured = in_turns(urls, 64, seconds)
    ratio = measured["2"][0] / measured["1"][0]
    line = f"- two workers: {measured['2'][0]:,.0f} requests/s at 64 connections, {ratio:.2f} times one"
    print(line, flush=True)
    return [line]


def soak(requests: int, frozen: Path) -> list[str]:
    """Good and bad requests mixed; how memory, open files and threads of the worker grow after the first tenth."""
    port = free_port()
    bad = [b"{", b'{"x": [[1]]}', b'{"x": [[0,1,2,3,4,5,6,7,8,"9"]]}', b'{"x": []}', b'{"y": 1}']
    with (
        tempfile.TemporaryDirectory() as folder,
        running(sys.executable, OURS, "--frozen-model", frozen, "--port", port, port=port) as url,
    ):
        script = Path(folder) / "mixed.lua"
        bodies = ", ".join("[==[" + body.decode() + "]==]" for body in [ONE, ONE, ONE, ONE, ONE, *bad])
        script.write_text(
            f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\nlocal bodies = {{{bodies}}}\n'
            "local n = 0\nfunction request() n = n + 1; return wrk.format(nil, nil, nil, bodies[n % #bodies + 1]) end\n"
        )
        worker = worker_listening_on(port)
        done, first = 0, None
        while done < requests:
            said = subprocess.run(
                ["wrk", "-t1", "-c16", "-d3", "-s", str(script), url], check=True, capture_output=True, text=True
            ).stdout
            found = re.search(r"(\d+) requests in", said)
            assert found is not None
            done += int(found[1])
            if first is None and done >= requests // 10:
                first = state_of(worker)
        last = state_of(worker)
    assert first is not None
    line = (
        f"- soak, {done:,} requests, half of them bad: memory {first[0]:.0f} to {last[0]:.0f} MB "
        f"({100 * (last[0] / first[0] - 1):+.2f} %), "
        f"open files {first[1]} to {last[1]}, threads {first[2]} to {last[2]}"
    )
    print(line, flush=True)
    return [line]


def worker_listening_on(port: int) -> int:
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
    """Resident megabytes, open files, threads."""
    status = Path(f"/proc/{pid}/status").read_text()
    memory = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert memory is not None
    files, threads = (len(list(Path(f"/proc/{pid}/{kind}").iterdir())) for kind in ("fd", "task"))
    return int(memory[1]) / 1000, files, threads


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--soak", type=int, default=200_000, help="requests of the soak")
    parser.add_argument("--write", type=Path, help="the Markdown file to write")
    parts = ("small", "larger", "batching", "workers", "soak")
    parser.add_argument("--only", choices=parts, nargs="+", default=parts)
    args = parser.parse_args(argv)
    if shutil.which("wrk") is None:
        parser.error("wrk is not installed; on Debian: apt-get install wrk")
    frozen = PROJECT / "results" / "frozen_model.pb"
    if not frozen.exists():
        parser.error("no results/frozen_model.pb; `make run` makes it")
    cpu = re.findall(r"model name\t: (.*)", Path("/proc/cpuinfo").read_text())
    versions = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "granian", "flask", "msgspec"))
    lines = [f"Measured on {len(cpu)} cores of {cpu[0] if cpu else 'an unknown CPU'}, which wrk shares; Python", ""]
    lines[0] += f" {sys.version.split()[0]}, {versions}; medians of three rounds of {args.seconds} s, in turns."
    if "small" in args.only:
        lines += [*small_model(args.seconds, frozen), ""]
    if "larger" in args.only:
        lines += larger_bodies(args.seconds, frozen)
    if "batching" in args.only:
        lines += batching(args.seconds)
    if "workers" in args.only:
        lines += workers(args.seconds, frozen)
    if "soak" in args.only:
        lines += soak(args.soak, frozen)
    if args.write:
        args.write.write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
