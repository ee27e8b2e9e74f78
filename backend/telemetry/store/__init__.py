"""The embedded store: a write-ahead log, a memory, Parquet files. One process writes, any number read."""

from backend.telemetry.store.layout.chunks import Chunk
from backend.telemetry.store.layout.files import chunk_table, from_table
from backend.telemetry.store.layout.wal import BLOCK_WEIGHT, Batch, Block, JobFacts
from backend.telemetry.store.memory.footprints import Tally
from backend.telemetry.store.memory.live import footprint_table
from backend.telemetry.store.memory.recovered import Recovered
from backend.telemetry.store.reading.reader import Memory, StoreReader
from backend.telemetry.store.writing.upkeep import maintain
from backend.telemetry.store.writing.writer import Keeping, OpenAttempt, Store, StoreBusy

__all__ = [
    "BLOCK_WEIGHT", "Batch", "Block", "Chunk", "JobFacts", "Keeping", "Memory", "OpenAttempt", "Recovered", "Store",
    "StoreBusy", "StoreReader", "Tally", "chunk_table", "footprint_table", "from_table", "maintain",
]  # fmt: skip
