"""The embedded store: a write-ahead log, a memory, Parquet files. One process writes, any number read."""

from backend.telemetry.store.chunks import NODE_WIDE, Chunk
from backend.telemetry.store.reader import Memory, StoreReader
from backend.telemetry.store.recovered import Recovered
from backend.telemetry.store.upkeep import maintain
from backend.telemetry.store.wal import Batch, Block, JobFacts
from backend.telemetry.store.writer import Keeping, Store, StoreBusy

__all__ = [
    "NODE_WIDE", "Batch", "Block", "Chunk", "JobFacts", "Keeping", "Memory", "Recovered", "Store", "StoreBusy",
    "StoreReader", "maintain",
]  # fmt: skip
