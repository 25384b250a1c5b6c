"""Packages from npm for tests: each set in a folder of its own, outside the repository's files, pinned by its lock.

A lock has digests and no addresses, so that it works with whatever registry npm is configured for. npm runs no
scripts: Node comes as a package with the binary in it, since that of many machines is too old.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.peers.install import run

FILES = ("package.json", "package-lock.json")


@dataclass(frozen=True, slots=True)
class Packages:
    """Where a set of packages is."""

    modules: Path

    @property
    def node(self) -> str:
        return str(self.modules / ".bin/node")

    def command(self, script: str) -> tuple[str, str]:
        """Return what runs a script of a package, which is named by its path below `node_modules`."""
        return self.node, str(self.modules / script)


def install(folder: Path, *, pinned: Path) -> Packages:
    """Return the packages that the files in `pinned` name; they are put into `folder` if they are not there.

    Raises:
        NotInstallable: they cannot be had on this machine.
    """
    wanted = {name: (pinned / name).read_text(encoding="utf-8") for name in FILES}
    packages = Packages(folder / "node_modules")
    mark = folder / ".holds"
    if not mark.exists() or mark.read_text(encoding="utf-8") != "".join(wanted.values()):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, text in wanted.items():
            (folder / name).write_text(text, encoding="utf-8")
        run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", folder=folder)
        run(packages.node, "--version")  # a machine of another kind has no Node from the lock
        mark.write_text("".join(wanted.values()), encoding="utf-8")
    return packages
