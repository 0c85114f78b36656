"""What the tests share: the toy artefacts, made once; scripts run in this process or as processes of their own."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import checkpoint_restore
from serialization import project
from serialization.checks.system_calls import find_landlock_abi
from serialization.cli import call_main
from serialization.files.locate import find_checkpoint
from serialization.sources.from_checkpoint import read_checkpoint_graph, take_whole_checkpoint

PROJECT = project.ROOT
SCRIPTS = sorted(path.stem for path in PROJECT.glob("*.py") if path.stem != "model")


needs_landlock = pytest.mark.skipif(
    find_landlock_abi() < 2, reason="optional: a kernel with Landlock (ABI 2), which confines files"
)

# How the lines begin that say what was chosen, left out and repaired; each stands in a script's output once.
NOTES = ("repaired: ", "inferred output ", "outputs as recorded ", "inputs, as ", "cut at ", "inlined ", "left out ")


@dataclass(frozen=True)
class Ran:
    """How a script ended: its exit status and what it wrote."""

    status: int
    stdout: str
    stderr: str


Run = Callable[..., Ran]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a script's main in this process: `run("checkpoint_save", "--epochs", 1)`."""

    def run_main(script: str, *words: object) -> Ran:
        capfd.readouterr()
        try:
            status = call_main(importlib.import_module(script).main, [str(word) for word in words])
        except SystemExit as stop:  # argparse: --help and wrong flags
            status = int(stop.code or 0)
        written = capfd.readouterr()
        notes = [line for line in written.out.splitlines() if line.startswith(NOTES)]
        assert len(set(notes)) == len(notes), f"{script} prints a note twice: {notes}"
        return Ran(status, written.out, written.err)

    return run_main


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of the project's results/."""
    folder = tmp_path / "results"
    monkeypatch.setattr(project, "RESULTS", folder)
    return folder


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results/ folder that holds all toy artefacts. Tests read it; those that write take `toy`."""
    folder = tmp_path_factory.mktemp("made") / "results"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(project, "RESULTS", folder)
        for script in (
            "checkpoint_save",
            "freezemodel_save",
            "savedmodel_from_source",
            "savedmodel_from_checkpoint",
            "savedmodel_from_frozen",
        ):
            assert call_main(importlib.import_module(script).main, []) == 0
    return folder


@pytest.fixture
def toy(made: Path, results: Path) -> Path:
    """A results/ folder of the test's own that holds all toy artefacts."""
    shutil.copytree(made, results)
    return results


def restored(prefix: Path) -> Any:
    """A session on a checkpoint's whole graph, in which the variables hold what the checkpoint holds."""
    held = find_checkpoint(prefix)
    prepared = take_whole_checkpoint(held, read_checkpoint_graph(held))
    session, saver = checkpoint_restore.start(prepared)
    checkpoint_restore.fill(session, saver, prepared)
    return session


@pytest.fixture
def clean_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as a newcomer finds it: the files that git knows, or would add, and nothing else."""
    folder = tmp_path_factory.mktemp("clean") / "serialization"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        check=True,
        stdout=subprocess.PIPE,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, folder / name)
    return folder


def environment() -> dict[str, str]:
    """For processes: this environment's programs come first, and nothing is written beside the sources."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture(scope="session", autouse=True)
def _tree_stays_as_it_is() -> Iterator[None]:
    """No test leaves anything in the project's folder."""

    def listing() -> set[str]:
        command = ["git", "status", "--porcelain", "--ignored", "--untracked-files=all"]
        lines = subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
        return {
            line
            for line in lines
            if not any(name in line for name in ("_cache/", "__pycache__", ".hypothesis", ".venv"))
        }

    before = listing()
    yield
    assert listing() == before


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skip that nobody sees hides a fault: only what an optional corpus or browser is missing for may be skipped."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and "optional:" not in str(report.longrepr):
        report.outcome = "failed"
        report.longrepr = f"skipped without naming an `optional:` corpus or browser: {report.longrepr}"
    return report
