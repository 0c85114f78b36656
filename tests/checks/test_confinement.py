"""A confined process can do what loading a model needs; the kernel refuses the rest, whatever the scan let through."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from conftest import PROJECT, Ran, Run, environment, needs_landlock
from harmful_models import Effects, require_no_effect
from test_harm import HARMFUL, SCRIPTS

from serialization.checks import confinement, system_calls
from serialization.checks.confinement import confine, describe_confinement
from serialization.checks.system_calls import find_landlock_abi
from serialization.tensorflow import tf, tf1


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Files that a confined process may read and write, or not."""
    for name in ("own/sub", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("model", "secret", "own/new"):
        (tmp_path / name).write_text(name)
    return tmp_path


def in_child(do: Callable[[], Any]) -> Any:
    """The value that the function returns in a process of its own, as JSON holds it."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():  # that TensorFlow has threads, which the child does not need
        warnings.simplefilter("ignore")
        child = os.fork()
    if child == 0:
        status = 1
        try:
            os.write(writer, json.dumps(do()).encode())
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writer)
    with open(reader, "rb") as said:  # noqa: PTH123
        text = said.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return json.loads(text)


def confined(place: Path, do: Callable[[], object], ports: tuple[int, ...] = ()) -> int:
    """The errno that doing it ends with in a process that may read `model` and write below `own`; 0 if it works."""

    def attempt() -> int:
        confine([place / "model"], [place / "own"], ports)
        try:
            do()
        except OSError as error:
            return error.errno or -1
        return 0

    return int(in_child(attempt))


def call(number: int, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "")


def follow_link(place: Path) -> None:
    (place / "own" / "link").symlink_to(place / "secret")
    (place / "own" / "link").read_text()


MACHINE = system_calls._MACHINES[os.uname().machine][1] if os.uname().machine in system_calls._MACHINES else 0
NUMBERS = {name: numbers[MACHINE] for name, numbers in system_calls._NUMBERS.items()}

FILES: dict[str, Callable[[Path], object]] = {
    "read a file": lambda place: (place / "secret").read_text(),
    "read the accounts": lambda _: Path("/etc/passwd").read_text(),
    "list a folder": lambda place: list(place.iterdir()),
    "write the model": lambda place: (place / "model").write_text("x"),
    "make a file": lambda place: (place / "elsewhere" / "x").write_text("x"),
    "make a folder": lambda place: (place / "elsewhere" / "x").mkdir(),
    "remove a file": lambda place: (place / "secret").unlink(),
    "move a file away": lambda place: (place / "own" / "new").rename(place / "elsewhere" / "new"),
    "link a file": lambda place: (place / "own" / "link").hardlink_to(place / "secret"),
    "follow a link of its own": lambda place: follow_link(place),
    "read its own environment": lambda _: Path("/proc/self/environ").read_bytes(),
    "read its own memory": lambda _: os.open("/proc/self/mem", os.O_RDONLY),
    "read the environment of its parent": lambda _: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
    "read the command of its parent": lambda _: Path(f"/proc/{os.getppid()}/cmdline").read_bytes(),
    "make a pipe with a name": lambda place: os.mkfifo(place / "own" / "pipe"),
}
CALLS: dict[str, Callable[[Path], object]] = {
    "make a socket": lambda _: socket.socket(),
    "make a socket for UDP": lambda _: socket.socket(type=socket.SOCK_DGRAM),
    "make a socket of the machine": lambda _: socket.socket(socket.AF_UNIX),
    "make a socket for IPv6": lambda _: socket.socket(socket.AF_INET6),
    "make a socket for the kernel": lambda _: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "start a program": lambda _: os.execv("/bin/true", ["true"]),
    "start a program beside": lambda _: subprocess.run(["/bin/true"], check=True),
    "signal its parent": lambda _: os.kill(os.getppid(), 0),
    "signal its group": lambda _: os.kill(0, 0),
    "signal all": lambda _: os.kill(-1, 0),
    "signal a thread": lambda _: call(NUMBERS["tkill"], os.getppid(), 0),
    "trace its parent": lambda _: call(NUMBERS["ptrace"], 16, os.getppid(), None, None),
    "use io_uring": lambda _: call(NUMBERS["io_uring_setup"], 1, ctypes.create_string_buffer(256)),
    "make a namespace": lambda _: call(NUMBERS["unshare"], 0x10000000),
}
WORKS: dict[str, Callable[[Path], object]] = {
    "read the model": lambda place: (place / "model").read_text(),
    "write": lambda place: (place / "own" / "x").write_text("x"),
    "move from folder to folder": lambda place: (place / "own" / "new").rename(place / "own" / "sub" / "new"),
    "import what was not imported": lambda _: __import__("colorsys"),
    "write to nowhere": lambda _: Path("/dev/null").write_text("x"),
    "read random bytes": lambda _: os.open("/dev/urandom", os.O_RDONLY),
    "know the processors": lambda _: Path("/proc/cpuinfo").read_text(),
    "know its memory": lambda _: Path("/proc/self/statm").read_text(),
    "talk to itself": lambda _: socket.socketpair(),
    "signal itself": lambda _: os.kill(os.getpid(), 0),
}


@needs_landlock
@pytest.mark.parametrize("what", FILES)
def test_it_cannot_reach_files(place: Path, what: str) -> None:
    assert confined(place, lambda: FILES[what](place)) in (errno.EACCES, errno.EXDEV)


@pytest.mark.parametrize("what", CALLS)
def test_it_cannot_reach_others(place: Path, what: str) -> None:
    assert confined(place, lambda: CALLS[what](place)) == errno.EPERM


@pytest.mark.parametrize("what", WORKS)
def test_it_can_work(place: Path, what: str) -> None:
    assert confined(place, lambda: WORKS[what](place)) == 0


def test_a_server_listens_on_its_port_alone(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ports = (port,)
    assert confined(place, lambda: socket.create_server(("127.0.0.1", port)), ports) == 0
    assert confined(place, lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), ports) == 0
    assert confined(place, lambda: socket.socket(type=socket.SOCK_DGRAM), ports) == errno.EPERM
    assert confined(place, lambda: socket.socket(proto=262), ports) == errno.EPERM  # MPTCP, which Landlock overlooks
    if find_landlock_abi() >= 4:
        assert confined(place, lambda: socket.create_server(("127.0.0.1", 0)), ports) == errno.EACCES


def test_a_server_connects_to_nothing(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()

        def send_at_once() -> None:
            with socket.socket() as client:
                client.sendto(b"x", socket.MSG_FASTOPEN, address)

        for connect in (lambda: socket.create_connection(address), send_at_once):
            assert confined(place, connect, (address[1],)) == errno.EPERM
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.accept()


def test_no_program_gains_rights(place: Path) -> None:
    def read_status() -> str:
        confine([], [place / "own"])
        return Path("/proc/self/status").read_text()

    assert "NoNewPrivs:\t1" in in_child(read_status)


def pretend(abi: int) -> None:
    """In a child: have the project take the kernel for an older one."""
    for module in (confinement, system_calls):
        patch.object(module, "find_landlock_abi", lambda: abi).start()


@pytest.mark.parametrize("abi", range(1, 8))
def test_each_version_of_landlock_confines_as_far_as_it_goes(place: Path, abi: int) -> None:
    """A newer kernel takes the rules of an older one."""
    if find_landlock_abi() < abi:
        pytest.skip(f"optional: a kernel with Landlock's ABI {abi}")

    def attempt() -> list[int]:
        pretend(abi)
        confine([place / "model"], [place / "own"])
        found = []
        for do in (WORKS["read the model"], WORKS["write"], FILES["read a file"], FILES["make a file"]):
            try:
                do(place)
                found.append(0)
            except OSError as error:
                found.append(error.errno or -1)
        return found

    assert in_child(attempt) == [0, 0, errno.EACCES, errno.EACCES]


@needs_landlock
@pytest.mark.parametrize("name", ["model.ckpt.index", ".index"])
def test_the_names_beside_a_checkpoint_may_be_seen(place: Path, name: str) -> None:
    """A prefix may be a folder and a slash: its files are called .index and so on."""
    (place / "elsewhere" / name).touch()

    def attempt() -> list[str]:
        confine([place / "elsewhere" / name], [place / "own"])
        return [file.name for file in (place / "elsewhere").iterdir()]

    assert in_child(attempt) == [name]


def test_the_first_landlock_is_left_out_where_something_is_exported(place: Path) -> None:
    """It refuses to move a file to another folder, as TensorFlow does with the variables of a SavedModel."""

    def attempt() -> str:
        pretend(1)
        confine([], [place / "own", place / "elsewhere"])
        WORKS["move from folder to folder"](place)
        return (place / "secret").read_text()

    assert in_child(attempt) == "secret"


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_kernel_that_has_none_of_it(place: Path, error: int) -> None:
    """An old kernel, one that was started without, and a container each answer differently."""

    def answer(number: int, *_: object, may_fail: Collection[int] = ()) -> int:
        assert error in may_fail, f"system call {number} would end the script"
        return -1

    def attempt() -> list[str]:
        patch.object(system_calls, "_call", answer).start()
        confine([], [place / "own"])
        (place / "elsewhere" / "x").write_text("x")
        return [describe_confinement(), (place / "secret").read_text()]

    without = "models are not confined: this system has neither Landlock nor seccomp filters"
    assert in_child(attempt) == [without, "secret"]


def test_the_sentence_on_this_machine() -> None:
    abi = find_landlock_abi()
    assert (f"Landlock (ABI {abi})" in describe_confinement()) == bool(abi)


SECRETS = {"API_TOKEN": "s3cret", "OPENBLAS_PASSWORD": "s3cret", "TF_VAR_db": "s3cret", "AWS_PROFILE": "s3cret"}
KEPT = {"LC_ALL": "C.UTF-8", "TF_CPP_MIN_LOG_LEVEL": "2", "LD_LIBRARY_PATH": "/usr/lib/x", "PYTHONUNBUFFERED": "1"}
SHOW = """
import os, sys
sys.path.insert(0, sys.argv[1])
from functools import partial
from pathlib import Path
from serialization.checks import confinement
confinement.find_landlock_abi = lambda: 0  # so that /proc can be read
confinement.confine([], [Path(sys.argv[2])])
block = Path("/proc/self/environ").read_bytes()
assert not block.strip(b"\\0"), block
print("\\n".join(f"{name}={value}" for name, value in sorted(os.environ.items())))
import ctypes
libc = ctypes.CDLL(None)
libc.getenv.restype = ctypes.c_char_p
print(libc.getenv(b"LD_LIBRARY_PATH"), libc.getenv(b"API_TOKEN"))
"""


def test_the_environment_holds_what_is_needed_and_no_secret(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SHOW, str(PROJECT), str(tmp_path)]
    done = subprocess.run(command, env={**SECRETS, **KEPT}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    wanted = {**KEPT, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    *variables, values = done.stdout.splitlines()
    assert variables == sorted(f"{name}={value}" for name, value in wanted.items())
    assert values == "b'/usr/lib/x' None"


# What harmful models do in real processes whose scan --trust-model lifts. Each has its effect without confinement.


def make_graph(folder: Path, output: Callable[[Any], Any]) -> Path:
    """A frozen graph whose y is what the function makes of the placeholder x."""
    with tf1.Graph().as_default() as graph:
        x = tf1.placeholder(tf.float32, [None], name="x")
        tf.identity(output(x), name="y")
    (folder / "model.pb").write_bytes(graph.as_graph_def().SerializeToString())
    return folder / "model.pb"


def read_line(path: str) -> Any:
    return tf.data.experimental.get_single_element(tf.data.TextLineDataset(path).take(1))


def debug(x: Any, place: Path) -> Any:
    names = {"device_name": "/job:localhost/replica:0/task:0/cpu:0", "tensor_name": "x:0"}
    return tf.raw_ops.DebugIdentity(input=x, debug_urls=[f"file://{place}/written"], **names)


def cache(folder: Path) -> Any:
    return tf.data.experimental.get_single_element(tf.data.Dataset.range(1).cache(f"{folder}/written"))


def print_to(x: Any, place: Path) -> Any:
    with tf.control_dependencies([tf.print("harm", output_stream=f"file://{place}/written")]):
        return tf.identity(x)


HARM: dict[str, Callable[..., Any]] = {
    "reads a file": lambda x, place: tf.io.read_file(str(place / "secret")),
    "reads the environment": lambda x, place: read_line("/proc/self/environ"),
    "reads its parent's environment": lambda x, place: read_line(f"/proc/{os.getpid()}/environ"),
    "lists a folder": lambda x, place: tf.io.matching_files(f"{place}/*"),
    "prints into a file": print_to,
    "dumps a tensor": debug,
    "caches a dataset": lambda x, place: cache(place),
}
SECRET = "s3cret-of-this-test"


def run_trusted(script: str, *words: object) -> subprocess.CompletedProcess[str]:
    """The script as a user runs it, scan lifted, with a secret in its environment."""
    command = [sys.executable, str(PROJECT / f"{script}.py"), *map(str, words), "--trust-model"]
    return subprocess.run(command, env={**environment(), "HARM_TOKEN": SECRET}, capture_output=True, text=True)


def run_all_trusted(commands: list[tuple[Any, ...]]) -> list[subprocess.CompletedProcess[str]]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda words: run_trusted(*words), commands))


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder with a secret; the model lies elsewhere."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_text(SECRET)
    return folder


@needs_landlock
def test_what_a_confined_script_cannot_do(run: Run, tmp_path: Path, outside: Path) -> None:
    words: dict[str, tuple[object, ...]] = {}
    for what, do in HARM.items():
        (folder := tmp_path / what).mkdir()
        (place := outside / what).mkdir()
        (place / "secret").write_text(SECRET)
        path = make_graph(folder, partial(do, place=place))
        words[what] = ("--frozen-model", path, "--inputs", "x", "--outputs", "y", "--feed", "[1.0]")
    before = sorted(outside.rglob("*"))
    for what, done in zip(
        words, run_all_trusted([("freezemodel_load", *each) for each in words.values()]), strict=True
    ):
        if what != "lists a folder":  # TensorFlow takes a folder that it may not read for an empty one
            assert done.returncode == 1, (what, done.stdout)
            assert done.stderr.startswith("error: "), (what, done.stderr)
            assert done.stderr.count("\n") == 1, (what, done.stderr)
        assert SECRET not in done.stdout + done.stderr, what
        assert "/secret" not in done.stdout, what
    assert sorted(outside.rglob("*")) == before
    for what, each in words.items():
        assert run("freezemodel_load", *each, "--trust-model").status == 0, (
            f"{what}: it works where nothing confines it"
        )


@needs_landlock
def test_no_harmful_model_has_an_effect_where_the_scan_is_off(tmp_path: Path, effects: Effects) -> None:
    commands = []
    harmful = [(flag, make) for flag, make in HARMFUL if "pipe" not in make.__name__]  # the harm of a pipe is a wait
    for number, (flag, make) in enumerate(harmful):
        (folder := tmp_path / str(number)).mkdir()
        names = ("--outputs", "y") if flag != "--saved-model" else ()
        commands.append((SCRIPTS[flag][0], flag, make(folder, effects), *names))
    for (_, make), done in zip(harmful, run_all_trusted(commands), strict=True):
        assert "Traceback" not in done.stderr, make.__name__
        require_no_effect(effects, Ran(done.returncode, done.stdout, done.stderr))


@needs_landlock
def test_a_servers_worker_is_confined(tmp_path: Path, outside: Path) -> None:
    path = make_graph(tmp_path, lambda _: tf.io.read_file(str(outside / "secret")))
    done = run_trusted("freezemodel_serve", "--frozen-model", path, "--inputs", "x", "--outputs", "y", "--port", 0)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Permission denied" in done.stderr
