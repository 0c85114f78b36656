"""Chooses the signatures of an edited SavedModel: those that are kept, their new keys, the method that calls them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from serialization.console import list_known, make_printable
from serialization.errors import UserError
from serialization.files.locate import SavedModelFolder
from serialization.formats import dtypes, protos
from serialization.formats.dtypes import get_dtype_name
from serialization.graph.signature import Signature, Tensor, choose_signature_def, list_signature_defs, show_shape
from serialization.run.predictor import Run, Values
from serialization.sources.from_saved_model import prepare_saved_model
from serialization.sources.private_copy import PreparedSavedModel

Renames = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class EditedSignature:
    """A signature of the result: its key there and its SignatureDef, and its key in the source, which may lack it.

    `inputs` and `outputs` have the new key for each key in the source.
    """

    source: str | None
    key: str
    definition: Any
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]

    @property
    def is_plain(self) -> bool:
        """Whether each key stands for one tensor, not for the parts of a sparse or a ragged one."""
        infos = (*self.definition.inputs.values(), *self.definition.outputs.values())
        return all(info.WhichOneof("encoding") == "name" for info in infos)

    @property
    def is_rekeyed(self) -> bool:
        """Whether an input or an output has another key than in the source."""
        return any(old != new for side in (self.inputs, self.outputs) for old, new in side.items())

    def rename(self, signature: Signature) -> Signature:
        """The signature as the source has it, with the keys of the result."""
        return Signature(_rename(signature.inputs, self.inputs), _rename(signature.outputs, self.outputs))

    def rename_run(self, run: Run) -> Run:
        """A function of the source, called by the keys of the result."""
        old = {new: key for key, new in self.inputs.items()}

        def call(values: Values) -> Values:
            answers = run({old[key]: value for key, value in values.items()})
            return {new: answers[old] for old, new in sorted(self.outputs.items(), key=lambda pair: pair[1])}

        return call


def read_signatures(
    args: argparse.Namespace, found: SavedModelFolder, whole: Any, sign: Callable[[PreparedSavedModel], Any]
) -> list[EditedSignature]:
    """The signatures of the result: those of the source that are kept, and the new one, as the flags ask.

    `sign` gives the SignatureDef of the tensors that --inputs and --outputs name.
    """
    if not (args.inputs or args.outputs or list_signature_defs(whole)):
        choose_signature_def(whole)  # which says that there is none
    renames = (args.rename_signature or (), args.rename_input or (), args.rename_output or ())
    edited = choose_signatures(whole, args.signature, *renames)
    if args.inputs or args.outputs:
        edited.append(make_new_signature(args.new_signature, sign(prepare_source(args, found, None)), edited))
    return [call_by(args.method, one) for one in edited] if args.method else edited


def prepare_source(
    args: argparse.Namespace, found: SavedModelFolder, one: EditedSignature | None
) -> PreparedSavedModel:
    """The source, read and scanned, with a signature by its keys in the result; with the new one for None."""
    if one is not None and one.source is not None:
        prepared = prepare_saved_model(found, args.tag_set, one.source, trust=args.trust_model)
        return replace(prepared, signature=one.rename(prepared.signature))
    key = args.signature[0] if args.signature and not args.signature[1:] else None
    return prepare_saved_model(found, args.tag_set, key, args.inputs, args.outputs, trust=args.trust_model)


def choose_signatures(
    meta_graph: Any,
    kept: Collection[str] | None,
    signatures: Renames = (),
    inputs: Renames = (),
    outputs: Renames = (),
) -> list[EditedSignature]:
    """The signatures of the MetaGraphDef that are kept, by default all, with the new keys that the flags give them.

    Raises UserError for a key that is not there, and for two that would be the same.
    """
    known = list_signature_defs(meta_graph)
    for key in kept or ():
        if key not in known:
            raise UserError(f"--signature {key}: the SavedModel has no such signature{_nearest(key, known)}")
    known = {key: known[key] for key in known if kept is None or key in kept}
    for old, new in signatures:
        if old not in known:
            raise UserError(f"--rename-signature {old}={new}: no signature of that key is kept{_nearest(old, known)}")
    new_keys = {key: dict(signatures).get(key, key) for key in known}
    _require_unique(new_keys, "signatures")
    sides = [
        _choose_keys({key: sorted(getattr(one, side)) for key, one in known.items()}, renames, side)
        for side, renames in (("inputs", inputs), ("outputs", outputs))
    ]
    return [_edit(key, new_keys[key], known[key], sides[0][key], sides[1][key]) for key in known]


def make_new_signature(key: str, definition: Any, others: Iterable[EditedSignature]) -> EditedSignature:
    """The signature that `--inputs` and `--outputs` make. Raises UserError if another one has its key."""
    if any(other.key == key for other in others):
        raise UserError(
            f"--inputs and --outputs make the signature {key}, and the SavedModel has one of that key; name another "
            "with --new-signature, or leave that one out: --signature names those that are kept"
        )
    same = ({name: name for name in side} for side in (definition.inputs, definition.outputs))
    return EditedSignature(None, key, definition, *same)


def call_by(method: str, one: EditedSignature) -> EditedSignature:
    """The signature with another method. Raises UserError if TensorFlow Serving would refuse it.

    What it demands: tensorflow_serving/servables/tensorflow/classifier.cc and regressor.cc.
    """
    definition = protos.SignatureDef()
    definition.CopyFrom(one.definition)
    definition.method_name = f"tensorflow/serving/{method}"
    wrong = next(_find_misfits(method, definition), "")
    if wrong:
        raise UserError(f"--method {method}: the signature {one.key} {wrong}")
    return replace(one, definition=definition)


def describe_signature(one: EditedSignature) -> tuple[str, ...]:
    """The cells of a table: the key, the key in the source, the method, the inputs, the outputs."""
    method = one.definition.method_name.rpartition("/")[2] or "none"
    sides = (", ".join(sorted(side)) or "none" for side in (one.definition.inputs, one.definition.outputs))
    return tuple(make_printable(cell) for cell in (one.key, one.source or "new", method, *sides))


def _find_misfits(method: str, definition: Any) -> Iterator[str]:
    """What in a signature does not fit its method, as the end of a sentence."""
    inputs, outputs = definition.inputs, definition.outputs
    if method == "predict":
        return
    if list(inputs) != ["inputs"]:
        yield f"needs one input, called inputs; found {_list(inputs)}; --rename-input gives it that key"
        return
    if inputs["inputs"].dtype != dtypes.STRING or _rank(inputs["inputs"]) not in (None, 1):
        found = _describe(inputs["inputs"])
        yield f"needs a list of serialized tf.Example as its input, string [None]; found {found}"
    if method == "regress":
        if list(outputs) != ["outputs"]:
            yield f"needs one output, called outputs; found {_list(outputs)}; --rename-output gives it that key"
            return
        last = outputs["outputs"].tensor_shape.dim[-1:]
        is_column = _rank(outputs["outputs"]) in (None, 1) or (len(last) == 1 and last[0].size in (-1, 1))
        if outputs["outputs"].dtype != dtypes.FLOAT or _rank(outputs["outputs"]) not in (None, 1, 2) or not is_column:
            found = _describe(outputs["outputs"])
            yield f"needs one number for each row as its output, float32 [None] or [None, 1]; found {found}"
        return
    wanted = {"classes": dtypes.STRING, "scores": dtypes.FLOAT}
    if not outputs or not set(outputs) <= wanted.keys():
        yield (
            f"needs an output called classes, one called scores, or both; found {_list(outputs)}; "
            "--rename-output gives them these keys"
        )
        return
    for key, info in sorted(outputs.items()):
        if info.dtype != wanted[key] or _rank(info) not in (None, 2):
            kind = get_dtype_name(wanted[key])
            yield f"needs {key} as {kind} [None, None], a row of classes for each example; found {_describe(info)}"


def _edit(key: str, new: str, definition: Any, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> Any:
    edited = protos.SignatureDef()
    edited.CopyFrom(definition)
    for side, keys in (("inputs", inputs), ("outputs", outputs), ("defaults", inputs)):
        getattr(edited, side).clear()
        for old, value in getattr(definition, side).items():
            getattr(edited, side)[keys[old]].CopyFrom(value)
    return EditedSignature(key, new, edited, inputs, outputs)


def _choose_keys(known: Mapping[str, Sequence[str]], renames: Renames, side: str) -> dict[str, dict[str, str]]:
    """The new keys of one side of the signatures, for each signature by the old ones."""
    chosen = {signature: {key: key for key in keys} for signature, keys in known.items()}
    flag = f"--rename-{side.removesuffix('s')}"
    for old, new in renames:
        hits = [(signature, old) for signature, keys in known.items() if old in keys]
        hits = hits or [(s, old.removeprefix(f"{s}:")) for s, keys in known.items() if old.startswith(f"{s}:")]
        hits = [(signature, key) for signature, key in hits if key in known[signature]]
        if not hits:
            keys = sorted({key for keys in known.values() for key in keys})
            signature, _, key = old.partition(":")
            if key in keys and signature not in known:
                listed = _list(known)
                raise UserError(f"{flag} {old}={new}: no signature that is kept was called {signature}; found {listed}")
            what = f"no signature that is kept has an {side.removesuffix('s')} of that key"
            raise UserError(f"{flag} {old}={new}: {what}{_nearest(old, keys)}")
        for signature, key in hits:
            chosen[signature][key] = new
    for signature, names in chosen.items():
        _require_unique(names, f"{side} of {signature}")
    return chosen


def _require_unique(keys: Mapping[str, str], what: str) -> None:
    for old, new in keys.items():
        if other := next((one for one in keys if one != old and keys[one] == new), None):
            both = make_printable(f"{old} and {other} would both be called {new}")
            raise UserError(f"{both}, among the {make_printable(what)}; give each a key of its own")


def _rename(tensors: Iterable[Tensor], keys: Mapping[str, str]) -> tuple[Tensor, ...]:
    """The tensors by their new keys; the parts of one that is sparse have its key before a slash."""

    def find(key: str) -> str:
        stem = key if key in keys else next((old for old in keys if key.startswith(f"{old}/")), key)
        return keys.get(stem, stem) + key.removeprefix(stem)

    return tuple(sorted((replace(tensor, key=find(tensor.key)) for tensor in tensors), key=lambda tensor: tensor.key))


def _nearest(key: str, known: Iterable[str]) -> str:
    return f"; it has {list_known(key, sorted(known))}"


def _list(keys: Iterable[str]) -> str:
    return make_printable(", ".join(sorted(keys))) or "none"


def _rank(info: Any) -> int | None:
    return None if info.tensor_shape.unknown_rank else len(info.tensor_shape.dim)


def _describe(info: Any) -> str:
    sizes = [None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim]
    return f"{get_dtype_name(info.dtype)} {show_shape(None if info.tensor_shape.unknown_rank else sizes)}"
