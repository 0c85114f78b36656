"""Measures what forking and confining adds to the start of a script, in turns with the same script without.

    python benchmarks/confining.py [RUNS]

The script does all that the project's scripts do up to the import of TensorFlow: it imports their modules, parses
flags, stages its output, reads and scans the SavedModel of the project, and imports numpy. There it forks and is
confined, or not. Then it publishes and ends. The import of TensorFlow takes a hundred times as long as the confinement
and differs more from run to run, so it is left out. The project promises at most 30 ms.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
PROMISED = 30  # milliseconds
SCRIPT = """
import sys
sys.path.insert(0, sys.argv.pop(1))
import freezemodel_save
from serialization import cli
from serialization.files.publish import stage_output
from serialization.flags import CONVERSION_FLAGS, SAVED_MODEL_FLAGS
from serialization.inspect.report import inspect_model
from serialization.project import PRETRAINED

def main(argv=None):
    defaults = {"saved_model": PRETRAINED / "1", "frozen_model": None}
    args = parser.make_parser("A script.", *SAVED_MODEL_FLAGS, *CONVERSION_FLAGS, **defaults).parse_args(argv)
    with stage_output(args.frozen_model, overwrite=True) as path:
        inspect_model(args.saved_model)
        import numpy
        path.write_bytes(b"model")
    return 0

cli.run(main, loads_model=sys.argv.pop(1) == "confined")
"""


def measure(how: str, target: str) -> tuple[float, float]:
    """Milliseconds from the start of the script to its end, and those of them that it had a processor.

    All its processes count. Its modules are compiled once, as for a user.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", SCRIPT, str(PROJECT), how, "--frozen-model", target]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, env=environment, check=True)
    ended, after = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return (ended - started) * 1000, busy * 1000


def main() -> int:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    taken: dict[str, list[tuple[float, float]]] = {"confined": [], "as it was": []}
    with tempfile.TemporaryDirectory() as folder:
        measure("confined", f"{folder}/model.pb")  # compiles
        for _ in range(runs):  # in turn, so that a busy machine slows both
            for how, times in taken.items():
                times.append(measure(how, f"{folder}/model.pb"))
    for how, times in taken.items():
        passed, busy = (statistics.median(kind) for kind in zip(*times, strict=True))
        print(f"{how:10} {passed:.1f} ms, {busy:.1f} ms of a processor")
    both = list(zip(*taken.values(), strict=True))
    more, busy = (statistics.median(ours[kind] - theirs[kind] for ours, theirs in both) for kind in (0, 1))
    holds = "holds" if more <= PROMISED else "falls short"
    print(f"more for each start: {more:.1f} ms, promised at most {PROMISED}: {holds}; {busy:.1f} ms of a processor")
    return 0


if __name__ == "__main__":
    sys.exit(main())
