"""What the tests share: the toy artefacts, made once; scripts run in this process or as processes of their own."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

import checkpoint_restore
from serialization import project
from serialization.checks.system_calls import find_landlock_abi
from serialization.cli import call_main
from serialization.console import show_path
from serialization.files.locate import find_checkpoint
from serialization.sources.from_checkpoint import read_checkpoint_graph, take_whole_checkpoint
from serialization.tensorflow import tf

PROJECT = project.ROOT
SCRIPTS = sorted(path.stem for path in PROJECT.glob("*.py") if path.stem != "model")
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # before grpc is imported: else it aborts some processes that tests fork
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # else programs that tests start ignore it where nohup runs the tests

LONGEST = ("test_readme", "test_tour", "test_corpus", "test_confinement", "test_engine")


# Line ends of every kind, and characters with a meaning to shells, formats or patterns: a file's name may hold them.
ODD = "\n\r\u2028\u0085\f\"'%\\[]*?{}=@#;"

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
Fails = Callable[..., str]


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


def inspect(run: Run, *words: object) -> dict[str, Any]:
    """The report that model_inspect.py prints with --json."""
    done = run("model_inspect", *words, "--json")
    assert (done.status, done.stderr) == (0, "")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def freeze(run: Run, prefix: Path, out: Path, *words: object) -> Ran:
    """Freeze a checkpoint to OUT/m.pb."""
    done: Ran = run("freezemodel_save", "--checkpoint", prefix, "--frozen-model", out / "m.pb", *words)
    return done


def nothing_left(out: Path) -> bool:
    """Whether a failed run has left neither a frozen model nor a temporary file."""
    return not list(out.glob("*.pb")) and not list(out.glob(".*"))


@pytest.fixture
def error(run: Run, tmp_path: Path) -> Fails:
    """Run a script that must fail, and return its line without `error: ` and with the folders' names shortened."""

    def fail(script: str, *words: object) -> str:
        before = sorted(tmp_path.rglob("*"))
        done = run(script, *words)
        assert done.status == 1
        assert done.stderr.startswith("error: ")
        assert done.stderr.endswith("\n")
        assert done.stderr.count("\n") == 1
        assert sorted(tmp_path.rglob("*")) == before, "something was left behind"
        line = done.stderr.removeprefix("error: ").removesuffix("\n")
        return line.replace(f"{tmp_path}/", "").replace(f"python {show_path(PROJECT)}/", "python ")

    return fail


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


@pytest.fixture(scope="session")
def frozen_model(made: Path) -> Path:
    """The toy model, frozen. Tests only read it."""
    return made / "frozen_model.pb"


@pytest.fixture
def toy(made: Path, results: Path) -> Path:
    """A results/ folder of the test's own that holds all toy artefacts."""
    shutil.copytree(made, results)
    return results


def restored(prefix: Path) -> Any:
    """A session on a checkpoint's whole graph, in which the variables hold what the checkpoint holds."""
    held = find_checkpoint(prefix)
    prepared = take_whole_checkpoint(held, read_checkpoint_graph(held))
    session, saver = checkpoint_restore.import_graph(prepared)
    checkpoint_restore.restore(session, saver, prepared)
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


Clients = Callable[..., FlaskClient]


@pytest.fixture(scope="session")
def clients() -> Clients:
    """A client of a small model by its name in serving_models.py, made once for the same settings."""
    from serving_models import small_app  # which imports this module

    made: dict[str, FlaskClient] = {}

    def client(name: str, **settings: Any) -> FlaskClient:
        key = f"{name} {settings}"
        if key not in made:
            made[key] = small_app(name, **settings).test_client()
        return made[key]

    return client


def make_environment(name: str) -> Path:
    """The folder of a virtual environment, .venv-NAME, which make has installed, or does so now."""
    folder = PROJECT / f".venv-{name}"
    make = ["make", "--silent", f"PYTHON={sys.executable}", f"{folder.name}/installed"]
    made = subprocess.run(make, cwd=PROJECT, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return folder


def environment() -> dict[str, str]:
    """For processes: this environment's programs come first, and nothing is written beside the sources."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files with the longest tests come first, so that no process of `make test` works on alone at the end."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Packed bytes in the name of a test would hold the time; all processes of `make test` must give the same names."""
    return f"{len(val)} bytes" if isinstance(val, bytes) and not val.isascii() else None


@pytest.fixture(scope="session", autouse=True)
def _keras_is_the_third() -> None:
    """`tf.keras` stays what its first use finds, and a test that reads a file of Keras 2 would make that Keras 2."""
    os.environ["TF_USE_LEGACY_KERAS"] = "0"  # of the process that runs these tests as its own
    assert tf.keras.__version__.startswith("3.")


@pytest.fixture(autouse=True)
def _no_seed_stays() -> Iterator[None]:
    """A test that seeds TensorFlow's random numbers does so for itself alone."""
    yield
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].random.set_seed(None)


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


@pytest.fixture
def effects(tmp_path: Path) -> Iterator[Any]:
    """The harmful_models.Effects that no model may have."""
    from harmful_models import Effects

    folder = tmp_path / "effects"
    folder.mkdir()
    (folder / "secret").write_text("SECRET-7531\n")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield Effects(folder / "written", folder / "secret", "{}:{}".format(*server.getsockname()))
        with pytest.raises(BlockingIOError):
            server.accept()
