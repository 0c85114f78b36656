"""The inputs and outputs of a model by their keys, read from a SignatureDef or from flags, and written as one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from serialization.console import list_known
from serialization.errors import UserError
from serialization.formats.dtypes import get_dtype_name
from serialization.tensorflow import tf1

SERVING_DEFAULT = "serving_default"
PREDICT_METHOD = "tensorflow/serving/predict"
_HUB_DEFAULT = "default"  # of a module in the first format of TensorFlow Hub
_NO_SIGNATURES = frozenset({"__saved_model_init_op", "__saved_model_train_op"})  # ops to run, kept as SignatureDefs


@dataclass(frozen=True)
class Tensor:
    """A tensor that is fed or fetched: `key` for callers, `name` in the graph.

    `dtype` is TensorFlow's name for it ("float32", "string"). `shape` is None for an unknown rank; in it, None is any
    size. `default` is the value of an input that is not fed, if it has one: a serialized TensorProto, or a .npy file.
    """

    key: str
    name: str
    dtype: str
    shape: tuple[int | None, ...] | None
    default: bytes | None = None

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} {show_shape(self.shape)}"


@dataclass(frozen=True)
class Signature:
    """The tensors that a model is fed, and those that are fetched from it.

    Clients of TensorFlow Serving name the signature by its key.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    key: str = field(default=SERVING_DEFAULT, compare=False, kw_only=True)  # of the SignatureDef
    method: str = field(default=PREDICT_METHOD, compare=False, kw_only=True)  # of the SignatureDef: its method_name


def show_shape(shape: Sequence[int | None] | None) -> str:
    """`[None, 10]` as TensorFlow writes it; `unknown` for unknown rank."""
    return "unknown" if shape is None else str(list(shape))


def explain_difference(found: Signature, wanted: Signature) -> str | None:
    """Why callers of one model cannot call another in its place; None if they can, whatever the names in the graph."""
    if (found.key, found.method) != (wanted.key, wanted.method):
        return f"expected the signature {wanted.key} ({wanted.method}), found {found.key} ({found.method})"
    for what, tensors, others in (("input", found.inputs, wanted.inputs), ("output", found.outputs, wanted.outputs)):
        has, expected = {tensor.key: tensor for tensor in tensors}, {tensor.key: tensor for tensor in others}
        if has.keys() != expected.keys():
            return f"expected the {what}s {', '.join(sorted(expected))}, found {', '.join(sorted(has))}"
        for key, tensor in expected.items():
            if _show_form(has[key]) != _show_form(tensor):
                return f"the {what} {key}: expected {_show_form(tensor)}, found {_show_form(has[key])}"
    return None


def _show_form(tensor: Tensor) -> str:
    return f"{tensor.dtype} {show_shape(tensor.shape)}{'' if tensor.default is None else ' with a default'}"


def make_signature(graph: Any, inputs: str, outputs: str, scope: str = "") -> Signature:
    """The Signature that `--inputs` and `--outputs` name in a tf.Graph, below `scope` if the graph was imported there.

    Raises UserError with the nearest names if there is no such tensor.
    """
    return Signature(
        tuple(_describe(key, _find(graph, name, scope)) for key, name in split_tensors(inputs)),
        tuple(_describe(key, _find(graph, name, scope)) for key, name in split_tensors(outputs)),
    )


def bind_signature(graph: Any, signature: Signature, scope: str = "") -> Signature:
    """The same tensors in a tf.Graph, below `scope`, with the dtypes and shapes that the import inferred."""

    def look_up(tensors: Iterable[Tensor]) -> tuple[Tensor, ...]:
        return tuple(
            replace(_describe(tensor.key, _find(graph, tensor.name, scope)), default=tensor.default)
            for tensor in tensors
        )

    return replace(signature, inputs=look_up(signature.inputs), outputs=look_up(signature.outputs))


def list_signature_defs(meta_graph: Any) -> dict[str, Any]:
    """The MetaGraphDef's SignatureDefs by key, without those that only name an op which a loader runs."""
    return {key: meta_graph.signature_def[key] for key in sorted(meta_graph.signature_def) if key not in _NO_SIGNATURES}


def choose_signature_def(meta_graph: Any, key: str | None = None) -> Any:
    """A MetaGraphDef's SignatureDef, by the key that `choose_signature_key` returns. Raises UserError."""
    return list_signature_defs(meta_graph)[choose_signature_key(meta_graph, key)]


def choose_signature_key(meta_graph: Any, key: str | None = None) -> str:
    """The key of a MetaGraphDef's SignatureDef: this one; by default the only one, else serving_default.

    Raises UserError if it has none, or none with this key.
    """
    known = list_signature_defs(meta_graph)
    if not known:
        raise UserError(
            "the SavedModel has no signature; found no function to call; save it again with one: "
            "tf.saved_model.save(model, folder, signatures=function)"
        )
    if key is None:
        usual = _HUB_DEFAULT if _HUB_DEFAULT in known and SERVING_DEFAULT not in known else SERVING_DEFAULT
        key = next(iter(known)) if len(known) == 1 else usual
    if key not in known:
        listed = list_known(key, sorted(known))
        raise UserError(f"the SavedModel has no signature {key}; it has {listed}; choose with --signature")
    return key


def read_signature_def(signature_def: Any, key: str = SERVING_DEFAULT) -> Signature:
    """The Signature that a SignatureDef records; `key` is that of the SignatureDef."""
    defaults = {key: value.SerializeToString() for key, value in signature_def.defaults.items()}
    inputs = (replace(tensor, default=defaults.get(tensor.key)) for tensor in _recorded(signature_def.inputs))
    method = signature_def.method_name or PREDICT_METHOD
    return Signature(tuple(inputs), _recorded(signature_def.outputs), key=key, method=method)


def build_signature_def(graph: Any, signature: Signature) -> Any:
    """The SignatureDef for the predict method, as SavedModels hold it."""

    def infos(tensors: Iterable[Tensor]) -> dict[str, Any]:
        return {t.key: tf1.saved_model.build_tensor_info(graph.get_tensor_by_name(t.name)) for t in tensors}

    built = tf1.saved_model.build_signature_def(
        infos(signature.inputs), infos(signature.outputs), tf1.saved_model.signature_constants.PREDICT_METHOD_NAME
    )
    for tensor in signature.inputs:
        if tensor.default is not None:
            built.defaults[tensor.key].ParseFromString(tensor.default)
    return built


def _find(graph: Any, name: str, scope: str) -> Any:
    below = f"{scope}/" if scope else ""
    try:
        return graph.get_tensor_by_name(f"{below}{name}")
    except (KeyError, ValueError):
        known = [tensor.name.removeprefix(below) for op in graph.get_operations() for tensor in op.outputs]
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"the nearest are {', '.join(near)}" if near else f"none of its {len(known)} tensors has a similar name"
        raise UserError(f"no tensor {name} in the graph; {hint}") from None


def _describe(key: str, tensor: Any) -> Tensor:
    shape = None if tensor.shape.rank is None else tuple(tensor.shape.as_list())
    return Tensor(key, tensor.name, tensor.dtype.base_dtype.name, shape)


def _recorded(infos: Mapping[str, Any]) -> tuple[Tensor, ...]:
    def shape(info: Any) -> tuple[int | None, ...] | None:
        if info.tensor_shape.unknown_rank:
            return None
        return tuple(None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim)

    def name(text: str) -> str:
        op, _, output = text.partition(":")
        if not op or op.startswith("^") or not (output or "0").isdecimal():
            raise UserError(f"the signature is damaged; {text!r} is no name of a tensor; name --inputs and --outputs")
        return f"{op}:{output or 0}"

    def parts(key: str, info: Any) -> Iterator[Tensor]:
        if info.HasField("coo_sparse"):  # three tensors under one key
            sparse, dtype = info.coo_sparse, get_dtype_name(info.dtype)
            yield Tensor(f"{key}/indices", name(sparse.indices_tensor_name), "int64", (None, None))
            yield Tensor(f"{key}/values", name(sparse.values_tensor_name), dtype, (None,))
            yield Tensor(f"{key}/dense_shape", name(sparse.dense_shape_tensor_name), "int64", (None,))
        elif info.HasField("composite_tensor"):
            for number, component in enumerate(info.composite_tensor.components):
                yield from parts(f"{key}/{number}", component)
        else:
            yield Tensor(key, name(info.name), get_dtype_name(info.dtype), shape(info))

    # A protobuf map has no fixed order; sorted, it is the same in every run.
    return tuple(tensor for key, info in sorted(infos.items()) for tensor in parts(key, info))


def split_tensors(text: str) -> list[tuple[str, str]]:
    """The (key, tensor name) pairs of `--inputs` or `--outputs`: `NAME` or `KEY=NAME`, comma separated.

    `:0` may be left out. Without KEY, the key is the name without `:0`. Raises ValueError.
    """
    pairs: list[tuple[str, str]] = []
    for item in text.split(",") if text.strip() else ():
        key, equals, name = item.strip().rpartition("=")
        op, colon, index = name.removeprefix("^").partition(":")
        if not op or (equals and not key) or (colon and not index.isdecimal()):
            raise ValueError(f"expected NAME or KEY=NAME, comma separated, got {item!r} in {text!r}")
        pairs.append((key or name.removesuffix(":0"), f"{op}:{index or 0}"))
    keys = [key for key, _ in pairs]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise ValueError(f"two tensors have the key {twice} in {text!r}; give them different ones with KEY=NAME")
    return pairs
