"""Suites that run side by side, or the workers of one, are never given the same port."""

import subprocess
import sys
from pathlib import Path

from tests.ports import BLOCK, PORTS, free_port

ROOT = Path(__file__).parents[1]
ANOTHER = "from tests.ports import free_port; print(free_port(), flush=True); input()"


def block(port: int) -> int:
    return (port - PORTS.start) // BLOCK


def test_processes_have_a_block_of_ports_each_for_as_long_as_they_live() -> None:
    command = [sys.executable, "-c", ANOTHER]
    others = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(2)
    ]
    try:
        given = [int(other.stdout.readline()) for other in others if other.stdout is not None]
        assert len({block(port) for port in [free_port(), *given]}) == 3
    finally:
        for other in others:
            with other:
                other.kill()


def test_a_port_does_not_come_again_soon() -> None:
    given = [free_port() for _ in range(BLOCK // 2)]
    assert len(set(given)) == len(given)
