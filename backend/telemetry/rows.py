"""What was measured of a job as one table: a row a time and device, a column a metric. For files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from backend.telemetry.model import Device, JobRef, Telemetry

BATCH_ROWS = 16_384


def wide_schema(devices: Sequence[Device]) -> pa.Schema:
    """`time_s`, `node`, `device`, then every metric that any of the devices has."""
    names = list(dict.fromkeys(name for each in devices for name in each.metrics))
    return pa.schema(
        [("time_s", pa.float64()), ("node", pa.string()), ("device", pa.string())]
        + [(name, pa.float64()) for name in names]
    )


def wide_rows(
    telemetry: Telemetry,
    job: JobRef,
    devices: Sequence[Device],
    *,
    since_s: float | None = None,
    until_s: float | None = None,
) -> Iterator[pa.RecordBatch]:
    """Batches of `wide_schema(devices)`: node by node, device by device, in order of time; null where a metric was not
    measured at a time. No more than one device is in memory. Raises TelemetryUnusable."""
    schema = wide_schema(devices)
    for device, table in telemetry.samples(job, devices, since_s=since_s, until_s=until_s):
        columns = {name: table[name] for name in table.column_names}
        columns |= {name: pa.repeat(getattr(device, name), table.num_rows) for name in ("node", "device")}
        arrays = [columns.get(name, pa.nulls(table.num_rows, schema.field(name).type)) for name in schema.names]
        yield from pa.table(arrays, schema=schema).to_batches(max_chunksize=BATCH_ROWS)
