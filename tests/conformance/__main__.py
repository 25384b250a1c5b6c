"""`python -m tests.conformance`: run the suite, and print which scenarios pass and what the others say.

`--url` names any MCP server; `--through` starts ours, served by the SDK itself (`direct`) or by semel (`node`,
`follower`, `failover`).
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.conformance.install import Suite, install
from tests.conformance.run import VERSIONS, Required, Result, results
from tests.conformance.through import WAYS
from tests.peers.peer import NotInstallable

MESSAGE_CHARACTERS = 400


def shown(found: Sequence[Result], *, title: str) -> Table:
    scored = [it for it in found if not it.unscored]
    passed = sum(it.ok for it in scored)
    table = Table("scenario", "scored", "result", "failed checks", title=f"{title}: {passed} of {len(scored)} scored")
    for it in found:
        said = [f"{failed.check}: {failed.message[:MESSAGE_CHARACTERS]}" for failed in it.failed]
        said += [f"(warning) {warned.check}: {warned.message[:MESSAGE_CHARACTERS]}" for warned in it.warned]
        table.add_row(it.scenario, it.unscored or "yes", "pass" if it.ok else "FAIL", "\n".join(said))
    return table


async def run(suite: Suite, arguments: argparse.Namespace) -> bool:
    console = Console(width=200, highlight=False, markup=False)
    all_pass = True
    for version in arguments.version or VERSIONS:
        with tempfile.TemporaryDirectory(prefix="semel-conformance-") as folder:
            if arguments.url:
                found = await ask(suite, arguments.url, version, arguments)
            else:
                async with WAYS[arguments.through](Path(folder)) as url:
                    found = await ask(suite, url, version, arguments)
        console.print(shown(found, title=f"MCP {version}, {arguments.url or arguments.through}"))
        all_pass = all_pass and all(it.ok or it.unscored for it in found)
    return all_pass


async def ask(suite: Suite, url: str, version: str, arguments: argparse.Namespace) -> list[Result]:
    if arguments.scenario:
        return await results(suite, url, version, arguments.scenario)
    found = await results(suite, url, version)
    extensions = Required.read(suite, version).extensions if arguments.extensions else ()
    return found + (await results(suite, url, version, extensions) if extensions else [])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--url", help="the MCP server to test, with its path")
    where.add_argument("--through", choices=WAYS, help="start the suite's own server, and what is to stand before it")
    parser.add_argument("--version", action="append", choices=VERSIONS, help="of the protocol; all if not given")
    parser.add_argument("--scenario", action="append", help="only this one; may be given again")
    parser.add_argument("--extensions", action="store_true", help="also the scenarios of extensions: tasks")
    arguments = parser.parse_args()
    try:
        suite = install()
    except NotInstallable as error:
        print(f"the conformance suite cannot be had: {error}", file=sys.stderr)
        return 2
    return 0 if asyncio.run(run(suite, arguments)) else 1


if __name__ == "__main__":
    sys.exit(main())
