"""The nodes' signs of life: a folder beside the log with a small file for each node; it knows no log.

A file that is replaced by a rename is never half there, never locked and never damaged by a neighbour. So a stopped
or killed node can hold up nobody else's pulse, which a shared database could not promise. Nothing is synced.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, unquote

_BEAT = ".beat"
_UNFINISHED = ".new"


class Pulses:
    """The newest beat of each node, kept in `folder`; every trouble with it is a lost beat, never an error."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def show(self, node: str, beat: bytes) -> None:
        """Put `beat` in the place of the last one of `node`."""
        unfinished = self._file(node, _UNFINISHED)
        with suppress(OSError):
            self._folder.mkdir(exist_ok=True)
            unfinished.write_bytes(beat)
            unfinished.replace(self._file(node, _BEAT))

    def shown(self) -> Mapping[str, bytes]:
        """Return the beats that can be read."""
        beats = {}
        with suppress(OSError):
            for file in self._folder.glob(f"*{_BEAT}"):
                with suppress(OSError):
                    beats[unquote(file.name.removesuffix(_BEAT))] = file.read_bytes()
        return {node: beat for node, beat in beats.items() if beat}  # a power failure may empty a file

    def take_back(self, node: str) -> None:
        """Forget the beat of `node`."""
        with suppress(OSError):
            self._file(node, _BEAT).unlink(missing_ok=True)

    def _file(self, node: str, suffix: str) -> Path:
        return self._folder / f"{quote(node, safe='')}{suffix}"
