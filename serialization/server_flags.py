"""The flags of the server alone, each with its type and its help; flags.py has those that scripts share."""

from __future__ import annotations

from typing import Any

from serialization.flag_types import (
    parse_model_name,
    parse_named_path,
    parse_number,
    parse_origins,
    parse_path_prefix,
    parse_whole_number,
    parse_word,
)

SERVER_FLAGS: dict[str, dict[str, Any]] = {
    "host": {"type": parse_word, "metavar": "ADDRESS", "help": "the address to listen on"},
    "port": {
        "type": parse_whole_number(0, 65535),
        "metavar": "PORT",
        "help": "the port to listen on; 0 takes a free one",
    },
    "grpc-port": {
        "type": parse_whole_number(0, 65535),
        "metavar": "PORT",
        "help": "the port to listen on for gRPC, too; 0 takes a free one",
    },
    "workers": {
        "type": parse_whole_number(1),
        "metavar": "N",
        "help": "answer from N processes, each with the model loaded",
    },
    "max-body-mb": {
        "type": parse_whole_number(1),
        "metavar": "N",
        "help": "the longest body accepted, in megabytes",
    },
    "max-rows": {"type": parse_whole_number(1), "metavar": "N", "help": "the most rows accepted in one request"},
    "max-in-flight": {
        "type": parse_whole_number(1),
        "metavar": "N",
        "help": "requests answered at once by a worker; more get 503",
    },
    "timeout": {"type": parse_number(0.01), "metavar": "SECONDS", "help": "a run that takes longer is cancelled"},
    "body-timeout": {
        "type": parse_number(0.01),
        "metavar": "SECONDS",
        "help": "the time that a client has to send the body of its request",
    },
    "idle-timeout": {
        "type": parse_number(0.01),
        "metavar": "SECONDS",
        "help": "how long a connection stays open without a request; more than the proxy in front keeps it",
    },
    "grace": {
        "type": parse_number(0.01),
        "metavar": "SECONDS",
        "help": "the time that requests in flight have to finish when the server ends",
    },
    "nonfinite": {"choices": ("error", "null", "string"), "help": "what NaN and Infinity become in an answer"},
    "nonfinite-inputs": {
        "choices": ("error", "allow"),
        "help": "whether NaN and Infinity are accepted in a request, and null as NaN",
    },
    "max-batch-size": {
        "type": parse_whole_number(1),
        "metavar": "N",
        "help": "run up to N rows of several requests at once, 1 for none (default: measured at the start)",
    },
    "batch-timeout-ms": {"type": parse_number(0), "metavar": "MS", "help": "how long a batch waits for more rows"},
    "model": {
        "type": parse_named_path,
        "action": "append",
        "metavar": "NAME=PATH",
        "help": "a model of any kind but Keras, by its name in URLs; repeatable; the first answers at /api/predict, "
        "each at /api/predict/NAME",
    },
    "watch": {
        "action": "store_true",
        "help": "look each second for a new version of the model, or a changed file, and serve it",
    },
    "keep-versions": {
        "type": parse_whole_number(1),
        "metavar": "N",
        "help": "load the N newest versions in a folder of versions: /v1 and /v2 answer for each, by its number",
    },
    "model-name": {
        "type": parse_model_name,
        "metavar": "NAME",
        "help": "the model's name in the URLs of TensorFlow Serving and KServe V2 (default: from its path)",
    },
    "model-label": {
        "type": parse_model_name,
        "metavar": "LABEL",
        "help": "the label of the version in the URLs of TensorFlow Serving",
    },
    "path-prefix": {
        "type": parse_path_prefix,
        "metavar": "/PATH",
        "help": "what the paths of requests begin with, where the proxy in front does not take it off",
    },
    "trust-proxy": {
        "type": parse_whole_number(0, 100),
        "metavar": "N",
        "help": "take the client's address in the log from the Nth last of X-Forwarded-For: N proxies add to it",
    },
    "cors-origin": {
        "type": parse_origins,
        "metavar": "ORIGINS",
        "help": "pages of these origins, comma separated, or of all, *, may send requests from a browser",
    },
    "log-format": {"choices": ("none", "text", "json"), "help": "a line on stdout for each request"},
}
