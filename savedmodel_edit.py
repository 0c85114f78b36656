"""Rewrite a SavedModel: keep some of its signatures, rename their keys, sign other tensors, change tags and method.

Teaches tf.saved_model.load(folder).signatures beside tf.compat.v1.saved_model.load, and what each of them reads.

    python savedmodel_edit.py
    python savedmodel_edit.py --saved-model my/1 --signature serving_default --rename-output output_0=scores --out my/2
    python savedmodel_edit.py --saved-model my/1 --inputs x=h:0 --outputs y=softmax:0 --new-signature from_h
    python savedmodel_edit.py --saved-model my/1 --rename-input examples=inputs --method classify --new-tag-set serve

Without flags it calls the input of the ResNet image, and its output probabilities scores.
Without --out, a model of your own called NAME becomes results/NAME, which --overwrite alone replaces.
--signature names the signatures that are kept, by their old keys; without it all are. --inputs and --outputs add one,
of any tensors of the graph. --method is what TensorFlow Serving calls the signatures by; classify and regress have
rules for keys, dtypes and shapes, which are checked.

A signature is recorded twice. TensorFlow 1 and TensorFlow Serving read the SignatureDefs of a MetaGraphDef, which name
tensors of its graph. TensorFlow 2 reads the functions of an object graph, where it wrote one. Both are edited in the
protobuf: the graph, the functions and the objects that were there stay as they are, so older versions of TensorFlow
still load the result. A SavedModel that is loaded and saved again has new ones. Only a signature with other keys or
tensors gets a new function. Variables, assets and extra files are copied.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from savedmodel_pretrained import load, open_saved_model
from serialization import cli, project
from serialization.console import list_export, print_export, print_notes, print_table
from serialization.files.locate import find_saved_model
from serialization.files.publish import stage_output
from serialization.flags import CONVERSION_FLAGS, SAVED_MODEL_FLAGS
from serialization.given_flags import name_target, select_values
from serialization.graph.op_registry import load_op_library
from serialization.graph.signature import SERVING_DEFAULT, build_signature_def
from serialization.parser import make_parser
from serialization.run.differences import OPTIMIZED
from serialization.run.given_feeds import Feed, share_feeds
from serialization.run.predictor import Predictor, Run
from serialization.run.verify import NOT_VERIFIED, prove_same
from serialization.sources import from_saved_model
from serialization.sources.from_saved_model import prepare_saved_model
from serialization.sources.meta_graph_choice import choose_meta_graph
from serialization.sources.private_copy import PreparedSavedModel
from serialization.targets.edited_saved_model import edit_signature_defs, write_saved_model
from serialization.targets.edited_signatures import (
    EditedSignature,
    describe_signature,
    prepare_source,
    read_signatures,
)
from serialization.tensorflow import explain_failures, format_reason, np, quiet, tf

RESNET_KEYS = {"rename_input": [("input", "image")], "rename_output": [("probabilities", "scores")]}


def load_objects(folder: Path) -> Any:
    """The objects of a SavedModel as TensorFlow 2 loads them, and `signatures`, a function for each key."""
    with quiet():  # by now a confined process may write temporary files
        link = TemporaryDirectory(prefix="model-")  # whose name TensorFlow takes for no pattern
        (Path(link.name) / "1").symlink_to(folder.absolute(), target_is_directory=True)
        loaded = tf.saved_model.load(f"{link.name}/1")
    weakref.finalize(loaded, link.cleanup)  # its functions may read assets
    return loaded


def load_function(folder: Path, key: str) -> Run:
    """A signature as TensorFlow 2 calls it: a function of tensors by their keys."""
    loaded = load_objects(folder)
    function = loaded.signatures[key]
    specs = function.structured_input_signature[1]

    def run(values: Mapping[str, Any]) -> dict[str, Any]:
        assert loaded is not None  # the function does not keep its variables
        fed = {name: tf.constant(value, specs[name].dtype) for name, value in values.items()}
        found = {name: value.numpy() for name, value in sorted(function(**fed).items())}
        return {n: np.array(v, dtype=object) if isinstance(v, bytes) else v for n, v in found.items()}

    return run


def sign_tensors(prepared: PreparedSavedModel) -> Any:
    """The SignatureDef of tensors of the graph, whose dtypes and shapes are known where it is loaded."""
    with closing(open_saved_model(prepared).session) as session, session.graph.as_default():
        return build_signature_def(session.graph, prepared.signature)


def prove(
    one: EditedSignature, before: PreparedSavedModel, whole: Path, after: PreparedSavedModel, given: Sequence[Feed]
) -> str:
    """Compare a signature of the result with the source, as TensorFlow 1 loads both and as TensorFlow 2 does.

    `before` and `after` are source and result as the first loads them, `whole` is the folder of the source for the
    second.
    """
    origin = open_saved_model(before)
    with closing(origin.session):  # `with origin.session` would make its graph the default one
        first = prove_same(origin, lambda optimize: Predictor(*load(after, optimize=optimize)), given)
        if not one.is_plain:
            return f"{first}\nnot compared by tf.saved_model.load, which takes sparse and ragged tensors whole"
        source, call = one.source, origin.predict
        try:
            if source is None:
                load_objects(whole)
            else:
                call = one.rename_run(load_function(whole, source))
        except Exception as error:  # TensorFlow 2 loads fewer models; whatever it raises says why
            return f"{first}\nnot compared by tf.saved_model.load, which refuses the source: {format_reason(error)}"
        if origin.repeat is not None and source is not None:  # a run changes its variables
            call = one.rename_run(lambda values: load_function(whole, source)(values))
        functions = replace(origin, predict=call)
        with explain_failures("the result cannot be loaded by tf.saved_model.load"):
            # The optimizers of TensorFlow 2 see a new function otherwise than the graph, or the old function.
            tolerance = OPTIMIZED if source is None or one.is_rekeyed else None
            result = lambda _: nullcontext(load_function(after.folder, one.key))  # noqa: E731
            second = prove_same(functions, result, given, tolerance=tolerance)
    same = first.splitlines()[0] == second.splitlines()[0]
    return f"{first}; by tf.saved_model.load too" if same else f"{first}\nby tf.saved_model.load: {second}"


def main(argv: Sequence[str] | None = None) -> int:
    saved_model, out = project.PRETRAINED / "1", project.RESULTS / "edited"
    renames = ("rename-signature", "rename-input", "rename-output", "new-tag-set", "method")
    flags = (*SAVED_MODEL_FLAGS, *renames, *CONVERSION_FLAGS)
    defaults = {"saved_model": saved_model, "out": out, "new_signature": SERVING_DEFAULT}
    parser = make_parser(__doc__, *flags, repeatable=["signature"], **defaults)
    args = parser.parse_args(argv)
    name_target(parser, args, "out", "saved_model")
    if args.saved_model == saved_model and not any(
        select_values(args, "signature", "inputs", "outputs", *renames).values()
    ):
        vars(args).update(RESNET_KEYS)

    with stage_output(args.out, overwrite=args.overwrite or args.out == out) as folder:
        load_op_library(args.op_library)
        found = find_saved_model(args.saved_model)
        graphs = from_saved_model.read_saved_model(found.file)
        whole = choose_meta_graph(graphs, args.tag_set).meta_graph
        edited = read_signatures(args, found, whole, sign_tensors)
        prepared = {one.key: prepare_source(args, found, one) for one in edited}
        print_notes(dict.fromkeys(note for one in prepared.values() for note in one.notes))
        write_saved_model(edit_signature_defs(whole, edited, args.new_tag_set), found, folder)
        proof = [NOT_VERIFIED]
        if not args.no_verify:
            # It goes with the staging folder.
            beside = folder.with_name("whole" if folder.name != "whole" else "source")
            copy = write_saved_model(whole, found, beside, link=True)
            with explain_failures("the result cannot be loaded"):
                result = find_saved_model(folder)
                after = [prepare_saved_model(result, None, one.key, trust=args.trust_model) for one in edited]
            feeds = share_feeds(args.feed or (), [one.signature for one in after])
            proof = [
                prove(one, prepared[one.key], copy, new, given)
                for one, new, given in zip(edited, after, feeds, strict=True)
            ]
        files = list_export(folder, args.out)
    print_table(("signature", "was", "method", "inputs", "outputs"), sorted(map(describe_signature, edited)))
    print_export(args.out, files, "\n".join(proof))
    return 0


if __name__ == "__main__":
    cli.run(main)
