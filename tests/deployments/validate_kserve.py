"""Checks a file of KServe's resources against the models of its Python library, in the environment of that library.

    python validate_kserve.py FILE

It prints the resources as JSON. The library itself ignores fields that it does not know; here they raise ValueError.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import kserve.models
import kubernetes.client.models
import yaml

PLAIN: dict[str, Any] = {
    "str": str,
    "int": int,
    "bool": bool,
    "float": (int, float),
    "object": object,
    "ResourceQuantity": (str, int),
}


def check(value: Any, kind: str, place: str) -> None:
    """Raise ValueError, with its place, for a value that is not of a kind: as `openapi_types` names kinds."""
    if found := re.fullmatch(r"[Ll]ist\[(.*)\]", kind):
        require(isinstance(value, list), value, "a list", place)
        for i, element in enumerate(value):
            check(element, found[1], f"{place}[{i}]")
    elif found := re.fullmatch(r"[Dd]ict[(\[]str, (.*)[)\]]", kind):
        require(isinstance(value, dict), value, "a map", place)
        for key, element in value.items():
            check(element, found[1], f"{place}.{key}")
    elif kind in PLAIN:
        require(isinstance(value, PLAIN[kind]) and (kind == "bool" or value is not True), value, kind, place)
    else:
        model = getattr(kserve.models, kind, None) or getattr(kubernetes.client.models, kind)
        require(isinstance(value, dict), value, kind, place)
        names = {json_name: name for name, json_name in model.attribute_map.items()}
        for key, element in value.items():
            require(key in names, key, f"one of {', '.join(names)}", place)
            check(element, model.openapi_types[names[key]], f"{place}.{key}")
        model(**{names[key]: element for key, element in value.items()})  # raises ValueError for what is missing


def require(holds: bool, found: object, expected: str, place: str) -> None:
    if not holds:
        raise ValueError(f"{place}: found {found!r}, expected {expected}")


resources = list(yaml.safe_load_all(Path(sys.argv[1]).read_text()))
for resource in resources:
    group, version = resource["apiVersion"].split("/")
    assert group == "serving.kserve.io"
    check(resource, f"V{version.removeprefix('v')}{resource['kind']}", resource["kind"])
print(json.dumps(resources))
