"""model_inspect.py: --strict, the tag-set that is drawn, refusals; it imports TensorFlow for StableHLO alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import PROJECT, Run, environment, inspect, needs_landlock

from serialization import project
from serialization.checks.confinement import describe_confinement
from serialization.formats import protos
from serialization.tensorflow import tf, tf1


def damaged(toy: Path) -> Path:
    """The toy checkpoint without its data file, with an unknown op, and with a WriteFile before the output."""
    meta = toy / "graph.ckpt.meta"
    meta_graph = protos.MetaGraphDef.FromString(meta.read_bytes())
    inputs = ["Placeholder/inputs_placeholder"]
    meta_graph.graph_def.node.add(name="who", op="ProdEnvMatA", input=inputs * 5)
    meta_graph.graph_def.node.add(name="evil", op="WriteFile", input=inputs * 2)
    next(n for n in meta_graph.graph_def.node if n.name == "Accuracy/predictions").input.append("^evil")
    meta.write_bytes(meta_graph.SerializeToString())
    (toy / "graph.ckpt.data-00000-of-00001").unlink()
    return toy / "graph.ckpt"


def test_strict_fails_for_faults_unknown_ops_and_unsafe_ops(run: Run, toy: Path) -> None:
    assert run("model_inspect", toy / "graph.ckpt", "--strict").status == 0
    prefix = damaged(toy)
    fault = (
        f"the checkpoint {prefix} is incomplete; its data file graph.ckpt.data-00000-of-00001 is missing; "
        "copy it here too"
    )
    loose, strict = run("model_inspect", prefix), run("model_inspect", prefix, "--strict")
    assert (loose.status, loose.stderr) == (0, "")
    assert strict.status == 1
    assert strict.stderr == f"error: {prefix} has 3 findings; the first: {fault}; see above\n"
    assert strict.stdout == loose.stdout
    assert strict.stdout.endswith(
        f"3 findings:\n  {fault}\n  unknown op ProdEnvMatA (DeePMD-kit (libdeepmd_op.so))\n"
        f"  would write files: WriteFile at evil\n{describe_confinement()}\n"
    )
    report = json.loads(run("model_inspect", prefix, "--json", "--strict").stdout)
    assert report["faults"] == [fault]
    assert [(op["op"], op["nodes"]) for op in report["graphs"][0]["unknown_ops"]] == [("ProdEnvMatA", ["who"])]
    assert [(f["effect"], f["op"]) for f in report["graphs"][0]["findings"]] == [("write files", "WriteFile")]


def test_the_meta_graph_of_the_tag_set_is_drawn(run: Run, tmp_path: Path) -> None:
    builder = tf1.saved_model.Builder(str(tmp_path / "sm"))
    with tf1.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None], name="for_serving")
        info = tf1.saved_model.build_tensor_info
        signature = tf1.saved_model.build_signature_def({"x": info(x)}, {"y": info(x + 1.0)}, "predict")
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
    with tf1.Graph().as_default():
        tf1.placeholder(tf.float32, [None], name="for_training")
        builder.add_meta_graph(["train"])
    builder.save()
    assert [graph["tags"] for graph in inspect(run, tmp_path / "sm")["graphs"]] == [["serve"], ["train"]]
    for tag, inside in (("serve", "for_serving"), ("train", "for_training")):
        words = ("--tag-set", tag, "--dot", tmp_path / f"{tag}.dot")
        assert run("model_inspect", tmp_path / "sm", *words).status == 0
        assert inside in (tmp_path / f"{tag}.dot").read_text()


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("no", "nothing at {}/no; name a file or the folder of a model, or the prefix of a checkpoint"),
        (
            "noise",
            "{}/noise is a file of an unknown kind, not a model of TensorFlow; it may be damaged; copy it here again, "
            "or name another file",
        ),
        ("empty", "{}/empty is empty, not a model of TensorFlow; copy it here again"),
    ],
)
def test_a_path_without_a_model_is_refused(run: Run, tmp_path: Path, name: str, line: str) -> None:
    (tmp_path / "noise").write_bytes(bytes(range(256)))
    (tmp_path / "empty").touch()
    done = run("model_inspect", tmp_path / name)
    assert (done.status, done.stdout, done.stderr) == (1, "", f"error: {line.format(tmp_path)}\n")


def test_the_other_models_of_a_folder_are_named(run: Run, made: Path, tmp_path: Path) -> None:
    """A SavedModel is taken first, then a checkpoint; each was taken before these others were named."""
    folder = tmp_path / "models"
    shutil.copytree(made / "savedmodel_from_checkpoint", folder)
    assert inspect(run, folder)["notes"] == []
    for file in ("frozen_model.pb", *(f"graph.ckpt{end}" for end in (".index", ".meta", ".data-00000-of-00001"))):
        shutil.copy(made / file, folder)
    others = "frozen_model.pb (a frozen model (a GraphDef)), graph.ckpt (a checkpoint)"
    line = "a SavedModel was taken; the folder also holds {}; name one of these to see it"
    assert inspect(run, folder)["notes"] == [line.format(others)]
    (folder / "saved_model.pb").rename(folder / "saved_model.txt")
    shutil.rmtree(folder / "variables")
    report = inspect(run, folder)
    assert (report["kind"], report["path"]) == ("checkpoint", str(folder / "graph.ckpt"))
    assert (
        "a checkpoint was taken; the folder also holds frozen_model.pb (a frozen model (a GraphDef))"
        in report["notes"][-1]
    )


def test_a_checkpoint_without_a_graph_cannot_be_drawn(run: Run, tmp_path: Path) -> None:
    tf.train.Checkpoint(v=tf.Variable(1.0)).write(str(tmp_path / "ckpt-1"))
    done = run("model_inspect", tmp_path / "ckpt-1", "--dot", tmp_path / "x.dot")
    assert done.stderr == (
        f"error: {tmp_path}/ckpt-1 holds no graph to draw; found variables only; name the graph's file\n"
    )
    assert not (tmp_path / "x.dot").exists()


def test_tensorflow_and_numpy_are_not_imported(toy: Path) -> None:
    paths = [toy / "frozen_model.pb", toy / "graph.ckpt", toy / "savedmodel_from_source", project.PRETRAINED / "1"]
    code = (
        "import sys, model_inspect\n"
        f"for path in {[str(path) for path in paths]!r}:\n"
        f"    assert model_inspect.main([path, '--strict', '--overwrite', '--dot', {str(toy / 'x.dot')!r}, "
        f"'--tensorboard', {str(toy / 'logs')!r}]) == 0\n"
        "assert not {'tensorflow', 'tensorflow.python', 'numpy'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@needs_landlock
def test_tensorflow_is_confined_where_it_reads_a_module_of_the_model(tmp_path: Path) -> None:
    """The pictures are published all the same: they were staged before."""
    graph_def: Any = protos.GraphDef()
    graph_def.node.add(name="y", op="XlaCallModule").attr["module"].s = b"ML\xefR custom_call"
    (tmp_path / "m.pb").write_bytes(graph_def.SerializeToString())
    (tmp_path / "secret").write_text("s3cret")
    code = (
        "import sys, model_inspect\n"
        "from serialization import cli\n"
        "def main(argv):\n"
        "    model_inspect.main(argv)\n"
        f"    print(open({str(tmp_path / 'secret')!r}).read())\n"
        "cli.run(main)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "m.pb"), "--dot", str(tmp_path / "m.dot")]
    done = subprocess.run(command, cwd=PROJECT, env=environment(), capture_output=True, text=True)
    assert "custom_call" in done.stdout
    assert done.stderr.startswith(f"error: {tmp_path}/secret: Permission denied; this process is confined")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.dot", "m.pb", "secret"]


def test_each_variable_of_a_keras_export_counts_once(run: Run, tmp_path: Path) -> None:
    """Keras 3 exports each twice; the two zero biases are two variables all the same."""
    layers = [tf.keras.layers.Dense(8), tf.keras.layers.BatchNormalization(), tf.keras.layers.Dense(8)]
    model = tf.keras.Sequential([tf.keras.layers.Input([8]), *layers])
    model.export(tmp_path / "1", verbose=False)
    report = inspect(run, tmp_path / "1")
    assert report["parameters"] == model.count_params() == 176
    assert len(report["variables"]) == 2 * sum(variable["copy_of"] is not None for variable in report["variables"])
    shown = run("model_inspect", tmp_path / "1").stdout
    assert "\nparameters: 176 in 8 variables, and 8 copies of these\n" in shown
