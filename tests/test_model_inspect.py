"""model_inspect.py: its report on each kind of model, its JSON, its pictures; it never imports TensorFlow."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from conftest import PROJECT, Run, environment

from serialization import project
from serialization.checks.confinement import describe_confinement
from serialization.files.locate import find_checkpoint
from serialization.formats import checkpoint_index, protos
from serialization.inspect.dot import draw_graph
from serialization.tensorflow import np, tf, tf1

INPUT = {"key": "inputs_1", "name": "Placeholder/inputs_placeholder:0", "dtype": "float32", "shape": [None, 10]}
OUTPUT = {"key": "output1", "name": "Accuracy/predictions:0", "dtype": "bool", "shape": [None, 1]}


def inspect(run: Run, *words: object) -> dict[str, Any]:
    done = run("model_inspect", *words, "--json")
    assert (done.status, done.stderr) == (0, "")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_the_report_on_a_frozen_model(run: Run, toy: Path) -> None:
    report = inspect(run)
    assert (report["kind"], report["format"], report["tensorflow_version"]) == ("graph_def", "binary", None)
    assert report["bytes"] == (toy / "frozen_model.pb").stat().st_size
    graph = report["graphs"][0]
    assert [(c["name"], c["dtype"], c["shape"], c["role"]) for c in graph["candidates"]["inputs"]] == [
        ("Placeholder/inputs_placeholder:0", "float32", [None, 10], "feature")
    ]
    assert [c["name"] for c in graph["candidates"]["outputs"]] == ["Accuracy/predictions:0"]
    assert (
        graph["constants"]["parameters"] == 2 * 11 + 2
    )  # two units of ten weights and a bias, the half, the threshold
    assert graph["findings"] == graph["unknown_ops"] == report["faults"] == []


def test_the_report_on_a_checkpoint(run: Run, toy: Path) -> None:
    for name in ("graph.ckpt", "graph.ckpt.index", "graph.ckpt.meta", "checkpoint", ""):
        report = inspect(run, toy / name)
        assert (report["kind"], report["format"]) == ("checkpoint", "V2")
        assert report["tensorflow_version"] == tf.__version__
        reader = tf1.train.load_checkpoint(str(toy / "graph.ckpt"))
        assert {v["name"]: v["shape"] for v in report["variables"]} == reader.get_variable_to_shape_map()
        assert report["parameters"] == sum(int(np.prod(v["shape"])) for v in report["variables"])
        candidates = report["graphs"][0]["candidates"]
        assert [(c["name"], c["role"]) for c in candidates["inputs"]] == [
            ("Placeholder/inputs_placeholder:0", "feature")
        ]
        assert "Accuracy/predictions:0" in [c["name"] for c in candidates["outputs"]]
        assert ("Placeholder/labels_placeholder:0", "label") in [(c["name"], c["role"]) for c in candidates["others"]]


def test_the_report_on_a_meta_graph_alone(run: Run, toy: Path, tmp_path: Path) -> None:
    shutil.copy(toy / "graph.ckpt.meta", tmp_path / "graph")
    report = inspect(run, tmp_path / "graph")
    assert report["kind"] == "meta_graph"
    assert report["variables"] == []
    assert report["graphs"][0]["ops"]["ResourceApplyAdam"] == 4


def test_the_report_on_a_saved_model(run: Run, toy: Path) -> None:
    for name in ("savedmodel_from_source", "savedmodel_from_source/saved_model.pb"):
        report = inspect(run, toy / name)
        assert (report["kind"], report["tensorflow_version"]) == ("saved_model", tf.__version__)
        graph = report["graphs"][0]
        assert graph["tags"] == ["serve"]
        assert graph["candidates"] is None
        assert graph["signatures"]["serving_default"] == {
            "method": "tensorflow/serving/predict",
            "inputs": [INPUT],
            "outputs": [OUTPUT],
        }
        assert graph["findings"] == []


def test_the_text_has_version_signature_variables_and_scan(run: Run, toy: Path) -> None:
    done = run("model_inspect", toy / "savedmodel_from_checkpoint")
    assert (done.status, done.stderr) == (0, "")
    assert "savedmodel_from_checkpoint: a SavedModel, binary, " in done.stdout
    assert f"TensorFlow version: {tf.__version__}\n" in done.stdout
    assert re.search(r"^input +inputs_1 +Placeholder/inputs_placeholder:0 +float32 +\[None, 10\]$", done.stdout, re.M)
    assert re.search(r"^NN/W1 +float32 +\[10, 1\] +10$", done.stdout, re.M)
    assert done.stdout.endswith(f"safety scan: nothing found\n{describe_confinement()}\n")


def tensorflow_2(folder: Path) -> Path:
    """A SavedModel with functions, a table, an asset, a signature `look_up` and a pinned op."""
    (folder / "vocab.txt").write_text("a\nb\n")

    class Module(tf.Module):
        def __init__(self) -> None:
            self.scale = tf.Variable([1.0, 2.0])
            index = tf.lookup.TextFileIndex
            lines = (tf.string, index.WHOLE_LINE, tf.int64, index.LINE_NUMBER)
            source = tf.lookup.TextFileInitializer(str(folder / "vocab.txt"), *lines)
            self.table = tf.lookup.StaticHashTable(source, -1)

        def look_up(self, words: Any) -> Any:
            with tf.device("/device:GPU:0"):
                return {"number": tf.gather(self.scale, tf.maximum(self.table.lookup(words), 0))}

    module = Module()
    function = tf.function(module.look_up, input_signature=[tf.TensorSpec([None], tf.string, name="words")])
    tf.saved_model.save(module, str(folder / "sm"), signatures={"look_up": function})
    return folder / "sm"


def test_functions_tables_assets_and_devices_are_listed(run: Run, tmp_path: Path) -> None:
    report = inspect(run, tensorflow_2(tmp_path))
    graph = report["graphs"][0]
    assert [t["name"] for t in graph["signatures"]["look_up"]["inputs"]] == ["look_up_words:0"]
    assert {(t["op"], t["key_dtype"], t["value_dtype"]) for t in graph["tables"]} == {
        ("HashTableV2", "string", "int64")
    }
    assert [(a["file"], a["bytes"]) for a in graph["assets"]] == [("vocab.txt", 4)]
    assert any("look_up" in function["name"] for function in graph["functions"])
    assert "/device:GPU:0" in graph["devices"]
    assert graph["findings"] == []
    text = run("model_inspect", tmp_path / "sm").stdout
    assert re.search(r"^vocab.txt +4 bytes$", text, re.M)


def test_an_object_checkpoint_has_no_graph(run: Run, tmp_path: Path) -> None:
    tf.train.Checkpoint(v=tf.Variable([1.0, 2.0])).write(str(tmp_path / "ckpt-1"))
    report = inspect(run, tmp_path / "ckpt-1")
    assert report["graphs"] == []
    assert [v["name"] for v in report["variables"]] == ["v/.ATTRIBUTES/VARIABLE_VALUE"]
    assert report["notes"] == [
        "an object checkpoint of TensorFlow 2: its keys are paths through Python objects",
        "no graph: there is no ckpt-1.meta",
    ]


def test_variables_of_an_object_checkpoint_have_names_and_slots(run: Run, tmp_path: Path) -> None:
    variable = tf.Variable([1.0, 2.0], name="weights")
    optimizer = tf1.train.AdamOptimizer()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(variable * variable)
    optimizer.apply_gradients([(tape.gradient(loss, variable), variable)])
    tf.train.Checkpoint(layer=variable, optimizer=optimizer).write(str(tmp_path / "ckpt-1"))
    variables = inspect(run, tmp_path / "ckpt-1")["variables"]
    found = {v["name"].replace("/.ATTRIBUTES/VARIABLE_VALUE", ""): v for v in variables}
    slot = "layer/.OPTIMIZER_SLOT/optimizer/m"
    assert set(found) > {"layer", slot, "optimizer/beta1_power"}
    assert [found["layer"][key] for key in ("full_name", "role", "slot_of")] == ["weights", "variable", None]
    assert [found[slot][key] for key in ("role", "slot", "slot_of")] == ["optimizer slot", "m", "weights"]
    assert found["optimizer/beta1_power"]["role"] == "optimizer"
    text = run("model_inspect", tmp_path / "ckpt-1").stdout
    assert re.search(r"^layer/.ATTRIBUTES/VARIABLE_VALUE +float32 +\[2\] +2 +weights$", text, re.M)
    assert re.search(r"^layer/.OPTIMIZER_SLOT/optimizer/m/\S+ +float32 +\[2\] +2 +slot m of weights$", text, re.M)
    assert "of these the optimizer's: 6 in 4 variables\n" in text


def test_variables_of_a_keras_optimizer_have_the_role_optimizer(run: Run, tmp_path: Path) -> None:
    model = tf.keras.Sequential([tf.keras.layers.Input((4,)), tf.keras.layers.Dense(3, name="first")], name="model")
    model.compile("adam", "mse")
    model.train_on_batch(np.zeros([2, 4]), np.zeros([2, 3]))
    tf.train.Checkpoint(model=model, optimizer=model.optimizer).write(str(tmp_path / "ckpt-1"))
    roles = {v["full_name"]: v["role"] for v in inspect(run, tmp_path / "ckpt-1")["variables"]}
    assert roles["model/first/kernel"] == "variable"
    assert roles["adam/model_first_kernel_momentum"] == "optimizer"


def test_a_damaged_object_graph_is_a_fault(run: Run, tmp_path: Path) -> None:
    prefix = tmp_path / "ckpt-1"
    tf.train.Checkpoint(v=tf.Variable([1.0, 2.0])).write(str(prefix))
    held = find_checkpoint(prefix)
    place = held.places[checkpoint_index.OBJECT_GRAPH.encode()]
    data = bytearray(place.file.read_bytes())
    data[place.offset] ^= 1  # the length of the string
    place.file.write_bytes(data)
    report = inspect(run, prefix)
    assert report["faults"] == [
        f"{prefix} is damaged; its object graph has another length than recorded; copy it here again"
    ]
    assert [v["role"] for v in report["variables"]] == [None]
    place.file.unlink()
    (fault,) = inspect(run, prefix)["faults"]
    assert f"its data file {place.file.name} is missing" in fault


def test_moving_averages_are_listed_for_the_first_format(run: Run, tmp_path: Path) -> None:
    with tf1.Graph().as_default(), tf1.Session() as session:
        variable = tf1.get_variable("w", [3], initializer=tf1.zeros_initializer())
        tf1.train.ExponentialMovingAverage(0.9).apply([variable])
        session.run(tf1.global_variables_initializer())
        tf1.train.Saver(write_version=1).save(session, str(tmp_path / "m.ckpt"), write_state=False)
    report = inspect(run, tmp_path / "m.ckpt")
    assert report["format"] == "V1"
    assert report["moving_averages"] == ["w/ExponentialMovingAverage"]


def damaged(toy: Path) -> Path:
    """The toy checkpoint without its data file, with an unknown op, and with a WriteFile before the output."""
    meta = toy / "graph.ckpt.meta"
    meta_graph = protos.MetaGraphDef.FromString(meta.read_bytes())
    meta_graph.graph_def.node.add(name="who", op="ProdEnvMatA")
    meta_graph.graph_def.node.add(name="evil\x1b[2J", op="WriteFile")
    next(n for n in meta_graph.graph_def.node if n.name == "Accuracy/predictions").input.append("^evil\x1b[2J")
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
        f"  would write files: WriteFile at evil?[2J\n{describe_confinement()}\n"
    )
    assert "\x1b" not in strict.stdout
    report = json.loads(run("model_inspect", prefix, "--json", "--strict").stdout)
    assert report["faults"] == [fault]
    assert [(op["op"], op["nodes"]) for op in report["graphs"][0]["unknown_ops"]] == [("ProdEnvMatA", ["who"])]
    assert [(f["effect"], f["op"]) for f in report["graphs"][0]["findings"]] == [("write files", "WriteFile")]


def test_the_json_has_the_documented_keys(run: Run, toy: Path, tmp_path: Path) -> None:
    documented = (PROJECT / "docs" / "model_inspect.md").read_text()
    top, _, graphs = documented.partition("Each of `graphs[]`")
    reports = [inspect(run, path) for path in (toy / "graph.ckpt", toy / "frozen_model.pb", tensorflow_2(tmp_path))]

    def keys(text: str) -> set[str]:
        first = re.findall(r"^\| (`.*?) \|", text, re.M)
        return {name for cell in first for name in re.findall(r"`(\w+)(?:\[\])?`", cell)}

    for report in reports:
        assert set(report) == keys(top)
        for graph in report["graphs"]:
            assert set(graph) == keys(graphs)
    nested = [
        *(item for r in reports for name in ("files", "variables") for item in r[name]),
        *(item for r in reports for g in r["graphs"] for name in ("functions", "tables", "assets") for item in g[name]),
        *(s for r in reports for g in r["graphs"] for s in g["signatures"].values()),
        *(g["candidates"] for r in reports for g in r["graphs"] if g["candidates"]),
        *(c for r in reports for g in r["graphs"] if g["candidates"] for c in g["candidates"]["outputs"]),
    ]
    assert {key for item in nested for key in item} <= set(re.findall(r"`(\w+)(?:\[\])?`", documented))


def test_tensorboard_reads_the_event_file(run: Run, toy: Path, tmp_path: Path) -> None:
    words = (toy / "graph.ckpt", "--tensorboard", tmp_path / "logs")
    done = run("model_inspect", *words)
    assert done.stdout.endswith(f"wrote {tmp_path}/logs/events.out.tfevents.0.model_inspect\n")
    (file,) = (tmp_path / "logs").iterdir()
    version, graph = tf1.train.summary_iterator(str(file))  # checks the checksums
    assert version.file_version == "brain.Event:2"
    shown = protos.GraphDef.FromString(graph.graph_def)
    original = protos.MetaGraphDef.FromString((toy / "graph.ckpt.meta").read_bytes()).graph_def
    assert [(n.name, n.op) for n in shown.node] == [(n.name, n.op) for n in original.node]
    again = run("model_inspect", *words)
    assert again.stderr == f"error: {file} exists already; --overwrite replaces it\n"
    assert run("model_inspect", *words, "--overwrite").status == 0


def test_large_constants_stay_out_of_the_event_file(run: Run, tmp_path: Path) -> None:
    with tf1.Graph().as_default() as graph:
        tf.identity(tf.constant(np.random.default_rng(0).random(100_000)), name="y")
    (tmp_path / "m.pb").write_bytes(graph.as_graph_def().SerializeToString())
    assert run("model_inspect", tmp_path / "m.pb", "--tensorboard", tmp_path / "logs").status == 0
    assert next((tmp_path / "logs").iterdir()).stat().st_size < 2000


def test_the_picture_is_folded_by_scope(run: Run, toy: Path, tmp_path: Path) -> None:
    done = run("model_inspect", toy / "graph.ckpt", "--dot", tmp_path / "graph.dot")
    assert done.stdout.endswith(f"wrote {tmp_path}/graph.dot\n")
    lines = (tmp_path / "graph.dot").read_text().splitlines()
    assert lines[0] == "digraph model {"
    assert lines[-1] == "}"
    name = r'"(?:[^"\\]|\\.)*"'
    boxes = [line for line in lines[4:-1] if re.fullmatch(rf"  {name} \[label={name}(, \w+=[\w\"#]+)*\];", line)]
    edges = [line for line in lines[4:-1] if re.fullmatch(rf"  {name} -> {name}( \[label={name}\])?;", line)]
    assert len(boxes) + len(edges) == len(lines) - 5
    assert any('label="Placeholder/inputs_placeholder\\nfloat32 [None, 10]", shape=ellipse, ' in box for box in boxes)
    assert not any("Adam" in box for box in boxes), "the outputs do not need the training ops"


def inception() -> Any:
    """Eleven blocks of four branches each, as tf-slim names them: more than 1,500 nodes."""
    with tf1.Graph().as_default() as graph:
        y = tf1.placeholder(tf.float32, [None, 16, 16, 3], name="images")
        for block in range(11):
            with tf1.variable_scope(f"Inception/Mixed_{block}"):
                branches = []
                for branch in range(4):
                    with tf1.variable_scope(f"Branch_{branch}"):
                        weights = tf1.get_variable("weights", [3, 3, int(y.shape[-1]), 4], use_resource=False)
                        branches.append(tf.nn.relu(tf1.nn.conv2d(y, weights, [1, 1, 1, 1], "SAME")))
                y = tf.concat(branches, 3)
        with tf1.variable_scope("Inception/Predictions"):
            tf.nn.softmax(tf.reduce_mean(y, [1, 2]))
    return graph.as_graph_def()


@pytest.mark.skipif(shutil.which("dot") is None, reason="optional: Graphviz")
def test_graphviz_draws_pictures_that_fit_on_two_screens(run: Run, toy: Path, tmp_path: Path) -> None:
    (tmp_path / "inception.pb").write_bytes(inception().SerializeToString())
    pictures = {}
    for name, path in (
        ("toy", toy / "graph.ckpt"),
        ("resnet", project.PRETRAINED / "1"),
        ("inception", tmp_path / "inception.pb"),
    ):
        assert run("model_inspect", path, "--dot", tmp_path / f"{name}.dot").status == 0
        words = ["dot", "-Tsvg", str(tmp_path / f"{name}.dot")]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        picture = ElementTree.fromstring(done.stdout)
        groups = [group for group in picture.iter() if group.get("class") == "node"]
        shown = [[text.text for text in group.iter() if text.tag.endswith("text")] for group in groups]
        width, height = (float(str(picture.get(side)).removesuffix("pt")) for side in ("width", "height"))
        assert len(groups) <= 45
        assert width < 900, "wider than a screen"
        assert height < 1800, "higher than two screens"
        pictures[name] = shown
    assert ["Placeholder/inputs_placeholder", "float32 [None, 10]"] in pictures["toy"]
    assert ["stage1_block1", "Conv2D 2, FusedBatchNormV3 2, Relu 2, AddV2, 10 variables", "27 nodes"] in pictures[
        "resnet"
    ]
    blocks = [lines for lines in pictures["inception"] if str(lines[0]).startswith("Inception/Mixed_")]
    assert [lines[0] for lines in blocks] == [f"Inception/Mixed_{block}" for block in range(11)]
    assert {str(lines[1]) for lines in blocks} == {"Conv2D 4, Relu 4, ConcatV2, 4 variables"}


def test_a_large_picture_has_few_boxes_and_hostile_names_are_quoted() -> None:
    graph_def = protos.GraphDef()
    graph_def.node.add(name='x"];evil\\', op="Placeholder")
    before = 'x"];evil\\'
    for number in range(3000):
        node = graph_def.node.add(name=f"layer_{number % 200}/part_{number % 7}/op_{number}", op="Relu", input=[before])
        before = node.name
    drawn = draw_graph(graph_def, [before])
    assert drawn.count(" [label=") - drawn.count(" -> ") <= 45
    assert '"x\\"];evil\\\\"' in drawn


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
            "{}/noise is a file of an unknown kind, not a checkpoint; it may be damaged; copy it here again, "
            "or name another file",
        ),
        ("empty", "{}/empty is empty, not a checkpoint; copy it here again"),
    ],
)
def test_a_path_without_a_model_is_refused(run: Run, tmp_path: Path, name: str, line: str) -> None:
    (tmp_path / "noise").write_bytes(bytes(range(256)))
    (tmp_path / "empty").touch()
    done = run("model_inspect", tmp_path / name)
    assert (done.status, done.stdout, done.stderr) == (1, "", f"error: {line.format(tmp_path)}\n")


def test_a_checkpoint_without_a_graph_cannot_be_drawn(run: Run, tmp_path: Path) -> None:
    tf.train.Checkpoint(v=tf.Variable(1.0)).write(str(tmp_path / "ckpt-1"))
    done = run("model_inspect", tmp_path / "ckpt-1", "--dot", tmp_path / "x.dot")
    assert done.stderr == (
        f"error: {tmp_path}/ckpt-1 holds no graph to draw; found variables only; name the graph's file\n"
    )
    assert not (tmp_path / "x.dot").exists()


def test_tensorflow_and_numpy_are_never_imported(toy: Path) -> None:
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
