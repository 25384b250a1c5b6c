"""Reconcile hooks of upstreams: a `read` tool of the same server, asked whether a lost call acted.

The contract, for whoever writes or chooses such a tool:

- It is called with those of the lost call's arguments that its input schema names (with all, if it names none), and,
  where the operator named a `keyArgument`, with the call's idempotency key under that name. The key, the term and the
  attempt are in `_meta`, too, as they were for the call itself. It has the lost tool's time limit.
- Its answer says "it acted" in one of two ways only: `_meta` has `dev.semel/acted` with the value true; or the
  operator named a JSON pointer (`found`), and what stands there in the structured content is neither missing nor
  empty (null, false, "", [], {}). Words are never read for a meaning: "no such charge" is a fine result of a tool.
- An answer that says so is the lost call's outcome, as it came. If the lost tool has an output schema, it must fit.
- Anything else is "unknown": an error, no answer in time, no sign, an answer that does not fit. The call is then in
  doubt. "It did not act" cannot be said: whoever ran the call may only be slow, and act later.
"""

from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, best_match
from jsonschema.validators import validator_for
from mcp import MCPError
from referencing import Registry

from semel.core.call import Effect
from semel.gateway import meta
from semel.gateway.asker import Asker
from semel.gateway.upstreams.catalogue import Catalogue, Entry
from semel.gateway.upstreams.overrides import Reconcile
from semel.gateway.upstreams.sending import AtOnce, request
from semel.gateway.upstreams.upstream import Upstream

_NOTHING: tuple[Any, ...] = (None, False, "", [], {})


class Unasked(Exception):
    """The hook cannot be asked, or its answer cannot be used; the text says why."""


async def ask_upstream(
    lost: Entry, catalogue: Catalogue, upstream: Upstream, arguments: Mapping[str, Any], told: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the result of a lost call if its server's reconcile tool knows that it acted, None if it does not know.

    `told` is what `_meta` tells the tool of the call.

    Raises:
        Unasked: the tool cannot be asked, or what it answered cannot be used.
        ConnectionGone, TaskEnded, MCPError: the server did not answer it.
    """
    reconcile = lost.reconcile
    assert reconcile is not None
    hook = catalogue.find(lost.server, reconcile.tool)
    if hook is None:
        raise Unasked(f"the server has no tool {reconcile.tool!r}")
    if hook.spec.effect is not Effect.READ:
        raise Unasked(f"{reconcile.tool!r} is {hook.spec.effect} and not read, so that it is not asked")
    given = _arguments(reconcile, hook.definition["inputSchema"], arguments, str(told[meta.KEY]))
    try:
        params = {"name": hook.own_name, "arguments": given, "_meta": told, **hook.task_wanted(lost.spec.timeout_s)}
        answer = await request(upstream, "tools/call", params, Asker(meta=told), AtOnce())
    except MCPError as error:
        raise Unasked(f"{error.message} (protocol error {error.code})") from error
    if not _acted(reconcile, answer):
        return None
    _check_fits(lost, answer)
    return _without_sign(answer)


def _arguments(
    reconcile: Reconcile, schema: Mapping[str, Any], arguments: Mapping[str, Any], key: str
) -> dict[str, Any]:
    names = schema.get("properties")
    given = {name: value for name, value in arguments.items() if not names or name in names}
    return given if reconcile.key_argument is None else {**given, reconcile.key_argument: key}


def _acted(reconcile: Reconcile, answer: Mapping[str, Any]) -> bool:
    """Return whether an answer says that the lost call acted."""
    if answer.get("resultType", "complete") != "complete":
        raise Unasked("it asked for more input")
    if answer.get("isError") is True:
        raise Unasked("it gave an error")
    sign = (answer.get("_meta") or {}).get(meta.ACTED)
    if isinstance(sign, bool):
        return sign
    if reconcile.found is None:
        return False
    found = _at(reconcile.found, answer.get("structuredContent"))
    return not any(found is nothing or (found == nothing and type(found) is type(nothing)) for nothing in _NOTHING)


def _at(pointer: str, value: Any) -> Any:
    """Return what stands at a JSON pointer (RFC 6901), None if nothing does."""
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


def _check_fits(lost: Entry, answer: Mapping[str, Any]) -> None:
    """Raise Unasked if an answer cannot be what the lost tool would have given."""
    schema = lost.definition.get("outputSchema")
    if schema is None:
        return
    kind = validator_for(schema, default=Draft202012Validator)
    try:
        error = best_match(kind(schema, registry=Registry()).iter_errors(answer.get("structuredContent")))
    except (SchemaError, RecursionError) as broken:
        raise Unasked(f"its answer cannot be checked: {type(broken).__name__}") from broken
    if error is not None:
        raise Unasked(f"its answer does not fit the output schema of {lost.own_name}: at {error.json_path}")


def _without_sign(answer: Mapping[str, Any]) -> dict[str, Any]:
    bare = {name: value for name, value in (answer.get("_meta") or {}).items() if name != meta.ACTED}
    return {**answer, "_meta": bare}
