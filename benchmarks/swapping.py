"""Replace a model under load: failed answers, answers made of two versions, how long a swap takes, and memory.

    python benchmarks/swapping.py [--swaps 100] [--connections 64]

Both models are in folders of versions. The small one answers with a variable and a constant that are the version's
number, so an answer tells of which versions it was made. The other one is the ResNet. The memory
is the worker's resident memory, which should stay level.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.request import urlopen

from servers import OURS, PROJECT, free_port

_ROWS = 3
_NUMBERED = json.dumps({"x": [1.0] * _ROWS}).encode()
_RESNET = PROJECT / "pretrainedresnet"
_SHOWN = 10  # times that the memory is shown
_LONGEST = 180.0  # seconds that a swap may take


class Load:
    """Clients that send requests while the block runs, each over one connection, and the answers that they got.

    `versions` has the last version of the numbered model that each client saw; `failed` has the answers that are not
    200, not of one version, or of an older one than before.
    """

    def __init__(
        self,
        address: tuple[str, int],
        connections: int,
        body: bytes = _NUMBERED,
        content_type: str = "application/json",
    ) -> None:
        self._address = address
        head = f"POST /api/predict HTTP/1.1\r\nHost: t\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}"
        self._request = head.encode() + b"\r\n\r\n" + body
        self._is_numbered = body is _NUMBERED
        self.answered = 0
        self.failed: list[str] = []
        self.versions = [0.0] * connections
        self._is_over = False

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._ask(client)) for client in range(len(self.versions))]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_over = True
        await asyncio.gather(*self._tasks)

    async def _ask(self, client: int) -> None:
        reader, writer = await asyncio.open_connection(*self._address)
        while not self._is_over:
            try:
                writer.write(self._request)
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                body = await reader.readexactly(length)
            except (OSError, asyncio.IncompleteReadError) as error:
                self.failed.append(repr(error))
                return
            self.answered += 1
            if not head.startswith(b"HTTP/1.1 200 OK\r\n"):
                self.failed.append(f"{head!r} {body!r}"[:300])
            elif self._is_numbered:
                self._check(client, json.loads(body)["y"])
        writer.close()

    def _check(self, client: int, outputs: dict[str, list[float]]) -> None:
        found = {*outputs["variable"], *outputs["constant"]}
        if len(found) != 1 or len(outputs["variable"]) != _ROWS or min(found) < self.versions[client]:
            self.failed.append(f"after version {self.versions[client]:g}: {outputs}")
        self.versions[client] = min(found)


def write_numbered_versions(folder: Path, numbers: Sequence[int]) -> None:
    """SavedModels in which a variable and a constant are the version's number, and which answer with both."""
    from serialization.tensorflow import quiet, tf, tf1

    for number in numbers:
        with quiet(), tf1.Graph().as_default(), tf1.Session() as session:
            x = tf1.placeholder(tf.float32, [None], name="x")
            weight = tf1.get_variable("weight", initializer=float(number), use_resource=True)
            outputs = {"variable": x * weight, "constant": x * float(number)}
            session.run(weight.initializer)
            tf1.saved_model.simple_save(session, str(folder / str(number)), {"x": x}, outputs)


def get_resident_megabytes(server: int) -> float:
    """The resident memory of the only worker of a server, by the server's process id."""
    children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    worker = next(child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes())
    lines = Path(f"/proc/{worker}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1000


def count_swaps(port: int) -> int:
    """How many versions have taken over, by the server's metrics."""
    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return next(int(float(line.split()[-1])) for line in lines if line.startswith("serving_model_swaps{"))


async def measure(base: Path, place: Callable[[int], None], swaps: int, make_load: Callable[[int], Load]) -> None:
    """Place so many versions of a model under load, and print what the clients and the server's memory made of it."""
    place(1)
    port = free_port()
    words = [sys.executable, OURS, "--saved-model", base, "--watch", "--port", port]
    server = subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE)
    assert server.stdout is not None
    server.stdout.readline()  # it is ready
    seconds = []
    every = max(1, swaps // _SHOWN)
    try:
        async with make_load(port) as load:
            for number in range(2, swaps + 2):
                await asyncio.to_thread(place, number)
                placed = time.perf_counter()
                while await asyncio.to_thread(count_swaps, port) < number - 1:
                    if time.perf_counter() - placed > _LONGEST:
                        raise SystemExit(f"{base.name}: version {number} did not take over within {_LONGEST:g} s")
                    await asyncio.sleep(0.05)
                seconds.append(time.perf_counter() - placed)
                shutil.rmtree(base / str(number - 1))
                if len(seconds) % every == 0:
                    print(f"{base.name}: {len(seconds)} swaps, {get_resident_megabytes(server.pid):.0f} MB", flush=True)
    finally:
        server.send_signal(signal.SIGINT)
        await asyncio.to_thread(server.wait)
    wrong = f"{len(load.failed)} of {load.answered:,} answers failed or were of two versions (wanted: 0)"
    took = f"{statistics.median(seconds):.1f} s from a new folder to its answers"
    print(f"{base.name}, {swaps} swaps, {len(load.versions)} connections: {wrong}; {took}", flush=True)
    for line in load.failed[:3]:
        print(f"    {line}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swaps", type=int, default=100, help="how often each model is replaced")
    parser.add_argument("--connections", type=int, default=64, help="how many clients ask meanwhile")
    args = parser.parse_args(argv)
    picture = (_RESNET / "samples" / "bag_0.png").read_bytes()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_numbered_versions(folder / "written", range(1, args.swaps + 2))
        loads: dict[str, tuple[Callable[[int], Path], tuple[bytes, str]]] = {
            "small": (lambda number: folder / "written" / str(number), (_NUMBERED, "application/json")),
            "resnet": (lambda _: _RESNET / "1", (picture, "image/png")),
        }
        for name, (written, body) in loads.items():
            base = folder / name
            base.mkdir()

            def place(number: int, base: Path = base, written: Callable[[int], Path] = written) -> None:
                shutil.copytree(written(number), base / "copy")
                (base / "copy").rename(base / str(number))

            def make_load(port: int, body: tuple[bytes, str] = body) -> Load:
                return Load(("127.0.0.1", port), args.connections, *body)

            asyncio.run(measure(base, place, args.swaps, make_load))
    return 0


if __name__ == "__main__":
    sys.exit(main())
