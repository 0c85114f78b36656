"""The limits of a server: sizes, times, and how it runs rows. The defaults are those of the flags."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Settings:
    """The limits of one server. Seconds, rows, megabytes (10^6 bytes)."""

    max_body_mb: int = 32
    max_rows: int = 4096
    timeout: float = 30.0
    body_timeout: float = 30.0
    idle_timeout: float = 75.0  # balancers keep idle connections for 60 s
    max_in_flight: int = 128
    nonfinite: str = "error"
    nonfinite_inputs: str = "error"
    log_format: str = "none"
    max_batch_size: int | None = None  # None: measured at the start; 1: no batches
    batch_timeout_ms: float = 0.0  # 0: the requests that arrive during one batch are the next
    model_name: str | None = None  # in the URLs of /v1 and /v2; None: by the model's path
    model_label: str | None = None  # of the version, in the URLs of /v1
    path_prefix: str = ""
    trust_proxy: int = 0
    cors_origin: str = ""  # origins, comma separated, or *
    metrics_folder: str | None = None  # shared by the workers of one server, to add up their metrics
    labels: tuple[str, ...] = ()  # the names of the classes, for the page
    sample: str = ""  # a picture for the page, as a data: URL


CROWDED_TIMEOUT = 2.0  # seconds for a body, while as many bodies are read as requests may be in flight
_NO_FLAGS = ("metrics_folder", "labels", "sample")
LIMITS = {field.name: field.default for field in fields(Settings) if field.name not in _NO_FLAGS}
VERSIONS = {"keep_versions": 1}  # of a model, that are loaded
# `grace` in seconds; without a `grpc_port` there is no gRPC.
ADDRESS = {"host": "127.0.0.1", "port": 5000, "grpc_port": None, "workers": 1, "grace": 30.0}
