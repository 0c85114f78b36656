"""TensorFlow's protobuf classes, without TensorFlow.

`import tensorflow.core.framework.graph_pb2` runs tensorflow/__init__.py first: seconds, and half a gigabyte. Here the
package is in sys.modules, but not executed, while its generated classes are imported, which takes 0.06 s. TensorFlow
uses the same classes when it is imported later.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from typing import TYPE_CHECKING, Any

_MODULES = {
    "AttrValue": "framework.attr_value_pb2",
    "FunctionDef": "framework.function_pb2",
    "GraphDef": "framework.graph_pb2",
    "NodeDef": "framework.node_def_pb2",
    "KernelList": "framework.kernel_def_pb2",
    "OpList": "framework.op_def_pb2",
    "TensorProto": "framework.tensor_pb2",
    "TensorShapeProto": "framework.tensor_shape_pb2",
    "VariableDef": "framework.variable_pb2",
    "DataType": "framework.types_pb2",
    "CondContextDef": "protobuf.control_flow_pb2",
    "WhileContextDef": "protobuf.control_flow_pb2",
    "QueueRunnerDef": "protobuf.queue_runner_pb2",
    "AssetFileDef": "protobuf.meta_graph_pb2",
    "MetaGraphDef": "protobuf.meta_graph_pb2",
    "SignatureDef": "protobuf.meta_graph_pb2",
    "SavedModel": "protobuf.saved_model_pb2",
    "SaverDef": "protobuf.saver_pb2",
    "BundleEntryProto": "protobuf.tensor_bundle_pb2",
    "BundleHeaderProto": "protobuf.tensor_bundle_pb2",
    "TrackableObjectGraph": "protobuf.trackable_object_graph_pb2",
    "SavedTensorSlices": "util.saved_tensor_slice_pb2",
    "Example": "example.example_pb2",
    "Event": "util.event_pb2",
}


def __getattr__(name: str) -> Any:
    """The message class `name`, imported when it is first asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    message = getattr(_import(f"tensorflow.core.{_MODULES[name]}"), name)
    globals()[name] = message  # the next look-up does not call this function
    return message


def _import(module: str) -> Any:
    if module in sys.modules or "tensorflow" in sys.modules:
        return import_module(module)
    spec = PathFinder.find_spec("tensorflow")  # not importlib.util's, which announces an import to cli.run's finder
    if spec is None:
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")
    sys.modules["tensorflow"] = module_from_spec(spec)
    try:
        return import_module(module)
    finally:
        del sys.modules["tensorflow"]  # so that `import tensorflow` executes it


if TYPE_CHECKING:
    AttrValue: Any
    FunctionDef: Any
    GraphDef: Any
    NodeDef: Any
    KernelList: Any
    OpList: Any
    TensorProto: Any
    TensorShapeProto: Any
    VariableDef: Any
    DataType: Any
    CondContextDef: Any
    WhileContextDef: Any
    QueueRunnerDef: Any
    AssetFileDef: Any
    MetaGraphDef: Any
    SignatureDef: Any
    SavedModel: Any
    SaverDef: Any
    BundleEntryProto: Any
    BundleHeaderProto: Any
    TrackableObjectGraph: Any
    SavedTensorSlices: Any
    Example: Any
    Event: Any
