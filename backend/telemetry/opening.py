"""Which telemetry the settings name."""

from __future__ import annotations

from backend.telemetry.model import Telemetry
from backend.telemetry.store import Recovered, StoreReader
from config import Settings


def open_telemetry(settings: Settings) -> Telemetry:
    """What pages ask. Never fails: what can't be read is told by its state."""
    folder = settings.instance.data_dir / "telemetry"
    return StoreReader(folder, Recovered(folder))
