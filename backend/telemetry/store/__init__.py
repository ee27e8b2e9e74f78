"""The embedded store: a write-ahead log, a memory, Parquet files. One process writes, any number read."""

from backend.telemetry.footprints import Tally
from backend.telemetry.store.chunks import Chunk
from backend.telemetry.store.files import chunk_table, from_table
from backend.telemetry.store.live import footprint_table
from backend.telemetry.store.reader import Memory, StoreReader
from backend.telemetry.store.recovered import Recovered
from backend.telemetry.store.upkeep import maintain
from backend.telemetry.store.wal import Batch, Block, JobFacts
from backend.telemetry.store.writer import Keeping, OpenAttempt, Store, StoreBusy

__all__ = [
    "Batch", "Block", "Chunk", "JobFacts", "Keeping", "Memory", "OpenAttempt", "Recovered", "Store", "StoreBusy",
    "StoreReader", "Tally", "chunk_table", "footprint_table", "from_table", "maintain",
]  # fmt: skip
