"""What was measured of a job as one table: a row a time and device, a column a metric. For files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from backend.telemetry.model import Device, JobRef, Series, Telemetry

EVERY_POINT = 10**7  # as fine as it is kept


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
    measured at a time. Raises TelemetryUnusable."""
    schema = wide_schema(devices)
    metrics = schema.names[3:]
    for node in dict.fromkeys(each.node for each in devices):
        found = telemetry.series(
            job, metrics, since_s=since_s, until_s=until_s, points=EVERY_POINT, nodes=[node], resolution="raw"
        )
        by_device: dict[str, list[Series]] = {}
        for each in found:
            if each.times_s:
                by_device.setdefault(each.device, []).append(each)
        for device, lines in by_device.items():
            yield _batch(node, device, lines, schema)


def _batch(node: str, device: str, lines: Sequence[Series], schema: pa.Schema) -> pa.RecordBatch:
    times = np.unique(np.concatenate([np.asarray(each.times_s) for each in lines]))
    columns: dict[str, pa.Array] = {
        "time_s": pa.array(times),
        "node": pa.array([node] * times.size, pa.string()),
        "device": pa.array([device] * times.size, pa.string()),
    }
    for each in lines:
        values = np.full(times.size, np.nan)
        values[np.searchsorted(times, np.asarray(each.times_s))] = each.means
        columns[each.metric] = pa.array(values, from_pandas=True)  # NaN is null: not measured then
    arrays = [columns.get(name, pa.nulls(times.size, schema.field(name).type)) for name in schema.names]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
