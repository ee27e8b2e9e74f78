"""The accounts as Parquet files: written by one, read by many through DuckDB. Layout: docs/warehouse.md."""

from backend.accounting.warehouse.lock import WarehouseBusy
from backend.accounting.warehouse.manifest import ClusterState, JobsFile, WarehouseState, WarehouseUnusable
from backend.accounting.warehouse.reader import Reading, Warehouse
from backend.accounting.warehouse.writer import Upserted, Writer

__all__ = [
    "ClusterState",
    "JobsFile",
    "Reading",
    "Upserted",
    "Warehouse",
    "WarehouseBusy",
    "WarehouseState",
    "WarehouseUnusable",
    "Writer",
]
