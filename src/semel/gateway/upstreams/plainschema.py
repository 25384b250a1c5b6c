"""A first look at arguments: most schemas ask for a few names of simple types, and most arguments are such.

It only ever says yes, where the whole validator would say so too. All else (whatever a schema says besides, and
whatever does not fit) is the validator's, which takes ten times as long and has the words for what is wrong.
"""

from collections.abc import Callable, Mapping
from typing import Any

_TYPES: Mapping[str, frozenset[type]] = {
    "string": frozenset({str}),
    "integer": frozenset({int}),
    "number": frozenset({int, float}),
    "boolean": frozenset({bool}),
    "null": frozenset({type(None)}),
}

_REMARKS = frozenset({"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment"})
"""What a schema may say that asks for nothing."""

_OF_THE_WHOLE = _REMARKS | {"type", "properties", "required", "additionalProperties", "$schema"}
_OF_ONE = _REMARKS | {"type", "anyOf", "x-mcp-header"}

_DIALECTS = (
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "http://json-schema.org/draft-07/schema#",
    "http://json-schema.org/draft-07/schema",
)


def first_look(schema: Any) -> Callable[[Mapping[str, Any]], bool] | None:
    """Return what tells that arguments fit, None if the schema asks for more than names of simple types."""
    if not isinstance(schema, dict):
        return None
    properties, required = schema.get("properties", {}), schema.get("required", [])
    open_ended = schema.get("additionalProperties", True)
    if not (
        schema.keys() <= _OF_THE_WHOLE
        and schema.get("type") == "object"
        and ("$schema" not in schema or schema["$schema"] in _DIALECTS)
        and isinstance(open_ended, bool)
        and isinstance(properties, dict)
        and isinstance(required, list)
        and all(isinstance(name, str) for name in required)
    ):
        return None
    allowed = {name: _types_of(each) for name, each in properties.items()}
    if not all(allowed.values()):
        return None
    needed = frozenset(required)

    def fits(arguments: Mapping[str, Any]) -> bool:
        for name, value in arguments.items():
            types = allowed.get(name)
            if (not open_ended) if types is None else (type(value) not in types):
                return False
        return needed <= arguments.keys()

    return fits


def _types_of(schema: Any) -> frozenset[type] | None:
    """Return the types that a property may have, None if its schema asks for more."""
    if not isinstance(schema, dict) or not schema.keys() <= _OF_ONE or ("type" in schema) is ("anyOf" in schema):
        return None
    found: frozenset[type] = frozenset()
    for each in schema.get("anyOf", [schema]):
        kinds = each.get("type") if isinstance(each, dict) and (each is schema or each.keys() == {"type"}) else None
        for kind in kinds if isinstance(kinds, list) else [kinds]:
            if not isinstance(kind, str) or kind not in _TYPES:
                return None
            found |= _TYPES[kind]
    return found
