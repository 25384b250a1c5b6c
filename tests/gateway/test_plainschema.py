"""The first look at arguments says yes only where the whole validator does."""

from typing import Any

import pytest
from jsonschema.validators import Draft202012Validator, validator_for

from semel.gateway.upstreams.plainschema import first_look

VALUES: list[Any] = [None, True, 0, 1, -1, 1.0, 1.5, 2**70, "", "x", [], [1], {}, {"a": 1}]

TYPES: list[Any] = ["string", "integer", "number", "boolean", "null", "array", "object", "any", 7, ["string", "null"]]

PARTS: list[dict[str, Any]] = [
    *({"type": each} for each in TYPES),
    *({"type": each, "title": "X", "default": None, "description": "y", "x-mcp-header": "Z"} for each in TYPES[:3]),
    {},
    {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]},
    {"anyOf": [{"type": "integer"}, {"$ref": "#/$defs/x"}]},
    {"anyOf": [{"type": "integer"}], "type": "number"},
    {"anyOf": []},
    {"type": "integer", "minimum": 1},
    {"type": "integer", "maximum": 0},
    {"type": "string", "enum": ["x"]},
    {"type": "string", "maxLength": 0},
    {"type": "string", "format": "email"},
    {"const": 1},
    {"enum": [1, "x"]},
    {"$ref": "#/$defs/x"},
    {"not": {"type": "string"}},
]

WHOLES: list[dict[str, Any]] = [
    {},
    {"required": ["a"]},
    {"required": ["a", "b"]},
    {"required": [], "additionalProperties": False},
    {"required": ["b"], "additionalProperties": {"type": "string"}},
    {"title": "x", "$schema": "https://json-schema.org/draft/2020-12/schema"},
    {"$schema": "http://json-schema.org/draft-07/schema#", "required": ["a"]},
    {"$schema": "http://json-schema.org/draft-03/schema#"},
    {"minProperties": 2},
    {"patternProperties": {"b": {"type": "integer"}}},
    {"dependentRequired": {"a": ["b"]}},
    {"type": ["object", "null"]},
    {"$defs": {"x": {"type": "string"}}},
]


def arguments() -> list[dict[str, Any]]:
    return [{}, *({name: value} for name in "ab" for value in VALUES), *({"a": one, "b": 1} for one in VALUES)]


@pytest.mark.parametrize("whole", WHOLES, ids=str)
def test_it_says_yes_only_where_the_validator_does(whole: dict[str, Any]) -> None:
    for part in PARTS:
        schema = {"type": "object", "properties": {"a": part}, **whole}
        look = first_look(schema)
        if look is None:
            continue
        validator = validator_for(schema, default=Draft202012Validator)(schema)
        for given in arguments():
            assert not look(given) or validator.is_valid(given), (schema, given)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ({"type": "string"}, "x"),
        ({"type": "integer", "title": "A"}, 7),
        ({"type": "number"}, 7),
        ({"type": "number"}, 7.5),
        ({"type": "boolean", "default": True}, False),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, None),
        ({"type": ["string", "null"]}, None),
    ],
)
def test_it_says_yes_to_what_most_tools_ask_for(part: dict[str, Any], value: Any) -> None:
    schema = {"type": "object", "properties": {"a": part, "b": {"type": "string"}}, "required": ["a"], "title": "Args"}
    look = first_look(schema)
    assert look is not None
    assert look({"a": value})
    assert look({"a": value, "b": "x", "c": {}})
    assert not look({"b": "x"})
    assert not look({"a": value, "b": 7})


BROKEN: list[Any] = [
    *(True, None, [], "x", {}, {"properties": {}}, {"type": "object", "properties": [1]}),
    *({"type": "object", "required": "a"}, {"type": "object", "required": [{}]}, {"type": {}}),
    *({"type": "object", "properties": {"a": {"type": {}}}}, {"type": "object", "properties": {"a": {"anyOf": [1]}}}),
]


@pytest.mark.parametrize("schema", BROKEN, ids=str)
def test_what_is_no_schema_gets_no_first_look(schema: Any) -> None:
    assert first_look(schema) is None
