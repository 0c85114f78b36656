"""However a run ends, a reader finds the old result, the new one, or none; never half of one."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import graphs
import pytest
from conftest import PROJECT, Run, environment

from serialization.errors import UserError
from serialization.files import moves
from serialization.files.publish import stage_output
from serialization.tensorflow import tf, tf1

KINDS = ["file", "folder"]


def write(path: Path, text: str, kind: str) -> None:
    if kind == "folder":
        (path / "variables").mkdir(parents=True)
        (path / "variables" / "file").write_text(text)
    else:
        path.write_text(text)


def read(path: Path) -> str:
    return (path / "variables" / "file" if path.is_dir() else path).read_text()


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.glob(".*")]


@pytest.fixture(params=["renameat2", "no renameat2"])
def _file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "no renameat2":

        def refuse(source: Path, target: Path, flags: int) -> None:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(target))

        monkeypatch.setattr(moves, "_rename", refuse)


@pytest.mark.usefixtures("_file_system")
@pytest.mark.parametrize("kind", KINDS)
def test_an_existing_result_is_replaced_only_with_overwrite(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "sub" / "target"
    with stage_output(target, overwrite=False) as path:
        write(path, "one", kind)
        assert not target.exists()
    assert read(target) == "one"
    with pytest.raises(UserError) as caught, stage_output(target, overwrite=False):
        raise AssertionError("not reached")
    assert str(caught.value) == f"{target} exists already; --overwrite replaces it"
    with stage_output(target, overwrite=True) as path:
        write(path, "two", kind)
        assert read(target) == "one", "the old one stays until the new one is complete"
    assert read(target) == "two"
    assert hidden(target.parent) == []


@pytest.mark.usefixtures("_file_system")
@pytest.mark.parametrize("kind", KINDS)
def test_a_failed_run_changes_nothing(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "target"
    write(target, "old", kind)

    def fail() -> None:
        with stage_output(target, overwrite=True) as path:
            write(path, "new", kind)
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        fail()
    assert read(target) == "old"
    assert hidden(tmp_path) == []


@pytest.mark.usefixtures("_file_system")
@pytest.mark.parametrize("kind", KINDS)
def test_of_two_runs_at_once_the_later_needs_overwrite(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "target"

    def be_late() -> None:
        with stage_output(target, overwrite=False) as late:
            write(late, "late", kind)
            with stage_output(target, overwrite=False) as quick:
                write(quick, "quick", kind)

    with pytest.raises(UserError) as caught:
        be_late()
    assert str(caught.value) == f"{target} exists already; --overwrite replaces it"
    assert read(target) == "quick"
    with stage_output(target, overwrite=True) as late:
        write(late, "last", kind)
        with stage_output(target, overwrite=True) as quick:
            write(quick, "between", kind)
        assert read(target) == "between"
    assert read(target) == "last"
    assert hidden(tmp_path) == []


PROGRAM = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from serialization.files import moves, publish
target, kind, when = Path(sys.argv[2]), sys.argv[3], sys.argv[4]
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
if when == "sync":
    publish.sync_to_disk = die
if when in ("move", "between"):
    def refuse(source, target, flags):
        raise OSError(22, "no such call")
    moves._rename = refuse
    rename = Path.rename
    def once(self, where):
        rename(self, where)
        die()
    Path.rename = once if when == "between" else die
with publish.stage_output(target, overwrite=True) as path:
    if kind == "folder":
        (path / "variables").mkdir(parents=True)
        path = path / "variables" / "file"
    path.write_text("new")
    if when == "write":
        die()
"""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("when", ["write", "sync", "between"])
def test_a_killed_run_is_cleaned_up_by_the_next(tmp_path: Path, kind: str, when: str) -> None:
    target = tmp_path / "target"
    write(target, "old", kind)
    words = [sys.executable, "-c", PROGRAM, str(PROJECT), str(target), kind, when]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True)
    if when == "between" and kind == "file":  # a file is replaced in one step
        assert (done.returncode, read(target)) == (0, "new")
        return
    assert done.returncode == -signal.SIGKILL, done.stderr
    if when != "between":
        assert read(target) == "old"
    assert len(hidden(tmp_path)) == 1

    def look() -> None:
        with stage_output(target, overwrite=True):
            assert read(target) == "old", "the old result that the killed run had moved is back"
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        look()
    assert read(target) == "old"
    assert hidden(tmp_path) == []


FREEZE_AND_DIE = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import freezemodel_save
from serialization.formats.checkpoint_values import StoredValue
read = StoredValue.pieces
def read_some(self):
    for number, piece in enumerate(read(self)):
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        yield piece
StoredValue.pieces = read_some
freezemodel_save.main(sys.argv[2:])
"""


@pytest.mark.parametrize("old", ["", "old"])
def test_freezing_that_was_killed_leaves_the_old_file_and_runs_again(run: Run, tmp_path: Path, old: str) -> None:
    shapes = {"w": [1000, 1000]}

    def build() -> None:
        w = tf1.get_variable("w", shapes["w"], initializer=tf1.zeros_initializer())
        tf.matmul(tf1.placeholder(tf.float32, [None, 1000], name="x"), w, name="y")

    graphs.save_zeros(tmp_path / "model.ckpt", build, shapes)
    target = tmp_path / "out" / "m.pb"
    if old:
        target.parent.mkdir()
        target.write_text(old)
    words = ["--no-verify", "--overwrite", "--checkpoint", tmp_path / "model.ckpt", "--frozen-model", target]
    command = [sys.executable, "-c", FREEZE_AND_DIE, str(PROJECT), *map(str, words)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")
    assert (target.read_text() if target.exists() else "") == old
    (left,) = target.parent.glob(".*")
    assert 2 << 20 <= (left / "m.pb").stat().st_size < 4_000_000, "the kill came in the middle"
    assert run("freezemodel_save", *words).status == 0
    assert [path.name for path in target.parent.iterdir()] == ["m.pb"]
    assert target.stat().st_size > 4_000_000


ON_A_FULL_DISK = """
import contextlib, importlib, io, json, resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from serialization import cli
disk, runs = Path(sys.argv[2]), json.loads(sys.argv[3])
if not disk.is_mount():
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
for script, *words in runs:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.call_main(importlib.import_module(script).main, words)
    print(json.dumps([script, status, err.getvalue(), sorted(map(str, disk.rglob("*")))]))
"""


def small_disk(folder: Path) -> list[str]:
    """Words to put before a command, which then has a disk of 16 kB at the folder; none if mounting is not allowed."""
    mount = 'mount -t tmpfs -o size=16k tmpfs "$0" && exec "$@"'
    words = ["unshare", "--mount", "--map-root-user", "sh", "-c", mount, str(folder)]
    try:
        allowed = subprocess.run([*words, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        allowed = False
    return words if allowed else []


def test_a_full_disk_is_reported_in_one_line_by_every_script(tmp_path: Path, made: Path) -> None:
    """If mounting is not allowed, a limit on the size of files stands for the disk."""
    disk = tmp_path / "disk"
    disk.mkdir()
    graphs.save(tmp_path, lambda: graphs.classifier(wide=100))
    checkpoint = ("--checkpoint", str(tmp_path / "model.ckpt"), "--outputs", "logits")
    runs = [
        ("freezemodel_save", *checkpoint, "--frozen-model", str(disk / "new" / "m.pb")),
        ("freezemodel_save", *checkpoint, "--frozen-model", str(disk / "new" / "m.pb"), "--no-verify"),
        ("savedmodel_from_checkpoint", *checkpoint, "--export-dir", str(disk / "new" / "1")),
        ("savedmodel_from_frozen", "--frozen-model", str(tmp_path / "m.pb"), "--export-dir", str(disk / "new" / "1")),
        ("savedmodel_from_source", "--epochs", "1", "--export-dir", str(disk / "new" / "1")),
        ("checkpoint_save", "--epochs", "1", "--checkpoint", str(disk / "new" / "m.ckpt")),
        ("model_inspect", str(made / "graph.ckpt"), "--tensorboard", str(disk / "new" / "logs")),
    ]
    (tmp_path / "m.pb").write_bytes(graphs.freeze(lambda: graphs.classifier(wide=100), ["logits"]).SerializeToString())
    words = small_disk(disk)
    command = [*words, sys.executable, "-c", ON_A_FULL_DISK, str(PROJECT), str(disk), json.dumps(runs)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    ended = [json.loads(line) for line in done.stdout.splitlines()]
    assert [script for script, *_ in ended] == [script for script, *_ in runs]
    why = "No space left on device" if words else "File too large"
    for script, status, stderr, left in ended:
        assert (status, left) == (1, []), f"{script}: {stderr}"
        assert stderr.startswith("error: ")
        assert stderr.count("\n") == 1
        assert why in stderr, script


RACE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from serialization.files import publish
target, kind, letter = Path(sys.argv[2]), sys.argv[3], sys.argv[4]
for number in range(40):
    if kind == "checkpoint":
        with publish.stage_checkpoint(target, overwrite=True) as prefix:
            shards = [f"data-{n:05}-of-{1 + number % 3:05}" for n in range(1 + number % 3)]
            for name in ("index", "meta", *shards):
                prefix.with_name(f"{prefix.name}.{name}").write_text(letter * 100_000)
        continue
    with publish.stage_output(target, overwrite=True) as path:
        if kind == "folder":
            path.mkdir()
        for name in ("saved_model.pb", "fingerprint.pb") if kind == "folder" else ("",):
            (path / name).write_text(letter * 100_000)
"""


@pytest.mark.parametrize("kind", [*KINDS, "checkpoint"])
def test_concurrent_processes_publish_whole_results(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "new" / "target"
    words = [sys.executable, "-c", RACE, str(PROJECT), str(target), kind]
    runs = [
        subprocess.Popen([*words, letter], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for letter in "abc"
    ]
    seen = 0
    while any(run.poll() is None for run in runs):
        if kind == "file" and target.exists():  # from now on it is always there, and whole
            text = target.read_text()
            assert len(text) == 100_000
            assert len(set(text)) == 1
            seen += 1
    assert [(run.communicate()[0], run.returncode) for run in runs] == [(b"", 0)] * 3
    assert kind != "file" or seen
    files = {"file": [target], "folder": target.glob("*"), "checkpoint": target.parent.glob("*")}[kind]
    texts = {file.read_text() for file in files}
    assert texts <= {letter * 100_000 for letter in "abc"}
    assert len(texts) == 1, "all files are of one run"
    assert hidden(target.parent) == []


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("file/m.pb", "{}/file is not a folder; name another place"),
        ("file/new/m.pb", "{}/file is not a folder; name another place"),
        ("dangling/m.pb", "{}/dangling is not a folder; name another place"),
        ("loop", "{}/loop is a link that leads back to itself; name another place"),
        ("pipe", "{}/pipe is neither a file nor a folder; name a new file"),
        ("link_to_pipe", "{}/pipe is neither a file nor a folder; name a new file"),
        (
            "folder/..",
            "{} is a folder with other files than those of a SavedModel, such as dangling; name a new file or folder",
        ),
    ],
)
def test_paths_that_cannot_be_written_or_replaced_are_refused(tmp_path: Path, target: str, line: str) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for link, to in (("loop", "loop"), ("dangling", "nowhere"), ("link_to_pipe", "pipe")):
        (tmp_path / link).symlink_to(to)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError) as caught, stage_output(tmp_path / target, overwrite=True):
        raise AssertionError("not reached")
    assert str(caught.value) == line.format(tmp_path)
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "file").read_text() == "kept"


def test_a_link_is_followed_and_the_current_folder_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The link leads to a file that does not exist yet."""
    (tmp_path / "far").mkdir()
    (tmp_path / "link.pb").symlink_to("far/m.pb")
    for text in ("one", "two"):
        with stage_output(tmp_path / "link.pb", overwrite=True) as path:
            path.write_text(text)
        assert ((tmp_path / "far" / "m.pb").read_text(), (tmp_path / "link.pb").is_symlink()) == (text, True)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with stage_output(Path(), overwrite=True) as path:
        write(path, "three", "folder")
    assert read(tmp_path / "here") == "three"
    assert hidden(tmp_path) == hidden(tmp_path / "far") == []


READ_ONLY = 'mount -t tmpfs -o ro tmpfs "$0" && exec "$@"'


def test_a_read_only_disk_is_reported_in_one_line(tmp_path: Path, made: Path) -> None:
    """Permissions do not stop root; a read-only mount does. If mounting is not allowed, /proc stands for the disk."""
    disk = tmp_path / "disk"
    disk.mkdir()
    words = ["unshare", "--mount", "--map-root-user", "sh", "-c", READ_ONLY, str(disk)] if small_disk(disk) else []
    target = disk / "m.pb" if words else Path("/proc/m.pb")
    command = [sys.executable, str(PROJECT / "freezemodel_save.py"), "--no-verify", "--frozen-model", str(target)]
    command += ["--checkpoint", str(made / "graph.ckpt")]
    done = subprocess.run([*words, *command], env=environment(), capture_output=True, text=True)
    assert done.returncode == 1
    reason = "Read-only file system" if words else "No such file or directory"
    assert done.stderr == f"error: cannot write {target}; {target.parent}: {reason}; name another place\n"
