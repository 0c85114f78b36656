"""The message classes are TensorFlow's own, and need no TensorFlow."""

from __future__ import annotations

import subprocess
import sys

from conftest import PROJECT, environment


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
