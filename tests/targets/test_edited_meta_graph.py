"""The graph beside an edited copy. tests/test_checkpoint_edit.py restores it; here is what a Saver of it names."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import graphs
import pytest

from serialization.errors import UserError
from serialization.files.checkpoint_files import open_meta_graph_file
from serialization.files.locate import find_checkpoint
from serialization.sources.edited_names import choose_edited_names
from serialization.sources.frozen_reader import read_graph_file
from serialization.targets.edited_meta_graph import EditedGraph, edit_meta_graph, write_edited_graph
from serialization.tensorflow import tf1


def edit(prefix: Path, *renames: tuple[str, str], slots: bool = True) -> EditedGraph:
    held = find_checkpoint(prefix)
    file = read_graph_file(open_meta_graph_file(held))
    return edit_meta_graph(held, file, choose_edited_names(held, renames, slots=slots))


def test_the_old_saver_is_gone_and_the_rest_stays(tmp_path: Path) -> None:
    prefix = graphs.save(tmp_path, graphs.classifier, sharded=True, max_to_keep=3)
    edited = edit(prefix, ("dense", "layer"), slots=False)
    before = tf1.MetaGraphDef.FromString(Path(f"{prefix}.meta").read_bytes())
    nodes = {node.name: node.op for node in edited.meta_graph.graph_def.node}
    assert not [name for name in nodes if name.startswith("save/")]
    kept = {node.name: node.op for node in before.graph_def.node if not node.name.startswith("save/")}
    renamed = {re.sub("^dense/(?=(kernel|bias)(/|$))", "layer/", name): op for name, op in kept.items()}
    assert renamed.items() <= nodes.items()
    assert [one.key for one in edited.restores] == ["global_step", "layer/bias", "layer/kernel"]
    assert edited.meta_graph.saver_def.max_to_keep == 3
    assert len(edited.notes) == 1


def test_a_variable_by_another_name_than_its_node_keeps_the_node(tmp_path: Path) -> None:
    prefix = tmp_path / "m"
    with tf1.Graph().as_default(), tf1.Session() as session:
        w, v = tf1.get_variable("w", [2]), tf1.get_variable("v", [3])
        session.run(tf1.global_variables_initializer())
        tf1.train.Saver({"stored/w": w, "v": v}).save(session, str(prefix))
    edited = edit(prefix, ("stored/w", "new/w"), ("v", "new/v"))
    assert [(one.node, one.key) for one in edited.restores] == [("new/v", "new/v"), ("w", "new/w")]


def test_a_saver_that_came_back_otherwise_is_refused(tmp_path: Path) -> None:
    prefix = graphs.save(tmp_path, graphs.classifier)
    edited = edit(prefix)
    assert write_edited_graph(edited, tmp_path / "a.meta") == "the Saver of its graph restores 9 variables"
    wrong = replace(edited, restores=(replace(edited.restores[0], key="other"), *edited.restores[1:]))
    with pytest.raises(UserError, match=r"wrong\.meta came back with another Saver; nothing was written"):
        write_edited_graph(wrong, tmp_path / "wrong.meta")
