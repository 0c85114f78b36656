"""Time model_inspect.py beside `saved_model_cli show --all`, on the same SavedModel in the same run.

    python benchmarks/inspecting.py [SAVED_MODEL] [RUNS]

Prints the median times of the processes and their ratio; the project promises at most a fifth.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
PROMISED = 1 / 5


def measure(command: list[str]) -> float:
    """Seconds that a process takes from its start to its end."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> int:
    folder = sys.argv[1] if len(sys.argv) > 1 else str(PROJECT / "pretrainedresnet" / "1")
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    commands = {
        "model_inspect.py": [sys.executable, str(PROJECT / "model_inspect.py"), folder],
        "saved_model_cli show --all": [
            str(Path(sys.executable).with_name("saved_model_cli")), "show", "--dir", folder, "--all"
        ],
    }  # fmt: skip
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs):  # in turns, so that a busy machine slows both
        for name, command in commands.items():
            seconds[name].append(measure(command))
    medians = [statistics.median(times) for times in seconds.values()]
    for name, median in zip(seconds, medians, strict=True):
        print(f"{name:27} {median:.2f} s")
    ratio = medians[0] / medians[1]
    print(f"ratio {ratio:.3f}, promised at most {PROMISED}: {'holds' if ratio <= PROMISED else 'falls short'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
