"""How other converters are measured: on the source's own answers, within the tolerance of the exporters."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import graphs
import peers
import pytest
from conftest import PROJECT, environment

from serialization.errors import UserError
from serialization.tensorflow import tf, tf1


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[object]]:
    folder = tmp_path_factory.mktemp("sources")
    names = ["--inputs", "x", "--outputs", "logits"]
    prefix = graphs.save(folder, graphs.classifier)
    (folder / "m.pb").write_bytes(graphs.freeze(graphs.classifier, ["logits"]).SerializeToString())
    with tf1.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 2], name="x")
        tf1.saved_model.simple_save(session, str(folder / "1"), {"x": x}, {"half": x / 2, "twice": x * 2})
    return {
        "checkpoint": ["--checkpoint", prefix.parent, *names],
        "frozen": ["--frozen-model", folder / "m.pb", *names],
        "saved_model": ["--saved-model", folder / "1", "--signature", "serving_default"],
    }


def write_case(words: list[object], file: Path) -> peers.Case:
    assert peers.write_case([str(word) for word in (file, *words)]) == 0
    case = pickle.loads(file.read_bytes())
    assert isinstance(case, peers.Case)
    return case


# In a process of its own: tf2onnx's command line changes the environment and the log of its process.
PROGRAM = """
import sys
sys.path[:0] = sys.argv[1:3]
import peers
from serialization.cli import call_main
for run in (peers.run_tf2onnx, peers.run_tflite):
    for case in sys.argv[3:]:
        print("\\nstatus", call_main(run, [case]))
"""


def test_a_converter_is_judged_by_the_sources_answers(sources: dict[str, list[object]], tmp_path: Path) -> None:
    files = []
    for kind, words in sources.items():
        case = write_case(words, tmp_path / kind)
        assert sum(len(value) for feed in case.feeds for value in feed.values()) > 30
        wrong = [{key: value + 1 for key, value in answer.items()} for answer in case.answers]
        (tmp_path / f"wrong_{kind}").write_bytes(pickle.dumps(replace(case, answers=wrong)))
        files += [tmp_path / kind, tmp_path / f"wrong_{kind}"]
    command = [sys.executable, "-c", PROGRAM, str(PROJECT), str(PROJECT / "tests"), *map(str, files)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    statuses = re.findall(r"^status (\d)$", done.stdout, re.MULTILINE)
    right = ["0", "1"]
    assert statuses == [*right * 3, "1", "1", *right * 2], done.stderr
    assert len(re.findall(r"^error: (?:logits|half|twice) has other values$", done.stderr, re.MULTILINE)) == 5
    assert done.stderr.count("error: UserError: TFLiteConverter takes no checkpoint\n") == 2


def test_tensors_are_found_by_name_by_key_or_in_order() -> None:
    tensors = {"a": "scope/in:0", "b": "other:0"}
    assert peers.match(tensors, [{"other"}, {"scope/in:0", "scope/in"}]) == {"a": 1, "b": 0}
    assert peers.match(tensors, [{"a"}, {"other:0"}]) == {"a": 0, "b": 1}
    assert peers.match(tensors, [{"output_0"}, {"output_1"}]) == {"a": 0, "b": 1}
    assert peers.match(tensors, [{"a"}]) == {"a": 0}
    with pytest.raises(UserError, match="no output b"):
        peers.require_all(tensors, {"a": 0})


def test_without_openvino_the_target_of_make_is_named() -> None:
    assert find_spec("openvino") is None, "it has an environment of its own"
    command = [sys.executable, str(PROJECT / "tests" / "corpus.py"), ".", "--peers"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "`make peers` runs it where that is" in done.stderr
