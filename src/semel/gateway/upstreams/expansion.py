"""Puts the environment's values in the place of `${…}` in the texts of an mcp.json.

Of the forms that clients know, those that mean the same wherever the file is read: `${NAME}` and `${NAME:-default}`
(Claude Code), and `${env:NAME}` (Cursor, VS Code). A person to ask (`${input:…}`), or an open folder, a node has not.
"""

import re
from collections.abc import Mapping

from semel.errors import TargetError

_FORM = re.compile(r"\$\{([^{}]*)\}")
_NAME = re.compile(r"(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_CLIENTS_OWN = re.compile(r"(input|command|config):.*|workspaceFolder.*|userHome|pathSeparator|/")
"""What only a client with a window can answer. Any other `${…}` is left alone: it may be a shell's."""


def expand(place: str, text: str, environment: Mapping[str, str]) -> str:
    """Return `text` with each `${…}` replaced once: what comes of a value is not looked at again.

    Raises:
        TargetError: a variable is not set and has no default, or the form is one that only another client can answer.
    """

    def value(found: re.Match[str]) -> str:
        if _CLIENTS_OWN.fullmatch(found[1]):
            raise TargetError(
                f"{place}: {found[0]} is for a client with a window: write ${{NAME}}, and set the variable in the "
                "environment in which semel runs"
            )
        form = _NAME.fullmatch(found[1])
        if form is None:
            return found[0]
        name, default = form.groups()
        known = environment.get(name, default)
        if known is None:
            raise TargetError(
                f"{place}: {found[0]}: {name} is not set in the environment in which semel runs: "
                f"set it, or write ${{{name}:-default}}"
            )
        return known

    return _FORM.sub(value, text)
