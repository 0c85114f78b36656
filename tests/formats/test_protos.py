"""The message classes are TensorFlow's own, and need no TensorFlow."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT, environment

from serialization.formats import protos


def test_the_message_classes_are_tensorflow_s_own() -> None:
    code = (
        "from serialization.formats import protos; import sys; protos.GraphDef, protos.SavedModel, protos.Event\n"
        "assert 'tensorflow' not in sys.modules\n"
        "from serialization.tensorflow import tf1\n"
        "assert tf1.GraphDef is protos.GraphDef\n"
        "with tf1.Graph().as_default() as graph: tf1.placeholder('float32', name='x')\n"
        "assert protos.GraphDef.FromString(graph.as_graph_def().SerializeToString()).node[0].name == 'x'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def declared() -> list[str]:
    """The classes that the module declares for type checkers."""
    (block,) = (node for node in ast.parse(Path(str(protos.__file__)).read_text()).body if isinstance(node, ast.If))
    return [
        node.target.id for node in block.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    ]


@pytest.mark.parametrize("name", declared())
def test_each_declared_class_is_the_message_or_enum_of_that_name(name: str) -> None:
    assert getattr(protos, name).DESCRIPTOR.full_name == f"tensorflow.{name}"
    assert getattr(protos, name) is getattr(protos, name)


def test_another_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match=r"^module 'serialization.formats.protos' has no attribute 'GraphDeff'$"):
        protos.GraphDeff  # noqa: B018
