"""A snapshot as JSON for scripts, and its JSON Schema, derived from the snapshot's types.

docs/reference/status-json.md documents each field. VERSION grows when a field is removed or changes its meaning. New
fields may be added without that.
"""

from dataclasses import asdict, fields, is_dataclass
from enum import StrEnum
from types import NoneType, UnionType
from typing import get_args, get_origin, get_type_hints

from fav.monitor.snapshot import NodeSnapshot, Snapshot

VERSION = 1
PRIMITIVES = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}


def snapshot_json(now: Snapshot) -> dict:
    """The output of `status --json`, and each line of `status --watch --json`."""
    return {"version": VERSION, **asdict(now)}


def nodes_json(nodes: tuple[NodeSnapshot, ...]) -> dict:
    """The output of `nodes --json`."""
    return {"version": VERSION, "nodes": [asdict(node) for node in nodes]}


def snapshot_schema() -> dict:
    """The JSON Schema of `snapshot_json`."""
    return _document(_of(Snapshot)["properties"])


def nodes_schema() -> dict:
    """The JSON Schema of `nodes_json`."""
    return _document({"nodes": _of(tuple[NodeSnapshot, ...])})


def _document(properties: dict) -> dict:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_object({"version": {"const": VERSION}, **properties}),
    }


def _object(properties: dict) -> dict:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _of(kind: type) -> dict:
    """The schema of one type."""
    origin, parts = get_origin(kind), get_args(kind)
    if kind in PRIMITIVES:
        return {"type": PRIMITIVES[kind]}
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return _object({field.name: _of(hints[field.name]) for field in fields(kind)})
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return {"enum": [member.value for member in kind]}
    if origin is UnionType:
        return {"anyOf": [_of(part) for part in parts]}
    if origin is dict:
        return {"type": "object", "additionalProperties": _of(parts[1])}
    if origin is tuple and parts[1:] == (...,):
        return {"type": "array", "items": _of(parts[0])}
    if origin is tuple:
        return {
            "type": "array",
            "prefixItems": [_of(part) for part in parts],
            "minItems": len(parts),
            "maxItems": len(parts),
        }
    raise TypeError(f"expected a type of a snapshot, got {kind}")
