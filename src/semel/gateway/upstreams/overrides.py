"""What an operator says of an upstream's tools, in the `semel` object of a server's entry in mcp.json.

Pure. Other clients ignore that object. It outranks what the server says of itself: MCP calls a server's annotations
untrusted hints.
"""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from semel.core.call import Effect
from semel.errors import TargetError
from semel.gateway.asker import QUESTIONS
from semel.gateway.taskmode import TaskMode

EVERY = "*"
"""In place of a tool's name: every tool of the server, where the tool's own entry does not say otherwise."""

_KEYS = ("effect", "timeoutS", "serializeBy", "reconcile", "task")
_SERVER_KEYS = ("tools", "clientsCan")
_RECONCILE_KEYS = ("tool", "found", "keyArgument")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconcile:
    """The `read` tool of the same server that is asked whether a lost call acted, and how its answer is understood.

    Args:
        tool: its name, as the server has it.
        found: a JSON pointer into its structured content; what stands there, unless it is empty, says "it acted".
        key_argument: the argument by which it takes the call's idempotency key, if it has one.
    """

    tool: str
    found: str | None = None
    key_argument: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """What is said of one tool; None where nothing is said."""

    effect: Effect | None = None
    timeout_s: float | None = None
    serialize_by: str | None = None
    reconcile: Reconcile | None = None
    task: TaskMode | None = None

    def over(self, other: "Override") -> "Override":
        """Return this one, with what `other` says where this one says nothing."""
        return Override(
            effect=self.effect or other.effect,
            timeout_s=self.timeout_s or other.timeout_s,
            serialize_by=self.serialize_by or other.serialize_by,
            reconcile=self.reconcile or other.reconcile,
            task=self.task or other.task,
        )


NOTHING = Override()


def override_of(overrides: Mapping[str, Override], tool: str) -> Override:
    """Return what is said of a tool by its own name, and of every tool where that says nothing."""
    return overrides.get(tool, NOTHING).over(overrides.get(EVERY, NOTHING))


def read_overrides(place: str, said: object) -> dict[str, Override]:
    """Return what a server's `semel` object says of its tools, by their names.

    Raises:
        TargetError: it is not of that form; `place` is where it stands.
    """
    if said is None:
        return {}
    known = _object(f'{place}: "semel"', said, _SERVER_KEYS)
    tools = known.get("tools", {})
    if not isinstance(tools, dict):
        raise TargetError(f'{place}: "semel": "tools" must be an object of tools by their names')
    return {name: _override(f'{place}: "semel": the tool {name!r}', entry) for name, entry in tools.items()}


def read_clients_can(place: str, said: object) -> tuple[str, ...]:
    """Return what a server's `semel` object says that clients can be asked for, when the server lists its tools.

    Raises:
        TargetError: as `read_overrides` does.
    """
    known = {} if said is None else _object(f'{place}: "semel"', said, _SERVER_KEYS)
    can = known.get("clientsCan", [])
    if not isinstance(can, list) or any(each not in QUESTIONS.values() for each in can):
        raise TargetError(
            f'{place}: "semel": "clientsCan" is a list of any of {", ".join(QUESTIONS.values())}, and not {can!r}'
        )
    return tuple(sorted(set(can)))


def _override(place: str, entry: object) -> Override:
    said = _object(place, entry, _KEYS)
    effect, timeout_s = said.get("effect"), said.get("timeoutS")
    if effect is not None and effect not in list(Effect):
        raise TargetError(f'{place}: "effect" is one of {", ".join(Effect)}, and not {effect!r}')
    if (task := said.get("task")) is not None and task not in list(TaskMode):
        raise TargetError(f'{place}: "task" is one of {", ".join(TaskMode)}, and not {task!r}')
    if timeout_s is not None and not _is_span(timeout_s):
        raise TargetError(f'{place}: "timeoutS" is a number of seconds over 0, and not {timeout_s!r}')
    reconcile = _reconcile(place, said.get("reconcile"))
    if reconcile is not None and effect not in (None, Effect.ONCE):
        raise TargetError(
            f'{place}: only a call of a once tool is ever in doubt, and its "effect" is {effect!r}: '
            'its "reconcile" would never be asked'
        )
    return Override(
        effect=None if effect is None else Effect(effect),
        timeout_s=None if timeout_s is None else float(timeout_s),
        serialize_by=_text(place, said, "serializeBy"),
        reconcile=reconcile,
        task=None if task is None else TaskMode(task),
    )


def _reconcile(place: str, said: object) -> Reconcile | None:
    if said is None:
        return None
    if isinstance(said, str) and said:
        return Reconcile(tool=said)
    place = f'{place}: "reconcile"'
    known = _object(place, said, _RECONCILE_KEYS)
    tool, found = _text(place, known, "tool"), _text(place, known, "found")
    if tool is None:
        raise TargetError(f'{place}: "tool" must be the name of a read tool of the same server, and is missing')
    if found is not None and not found.startswith("/"):
        raise TargetError(f'{place}: "found" is a JSON pointer such as "/charge/id", and not {found!r}')
    return Reconcile(tool=tool, found=found, key_argument=_text(place, known, "keyArgument"))


def _object(place: str, value: object, keys: tuple[str, ...]) -> dict[str, Any]:
    """Return `value` if it is an object of these keys alone: a word that is not understood may have been a safety."""
    if not isinstance(value, dict):
        raise TargetError(f"{place}: it must be an object with any of {', '.join(keys)}")
    for name in value:
        if name not in keys:
            close = difflib.get_close_matches(name, keys, n=1, cutoff=0.6)
            hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(keys)}"
            raise TargetError(f"{place}: {name!r} says nothing to semel: {hint}")
    return value


def _text(place: str, said: Mapping[str, Any], name: str) -> str | None:
    value = said.get(name)
    if value is not None and not (isinstance(value, str) and value):
        raise TargetError(f'{place}: "{name}" must be a string, and is {value!r}')
    return value


def _is_span(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
