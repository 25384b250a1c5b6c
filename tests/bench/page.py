"""Writes measurements down as tables of docs/PERFORMANCE.md, each with the conditions under which it was made."""

import os
import platform
import re
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from semel.local.etcd import ELECTION_MS, HEARTBEAT_MS, find_etcd

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "PERFORMANCE.md"


def table(head: str, samples: Mapping[str, Sequence[float]]) -> str:
    """Return samples in ms as a table: how many, the median, and how far they spread."""
    lines = [f"| {head} | times | median | 90 % below | least | most |", "|---|---|---|---|---|---|"]
    for what, found in samples.items():
        ordered = sorted(found)
        ninth = ordered[min(len(ordered) - 1, int(len(ordered) * 0.9))]
        cells = (_ms(statistics.median(ordered)), _ms(ninth), _ms(ordered[0]), _ms(ordered[-1]))
        lines.append(f"| {what} | {len(ordered):,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _ms(value: float) -> str:
    return f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"


def conditions() -> str:
    """Return where and when this was measured on a quorum, in a sentence."""
    said = subprocess.run([find_etcd(), "--version"], capture_output=True, text=True, check=False).stdout
    version = found[1] if (found := re.search(r"etcd Version: (\S+)", said)) else "?"
    return (
        f"{measured('three etcd members, three nodes, the callers')}, etcd {version} with a heartbeat of "
        f"{HEARTBEAT_MS} ms and an election timeout of {ELECTION_MS} ms."
    )


def measured(sharing: str) -> str:
    """Return the beginning of such a sentence; `sharing` is what shares the machine."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    return (
        f"Measured at {commit or 'an unknown state'} on {time.strftime('%d %B %Y').lstrip('0')}: {os.cpu_count()} "
        f"shared cores for everything ({sharing}), {platform.system()}, Python {platform.python_version()}"
    )


def write(part: str, text: str) -> None:
    """Put a text in the place of a part of the page."""
    page = PAGE.read_text(encoding="utf-8")
    marked = re.compile(rf"(?<=<!-- {part} -->\n).*?(?=<!-- /{part} -->)", re.DOTALL)
    assert marked.search(page), f"{PAGE} has no part {part!r}"
    PAGE.write_text(marked.sub(lambda _: f"{text}\n", page), encoding="utf-8")
