"""The report on each kind of model, as data."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import handmade_graphs
import pytest
from conftest import PROJECT, Run, inspect
from handmade_graphs import X, Y

from serialization.errors import UserError
from serialization.inspect.report import inspect_model, list_findings, list_outputs
from serialization.tensorflow import np, tf, tf1

INPUT = {"key": "inputs_1", "name": "Placeholder/inputs_placeholder:0", "dtype": "float32", "shape": [None, 10]}
OUTPUT = {"key": "output1", "name": "Accuracy/predictions:0", "dtype": "bool", "shape": [None, 1]}


def test_the_report_on_a_frozen_model(run: Run, toy: Path) -> None:
    report = inspect(run)
    assert (report["kind"], report["format"], report["tensorflow_version"]) == ("graph_def", "binary", None)
    assert report["bytes"] == (toy / "frozen_model.pb").stat().st_size
    graph = report["graphs"][0]
    # Its nodes record the signature; the keys are the names.
    assert (graph["candidates"], list(graph["signatures"])) == (None, ["recorded"])
    recorded = graph["signatures"]["recorded"]
    assert recorded["inputs"] == [{**INPUT, "key": "Placeholder/inputs_placeholder"}]
    assert recorded["outputs"] == [{**OUTPUT, "key": "Accuracy/predictions", "shape": None}]
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


def test_moving_averages_are_listed_for_the_first_format(run: Run, tmp_path: Path) -> None:
    with tf1.Graph().as_default(), tf1.Session() as session:
        variable = tf1.get_variable("w", [3], initializer=tf1.zeros_initializer())
        tf1.train.ExponentialMovingAverage(0.9).apply([variable])
        session.run(tf1.global_variables_initializer())
        tf1.train.Saver(write_version=1).save(session, str(tmp_path / "m.ckpt"), write_state=False)
    report = inspect(run, tmp_path / "m.ckpt")
    assert report["format"] == "V1"
    assert report["moving_averages"] == ["w/ExponentialMovingAverage"]


@pytest.mark.parametrize("place", ["own.bin", "gone.bin", "../secret", "/dev/null", "link"])
def test_the_constants_of_an_onnx_model_lie_in_its_folder(tmp_path: Path, place: str) -> None:
    import onnx

    (tmp_path / "1").mkdir()
    for file in ("secret", "1/own.bin"):
        (tmp_path / file).write_bytes(bytes(4))
    (tmp_path / "1" / "link").symlink_to(tmp_path / "secret")
    held = onnx.TensorProto(name="w", data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
    held.external_data.add(key="location", value=place)
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [held]))
    (tmp_path / "1" / "m.onnx").write_bytes(model.SerializeToString())
    found = list_findings(inspect_model(tmp_path / "1" / "m.onnx")[0])
    wrong = {"own.bin": [], "gone.bin": ["it lacks gone.bin, which holds constants; copy it here too"]}
    assert found == wrong.get(place, [f"it reads constants from {place}, outside of its folder"])


def test_the_json_has_the_documented_keys(run: Run, toy: Path, tmp_path: Path) -> None:
    documented = (PROJECT / "docs" / "model_inspect.md").read_text()
    top, _, graphs = documented.partition("Each of `graphs[]`")
    graphs, _, exported = graphs.partition("`exported`:")
    reports = [inspect(run, path) for path in (toy / "graph.ckpt", toy / "frozen_model.pb", tensorflow_2(tmp_path))]
    assert run("onnx_from_frozen", "--onnx", toy / "m.onnx").status == 0
    reports.append(inspect(run, toy / "m.onnx"))

    def keys(text: str) -> set[str]:
        first = re.findall(r"^\| (`.*?) \|", text, re.M)
        return {name for cell in first for name in re.findall(r"`(\w+)(?:\[\])?`", cell)}

    for report in reports:
        assert set(report) == keys(top)
        for graph in report["graphs"]:
            assert set(graph) == keys(graphs)
        assert report["exported"] is None or set(report["exported"]) == keys(exported)
    nested = [
        *(item for r in reports for name in ("files", "variables") for item in r[name]),
        *(item for r in reports for g in r["graphs"] for name in ("functions", "tables", "assets") for item in g[name]),
        *(s for r in reports for g in r["graphs"] for s in g["signatures"].values()),
        *(g["candidates"] for r in reports for g in r["graphs"] if g["candidates"]),
        *(c for r in reports for g in r["graphs"] if g["candidates"] for c in g["candidates"]["outputs"]),
    ]
    assert {key for item in nested for key in item} <= set(re.findall(r"`(\w+)(?:\[\])?`", documented))


def write(file: Path, *nodes: tuple[str, str, list[str]]) -> Path:
    file.write_bytes(handmade_graphs.graph(*nodes).SerializeToString())
    return file


def test_findings_are_faults_unknown_ops_and_harm(tmp_path: Path) -> None:
    path = write(
        tmp_path / "m.pb", X, ("u", "Unheard", ["x"]), ("w", "WriteFile", ["x", "x"]), ("loose", "Neg", ["gone"])
    )
    report, index = inspect_model(path)
    assert index is not None
    assert [node.name for node in index.graph_def.node] == ["x", "u", "w", "loose"]
    fault, *others = list_findings(report)
    assert "gone" in fault
    assert others == ["unknown op Unheard (of an unknown library)", "would write files: WriteFile at w"]


def test_outputs_are_those_of_the_signatures_else_the_likely_ones(tmp_path: Path) -> None:
    report, _ = inspect_model(write(tmp_path / "m.pb", X, Y))
    assert list_outputs(report["graphs"][0]) == ["y:0"]
    signatures = {"a": {"outputs": [{"name": "p:0"}]}, "b": {"outputs": [{"name": "q:0"}, {"name": "r:0"}]}}
    assert list_outputs({"candidates": None, "signatures": signatures}) == ["p:0", "q:0", "r:0"]


def test_a_graph_that_may_be_cut_off_has_a_note(tmp_path: Path) -> None:
    report, _ = inspect_model(write(tmp_path / "m.pb", X, Y))
    assert report["notes"] == [
        "the file ends with a node, without a version or library after it; it may have been cut off there"
    ]
    assert list_findings(report) == []


def test_a_path_that_holds_no_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^nothing at {tmp_path}/none; "):
        inspect_model(tmp_path / "none")
