"""targets/checkpoint_proof.py: a checkpoint with another value or another answer than its source is refused."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import graphs
import pytest

import checkpoint_from_frozen
from savedmodel_from_frozen import load
from serialization.errors import UserError
from serialization.formats.file_kind import ModelFile
from serialization.sources.from_frozen import PreparedFrozenModel, prepare_frozen_model
from serialization.sources.frozen_reader import read_graph_file
from serialization.targets.checkpoint_proof import prove_checkpoint, prove_objects, restore_plainly
from serialization.targets.to_checkpoint import Unfrozen, take_out_constants
from serialization.tensorflow import np, tf1


@pytest.fixture
def made(tmp_path: Path) -> tuple[PreparedFrozenModel, Unfrozen, Path]:
    """A frozen model, the same without its parameters, and the prefix of its checkpoint."""
    (tmp_path / "m.pb").write_bytes(graphs.freeze(graphs.classifier, ["logits"]).SerializeToString())
    ready = prepare_frozen_model(read_graph_file(ModelFile(tmp_path / "m.pb")), "x", "logits")
    unfrozen = take_out_constants(ready)
    prefix = tmp_path / "m.ckpt"
    checkpoint_from_frozen.save(unfrozen, prefix, [tmp_path / "m-object.ckpt"], latest=False)
    return ready, unfrozen, prefix


def change(prefix: Path, name: str) -> None:
    """Add 1 to a variable of the checkpoint."""
    session, _ = restore_plainly(prefix)
    with session, session.graph.as_default():
        variable = next(v for v in tf1.global_variables() if v.op.name == name)
        variable.load(session.run(variable) + 1, session)
        tf1.train.Saver().save(session, str(prefix), write_meta_graph=False, write_state=False)


def test_what_is_right_is_proved(made: tuple[PreparedFrozenModel, Unfrozen, Path]) -> None:
    ready, unfrozen, prefix = made
    lines = prove_checkpoint(lambda: nullcontext(load(ready)), unfrozen, prefix, None)
    assert [line.partition(":")[0] for line in lines] == ["proved"] * 3
    objects = prefix.with_name("m-object.ckpt")
    assert prove_objects(unfrozen, objects) == "proved: 2 variables restored by tf.train.Checkpoint, the same bits"


def test_another_answer_is_refused(made: tuple[PreparedFrozenModel, Unfrozen, Path]) -> None:
    ready, unfrozen, prefix = made
    change(prefix, "dense/bias")
    with pytest.raises(UserError, match="the result differs from its source: logits is off"):
        prove_checkpoint(lambda: nullcontext(load(ready)), unfrozen, prefix, None)


def test_another_value_is_refused(made: tuple[PreparedFrozenModel, Unfrozen, Path]) -> None:
    ready, unfrozen, prefix = made

    def read(*which: Any) -> Any:
        return unfrozen.read(*which) + np.float32(1)

    wrong = replace(unfrozen, read=read)
    message = "dense/(bias|kernel) came back from the checkpoint with another value; nothing was written"
    with pytest.raises(UserError, match=message):
        prove_checkpoint(lambda: nullcontext(load(ready)), wrong, prefix, None)
    with pytest.raises(UserError, match=message):
        prove_objects(wrong, prefix.with_name("m-object.ckpt"))
    missing = replace(unfrozen.parameters[0], name="not/there")
    with pytest.raises((UserError, AssertionError)):
        prove_objects(replace(unfrozen, parameters=(missing,)), prefix.with_name("m-object.ckpt"))
