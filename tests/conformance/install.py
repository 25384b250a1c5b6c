"""The suite and its Node: under `.conformance/`, outside the repository's, pinned by `package-lock.json`.

The lock has digests and no addresses, so that it works with whatever registry npm is configured for. npm runs no
scripts: Node comes as a package with the binary in it.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.peers.install import run

ROOT = Path(__file__).parents[2] / ".conformance"
PACKAGES = ("package.json", "package-lock.json")


@dataclass(frozen=True, slots=True)
class Suite:
    """Where the suite is."""

    modules: Path

    @property
    def command(self) -> tuple[str, str]:
        return str(self.modules / ".bin/node"), str(self.modules / "@modelcontextprotocol/conformance/dist/index.js")

    def requirements(self, version: str) -> Path:
        """Return the file that lists which scenarios count for a version of the protocol."""
        return self.modules / f"@modelcontextprotocol/conformance/requirements/{version}.yaml"


def install() -> Suite:
    """Return the suite, installed if it is not.

    Raises:
        NotInstallable: it cannot be had on this machine.
    """
    wanted = {name: Path(__file__).with_name(name).read_text(encoding="utf-8") for name in PACKAGES}
    suite = Suite(ROOT / "node_modules")
    mark = ROOT / ".holds"
    if not mark.exists() or mark.read_text(encoding="utf-8") != "".join(wanted.values()):
        shutil.rmtree(ROOT, ignore_errors=True)
        ROOT.mkdir(parents=True)
        for name, text in wanted.items():
            (ROOT / name).write_text(text, encoding="utf-8")
        run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", folder=ROOT)
        run(*suite.command, "--version")  # a machine of another kind has no Node from the lock
        mark.write_text("".join(wanted.values()), encoding="utf-8")
    return suite
