"""The tools that are served, ready to be shown and to examine calls: names, schemas, effects, time limits, lanes.

Pure: it is made of what the servers listed, and is never changed, so that any thread may read it.
"""

import difflib
import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import rfc8785
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, best_match
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from semel.core.call import Effect, Spec
from semel.errors import BadArguments, UnknownTool
from semel.gateway import meta
from semel.gateway.taskmode import TaskMode, insists, said_of
from semel.gateway.upstreams.overrides import NOTHING, Override, Reconcile
from semel.gateway.upstreams.plainschema import first_look

_log = logging.getLogger(__name__)

_MESSAGE_CHARS_MAX = 300
"""What is said of one bad argument; the argument itself may be megabytes."""


_TASK_LONGER_S = 60.0
"""For so much longer than a run may take its server is asked to keep its task, so that the result can be fetched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One tool: as it is shown, where it is run and under which name, and how."""

    definition: Mapping[str, Any]
    server: str
    own_name: str
    spec: Spec
    serialize_by: str | None
    validator: Validator | None
    first_look: Callable[[Mapping[str, Any]], bool] | None = None
    reconcile: Reconcile | None = None
    insists: bool = False
    """Whether its server runs it as a task only, if it speaks 2025-11-25."""

    def task_wanted(self, timeout_s: float) -> dict[str, Any]:
        """Return what asks for a task where one has to be asked for, kept for longer than the run may take."""
        return {"task": {"ttl": int(1000 * (timeout_s + _TASK_LONGER_S))}} if self.insists else {}


class Catalogue:
    """The tools by name.

    `missing` names the servers that have not listed theirs yet; `remarks` is what is wrong with the lists.
    """

    def __init__(
        self, entries: Iterable[Entry] = (), *, missing: Sequence[str] = (), remarks: Sequence[str] = ()
    ) -> None:
        self._entries: dict[str, Entry] = {}
        self.missing = missing
        self.remarks: list[str] = list(remarks)
        twice: set[str] = set()
        for entry in sorted(entries, key=lambda each: str(each.definition["name"])):
            name = entry.definition["name"]
            other = self._entries.setdefault(name, entry)
            if other.server == entry.server and other.definition == entry.definition:
                continue  # the same one, or once more the same, as of a server that repeats a page
            if name not in twice:
                self.remarks.append(
                    f"two tools are named {name!r}: {other.own_name!r} of the server {other.server!r} and "
                    f"{entry.own_name!r} of the server {entry.server!r}. Neither is served: give a tool or a server "
                    "another name"
                )
            twice.add(name)
        for name in twice:
            del self._entries[name]
        self.definitions: Sequence[Mapping[str, Any]] = [entry.definition for entry in self._entries.values()]
        self.fingerprint = self._digest()

    def get(self, tool: str) -> Entry | None:
        """Return the entry of a tool, None if there is no such tool."""
        return self._entries.get(tool)

    def find(self, server: str, own_name: str) -> Entry | None:
        """Return the entry of a tool by its own name, None if its server has no such tool."""
        return next(
            (each for each in self._entries.values() if each.server == server and each.own_name == own_name), None
        )

    def examine(self, tool: str, arguments: Mapping[str, Any]) -> Spec:
        """Return how a call would be run; raises UnknownTool or BadArguments."""
        entry = self._entries.get(tool)
        if entry is None:
            raise UnknownTool(self._unknown(tool))
        if entry.validator is not None and not (entry.first_look is not None and entry.first_look(arguments)):
            _check(tool, entry.validator, arguments)
        if entry.serialize_by is None:
            return entry.spec
        return Spec(
            effect=entry.spec.effect,
            timeout_s=entry.spec.timeout_s,
            lane=f"{tool}:{_canonical(_lane_value(tool, entry, arguments))}",
        )

    def _unknown(self, tool: str) -> str:
        close = difflib.get_close_matches(tool, self._entries, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else "tools/list shows those that there are."
        if self.missing:
            hint = f"{hint} (Not up here yet: {', '.join(self.missing)}.)"
        return f"there is no tool {tool[:100]!r} here: {hint} Nothing was run"

    def _digest(self) -> str:
        facts = [
            [name, entry.definition.get("inputSchema"), entry.spec.effect, entry.spec.timeout_s, entry.serialize_by]
            + ([repr(entry.reconcile)] if entry.reconcile is not None else [])
            for name, entry in self._entries.items()
        ]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def mode_listed(tool: Mapping[str, Any]) -> TaskMode:
    """Return whether the calls of a tool become tasks, as its own server lists it and if no operator says otherwise."""
    effect, _ = _effect(tool.get("_meta") or {}, tool.get("annotations") or {})
    return said_of(tool) or (TaskMode.NEVER if effect is Effect.READ else TaskMode.AUTO)


def make_entry(server: str, tool: Mapping[str, Any], *, prefix: str = "", override: Override = NOTHING) -> Entry:
    """Return the entry of a tool that `server` listed as `tool`.

    `prefix` goes before its name; `override` is what the operator says of it, which outranks what the server says.
    """
    said = tool.get("_meta") or {}
    effect, source = _effect(said, tool.get("annotations") or {})
    if override.effect is not None:
        effect, source = override.effect, "operator"
    task = override.task or said_of(tool)
    if effect is Effect.READ and task not in (None, TaskMode.NEVER):
        effect = Effect.REPEATABLE  # so it has an intent, which a task needs; again is harmless
    name = f"{prefix}{tool['name']}"
    serialize_by = override.serialize_by or said.get(meta.SERIALIZE_BY)
    shown = {**said, meta.EFFECT: str(effect), meta.EFFECT_FROM: source}
    if override.timeout_s is not None:
        shown[meta.TIMEOUT] = override.timeout_s
    if override.serialize_by is not None:
        shown[meta.SERIALIZE_BY] = override.serialize_by
    if override.reconcile is not None:
        shown[meta.RECONCILE] = f"{prefix}{override.reconcile.tool}"
    if task is not None:
        shown[meta.TASK] = str(task)
    bare = {known: value for known, value in tool.items() if known != "execution"}  # `shown` says what of it holds
    return Entry(
        definition={**bare, "name": name, "_meta": shown},
        server=server,
        own_name=tool["name"],
        spec=Spec(effect=effect, timeout_s=override.timeout_s or _timeout_s(said.get(meta.TIMEOUT))),
        serialize_by=serialize_by if isinstance(serialize_by, str) else None,
        validator=_validator(name, tool["inputSchema"]),
        first_look=first_look(tool["inputSchema"]),
        reconcile=override.reconcile,
        insists=insists(tool),
    )


def _effect(said: Mapping[str, Any], annotations: Mapping[str, Any]) -> tuple[Effect, str]:
    """Return the effect that a tool declares, else what MCP's hints say, else once; and who says so."""
    declared = said.get(meta.EFFECT)
    if declared in list(Effect):
        return Effect(declared), "author"
    if annotations.get("readOnlyHint") is True:
        return Effect.READ, "annotations"
    if annotations.get("idempotentHint") is True:
        return Effect.REPEATABLE, "annotations"
    return Effect.ONCE, "annotations" if "idempotentHint" in annotations else "default"


def _timeout_s(declared: object) -> float:
    """Return the time limit that a tool declares, else the one for all."""
    if isinstance(declared, int | float) and declared is not True and 0 < declared < math.inf:
        return float(declared)
    return Spec().timeout_s


def _validator(tool: str, schema: dict[str, Any]) -> Validator | None:
    """Return what checks arguments against `schema`, None if the schema itself makes no sense."""
    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        _log.warning("the input schema of %s is none (%s): its arguments are not checked", tool, error.message)
        return None
    return kind(schema, registry=Registry())  # an empty registry: a schema never makes us fetch another


def _check(tool: str, validator: Validator, arguments: Mapping[str, Any]) -> None:
    try:
        error = best_match(validator.iter_errors(arguments))
    except RecursionError:
        raise BadArguments(f"the arguments of {tool} are nested too deeply. Nothing was run") from None
    except Unresolvable as unresolvable:
        _log.warning("the input schema of %s refers to what is not in it (%s)", tool, unresolvable)
        return
    if error is not None:
        said = error.message
        if len(said) > _MESSAGE_CHARS_MAX:
            half = _MESSAGE_CHARS_MAX // 2
            said = f"{said[:half]} … {said[-half:]}"
        raise BadArguments(
            f"the arguments of {tool} do not fit its schema: at {error.json_path}: {said}. Nothing was run"
        )


def _lane_value(tool: str, entry: Entry, arguments: Mapping[str, Any]) -> Any:
    """Return the value of the argument that names the lane: the given one, else the schema's default."""
    assert entry.serialize_by is not None
    if entry.serialize_by in arguments:
        return arguments[entry.serialize_by]
    known = entry.definition["inputSchema"].get("properties", {}).get(entry.serialize_by, {})
    if "default" not in known:
        raise BadArguments(
            f"{tool} is serialized by its argument {entry.serialize_by!r}, which is missing. Nothing was run"
        )
    return known["default"]


def _canonical(value: Any) -> str:
    try:
        return rfc8785.dumps(value).decode()
    except rfc8785.IntegerDomainError:
        return json.dumps(value, sort_keys=True)
