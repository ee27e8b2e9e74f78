"""A snapshot's figures as bytes: the answer itself, not its drawing, so that it is drawn by whatever draws then."""

from __future__ import annotations

import json
from dataclasses import asdict

import pyarrow as pa

from backend.accounting.usage import Answer, Question

KEY = b"carme.answer"


class NotFrozen(Exception):
    """The bytes are no snapshot."""


def freeze(answer: Answer) -> bytes:
    """Arrow IPC, ZSTD-compressed, with everything but the table as JSON in the schema's metadata."""
    said = {
        "question": asdict(answer.question),
        "totals": answer.totals,
        "methods": answer.methods,
        "notes": answer.notes,
        "as_of_s": answer.as_of_s,
        "generation": answer.generation,
    }
    table = answer.table.replace_schema_metadata({KEY: json.dumps(said).encode()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def thaw(data: bytes) -> Answer:
    """What `freeze` was given. Raises NotFrozen."""
    try:
        table = pa.ipc.open_stream(data).read_all()
        said = json.loads((table.schema.metadata or {})[KEY])
        asked = said["question"]
        question = Question(
            **{
                **asked,
                "metrics": tuple(asked["metrics"]),
                "by": tuple(asked["by"]),
                "where": tuple((key, tuple(values)) for key, values in asked["where"]),
            }
        )
        return Answer(
            question=question,
            table=table.replace_schema_metadata(None),
            totals=said["totals"],
            methods=said["methods"],
            notes=tuple(said["notes"]),
            as_of_s=said["as_of_s"],
            generation=said["generation"],
        )
    except (pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        raise NotFrozen(str(error)[:200]) from error
