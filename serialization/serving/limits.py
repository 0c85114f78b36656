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
    max_in_flight: int = 128
    nonfinite: str = "error"
    log_format: str = "none"
    max_batch_size: int | None = None  # None: measured at the start; 1: no batches
    batch_timeout_ms: float = 0.0  # 0: the requests that arrive during one batch are the next
    model_name: str | None = None  # in the URLs of /v1 and /v2; None: by the model's path
    model_label: str | None = None  # of the version, in the URLs of /v1
    metrics_folder: str | None = None  # shared by the workers of one server, to add up their metrics


LIMITS = {field.name: field.default for field in fields(Settings) if field.name != "metrics_folder"}
ADDRESS = {"host": "127.0.0.1", "port": 5000, "workers": 1, "grace": 30.0}  # `grace` in seconds
