"""The peers' own environments: under `.peers/`, outside the repository's, pinned, from public package registries alone.

Nothing is installed into the system: Debian's packages are unpacked, not installed, and npm runs no scripts.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.peers.peer import NotInstallable

ROOT = Path(__file__).parents[2] / ".peers"
PROGRAMS = Path(__file__).with_name("programs")
LIMIT_S = 600

RESTATE = "1.7.12"
RESTATE_SDK = "1.17.2"
NODE = "22.23.3"  # the SDK needs 22 or later; Debian 12 and many machines have older ones
DBOS = "3.4.0"
TEMPORAL_CLI = "1.9.1"
TEMPORAL_SDK = "1.35.0"
CELERY = "5.7.0"
MCP = "2.3.0"
FASTMCP = "4.1.2"
STRACE, ERLANG, RA = "usr/bin/strace", "usr/lib/erlang", "usr/lib/rabbitmq/lib/*/plugins/ra-*"
"""What Debian's packages hold, that the bench needs of them."""


def run(*command: str | Path, folder: Path | None = None, more: Mapping[str, str] | None = None) -> str:
    """Run a command to its end and return what it printed."""
    env = {**os.environ, "SCARF_ANALYTICS": "false", **(more or {})}
    try:
        done = subprocess.run(  # a fixed command, no shell
            [*map(str, command)], cwd=folder, env=env, capture_output=True, text=True, timeout=LIMIT_S, check=True
        )
    except FileNotFoundError as error:
        raise NotInstallable(f"`{command[0]}` is not on this machine") from error
    except subprocess.TimeoutExpired as error:
        raise NotInstallable(f"`{command[0]}` took longer than {LIMIT_S} s") from error
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip() or error.stdout.strip() or "no word of why").splitlines()[-1]
        raise NotInstallable(f"`{Path(command[0]).name}` failed: {last}") from error
    return done.stdout


def venv(name: str, *packages: str) -> Path:
    """Return the `bin` of a virtual environment that holds these packages."""
    folder = ROOT / name
    if not _holds(folder, packages):
        run(sys.executable, "-m", "venv", "--clear", folder)
        run(folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check", *packages)
        _mark(folder, packages)
    return folder / "bin"


def npm(name: str, *packages: str) -> Path:
    """Return a folder whose `node_modules` hold these packages."""
    folder = ROOT / name
    if not _holds(folder, packages):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}\n')
        run(
            "npm",
            "install",
            "--no-package-lock",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            *packages,
            folder=folder,
        )
        _mark(folder, packages)
    return folder


def debian(name: str, package: str, holding: str) -> Path:
    """Return a root below which a Debian package's files are, `holding` among them: the system's, or unpacked ones."""
    folder = ROOT / name
    if any(Path("/").glob(holding)):
        return Path("/")
    if _holds(folder, (package,)):
        return folder
    if os.geteuid() == 0:
        run("apt-get", "update", "-qq")  # a machine without these lists, or with old ones, finds no package
    planned = run("apt-get", "install", "--simulate", "--no-install-recommends", package)
    missing = re.findall(r"^Inst (\S+)", planned, flags=re.MULTILINE)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run("apt-get", "download", *missing, folder=folder)
    for archive in sorted(folder.glob("*.deb")):
        run("dpkg", "--extract", archive, folder)
        archive.unlink()
    if not any(folder.glob(holding)):
        raise NotInstallable(f"Debian's {package} holds no {holding}")
    _mark(folder, (package,))
    return folder


def libraries(root: Path) -> dict[str, str]:
    """Return the environment in which unpacked programs find their unpacked libraries."""
    if root == Path("/"):
        return {}
    folders = {library.parent for library in root.glob("**/*.so*")}
    return {"LD_LIBRARY_PATH": ":".join(map(str, sorted(folders)))}


def _holds(folder: Path, packages: tuple[str, ...]) -> bool:
    mark = folder / ".holds"
    return mark.exists() and mark.read_text().split() == list(packages)


def _mark(folder: Path, packages: tuple[str, ...]) -> None:
    (folder / ".holds").write_text("\n".join(packages) + "\n")
