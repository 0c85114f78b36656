"""Variables of a graph are mapped to a checkpoint's, and compared before anything is restored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import graphs
import pytest
from conftest import Run, freeze, nothing_left
from handmade_graphs import graph as handmade

from serialization.errors import UserError
from serialization.graph.graph_index import GraphIndex
from serialization.sources.variable_mapping import Restore, check_mapping, map_variables, rename_keys, take_averages
from serialization.tensorflow import tf, tf1


def test_shapes_and_dtypes_are_compared_before_restoring(run: Run, tmp_path: Path) -> None:
    """TensorFlow itself silently restores a resource variable with another shape."""
    prefix = graphs.save(tmp_path, graphs.classifier)

    def change(meta_graph: Any) -> None:
        for node in meta_graph.graph_def.node:
            if node.op == "VarHandleOp" and node.name == "dense/kernel":
                node.attr["shape"].shape.dim[0].size = 5
            if node.op == "VarHandleOp" and node.name == "dense/bias":
                node.attr["dtype"].type = 2

    graphs.edit_meta(prefix, change)
    done = freeze(run, prefix, tmp_path, "--outputs", "logits")
    assert done.stderr == (
        f"error: the graph and {prefix} do not match; dense/bias is float32 in the checkpoint and float64 in the "
        "graph, dense/kernel is [4, 3] in the checkpoint and [5, 3] in the graph; "
        "name the checkpoint of this graph, or the graph of this checkpoint with --graph\n"
    )
    assert nothing_left(tmp_path)


def save_renamed(folder: Path) -> tuple[Path, Path]:
    """A checkpoint with its variables in the scope `old`, and a graph with the same variables in `dense`."""
    prefix = graphs.save(folder, graphs.classifier)
    reader = tf1.train.NewCheckpointReader(str(prefix))
    renamed = folder / "renamed.ckpt"
    with tf1.Graph().as_default(), tf1.Session() as session:
        for name in reader.get_variable_to_shape_map():
            value = reader.get_tensor(name)
            if name.startswith("dense/") and "Adam" not in name:
                tf1.get_variable(name.replace("dense/", "old/"), initializer=value)
        session.run(tf1.global_variables_initializer())
        tf1.train.Saver().save(session, str(renamed), write_meta_graph=False)
    return renamed, prefix.with_name("model.ckpt.meta")


def test_rename_and_partial_make_a_checkpoint_match(run: Run, tmp_path: Path) -> None:
    renamed, graph = save_renamed(tmp_path)
    words = ("--graph", graph, "--outputs", "logits")
    done = freeze(run, renamed, tmp_path, *words)
    assert done.status == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: the graph and {renamed} do not match; the checkpoint does not hold ")
    assert "the graph does not use old/bias, old/kernel; likely renames: " in done.stderr
    assert freeze(run, renamed, tmp_path, *words, "--partial").status == 1, "the output needs a missing variable"
    assert nothing_left(tmp_path)
    done = freeze(run, renamed, tmp_path, *words, "--rename", "old=dense")
    assert done.stderr.endswith("; no output needs the missing variables, so --partial goes on without them\n")
    done = freeze(run, renamed, tmp_path, *words, "--rename", "old=dense", "--partial")
    assert (done.status, done.stderr) == (0, "")
    assert "the checkpoint lacks 7 variables that no output needs: " in done.stdout
    assert "proved: logits: the same bits as the source" in done.stdout


def test_variables_that_the_graph_lacks_are_noted(run: Run, tmp_path: Path) -> None:
    def inference() -> None:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        with tf1.variable_scope("dense", use_resource=False):
            tf.matmul(x, tf1.get_variable("kernel", [4, 3]), name="y")

    prefix = graphs.save(tmp_path, graphs.classifier)
    with tf1.Graph().as_default() as graph:
        inference()
    (tmp_path / "graph.pb").write_bytes(graph.as_graph_def().SerializeToString())
    done = freeze(run, prefix, tmp_path, "--graph", tmp_path / "graph.pb")
    assert (done.status, done.stderr) == (0, "")
    assert "the checkpoint also holds 1 variable that the graph lacks: dense/bias\n" in done.stdout
    assert "also holds" not in freeze(run, prefix, tmp_path, "--overwrite", "--outputs", "logits").stdout


def test_all_mismatches_are_reported_at_once(run: Run, tmp_path: Path) -> None:
    def other() -> None:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        with tf1.variable_scope("layer", use_resource=False):
            hidden = tf.matmul(x, tf1.get_variable("kernel", [4, 3]))
        with tf1.variable_scope("dense", use_resource=False):
            wide = tf.concat(
                [tf1.get_variable("bias", [6]), tf.cast(tf1.get_variable("step", [], tf.int64)[None], "float")], 0
            )
        tf.add(hidden[:, :1], wide, name="y")

    prefix = graphs.save(tmp_path, graphs.classifier)
    with tf1.Graph().as_default() as graph:
        other()
    (tmp_path / "graph.pb").write_bytes(graph.as_graph_def().SerializeToString())
    done = freeze(run, prefix, tmp_path, "--graph", tmp_path / "graph.pb")
    assert done.status == 1
    for part in (
        "the checkpoint does not hold dense/step, layer/kernel; ",
        "dense/bias is [3] in the checkpoint and [6] in the graph; ",
        "likely renames: ",
        "--rename dense/kernel=layer/kernel",
    ):
        assert part in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("rename", "line"),
    [
        ("old=den", "--rename old=den: the graph has no variable den"),
        ("odd=dense", "--rename odd=dense: the checkpoint holds no odd"),
    ],
)
def test_a_rename_without_effect_is_refused(run: Run, tmp_path: Path, rename: str, line: str) -> None:
    renamed, graph = save_renamed(tmp_path)
    done = freeze(run, renamed, tmp_path, "--graph", graph, "--outputs", "logits", "--rename", rename)
    assert done.stderr == f"error: {line}\n"


def test_moving_averages_are_noted_and_taken_by_ema(run: Run, tmp_path: Path) -> None:
    def build() -> None:
        x = tf1.placeholder(tf.float32, [None], name="x")
        w = tf1.get_variable("w", [], initializer=tf1.constant_initializer(2.0), use_resource=False)
        tf1.get_variable(
            "w/ExponentialMovingAverage", [], initializer=tf1.constant_initializer(5.0), use_resource=False
        )
        tf.multiply(x, w, name="y")

    prefix = graphs.save(tmp_path, build)
    done = freeze(run, prefix, tmp_path, "--outputs", "y")
    assert "the checkpoint also holds 1 moving average; --ema takes these for raw values" in done.stdout
    done = freeze(run, prefix, tmp_path, "--outputs", "y", "--ema", "--overwrite")
    assert (done.status, done.stderr) == (0, "")
    assert "took 1 moving average in place of raw values" in done.stdout
    done = run("freezemodel_load", "--frozen-model", tmp_path / "m.pb", "--feed", "x=[3]")
    assert "prefix/y:0 float32 [1]\n[15.]\n" in done.stdout
    plain = graphs.save(tmp_path, graphs.classifier, name="plain.ckpt")
    done = freeze(run, plain, tmp_path, "--ema", "--overwrite")
    assert done.stderr == (
        f"error: --ema: {plain} holds no moving averages; found no name that ends in /ExponentialMovingAverage\n"
    )


def saved(**saver: Any) -> Any:
    """The MetaGraphDef of a graph with two resource variables and a partitioned one."""
    with tf1.Graph().as_default() as built:
        a, _ = (tf1.get_variable(name, [2], use_resource=True) for name in ("a", "b"))
        with tf1.variable_scope("", partitioner=tf1.fixed_size_partitioner(2), use_resource=False):
            tf1.get_variable("p", [3, 2])
        var_list = {"renamed": a} if saver.pop("only_a", False) else None
        made = tf1.train.Saver(var_list, **saver)
        return tf1.train.export_meta_graph(graph=built, saver_def=made.as_saver_def())


def mapped(meta_graph: Any) -> dict[str, tuple[str, str, bool]]:
    plan = map_variables(GraphIndex(meta_graph.graph_def), meta_graph.saver_def)
    return {name: (one.key, one.spec, one.saved) for name, one in plan.items()}


@pytest.mark.parametrize("saver", [{}, {"write_version": 1}, {"sharded": True}])
def test_the_restore_ops_know_the_slices_of_a_partitioned_variable(saver: dict[str, Any]) -> None:
    assert mapped(saved(**saver)) == {
        "a": ("a", "", True),
        "b": ("b", "", True),
        "p/part_0": ("p", "3 2 0,2:0,2", True),
        "p/part_1": ("p", "3 2 2,1:0,2", True),
    }


def test_a_variable_that_nothing_restores_is_looked_for_under_its_name() -> None:
    found = mapped(saved(only_a=True))
    assert found["a"] == ("renamed", "", True)
    assert found["b"] == ("b", "", False)


def test_a_graph_without_restore_ops_holds_variables_under_their_names() -> None:
    graph_def = handmade(("h", "VarHandleOp", []), ("v", "VariableV2", []), ("old", "Variable", []))
    graph_def.node[0].attr["shared_name"].s = b"its/own"
    for node, dtype in zip(graph_def.node, (1, 101, 3), strict=True):
        node.attr["dtype"].type = dtype
        node.attr["shape"].shape.SetInParent()
    graph_def.node[1].attr["shape"].shape.dim.add(size=-1)
    assert map_variables(GraphIndex(graph_def)) == {
        "h": Restore("h", "its/own", "", 1, ()),
        "v": Restore("v", "v", "", 1, None),
        "old": Restore("old", "old", "", 3, None),  # TensorFlow 0.x wrote no shape
    }


def restores(*names: str, shape: tuple[int, ...] | None = (2,), saved: bool = True) -> dict[str, Restore]:
    return {name: Restore(name, name, "", 1, shape, saved) for name in names}


@pytest.mark.parametrize(
    ("renames", "keys"),
    [
        ([("x", "a")], ["x", "s/b", "s/c"]),
        ([("old", "s")], ["a", "old/b", "old/c"]),
        ([("old/", "s/")], ["a", "old/b", "old/c"]),
        ([("x", "a"), ("y", "s/b")], ["x", "y", "s/c"]),
        ([("old", "")], ["old/a", "old/s/b", "old/s/c"]),
        ([("", "s")], ["a", "b", "c"]),
    ],
)
def test_variables_and_scopes_are_renamed(renames: list[tuple[str, str]], keys: list[str]) -> None:
    held = ("x", "y", "old/b", "old/c")
    assert [one.key for one in rename_keys(restores("a", "s/b", "s/c"), renames, held).values()] == keys


@pytest.mark.parametrize(
    ("rename", "line"),
    [
        (("x", "scale"), "--rename x=scale: the graph has no variable scale; the nearest are scales"),
        (("zzz", "scales"), "--rename zzz=scales: the checkpoint holds no zzz"),
        (("y", "q"), "--rename y=q: the graph has no variable q"),
    ],
)
def test_a_rename_of_a_missing_name_names_the_nearest(rename: tuple[str, str], line: str) -> None:
    with pytest.raises(UserError) as caught:
        rename_keys(restores("scales"), [rename], ["x"])
    assert str(caught.value) == line


def test_averages_are_taken_where_the_checkpoint_holds_them() -> None:
    taken = take_averages(restores("a", "b"), ["a", "b", "a/ExponentialMovingAverage"])
    assert [one.key for one in taken.values()] == ["a/ExponentialMovingAverage", "b"]


def check(plan: dict[str, Restore], held: dict[str, list[int]], needed: str = "a", **options: Any) -> list[str]:
    return check_mapping(
        plan.values(), needed.split(), held, dict.fromkeys(held, options.pop("dtype", 1)), "m.ckpt", **options
    )


def test_matching_variables_need_no_note() -> None:
    assert check(restores("a"), {"a": [2]}) == []
    assert check(restores("a", shape=None), {"a": [7, 7]}) == [], "the graph does not tell the shape"
    assert check(restores("a"), {"a": [2]}, dtype=101) == []
    partitioned = {"a": Restore("a", "a", "4 2 0,2:0,2", 1, (2, 2))}
    assert check(partitioned, {"a": [4, 2]}) == []


def test_unused_variables_are_noted_unless_they_are_an_optimizers() -> None:
    held = {"a": [2], "a/Adam": [2], "global_step": [], "beta1_power_1": [], "other": [2]}
    assert check(restores("a"), held) == ["the checkpoint also holds 1 variable that the graph lacks: other"]


def test_variables_that_no_output_needs_may_be_missing_with_partial() -> None:
    plan = restores("a", "b")
    assert check(plan, {"a": [2]}, partial=True) == ["the checkpoint lacks 1 variable that no output needs: b"]
    assert check(restores("a") | restores("b", saved=False), {"a": [2]}) == [], "the graph's own Saver leaves it out"


@pytest.mark.parametrize(
    ("plan", "held", "options", "line"),
    [
        (
            restores("a", "b"),
            {"a": [2]},
            {},
            "the checkpoint does not hold b; no output needs the missing variables, so --partial goes on without them",
        ),
        (
            restores("a"),
            {"b": [3]},
            {"partial": True},
            "the checkpoint does not hold a; the graph does not use b; "
            "name the checkpoint of this graph, or the graph of this checkpoint with --graph",
        ),
        (
            restores("a"),
            {"a": [3]},
            {"dtype": 2},
            "a is [3] in the checkpoint and [2] in the graph, a is float64 in the checkpoint and float32 in the graph; "
            "name the checkpoint of this graph, or the graph of this checkpoint with --graph",
        ),
        (
            restores("a"),
            {"a": [2]},
            {"dtype": 0},
            "a is unknown in the checkpoint and float32 in the graph; "
            "name the checkpoint of this graph, or the graph of this checkpoint with --graph",
        ),
        (
            {"a": Restore("a", "a", "4 2 0,2:0,2", 1, (2, 2))},
            {"a": [5, 2]},
            {},
            "a is [5, 2] in the checkpoint and [4, 2] in the graph; "
            "name the checkpoint of this graph, or the graph of this checkpoint with --graph",
        ),
        (
            restores("new/a", "new/b"),
            {"old/a": [2], "old/b": [2]},
            {"needed": "new/a"},
            "the checkpoint does not hold new/a, new/b; the graph does not use old/a, old/b; "
            "likely renames: --rename old=new",
        ),
        (
            restores("a"),
            {"c": [2]},
            {},
            "the checkpoint does not hold a; the graph does not use c; likely renames: --rename c=a",
        ),
        (
            restores(*(f"v{n:02}" for n in range(12))),
            {},
            {"needed": "v00"},
            f"the checkpoint does not hold {', '.join(f'v{n:02}' for n in range(10))} and 2 more; "
            "name the checkpoint of this graph, or the graph of this checkpoint with --graph",
        ),
    ],
)
def test_a_mismatch_is_reported_with_a_way_out(
    plan: dict[str, Restore], held: dict[str, list[int]], options: dict[str, Any], line: str
) -> None:
    with pytest.raises(UserError) as caught:
        check(plan, held, **options)
    assert str(caught.value) == f"the graph and m.ckpt do not match; {line}"
