"""The OpenAPI document, made from the table of addresses."""

from __future__ import annotations

import re
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from app.gate.guards import Guard
from app.rest.base import PROBLEM_TYPE, Operation
from app.rest.schemas import PROBLEM, TEXT
from app.rest.table import ADDRESSES, PREFIX, Address

OPENAPI = "3.1.0"
_CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def document(server: str) -> dict[str, Any]:
    """For a console at this address."""
    return {
        "openapi": OPENAPI,
        "info": {
            "title": "Carme",
            "version": version("carme"),
            "description": "Times are Unix seconds (`…_s`), sizes MB of 2**20 bytes (`…_mb`) or bytes.",
        },
        "servers": [{"url": server + PREFIX}],
        "security": [{"login": []}],
        "paths": {address.path: _path(address) for address in ADDRESSES},
        "components": {
            "schemas": {"Problem": PROBLEM},
            "securitySchemes": {
                "login": {"type": "apiKey", "in": "cookie", "name": _cookie(server)},
                "csrf": {"type": "apiKey", "in": "header", "name": "X-CSRF-Token"},
            },
        },
    }


def _cookie(server: str) -> str:
    return "__Host-carme" if server.startswith("https:") else "carme"


def _path(address: Address) -> dict[str, Any]:
    found: dict[str, Any] = {
        method.lower(): _operation(method, address, operation)
        for method, operation in address.handler.operations.items()
    }
    names = re.findall(r"\{(\w+)\}", address.path)
    if names:
        found["parameters"] = [{"name": name, "in": "path", "required": True, "schema": TEXT} for name in names]
    return found


def _operation(method: str, address: Address, operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": _name(method, address.path),
        "responses": _answers(address, operation, changes=method in _CHANGES),
    }
    parameters: list[dict[str, Any]] = [
        {
            "name": each.name,
            "in": "query",
            "description": each.description,
            "schema": {"type": "array", "items": each.schema} if each.many else each.schema,
        }
        for each in operation.parameters
    ]
    parameters += [
        {"name": name, "in": "header", "description": words, "schema": TEXT}
        for name, words in operation.headers.items()
    ]
    if parameters:
        found["parameters"] = parameters
    if operation.body is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": operation.body}}}
    if address.guard is Guard.AGENT:
        found["security"] = []
    elif method in _CHANGES:
        found["security"] = [{"login": [], "csrf": []}]
    return found


def _answers(address: Address, operation: Operation, *, changes: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status, schema in operation.answers.items():
        found[str(status)] = {"description": HTTPStatus(status).phrase}
        if schema is not None:
            found[str(status)]["content"] = {"application/json": {"schema": schema}}
            if status == min(operation.answers):
                found[str(status)]["content"] |= {kind: {"schema": file} for kind, file in operation.files.items()}
    general = () if address.guard is Guard.AGENT else (401, 403) if changes else (401,)
    for status in sorted({*general, *operation.errors}):
        found[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    return found


def _name(method: str, path: str) -> str:
    return method.lower() + "".join(part.capitalize() for part in re.findall(r"[a-z]+", path))
