"""What a tool forks keeps neither the log's lock, nor the node's name, nor its port, when the node is gone."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from semel.gateway.doors.listening import bind
from semel.log.sqlite.lock import FileLock
from semel.node.place import take_place
from tests.ports import free_port

NODE = """
import asyncio, os, sys, time
from pathlib import Path
from starlette.applications import Starlette
from semel.gateway.doors.http import serve_http
from semel.log.sqlite.lock import FileLock
from semel.node.place import take_place

async def live():
    folder = Path(sys.argv[1])
    place = take_place(folder, "n1")
    lock = FileLock(folder / "log-lock")
    async with serve_http(Starlette(), "127.0.0.1", int(sys.argv[2])) as port:
        with lock.held(1.0):
            child = os.fork()
            if child == 0:
                time.sleep(60)
            print(child, flush=True)
            await asyncio.sleep(60)

asyncio.run(live())
"""


def test_a_forked_child_holds_nothing_of_a_killed_node(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-c", NODE, str(tmp_path), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as node:
        assert node.stdout is not None
        child = int(node.stdout.readline())
        try:
            node.kill()
            node.wait()
            with FileLock(tmp_path / "log-lock").held(0.5):
                take_place(tmp_path, "n1").leave()
                bind("127.0.0.1", port).close()
        finally:
            os.kill(child, signal.SIGKILL)
