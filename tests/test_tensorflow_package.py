"""TensorFlow's public names are the same objects, whether all of TensorFlow is imported or only what defines them."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT, environment

from serialization.tensorflow_package import find_public_name, is_public


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def list_used_names() -> list[str]:
    """The names of TensorFlow that the scripts and serialization/ use, such as tf1.train.Saver."""
    used = set()
    for path in (*PROJECT.glob("*.py"), *(PROJECT / "serialization").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            name = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
            if name.startswith(("tf.", "tf1.")) and name.replace(".", "").replace("_", "").isalnum():
                used.add(name)
    return sorted(used)


def test_every_name_that_is_used_is_the_one_of_the_whole_package() -> None:
    names = list_used_names()
    assert len(names) > 100
    run(
        "from serialization.tensorflow import tf, tf1, quiet\n"
        f"found = {{name: eval(name) for name in {names}}}\n"
        "with quiet(): import tensorflow; tensorflow.keras\n"
        "from tensorflow.python.util.tf_decorator import unwrap\n"
        "public = {'tf': tensorflow, 'tf1': tensorflow.compat.v1}\n"
        "for name, value in found.items():\n"
        "    if type(value).__name__ != '_Late':\n"
        # numpy's API, which is imported then, wraps some for numbers of its own.
        "        assert unwrap(value)[1] == unwrap(eval(name, public))[1], name\n"
    )


def test_a_session_needs_a_part_of_tensorflow_and_the_rest_can_follow() -> None:
    run(
        "import sys; from serialization.tensorflow import tf, tf1, quiet\n"
        "tf1.Session, tf1.import_graph_def, tf1.ConfigProto, tf.errors.OpError, tf1.graph_util.extract_sub_graph\n"
        "assert len(sys.modules) < 1000\n"
        "assert not {'keras', 'tensorflow.python.data', 'tensorflow.python.ops.standard_ops'} & set(sys.modules)\n"
        "with quiet(): import tensorflow; tensorflow.keras\n"
        "assert 'tensorflow.python.data' in sys.modules and 'keras' in sys.modules\n"
        "assert tensorflow.compat.v1.Session is tf1.Session and tf.keras is tensorflow.keras\n"
    )


def test_the_part_behaves_as_tensorflow_2() -> None:
    run(
        "from serialization.tensorflow import tf, tf1\n"
        "assert tf.executing_eagerly() and tf1.resource_variables_enabled() and tf1.control_flow_v2_enabled()\n"
        "assert (tf.constant([1, 2]) + 1).numpy().tolist() == [2, 3]\n"
        "assert type(tf.TensorShape([1])[0]) is int\n"
    )


def test_gradients_and_collections_are_registered(tmp_path: Path) -> None:
    run(
        "from serialization.tensorflow import tf, tf1\n"
        "with tf1.Graph().as_default(), tf1.Session() as session:\n"
        "    x, w = tf1.placeholder('float32', [None]), tf1.get_variable('w', initializer=2.0)\n"
        "    tf1.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(tf.exp(w * x)))\n"
        "    session.run(tf1.global_variables_initializer())\n"
        f"    tf1.train.Saver().save(session, {str(tmp_path / 'm.ckpt')!r})\n"
    )
    run(
        "from serialization.tensorflow import tf1\n"
        "with tf1.Graph().as_default() as graph:\n"
        f"    tf1.train.import_meta_graph({str(tmp_path / 'm.ckpt.meta')!r})\n"
        "(variable,) = graph.get_collection('trainable_variables')\n"
        "assert variable.name == 'w:0'\n"
    )


@pytest.mark.parametrize(
    ("package", "name", "found"),
    [
        ("tensorflow", "errors", ("tensorflow._api.v2", "errors")),
        ("tensorflow", "__version__", ("tensorflow.python.framework.versions", "VERSION")),
        ("tensorflow._api.v2.compat.v1.saved_model", "load", ("tensorflow.python.saved_model.loader_impl", "load")),
        ("tensorflow", "no_such_name", None),
        ("tensorflow.python.client.session", "Session", None),
    ],
)
def test_a_name_is_found_where_the_files_say(package: str, name: str, found: tuple[str, str] | None) -> None:
    assert find_public_name(package, name) == found
    assert found is None or is_public(package)
