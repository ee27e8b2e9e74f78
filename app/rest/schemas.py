"""JSON Schemas made from the dataclasses and Arrow schemas that are answered with."""

from __future__ import annotations

import math
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pyarrow as pa

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
WHOLE: Schema = {"type": "integer"}
FLAG: Schema = {"type": "boolean"}
_PLAIN: dict[Any, Schema] = {
    str: TEXT,
    int: WHOLE,
    float: NUMBER,
    bool: FLAG,
    type(None): {"type": "null"},
    Any: {},
}

PROBLEM: Schema = {
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": TEXT,
        "title": TEXT,
        "status": WHOLE,
        "detail": TEXT,
        "problems": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": TEXT, "message": TEXT},
            },
        },
    },
}


def thing(properties: Mapping[str, Schema], *, optional: Iterable[str] = ()) -> Schema:
    """An object of exactly these properties."""
    return {
        "type": "object",
        "required": [name for name in properties if name not in set(optional)],
        "properties": dict(properties),
        "additionalProperties": False,
    }


def many(items: Schema) -> Schema:
    """An array."""
    return {"type": "array", "items": items}


def maybe(schema: Schema) -> Schema:
    """It, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def of(kind: Any, *, all_optional: bool = False) -> Schema:
    """Of a type, as `plain` turns its values into JSON. Raises TypeError for what JSON has no word for."""
    if kind in _PLAIN:
        return dict(_PLAIN[kind])
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        properties = {each.name: of(hints[each.name]) for each in fields(kind)}
        return thing(properties, optional=properties if all_optional else ())
    return _of_generic(kind, get_origin(kind), get_args(kind))


def _of_generic(kind: Any, origin: Any, inner: tuple[Any, ...]) -> Schema:
    if origin in (Union, types.UnionType):
        return {"anyOf": [of(each) for each in inner]}
    if origin is Literal:
        return {"enum": list(inner)}
    if origin in (tuple, list, frozenset, Sequence):
        if origin is tuple and len(inner) > 1 and inner[1] is not Ellipsis:
            return {"type": "array", "prefixItems": [of(each) for each in inner], "items": False}
        return many(of(inner[0]))
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": of(inner[1])}
    raise TypeError(f"no schema for {kind!r}")


def of_rows(schema: pa.Schema, more: Mapping[str, Schema] | None = None) -> Schema:
    """Of one row of an Arrow table; any column may be null."""
    return thing({name: maybe(_of_arrow(schema.field(name).type)) for name in schema.names} | dict(more or {}))


def _of_arrow(kind: pa.DataType) -> Schema:
    if pa.types.is_list(kind):
        return many(_of_arrow(kind.value_type))
    if pa.types.is_dictionary(kind):
        return _of_arrow(kind.value_type)
    if pa.types.is_struct(kind):
        return thing({kind.field(at).name: _of_arrow(kind.field(at).type) for at in range(kind.num_fields)})
    if pa.types.is_boolean(kind):
        return FLAG
    if pa.types.is_integer(kind):
        return WHOLE
    return NUMBER if pa.types.is_floating(kind) else TEXT


def plain(value: Any) -> Any:
    """Dataclasses, tuples and sets as JSON values."""
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(plain(each) for each in value)
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no word for it
    return value
