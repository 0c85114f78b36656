"""A script that loads a model does so in a child process; for the user it is one process, as before."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import PROJECT, environment, needs_landlock

# A script that stages its output, imports numpy as the first of what TensorFlow needs, and then does what it is told.
SCRIPT = """
import os, signal, sys, time
from pathlib import Path
sys.path[:0] = [sys.argv.pop(1)]
from serialization import cli
from serialization.parser import make_parser
from serialization.files.publish import stage_output

def main(argv=None):
    flags = ("unconfined", "allow-read", "overwrite", "signature")
    args = make_parser("A script.", *flags, frozen_model=None).parse_args(argv)
    with stage_output(args.frozen_model, overwrite=args.overwrite) as path:
        import numpy
        path.write_text("new")
        print("ready", os.getpid(), flush=True)
        exec(args.signature)
    print("published")
    return 0

cli.run(main)
"""


def words_of(folder: Path, do: str = "pass", *more: object) -> list[str]:
    return [
        sys.executable,
        "-c",
        SCRIPT,
        str(PROJECT),
        "--frozen-model",
        f"{folder}/m.pb",
        "--signature",
        do,
        *map(str, more),
    ]


def run(folder: Path, do: str = "pass", *more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words_of(folder, do, *more), env=environment(), capture_output=True, text=True)


def test_what_the_child_wrote_is_published(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\npublished\n")
    assert [file.name for file in tmp_path.iterdir()] == ["m.pb"]


@pytest.mark.parametrize(
    ("do", "status", "said"),
    [
        ("raise SystemExit(7)", 7, ""),
        ("raise KeyboardInterrupt", 130, "interrupted\n"),
        ("raise FileNotFoundError(2, 'No such file', '/x')", 1, "error: /x: No such file\n"),
        ("os.close(1); raise BrokenPipeError", 141, ""),
    ],
)
def test_the_exit_status_is_the_childs(tmp_path: Path, do: str, status: int, said: str) -> None:
    done = run(tmp_path, do)
    assert (done.returncode, done.stderr) == (status, said)
    assert list(tmp_path.iterdir()) == []


def test_a_script_that_loads_nothing_does_not_fork(tmp_path: Path) -> None:
    code = SCRIPT.replace("import numpy", "from serialization.formats import protos; protos.GraphDef()")
    words = words_of(tmp_path)
    words[2] = code
    with subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.communicate()[0] == f"ready {process.pid}\npublished\n"


@pytest.mark.parametrize("held", ["quiet()", "explain_failures('it')"])
def test_a_child_that_is_forked_while_stderr_is_held_can_say_why_it_ends(tmp_path: Path, held: str) -> None:
    imported = f"from serialization.tensorflow import explain_failures, quiet\n        with {held}: import numpy"
    words = words_of(tmp_path, "raise FileNotFoundError(2, 'No such file', '/x')")
    words[2] = SCRIPT.replace("import numpy", imported)
    done = subprocess.run(words, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "error: /x: No such file\n")
    words[words.index("--signature") + 1] = "os.kill(os.getpid(), signal.SIGSEGV)"
    done = subprocess.run(words, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "found SIGSEGV" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL, signal.SIGBUS])
def test_a_child_that_dies_of_a_signal_is_one_line(tmp_path: Path, number: signal.Signals) -> None:
    done = run(tmp_path, f"os.kill(os.getpid(), {int(number)})")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert f"found {number.name}" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_line_says_why_tensorflow_aborted(tmp_path: Path) -> None:
    log = "F0000 00:00:1700000000.000000 123 tensor.cc:12] Check failed: a == b (1 vs. 2)\\n*** stack trace ***\\n"
    done = run(tmp_path, f"os.write(2, b'{log}'); os.abort()")
    assert "found SIGABRT: Check failed: a == b (1 vs. 2); " in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_libraries_say_on_stderr_comes_at_the_end(tmp_path: Path) -> None:
    done = run(tmp_path, "os.write(2, b'theirs\\n'); print('ours', file=sys.stderr)")
    assert (done.returncode, done.stderr) == (0, "ours\ntheirs\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("forks", [True, False])
def test_a_signal_ends_both_and_leaves_nothing(tmp_path: Path, number: signal.Signals, forks: bool) -> None:
    # In short steps: a signal that comes between Python's look for one and the system call would end a long sleep late.
    words = words_of(tmp_path, "while True: time.sleep(0.01)")
    words[2] = SCRIPT if forks else SCRIPT.replace("import numpy", "pass")
    with subprocess.Popen(
        words,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline().split()[1])
        assert (child != process.pid) == forks
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    ended = (130, "interrupted\n") if number == signal.SIGINT else (-number, "")
    assert (process.returncode, said) == ended
    assert not Path(f"/proc/{child}").exists()
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_comes_once_though_a_terminal_sends_it_to_both(tmp_path: Path) -> None:
    do = """
n = 0
try:
    print("waiting", flush=True)
    while True: time.sleep(0.01)
except KeyboardInterrupt:
    n += 1
for _ in range(50):
    try: time.sleep(0.02)
    except KeyboardInterrupt: n += 1
print("came", n)
"""
    with subprocess.Popen(
        words_of(tmp_path, do),
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    ) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)][1] == "waiting\n"
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdout.read() == "came 1\npublished\n"


@pytest.mark.parametrize("leaving", [False, True])
def test_ctrl_c_after_publishing_comes_too_late(tmp_path: Path, leaving: bool) -> None:
    """The result is in place: the script says so and ends well, also while Python takes itself down."""
    wait = "print('waiting', flush=True); sys.stdin.readline()"
    words = words_of(tmp_path, "pass")
    words[2] = SCRIPT.replace('print("published")', f'atexit.register(exec, "{wait}", globals())' if leaving else wait)
    words[2] = f"import atexit\n{words[2]}"
    with subprocess.Popen(
        words,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)][1] == "waiting\n"
        os.killpg(process.pid, signal.SIGINT)
        assert process.communicate("\n", timeout=60)[1] == ""
    assert process.returncode == 0
    assert (tmp_path / "m.pb").read_text() == "new"


def test_the_child_dies_with_its_parent(tmp_path: Path) -> None:
    with subprocess.Popen(
        words_of(tmp_path, "time.sleep(60)"), env=environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        child = Path("/proc", process.stdout.readline().split()[1])
        process.kill()
        until = time.monotonic() + 30
        while child.exists() and time.monotonic() < until:
            time.sleep(0.01)
        assert not child.exists()


@needs_landlock
def test_the_child_is_confined_unless_the_user_says_otherwise(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret")
    read = f"print(Path('{tmp_path}/secret').read_text())"
    done = run(tmp_path / "out", read)
    assert done.returncode == 1
    assert done.stderr == (
        f"error: {tmp_path}/secret: Permission denied; this process is confined (docs/safety.md); "
        "--allow-read PATH opens a path for an honest model\n"
    )
    for flags in (["--unconfined"], ["--allow-read", tmp_path / "secret"], ["--allow-read", tmp_path]):
        done = run(tmp_path / "out", read, *flags, "--overwrite")
        assert (done.returncode, done.stderr) == (0, ""), flags
        assert "s3cret" in done.stdout


@needs_landlock
def test_a_script_that_looks_at_its_defaults_is_confined_to_its_flags(made: Path, tmp_path: Path) -> None:
    """refuse_flags asks the parser for the defaults; the files that the process may read are those of the command."""
    shutil.copytree(made, tmp_path / "model")
    command = [sys.executable, str(PROJECT / "freezemodel_save.py"), "--checkpoint", str(tmp_path / "model")]
    command += ["--frozen-model", str(tmp_path / "new.pb")]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_path_to_open_has_to_be_there(tmp_path: Path) -> None:
    done = run(tmp_path, "pass", "--allow-read", tmp_path / "missing")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: --allow-read {tmp_path}/missing: nothing is there; ")


def test_the_streams_are_the_users(tmp_path: Path) -> None:
    command = words_of(tmp_path, "print(sys.stdin.read().upper())")
    done = subprocess.run(command, env=environment(), input="typed", capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "TYPED" in done.stdout
