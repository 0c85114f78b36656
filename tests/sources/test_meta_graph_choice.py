"""The choice of a MetaGraphDef and of a signature in a SavedModel; the error where one is absent."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import Run

from freezemodel_serve import create_app
from serialization.checks.crashes import remove_wrong_defaults
from serialization.formats import protos
from serialization.tensorflow import tf, tf1


def build(*, train: bool) -> dict[str, Any]:
    """Words in, vectors out, by a table and a variable; in training with dropout."""
    words = tf1.placeholder(tf.string, [None], name="text")
    fill = tf.lookup.KeyValueTensorInitializer(["a", "b"], tf.constant([0, 1], tf.int64))
    found = tf.lookup.StaticHashTable(fill, 2).lookup(words)
    y = tf.nn.embedding_lookup(tf1.get_variable("module/embeddings", [3, 4]), found)
    y = tf.identity(tf1.nn.dropout(y, rate=0.5) if train else y, name="y")
    info = tf1.saved_model.build_tensor_info
    return {"default": tf1.saved_model.build_signature_def({"text": info(words)}, {"default": info(y)}, "")}


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A module in the first format of TensorFlow Hub: tag-sets {} and {train}, tables without a main op."""
    builder = tf1.saved_model.Builder(str(tmp_path / "module"))
    with tf1.Graph().as_default(), tf1.Session() as session:
        signatures = build(train=False)
        session.run([tf1.global_variables_initializer(), tf1.tables_initializer()])
        builder.add_meta_graph_and_variables(session, [], signature_def_map=signatures)
    with tf1.Graph().as_default():
        builder.add_meta_graph(["train"], signature_def_map=build(train=True))
    builder.save()
    (tmp_path / "module" / "tfhub_module.pb").write_bytes(b"\x08\x03")
    return tmp_path / "module"


def test_a_hub_module_is_frozen_without_dropout(run: Run, tmp_path: Path, module: Path) -> None:
    for words in ((), ("--tag-set", "")):
        out = tmp_path / f"m{len(words)}.pb"
        done = run("freezemodel_save", "--saved-model", module, "--frozen-model", out, *words)
        assert (done.status, done.stderr) == (0, "")
        assert "proved: default: the same bits as the source" in done.stdout
        assert "random" not in done.stdout
    done = run("savedmodel_pretrained", "--saved-model", module, "--feed", 'text=["a", "z"]')
    assert (done.status, done.stderr) == (0, "")


def test_every_meta_graph_def_is_shown(run: Run, module: Path) -> None:
    done = run("model_inspect", module)
    assert (done.status, done.stderr) == (0, "")
    assert "\ntag-set '': " in done.stdout
    assert "\ntag-set train: " in done.stdout
    report = json.loads(run("model_inspect", module, "--json").stdout)
    assert [graph["tags"] for graph in report["graphs"]] == [[], ["train"]]
    done = run("savedmodel_pretrained", "--saved-model", module, "--tag-set", "gpu")
    assert done.stderr == (
        "error: the SavedModel has no tag-set gpu; it has '' (without tags); train; choose with --tag-set\n"
    )


def test_meta_graph_defs_without_a_usual_tag_set_are_shown_too(run: Run, module: Path) -> None:
    saved = protos.SavedModel.FromString((module / "saved_model.pb").read_bytes())
    saved.meta_graphs[0].meta_info_def.tags.append("eval")
    (module / "saved_model.pb").write_bytes(saved.SerializeToString())
    report = json.loads(run("model_inspect", module, "--json").stdout)
    assert [graph["tags"] for graph in report["graphs"]] == [["eval"], ["train"]]
    done = run("freezemodel_save", "--saved-model", module, "--frozen-model", module / "m.pb")
    assert done.stderr == "error: the SavedModel has no tag-set serve; it has eval; train; choose with --tag-set\n"


@pytest.mark.parametrize("left", ["nothing", "a data file"])
def test_a_saved_model_without_its_variables_says_so(run: Run, tmp_path: Path, module: Path, left: str) -> None:
    if left == "nothing":
        shutil.rmtree(module / "variables")
    else:
        (module / "variables" / "variables.index").unlink()
    line = (
        f"the SavedModel {module} is incomplete; its graph restores 1 variable (module/embeddings), and there is no "
        "variables/variables.index; copy the whole folder variables here too"
    )
    done = run("freezemodel_save", "--saved-model", module, "--frozen-model", tmp_path / "m.pb")
    assert (done.status, done.stderr) == (1, f"error: {line}\n")
    report = json.loads(run("model_inspect", module, "--json").stdout)
    assert report["faults"][0] == line


def test_the_init_op_is_no_signature(run: Run, tmp_path: Path) -> None:
    model = tf.Module()
    model.add = tf.function(lambda x: x + 1.0, input_signature=[tf.TensorSpec([None], tf.float32)])
    tf.saved_model.save(model, str(tmp_path / "1"), signatures=model.add)
    saved = protos.SavedModel.FromString((tmp_path / "1" / "saved_model.pb").read_bytes())
    assert "__saved_model_init_op" in saved.meta_graphs[0].signature_def
    report = json.loads(run("model_inspect", tmp_path / "1", "--json").stdout)
    assert list(report["graphs"][0]["signatures"]) == ["serving_default"]


@pytest.fixture
def with_default(tmp_path: Path) -> Path:
    """A SavedModel y = x * scale, whose signature gives scale the value 3 if it is not fed."""
    with tf1.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None], name="x")
        scale = tf1.placeholder(tf.float32, [], name="scale")
        y = tf.multiply(x, scale, name="y")
        info = tf1.saved_model.build_tensor_info
        inputs = {"x": info(x), "scale": info(scale)}
        signature = tf1.saved_model.build_signature_def(inputs, {"y": info(y)}, "tensorflow/serving/predict")
        signature.defaults["scale"].CopyFrom(tf.make_tensor_proto(3.0))
        builder = tf1.saved_model.Builder(str(tmp_path / "1"))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
    return tmp_path / "1"


def test_the_default_value_of_an_input_is_taken(run: Run, tmp_path: Path, with_default: Path) -> None:
    for words, answer in ((("x=[1, 2]",), "[3. 6.]"), (("x=[1, 2]", "scale=10"), "[10. 20.]")):
        feeds = [word for value in words for word in ("--feed", value)]
        done = run("savedmodel_pretrained", "--saved-model", with_default, *feeds)
        assert (done.status, done.stderr) == (0, "")
        assert answer in done.stdout
    done = run("savedmodel_pretrained", "--saved-model", with_default, "--feed", "scale=10")
    assert done.stderr == "error: --feed gives no value for x:0 float32 [None]\n"
    out = tmp_path / "m.pb"
    done = run("freezemodel_save", "--saved-model", with_default, "--frozen-model", out, "--feed", "x=[1, 2]")
    assert (done.status, done.stderr) == (0, "")
    done = run("freezemodel_load", "--frozen-model", tmp_path / "m.pb", "--feed", "x=[1, 2]")
    assert (done.status, done.stderr) == (0, "")
    assert "[3. 6.]" in done.stdout


def numbers(*sizes: int, dtype: int = 1, **fields: Any) -> Any:
    return protos.TensorProto(dtype=dtype, tensor_shape={"dim": [{"size": size} for size in sizes]}, **fields)


WRONG = {
    "is int32 [], and the input float32 []": numbers(dtype=3, int_val=[3]),
    "is float32 [2], and the input float32 []": numbers(2, float_val=[1.0, 2.0]),
    "is float32 [1000000000000], and the input float32 []": numbers(10**12, float_val=[1.0]),
    "has no dtype that TensorFlow knows, but number 9999": numbers(dtype=9999),
    "holds 2 bytes, and its shape and dtype take 4 bytes": numbers(tensor_content=b"ab"),
    "lists 3 values, and its shape has 1": numbers(float_val=[1.0, 2.0, 3.0]),
}


@pytest.mark.parametrize("why", WRONG)
def test_a_default_value_that_does_not_fit_its_input_is_left_out(
    run: Run, tmp_path: Path, with_default: Path, why: str
) -> None:
    change_default(with_default, "scale", WRONG[why])
    line = f"left out the default value of the input scale, which {why}"
    done = run("freezemodel_save", "--saved-model", with_default, "--frozen-model", tmp_path / "m.pb")
    assert (done.status, done.stderr) == (0, "")
    assert f"repaired: {line}\n" in done.stdout
    done = run("freezemodel_load", "--frozen-model", tmp_path / "m.pb", "--feed", "x=[1]")
    assert done.stderr == "error: --feed gives no value for prefix/scale:0 float32 []\n"
    assert json.loads(run("model_inspect", with_default, "--json").stdout)["faults"] == [line]


def test_a_default_value_is_of_some_size_and_of_an_input(with_default: Path) -> None:
    saved = change_default(with_default, "scale", numbers(1 << 25, float_val=[1.0]))
    signature = saved.meta_graphs[0].signature_def["serving_default"]
    signature.inputs["scale"].tensor_shape.dim.add(size=-1)
    signature.defaults["other"].CopyFrom(numbers(float_val=[1.0]))
    assert remove_wrong_defaults(saved.meta_graphs[0]) == [
        "left out the default value of the input other, which is of no input",
        "left out the default value of the input scale, which has 33,554,432 values",
    ]


def change_default(folder: Path, key: str, value: Any) -> Any:
    file = folder / "saved_model.pb"
    saved = protos.SavedModel.FromString(file.read_bytes())
    saved.meta_graphs[0].signature_def["serving_default"].defaults[key].CopyFrom(value)
    file.write_bytes(saved.SerializeToString())
    return saved


def test_the_server_takes_the_default_value_of_an_input(with_default: Path) -> None:
    client = create_app(saved_model=with_default).test_client()
    for body, answer in (({"x": [1, 2]}, [3, 6]), ({"x": [1, 2], "scale": 10}, [10, 20])):
        assert client.post("/api/predict", json={"x": body}).get_json() == {"y": answer}
    assert client.post("/api/predict", json={"x": {"scale": 10}}).status_code == 400
    schema = client.get("/openapi.json").get_json()
    (inputs,) = find_all(schema, "scale")
    assert inputs["required"] == ["x"]


def find_all(schema: Any, key: str) -> list[Any]:
    """The object schemas within a JSON document that have this property."""
    if not isinstance(schema, dict | list):
        return []
    parts = schema.values() if isinstance(schema, dict) else schema
    mine = isinstance(schema, dict) and key in schema.get("properties", {})
    return [schema] * mine + [found for part in parts for found in find_all(part, key)]
