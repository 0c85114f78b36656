"""Exit codes, one-line errors, interrupts, and what a confined process may read."""

from __future__ import annotations

import importlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from io import FileIO, TextIOWrapper
from pathlib import Path

import pytest
from conftest import PROJECT, SCRIPTS, Run, environment

from serialization.cli import call_main
from serialization.errors import UserError
from serialization.formats import protos
from serialization.project import parse_path


def ends_with(error: BaseException) -> int:
    def main(argv: Sequence[str] | None = None) -> int:
        raise error

    return call_main(main)


def test_a_user_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends_with(UserError("what is wrong;\n what was found; what to do")) == 1
    assert capsys.readouterr().err == "error: what is wrong; what was found; what to do\n"


def test_an_operating_system_error_names_its_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends_with(PermissionError(13, "Permission denied", "/etc/shadow")) == 1
    assert capsys.readouterr().err == "error: /etc/shadow: Permission denied\n"


def test_a_bug_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends_with(ZeroDivisionError("a bug")) == 1
    written = capsys.readouterr().err
    assert written.startswith("Traceback (most recent call last):")
    assert "ZeroDivisionError: a bug" in written


def test_a_python_without_tensorflow_is_one_line(tmp_path: Path) -> None:
    """As when a newcomer runs a script with the system's Python."""
    resnet = str(PROJECT / "pretrainedresnet" / "1")
    for words in (["checkpoint_save.py"], ["model_inspect.py", resnet], ["savedmodel_pretrained.py"]):
        command = [sys.executable, "-S", "-B", str(PROJECT / words[0]), *words[1:]]  # -S: without site-packages
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 1
        assert re.fullmatch(r"error: \S+ has no module \w+; .*\n", done.stderr), done.stderr


def test_ctrl_c(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends_with(KeyboardInterrupt()) == 130
    assert capsys.readouterr() == ("", "interrupted\n")


def test_a_reader_that_leaves_early_is_not_an_error(made: Path) -> None:
    script = f"{sys.executable} {PROJECT}/checkpoint_restore.py --checkpoint {made} | head -1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {script}"], env=environment(), capture_output=True, text=True
    )
    assert done.stdout.endswith("15 of 15 variables are uninitialized\n")
    assert done.stderr == ""
    assert done.returncode == 141  # the status of a program that SIGPIPE ends


@pytest.mark.parametrize(
    ("words", "written"),
    [
        ("checkpoint_save.py --epochs 1 --checkpoint {new}/a.ckpt", "a.ckpt.index"),
        ("freezemodel_save.py --checkpoint {made} --frozen-model {new}/a.pb", "a.pb"),
        ("freezemodel_edit.py --frozen-model {made}/frozen_model.pb --out {new}/a.pb", "a.pb"),
        ("savedmodel_from_source.py --epochs 1 --export-dir {new}/a", "a/saved_model.pb"),
        ("savedmodel_from_checkpoint.py --checkpoint {made} --export-dir {new}/a", "a/saved_model.pb"),
        ("savedmodel_from_frozen.py --frozen-model {made}/frozen_model.pb --export-dir {new}/a", "a/saved_model.pb"),
        ("checkpoint_edit.py --checkpoint {made} --out {new}/b.ckpt", "b.ckpt.index"),
        ("savedmodel_edit.py --saved-model {made}/savedmodel_from_source --out {new}/b", "b/saved_model.pb"),
        ("onnx_from_frozen.py --frozen-model {made}/frozen_model.pb --onnx {new}/a.onnx", "a.onnx"),
        ("tflite_from_frozen.py --frozen-model {made}/frozen_model.pb --tflite {new}/a.tflite", "a.tflite"),
        ("model_inspect.py {made}/graph.ckpt.meta --dot {new}/a.dot", "a.dot"),
        (
            "model_inspect.py {made}/graph.ckpt.meta --json --tensorboard {new}/a",
            "a/events.out.tfevents.0.model_inspect",
        ),
    ],
)
def test_files_are_written_before_the_report(
    made: Path,
    tmp_path: Path,
    words: str,
    written: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The reader leaves before the first line, and stdout has no buffer."""
    script, *arguments = words.format(made=made, new=tmp_path).split()
    reader, writer = os.pipe()
    os.close(reader)
    with TextIOWrapper(FileIO(writer, "w"), write_through=True) as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        status = call_main(importlib.import_module(script.removesuffix(".py")).main, arguments)
    assert (status, capfd.readouterr().err) == (141, "")
    assert (tmp_path / written).is_file()


def test_a_closed_stdout_is_not_an_error(made: Path) -> None:
    script = f"{sys.executable} {PROJECT}/checkpoint_restore.py --checkpoint {made} >&-"
    done = subprocess.run(["bash", "-c", script], env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words", [("--help",), ("--checkpoint", "{made}")], ids=["help", "in the confined child"])
def test_a_full_disk_names_standard_output(made: Path, words: tuple[str, ...]) -> None:
    command = [sys.executable, str(PROJECT / "checkpoint_restore.py"), *(word.format(made=made) for word in words)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, env=environment(), stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "error: standard output: No space left on device\n")


def test_a_tilde_becomes_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert parse_path("~/x.pb") == Path("/home/somebody/x.pb")


def test_a_confined_process_may_read_what_it_was_given(toy: Path, tmp_path: Path) -> None:
    """Also where flags are compared with their defaults, as each script does that takes several kinds of models."""
    prefix = tmp_path / "mine"
    for file in toy.glob("graph.ckpt.*"):
        (tmp_path / file.name.replace("graph.ckpt", "mine")).write_bytes(file.read_bytes())
    for words in (("--checkpoint", prefix), ("--saved-model", toy / "savedmodel_from_source")):
        command = ["freezemodel_save.py", *map(str, words), "--frozen-model", str(tmp_path / "m.pb"), "--overwrite"]
        done = subprocess.run(
            [sys.executable, *command], cwd=PROJECT, env=environment(), capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_no_name_of_a_model_moves_the_cursor_of_a_terminal(run: Run, tmp_path: Path) -> None:
    """Keys, tags, ops and variables are any text."""
    evil = "\x1b[2Jevil\u202e\x9b"
    graph_def = protos.GraphDef()
    graph_def.versions.producer = 1882
    graph_def.node.add(name="x", op="Placeholder").attr["dtype"].type = 1
    graph_def.node.add(name="y", op=f"Op{evil}", input=["x"])
    (tmp_path / "m.pb").write_bytes(graph_def.SerializeToString())
    saved = protos.SavedModel(saved_model_schema_version=1, meta_graphs=[protos.MetaGraphDef(graph_def=graph_def)])
    saved.meta_graphs[0].meta_info_def.tags.append(evil)
    for key in ("a", "b"):
        saved.meta_graphs[0].signature_def[key + evil].outputs[evil].name = "y:0"
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(saved.SerializeToString())
    pretrained = ("savedmodel_pretrained", "--saved-model", tmp_path / "1")
    for words, shown in (
        (("freezemodel_load", "--frozen-model", tmp_path / "m.pb"), "Op?[2Jevil?? (of an unknown library; node y)"),
        (pretrained, "; it has a?[2Jevil??, b?[2Jevil??; choose with --signature"),
        ((*pretrained, "--tag-set", "zz"), "; it has ?[2Jevil??; choose with --tag-set"),
    ):
        done = run(*words)
        assert done.status == 1
        assert shown in done.stderr
        assert (done.stdout + done.stderr).replace("\n", "").isprintable()


# Sends this process an interrupt while it imports what a script needs, as a user may who changes their mind at once.
INTERRUPT = """
import os, signal, sys
class Interrupt:
    def find_spec(self, name, *_):
        if name == "serialization.cli":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
"""


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_interrupt_during_the_imports_is_quiet(tmp_path: Path, script: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPT)
    done = subprocess.run(
        [sys.executable, str(PROJECT / f"{script}.py")],
        env={**environment(), "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_another_program_keeps_its_handler(tmp_path: Path) -> None:
    code = "import signal; before = signal.getsignal(2); import serialization.cli; assert signal.getsignal(2) is before"
    (tmp_path / "program.py").write_text(code)
    places = {**environment(), "PYTHONPATH": str(PROJECT)}
    subprocess.run([sys.executable, str(tmp_path / "program.py")], env=places, check=True)


def test_a_name_of_any_length_is_shortened(run: Run, tmp_path: Path) -> None:
    graph_def = protos.GraphDef()
    graph_def.versions.producer = 1882
    graph_def.node.add(name="y", op="Op" + "x" * 100_000)
    (tmp_path / "m.pb").write_bytes(graph_def.SerializeToString())
    done = run("freezemodel_load", "--frozen-model", tmp_path / "m.pb")
    assert done.status == 1
    assert "Opxxxxxx" in done.stderr
    assert len(done.stderr) < 2_000
