"""Damaged files end in an error line or a correct result: no traceback, no hang, no abort, no memory without end.

The seeds are the numbers of the cases, so a failure is `python tests/fuzzing.py FOLDER CASE CASE+1 KIND`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fuzzing
import pytest

from serialization.formats import protos
from serialization.tensorflow import np, tf, tf1

LOOKED_AT = 130  # damaged files of each kind that is only looked at
LOADED = 25  # files of each kind that TensorFlow gets, damaged or changed
MUTATED = 265  # changed messages in each kind of file that is only looked at


def write_frozen(folder: Path) -> None:
    """A GraphDef with a convolution, a loop, a function, a table and strings."""
    from google.protobuf import text_format

    with tf1.Graph().as_default() as graph:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        image = tf.reshape(x, [-1, 2, 2, 1])
        weights = tf.constant(np.linspace(0, 1, 8, dtype=np.float32).reshape(2, 2, 1, 2))
        flat = tf.reshape(tf.nn.conv2d(image, weights, 1, "SAME"), [-1, 8])
        _, looped = tf1.while_loop(lambda i, _: i < 3, lambda i, value: (i + 1, value * 1.5), [0, flat])
        keys = tf.strings.as_string(tf.cast(looped, tf.int64))
        kept = tf.where(tf.equal(tf.strings.length(keys), 1), looped, looped - 1.0)
        tf.identity(tf.nn.softmax(tf.concat([kept, flat], 1)), name="y")
    graph_def = graph.as_graph_def()
    (folder / "frozen.pb").write_bytes(graph_def.SerializeToString())
    (folder / "frozen.pbtxt").write_text(text_format.MessageToString(graph_def))


def write_checkpoint(prefix: Path, version: int) -> None:
    with tf1.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        use_resource = version == 2
        weights = tf1.get_variable("w", [4, 3], initializer=tf1.ones_initializer(), use_resource=use_resource)
        bias = tf1.get_variable("b", [3], initializer=tf1.zeros_initializer(), use_resource=use_resource)
        tf1.train.AdamOptimizer().minimize(tf.reduce_mean(tf.identity(x @ weights + bias, name="y")))
        session.run(tf1.global_variables_initializer())
        tf1.train.Saver(write_version=version).save(session, str(prefix), write_state=version == 2)


def write_saved_model(folder: Path, *, as_text: bool) -> None:
    """A classifier of images, as savedmodel_pretrained.py takes it."""
    with tf1.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 8, 8, 3], name="x")
        weights = tf1.get_variable("w", [192, 3], initializer=tf1.ones_initializer())
        scores = tf.nn.softmax(tf.reshape(x, [-1, 192]) @ weights)
        session.run(tf1.global_variables_initializer())
        builder = tf1.saved_model.Builder(str(folder))
        info = tf1.saved_model.build_tensor_info
        signature = tf1.saved_model.build_signature_def({"x": info(x)}, {"y": info(scores)}, "predict")
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save(as_text=as_text)


def fill(folder: Path) -> None:
    """A small artefact of each kind, undamaged, under the names that fuzzing.KINDS has."""
    from google.protobuf import text_format

    write_frozen(folder)
    write_checkpoint(folder / "toy.ckpt", 2)
    write_checkpoint(folder / "v1.ckpt", 1)
    (folder / "toy").mkdir()
    write_checkpoint(folder / "toy" / "m.ckpt", 2)
    meta_graph = protos.MetaGraphDef.FromString((folder / "toy.ckpt.meta").read_bytes())
    (folder / "meta.pbtxt").write_text(text_format.MessageToString(meta_graph))
    write_saved_model(folder / "image", as_text=False)
    write_saved_model(folder / "text", as_text=True)
    (folder / "image.png").write_bytes(tf.io.encode_png(tf.zeros([8, 8, 3], tf.uint8)).numpy())


@pytest.fixture(scope="module")
def artefacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artefacts")
    fill(folder)
    return folder


class Worker:
    """A process that runs cases; started again where TensorFlow has aborted it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None

    def run(self, kind: str, case: int) -> tuple[int, str]:
        """The exit status of the case, and what is wrong with how it ended, or nothing."""
        process = self.process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([kind, case]) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if line:
            ended = json.loads(line)
            return ended["status"], ended["wrong"]
        self.process = None
        return process.wait(), "the process died"

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, str(Path(fuzzing.__file__)), str(self.folder)]
        self.process = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        return self.process

    def close(self) -> None:
        if self.process is not None:
            self.process.communicate()  # the end of its input ends it


@pytest.fixture(scope="module")
def looking(artefacts: Path) -> Iterator[Worker]:
    """A worker whose memory is limited to what it takes without TensorFlow."""
    worker = Worker(artefacts)
    yield worker
    worker.close()


@pytest.fixture(scope="module")
def loading(artefacts: Path) -> Iterator[Worker]:
    """A worker for what needs TensorFlow."""
    worker = Worker(artefacts)
    yield worker
    worker.close()


def failures(worker: Worker, kind: str, count: int) -> dict[int, tuple[int, str]]:
    ended = {case: worker.run(kind, case) for case in range(count)}
    return {case: (status, wrong) for case, (status, wrong) in ended.items() if wrong}


@pytest.mark.parametrize("kind", sorted(fuzzing.LOOKED_AT))
def test_what_is_only_looked_at(looking: Worker, kind: str) -> None:
    assert failures(looking, kind, MUTATED if fuzzing.KINDS[kind].change else LOOKED_AT) == {}


@pytest.mark.parametrize("kind", sorted(fuzzing.LOADED))
def test_what_tensorflow_loads(loading: Worker, kind: str) -> None:
    assert failures(loading, kind, LOADED) == {}


def test_there_are_enough_cases() -> None:
    damaged = len(fuzzing.LOOKED_AT.keys() - fuzzing.MUTATED) * LOOKED_AT
    assert damaged + len(fuzzing.LOADED.keys() - fuzzing.MUTATED) * LOADED >= 2000
    changed = len(fuzzing.LOOKED_AT.keys() & fuzzing.MUTATED) * MUTATED
    assert changed + len(fuzzing.LOADED.keys() & fuzzing.MUTATED) * LOADED >= 2000


def test_memory_is_seen() -> None:
    """Or else no case could take too much."""
    memory = fuzzing.Memory()
    assert memory.taken() < 1 << 20
    assert len(bytearray(64 << 20).translate(None)) == 64 << 20  # which is written to, and gone again
    assert memory.taken() >= 64 << 20


@pytest.mark.parametrize("kind", sorted(fuzzing.KINDS))
def test_undamaged_it_is_read(looking: Worker, loading: Worker, kind: str) -> None:
    """Or else every case would end in an error line, and prove nothing."""
    worker = looking if kind in fuzzing.LOOKED_AT else loading
    assert worker.run(kind, -1) == (0, "")
