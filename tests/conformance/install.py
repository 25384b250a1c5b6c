"""The suite and its Node: under `.conformance/`, outside the repository's, pinned by `package-lock.json`."""

from dataclasses import dataclass
from pathlib import Path

from tests import npm

ROOT = Path(__file__).parents[2] / ".conformance"


@dataclass(frozen=True, slots=True)
class Suite:
    """Where the suite is."""

    packages: npm.Packages

    @property
    def command(self) -> tuple[str, str]:
        return self.packages.command("@modelcontextprotocol/conformance/dist/index.js")

    def requirements(self, version: str) -> Path:
        """Return the file that lists which scenarios count for a version of the protocol."""
        return self.packages.modules / f"@modelcontextprotocol/conformance/requirements/{version}.yaml"


def install() -> Suite:
    """Return the suite, installed if it is not.

    Raises:
        NotInstallable: it cannot be had on this machine.
    """
    return Suite(npm.install(ROOT, pinned=Path(__file__).parent))
