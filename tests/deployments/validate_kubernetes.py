"""Checks a file of Kubernetes' resources against its schemas, in the environment of kubernetes-validate.

    python validate_kubernetes.py FILE VERSION

It prints the resources as JSON. With a field that the schemas do not have, it raises.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import kubernetes_validate
import yaml

resources = list(yaml.safe_load_all(Path(sys.argv[1]).read_text()))
for resource in resources:
    kubernetes_validate.validate(resource, sys.argv[2], strict=True)
print(json.dumps(resources))
