"""Runs the suite's scenarios for servers against a URL, and reads what they found.

The suite writes the checks of each scenario into a file. One that broke off before its end wrote none; that is a
failure here, with the reason that it printed.
"""

import asyncio
import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.conformance.install import Suite

VERSIONS = ("2026-07-28", "2025-11-25")
SCENARIO_LIMIT_S = 30.0
"""The suite's own; its longest scenario takes eight seconds when it passes."""
RUN_LIMIT_S = 400.0


class SuiteBroke(Exception):
    """The suite itself did not run to its end."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A check that failed, and what the suite says of it."""

    check: str
    message: str


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one scenario."""

    scenario: str
    unscored: str
    """Why it does not count for this version of the protocol; empty for one that does."""
    passed: int
    failed: tuple[Failed, ...]
    warned: tuple[Failed, ...] = ()

    @property
    def ok(self) -> bool:
        """As the suite has it: no check failed. A warning is no failure, nor is a check that was skipped."""
        return not self.failed


@dataclass(frozen=True, slots=True)
class Required:
    """Which scenarios a version of the protocol asks of a server, as frozen when it came out."""

    scored: tuple[str, ...]
    unscored: dict[str, str]
    """Those that the suite runs besides, with the reason why they do not count."""

    @classmethod
    def read(cls, suite: Suite, version: str) -> "Required":
        said = yaml.safe_load(suite.requirements(version).read_text(encoding="utf-8"))
        others = {it["scenario"]: it["reason"] for it in said.get("not_scored") or () if it["leg"] == "server"}
        return cls(tuple(said["server"]), others)

    @property
    def extensions(self) -> tuple[str, ...]:
        return tuple(name for name, reason in self.unscored.items() if reason == "extension")


def shortfalls(found: Sequence[Result]) -> dict[str, list[str]]:
    """Return what failed or was warned of in each scenario where something was.

    This is more than the suite asks. Some of its scenarios warn of whatever goes wrong, and so pass on a server that is
    not even there.
    """
    return {
        it.scenario: [f"{each.check}: {each.message}" for each in (*it.failed, *it.warned)]
        for it in found
        if it.failed or it.warned
    }


async def results(suite: Suite, url: str, version: str, scenarios: Sequence[str] = ()) -> list[Result]:
    """Run all scenarios of a version of the protocol but extensions', or those named, against the MCP server at `url`.

    Raises:
        SuiteBroke: the suite itself ended in an error, or not at all.
    """
    required = Required.read(suite, version)
    with tempfile.TemporaryDirectory(prefix="semel-conformance-") as folder:
        into = Path(folder)
        target = ("--url", url, "--spec-version", version, "--output-dir", folder)
        limit = ("--timeout", str(int(SCENARIO_LIMIT_S * 1000)))
        if scenarios:
            printed = "".join(
                [await _suite(suite, *target, *limit, "--force", "--scenario", each) for each in scenarios]
            )
        else:
            printed = await _suite(suite, *target, *limit, "--suite", "all")
        ran = scenarios or _named(printed)
        if not ran:
            raise SuiteBroke(f"the suite ran nothing:\n{printed}")
        return [_result(each, required, _checks(into, each, printed)) for each in ran]


async def _suite(suite: Suite, *arguments: str) -> str:
    """Run the suite's command for servers and return what it printed; that something failed is in its files."""
    process = await asyncio.create_subprocess_exec(
        *suite.command,
        "server",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        printed, _ = await asyncio.wait_for(process.communicate(), RUN_LIMIT_S)
    except TimeoutError:
        raise SuiteBroke(f"the suite took longer than {RUN_LIMIT_S:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = printed.decode(errors="replace")
    if process.returncode not in (0, 1):
        raise SuiteBroke(f"the suite ended with {process.returncode}:\n{text}")
    return text


def _named(printed: str) -> list[str]:
    """Return the scenarios that the suite says it runs; which these are for a version, it alone decides."""
    return re.findall(r"^=== Running scenario: (\S+) ===$", printed, flags=re.MULTILINE)


def _checks(into: Path, scenario: str, printed: str) -> list[dict[str, Any]]:
    """Return what a scenario found; the name of its folder ends with a time."""
    own = re.compile(rf"server-{re.escape(scenario)}-\d{{4}}-\d{{2}}-\d{{2}}T[\d-]+Z")
    found = [path for path in into.iterdir() if own.fullmatch(path.name)]
    if len(found) == 1 and (file := found[0] / "checks.json").exists():
        checks: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
        if checks:
            return checks
    said = re.search(rf"^Failed to run scenario {re.escape(scenario)}: (.*)$", printed, flags=re.MULTILINE)
    message = said[1] if said else "the suite wrote no checks"
    return [{"id": "scenario-did-not-run", "status": "FAILURE", "errorMessage": message}]


def _result(scenario: str, required: Required, checks: list[dict[str, Any]]) -> Result:
    def having(status: str) -> tuple[Failed, ...]:
        return tuple(
            Failed(check["id"], check.get("errorMessage") or check.get("description") or "")
            for check in checks
            if check["status"] == status
        )

    unscored = "" if scenario in required.scored else required.unscored.get(scenario, "no requirement")
    return Result(scenario, unscored, len(having("SUCCESS")), having("FAILURE"), having("WARNING"))
