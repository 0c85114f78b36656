"""What a server takes, waits for and says: the limits, each with the default that its flag has."""

from __future__ import annotations

from dataclasses import dataclass


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
    max_batch_size: int | None = None  # None: decided by measuring; 1: no batching
    batch_timeout_ms: float = 0.0  # what comes while a batch runs is the next one
    metrics_folder: str | None = None  # where the workers of one server add up their metrics
