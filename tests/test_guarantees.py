"""Promises and tests belong together: neither stands without the other, and the documents say the same."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

import semel.sim.judge
import tests.chaos.judge
from semel.sim.mutants.hunt import MUTANTS
from tests.guarantees import BESIDE, PROMISES, Promise

ROOT = Path(__file__).parents[1]
LAYERS = ("scenes", "core", "simulated", "mutants", "log", "node", "processes", "chaos")


def modules(*folders: str) -> set[str]:
    return {path.stem for folder in folders for path in (ROOT / "tests" / folder).glob("test_*.py")}


def names(checks: Iterable[object]) -> set[str]:
    return {check if isinstance(check, str) else check.__name__ for check in checks}  # type: ignore[attr-defined]


THERE = {
    "scenes": {path.stem for path in (ROOT / "tests" / "core" / "scenes").glob("*.txt")},
    "core": modules("core"),
    "simulated": names(semel.sim.judge.CHECKS),
    "mutants": {mutant.name for mutant in MUTANTS},
    "log": modules("log"),
    "node": modules("node"),
    "processes": modules("processes", "chaos", "hosts", "conformance", "real"),
    "chaos": names(tests.chaos.judge.CHECKS),
}
"""All that each layer has."""


def shown_by(promise: Promise, layer: str) -> set[str]:
    claimed = getattr(promise, layer)
    return set() if isinstance(claimed, str) else names(claimed)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.name)
def test_a_promise_is_shown_in_each_layer_by_what_is_there(promise: Promise, layer: str) -> None:
    assert getattr(promise, layer), f"promise {promise.number} has nothing to show in the layer {layer!r}"
    missing = shown_by(promise, layer) - THERE[layer]
    assert not missing, f"promise {promise.number} counts on what is not there: {missing}"


@pytest.mark.parametrize("layer", LAYERS)
def test_what_a_layer_has_shows_a_promise_or_is_named_beside_them(layer: str) -> None:
    shown = set().union(*(shown_by(promise, layer) for promise in PROMISES))
    stray = THERE[layer] - shown - BESIDE.keys()
    assert not stray, f"tests/guarantees.py: say which promise this shows, or in BESIDE what it is for: {stray}"
    assert not shown & BESIDE.keys()


def test_what_is_named_beside_the_promises_is_there() -> None:
    assert BESIDE.keys() <= set().union(*THERE.values())
    assert all(BESIDE.values())


def test_the_promises_are_numbered_from_1() -> None:
    assert [promise.number for promise in PROMISES] == list(range(1, len(PROMISES) + 1))


def between(text: str, mark: str) -> str:
    found = re.search(rf"<!-- {mark} -->\n(.*?)<!-- /{mark} -->", text, re.DOTALL)
    assert found, f"there is no part {mark!r}"
    return found[1].strip()


def test_the_readme_promises_what_the_manifest_does() -> None:
    promised = between((ROOT / "README.md").read_text(encoding="utf-8"), "promises")
    assert promised.splitlines() == [f"{it.number}. **{it.name}.** {it.text}" for it in PROMISES]


def table() -> str:
    """Return how much shows each promise, as docs/GUARANTEES.md has it."""
    lines = [
        "| promise | scenes | core | simulator's checks | mutants | log | runtime | chaos |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for it in PROMISES:
        cells = [
            ", ".join(sorted(shown_by(it, layer))) or "-" for layer in ("core", "simulated", "log", "node", "chaos")
        ]
        core, simulated, log, node, chaos = (cell.replace("test_", "") for cell in cells)
        row = (f"{it.number}. {it.name}", len(it.scenes), core, simulated, len(it.mutants), log, node, chaos)
        lines.append(f"| {' | '.join(map(str, row))} |")
    return "\n".join(lines)


def test_the_guarantees_page_shows_how_each_promise_is_tested() -> None:
    """`SEMEL_REWRITE_DOCS=1` writes the table down as it is now."""
    path = ROOT / "docs" / "GUARANTEES.md"
    text = path.read_text(encoding="utf-8")
    if os.environ.get("SEMEL_REWRITE_DOCS") == "1":
        part = re.compile(r"(?<=<!-- tested -->\n).*?(?=<!-- /tested -->)", re.DOTALL)
        path.write_text(part.sub(lambda _: f"{table()}\n", text), encoding="utf-8")
    else:
        assert between(text, "tested") == table()
