"""The flags of all scripts, each with its type and its help, and the tuples of flags that scripts take together."""

from __future__ import annotations

from typing import Any

from serialization.flag_types import (
    parse_batch_size,
    parse_file,
    parse_input_shape,
    parse_key_renaming,
    parse_new_file,
    parse_numbers,
    parse_predictions_file,
    parse_renaming,
    parse_tags,
    parse_tensors,
    parse_whole_number,
    parse_word,
)
from serialization.project import parse_path
from serialization.run.given_feeds import parse_feed, parse_pin
from serialization.server_flags import SERVER_FLAGS

# One vocabulary for all scripts: a flag that is spelt the same means the same. `--help` shows the flags of a script in
# these groups and in this order.
FLAG_GROUPS: dict[str, dict[str, dict[str, Any]]] = {
    "model": {
        "checkpoint": {
            "type": parse_file,
            "metavar": "PREFIX",
            "help": "a checkpoint: its prefix, any of its files, or its folder",
        },
        "graph": {
            "type": parse_file,
            "metavar": "FILE",
            "help": "where the graph is, if not PREFIX.meta: a MetaGraphDef or GraphDef, binary or text",
        },
        "rename": {
            "type": parse_renaming,
            "action": "append",
            "metavar": "OLD=NEW",
            "help": "the checkpoint's variable or scope OLD is NEW in the graph, or in what is written; repeatable",
        },
        "partial": {
            "action": "store_true",
            "help": "go on if the checkpoint lacks variables that no output needs",
        },
        "ema": {
            "action": "store_true",
            "help": "take the moving averages of the variables in place of their raw values",
        },
        "no-slots": {
            "action": "store_true",
            "help": "leave out what only an optimizer needs: its slots, such as Adam's, and its powers of beta",
        },
        "frozen-model": {
            "type": parse_file,
            "metavar": "FILE",
            "help": "a frozen GraphDef; read binary or text, written binary",
        },
        "saved-model": {"type": parse_path, "metavar": "DIR", "help": "a SavedModel to read"},
        "keras": {
            "type": parse_file,
            "metavar": "FILE",
            "help": "a Keras model: a .keras or .h5 file, the JSON of its layers, or the folder of one of these",
        },
        "onnx": {"type": parse_file, "metavar": "FILE", "help": "an ONNX model to read or to write"},
        "tflite": {
            "type": parse_file,
            "metavar": "FILE",
            "help": "a LiteRT (TensorFlow Lite) model to read or to write",
        },
        "weights": {
            "type": parse_file,
            "metavar": "FILE",
            "help": "the weights, if --keras names the JSON of the layers: an HDF5 file or the prefix of a checkpoint",
        },
        "custom-objects": {
            "type": parse_file,
            "metavar": "FILE.py",
            "help": "your own Python file that defines the classes which the Keras model needs; it is run",
        },
        "tag-set": {
            "type": parse_tags,
            "metavar": "TAGS",
            "help": "the MetaGraphDef to take from the SavedModel, by its tags, comma separated; '' is the one without",
        },
        "signature": {
            "type": parse_word,
            "metavar": "KEY",
            "help": "the SignatureDef to take from the SavedModel; repeatable where several are taken",
        },
        "op-library": {
            "type": parse_file,
            "metavar": "FILE.so",
            "help": "a library that registers ops which TensorFlow lacks",
        },
    },
    "inputs and outputs": {
        "inputs": {
            "type": parse_tensors,
            "metavar": "TENSORS",
            "help": "tensors to feed: NAME or KEY=NAME, comma separated",
        },
        "outputs": {
            "type": parse_tensors,
            "metavar": "TENSORS",
            "help": "tensors to fetch: NAME or KEY=NAME, comma separated",
        },
        "feed": {
            "type": parse_feed,
            "action": "append",
            "metavar": "KEY=VALUE",
            "help": "a value to run with: JSON, or @file.npy, @file.npz, @file.json; repeatable",
        },
        "pin": {
            "type": parse_pin,
            "action": "append",
            "metavar": "NAME=VALUE",
            "help": "fix an input to a value, as --feed takes it, and fold what follows from that; repeatable",
        },
        "no-dropout": {
            "action": "store_true",
            "help": "make an identity of each dropout layer that drops out at inference",
        },
        "input-shape": {
            "type": parse_input_shape,
            "action": "append",
            "metavar": "NAME=SHAPE",
            "help": "the shape of an input, such as x=[None,224,224,3]; repeatable",
        },
        "batch-size": {
            "type": parse_batch_size,
            "metavar": "N|any",
            "help": "the first size of each input: any, or this one",
        },
        "image": {"type": parse_file, "nargs": "+", "metavar": "FILE", "help": "PNG or JPEG files to classify"},
        "labels": {"type": parse_file, "metavar": "FILE", "help": "the names of the classes, one a line"},
        "mean": {
            "type": parse_numbers(),
            "metavar": "NUMBERS",
            "help": "subtracted from the pixels: one number, or one for each channel",
        },
        "std": {
            "type": parse_numbers(nonzero=True),
            "metavar": "NUMBERS",
            "help": "divides the pixels after --mean: one number, or one for each channel",
        },
        "top": {"type": parse_whole_number(1), "metavar": "N", "help": "how many labels to show for each image"},
    },
    "proof": {
        "no-verify": {"action": "store_true", "help": "publish without comparing the result with its source"},
    },
    "safety": {
        "trust-model": {
            "action": "store_true",
            "help": "load the model although the safety scan refuses it (still confined)",
        },
        "allow-read": {
            "type": parse_path,
            "action": "append",
            "metavar": "PATH",
            "help": "a file, or a folder with all in it, that the confined process may read too; repeatable",
        },
        "unconfined": {"action": "store_true", "help": "do not confine the process that loads the model"},
        "strict": {
            "action": "store_true",
            "help": "exit with status 1 if there are faults, or ops that are unknown, unsafe or without a kernel",
        },
    },
    "what is written": {
        "save": {
            "type": parse_predictions_file,
            "metavar": "FILE",
            "help": "keep the predictions, whole: .npz, .npy (of one output) or .json",
        },
        "export-dir": {"type": parse_path, "metavar": "DIR", "help": "a SavedModel to write"},
        "out": {
            "type": parse_file,
            "metavar": "PATH",
            "help": "what is written: a checkpoint's prefix, a frozen model, or the folder of a SavedModel",
        },
        "rename-signature": {
            "type": parse_key_renaming,
            "action": "append",
            "metavar": "OLD=NEW",
            "help": "the key of a signature; repeatable",
        },
        "rename-input": {
            "type": parse_key_renaming,
            "action": "append",
            "metavar": "OLD=NEW",
            "help": "the key of an input, in each signature that has it; SIGNATURE:OLD is one alone; repeatable",
        },
        "rename-output": {
            "type": parse_key_renaming,
            "action": "append",
            "metavar": "OLD=NEW",
            "help": "the key of an output, in each signature that has it; SIGNATURE:OLD is one alone; repeatable",
        },
        "new-signature": {
            "type": parse_word,
            "metavar": "KEY",
            "help": "the key of the signature that --inputs and --outputs make",
        },
        "new-tag-set": {"type": parse_tags, "metavar": "TAGS", "help": "the tags of the MetaGraphDef that is written"},
        "method": {
            "choices": ("predict", "classify", "regress"),
            "help": "the method of TensorFlow Serving that calls the signatures",
        },
        "object-based": {
            "action": "store_true",
            "help": "write the variables for tf.train.Checkpoint, too, to a prefix with -object in its name",
        },
        "opset": {
            "type": parse_whole_number(9, 18),
            "metavar": "N",
            "help": "the version of ONNX's ops that the model is written in",
        },
        "quantize": {
            "choices": ("dynamic", "float16", "int8"),
            "help": "store smaller numbers: int8 weights, float16 weights, or int8 throughout",
        },
        "calibrate": {
            "type": parse_feed,
            "action": "append",
            "metavar": "KEY=VALUE",
            "help": "rows that are typical, for --quantize int8: as --feed takes them; repeatable",
        },
        "overwrite": {
            "action": "store_true",
            "help": "replace existing output (defaults under results/ are always replaced)",
        },
        "tensorboard": {
            "type": parse_path,
            "metavar": "DIR",
            "help": "write the graph into this folder as an event file",
        },
        "dot": {
            "type": parse_new_file,
            "metavar": "FILE",
            "help": "write a Graphviz picture of the graph, folded by scope",
        },
        "json": {"action": "store_true", "help": "print one JSON object instead (docs/model_inspect.md is its schema)"},
        "tensor": {"type": parse_word, "metavar": "NAME", "help": "print this variable of the checkpoint, whole"},
    },
    "training": {
        "epochs": {"type": parse_whole_number(1), "metavar": "N", "help": "train until N epochs are done"},
        "seed": {
            "type": parse_whole_number(0),
            "metavar": "N",
            "help": "seed of the initial weights and of the training data",
        },
        "resume": {"action": "store_true", "help": "go on from the checkpoint instead of from new weights"},
        "shards": {
            "type": parse_whole_number(1),
            "metavar": "N",
            "help": "spread the variables over N devices, so over N data files",
        },
        "samples": {"action": "store_true", "help": "write the sample images and the labels, and train nothing"},
        "data": {"type": parse_path, "metavar": "DIR", "help": "the folder of the data set"},
    },
    "server": SERVER_FLAGS,
}
FLAGS = {flag: options for flags in FLAG_GROUPS.values() for flag, options in flags.items()}

# Flags that go together in every script.
CHECKPOINT_FLAGS = ("graph", "rename", "partial", "ema")
SAVED_MODEL_FLAGS = ("tag-set", "signature")
KERAS_FLAGS = ("weights", "custom-objects")
# Beside --checkpoint and its default.
SOURCE_FLAGS = ("saved-model", "keras", *CHECKPOINT_FLAGS, *SAVED_MODEL_FLAGS, *KERAS_FLAGS)
CONFINEMENT_FLAGS = ("allow-read", "unconfined")
MODEL_FLAGS = ("inputs", "outputs", "op-library", "trust-model")
LOAD_FLAGS = (*MODEL_FLAGS, *CONFINEMENT_FLAGS)
RUN_FLAGS = (*LOAD_FLAGS, "feed")
RESULT_FLAGS = tuple(flag for flag in RUN_FLAGS if flag not in ("inputs", "outputs"))  # a result records these two
EDIT_FLAGS = ("pin", "no-dropout", "input-shape", "batch-size")
SAVE_FLAGS = ("save", "overwrite")
CONVERSION_FLAGS = (*RUN_FLAGS, "overwrite", "no-verify")
