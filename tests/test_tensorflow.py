"""TensorFlow is imported late and quietly."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from conftest import PROJECT, environment

from serialization.errors import UserError
from serialization.tensorflow import explain_failures, find_tensorflow_version, format_reason, get_held_back, quiet, tf


def test_a_bug_shows_the_log_of_tensorflow(tmp_path: Path) -> None:
    """TensorFlow's log is held back, and shown when a script fails."""
    code = (
        "from serialization import cli, flags\n"
        "from serialization.tensorflow import tf1\n"
        "def main(argv):\n"
        "    tf1.Graph()\n"
        "    import logging; logging.getLogger('tensorflow').warning('a hint')\n"
        "    raise ZeroDivisionError\n"
        "cli.run(main)\n"
    )
    environment_here = {**environment(), "PYTHONPATH": str(PROJECT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment_here, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.index("ZeroDivisionError") < done.stderr.index("WARNING: a hint")


def test_nothing_is_imported_before_it_is_used() -> None:
    code = (
        "import sys; from serialization.tensorflow import np, tf, tf1, find_tensorflow_version, quiet\n"
        "assert find_tensorflow_version()\n"
        "assert not {'tensorflow', 'numpy'} & set(sys.modules)\n"
        "assert np.float32(1) == 1 and 'tensorflow' not in sys.modules\n"
        "assert tf1.placeholder is tf.compat.v1.placeholder\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_messages_may_be_imported_before_tensorflow_in_any_order() -> None:
    code = (
        "from serialization.formats import protos; protos.GraphDef()\n"
        "from serialization.tensorflow import config_pb2, tf1; config_pb2.ConfigProto(); tf1.Graph()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_line_of_a_compiler_in_tensorflow_is_held_back(capfd: pytest.CaptureFixture[str]) -> None:
    """MLIR writes `error: ...` to the descriptor before TensorFlow raises; the user reads one line, which is ours."""

    @explain_failures("the model cannot be loaded")
    def load() -> None:
        os.write(2, b"error: expected ')'\n")
        raise tf.errors.InvalidArgumentError(None, None, "no module")

    with pytest.raises(UserError, match=r"^the model cannot be loaded: no module$"):
        load()
    assert capfd.readouterr().err == ""


def test_threads_hold_stderr_back_together(capfd: pytest.CaptureFixture[str]) -> None:
    """The first that ends leaves it held back, and the last gives it back."""
    first, second = quiet(), quiet()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    os.write(2, b"held back\n")
    second.__exit__(None, None, None)
    os.write(2, b"said\n")
    assert capfd.readouterr().err == "said\n"
    assert "held back\n" in get_held_back()


def test_the_version_is_that_of_whatever_distribution_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_tensorflow_version() == tf.__version__

    def only(installed: str) -> None:
        def version(name: str) -> str:
            if name != installed:
                raise metadata.PackageNotFoundError
            return "2.0"

        monkeypatch.setattr(metadata, "version", version)

    for name, found in (("tensorflow-cpu", "2.0"), ("tf-nightly", "2.0"), ("other", None)):
        only(name)
        assert find_tensorflow_version() == found


def op_error(message: str) -> Any:
    return tf.errors.InvalidArgumentError(None, None, message)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("plain", "plain"),
        ("indices[0] = 9 is not in [0, 3)\n\t [[{{node embed}}]]", "indices[0] = 9 is not in [0, 3)"),
        ("{{function_node __inference_f_12}} {{node MatMul}} is wrong", "MatMul is wrong"),
        (
            "Graph execution error:\nDetected at node 'a'\n  File \"m.py\", line 1\nNode: 'a'\nlarge [[{{node a}}]]",
            "large",
        ),
        ("2 root error(s) found.\n  (0) INVALID: bad\n  (1) INVALID: bad", "INVALID: bad"),
        (
            "No OpKernel was registered to support Op 'X' with these attrs. Registered: CPU",
            "No OpKernel was registered to support Op 'X'",
        ),
        (
            "k = 5 is too large for '{{node a/top}} = TopKV2[T=DT_FLOAT](x, k)' with input shapes: [?,2], [].",
            "k = 5 is too large for 'a/top'",
        ),
        ("", "InvalidArgumentError"),
        ("x" * 500, "x" * 300),
    ],
)
def test_a_reason_is_tensorflows_message_without_its_stacks(message: str, reason: str) -> None:
    assert format_reason(op_error(message)) == reason


def test_a_reason_of_another_error_is_its_text() -> None:
    assert format_reason(ValueError("no such thing;\nmore")) == "no such thing"


@pytest.mark.parametrize("error", [ValueError("why"), TypeError("why"), KeyError("why"), NotImplementedError("why")])
def test_a_failure_is_one_line_for_the_user(error: Exception) -> None:
    with pytest.raises(UserError, match=r"^it cannot be done: '?why'?$"), explain_failures("it cannot be done"):
        raise error


def test_a_failure_of_an_op_is_one_line_and_a_bug_keeps_its_type() -> None:
    with pytest.raises(UserError, match=r"^it cannot be done: why$"), explain_failures("it cannot be done"):
        raise op_error("why")
    with pytest.raises(ZeroDivisionError), explain_failures("it cannot be done"):
        raise ZeroDivisionError
    with explain_failures("it cannot be done"):
        pass


def test_output_to_stderr_is_held_back(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), quiet():  # noqa: PT012
        os.write(2, b"chatter \xff of a library\n")
        raise KeyError
    assert get_held_back().endswith("chatter \ufffd of a library\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_the_next_step_follows_the_reason() -> None:
    with pytest.raises(UserError, match=r"^it fails: why; do this$"), explain_failures("it fails", "do this"):
        raise ValueError("why")
