"""What jobs do on their nodes: taken in from agents, kept, read again."""

from backend.telemetry.catalogue import BY_NAME, IDLE_GPU_PERCENT, METRICS, Metric
from backend.telemetry.model import (
    FOOTPRINTS,
    Device,
    JobRef,
    Kept,
    Series,
    Spark,
    Telemetry,
    TelemetryState,
    TelemetryUnusable,
)
from backend.telemetry.opening import open_telemetry

__all__ = [
    "BY_NAME", "FOOTPRINTS", "IDLE_GPU_PERCENT", "METRICS", "Device", "JobRef", "Kept", "Metric", "Series",
    "Spark", "Telemetry", "TelemetryState", "TelemetryUnusable", "open_telemetry",
]  # fmt: skip
