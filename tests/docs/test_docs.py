"""The docs are true: every command and option is documented, every link and every make target exists."""

import re
import shlex
from pathlib import Path

import click
import pytest

from semel.cli.main import console
from semel.errors import CallError, ClusterError, Unconfirmed

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DEPLOYMENT = (ROOT / "docs" / "DEPLOYMENT.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands() -> dict[str, click.Command]:
    return {name: console.commands[name] for name in console.list_commands(click.Context(console))}


def test_every_command_is_in_the_readme_and_the_readme_has_no_other() -> None:
    documented = set(re.findall(r"^\| `semel (\w+)", README, re.MULTILINE)) - {"serve"}
    assert documented | {"serve"} == set(commands())


@pytest.mark.parametrize("name", commands())
def test_every_command_and_option_has_a_help_text(name: str) -> None:
    command = commands()[name]
    assert command.help
    silent = [each.name for each in command.params if isinstance(each, click.Option) and not each.help]
    assert silent == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_in_the_docs_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_in_the_docs_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", page.read_text())) <= targets


@pytest.mark.parametrize("page", [README, DEPLOYMENT], ids=["README.md", "DEPLOYMENT.md"])
def test_every_command_line_in_the_docs_can_be_read(page: str) -> None:
    lines = [line.strip() for line in page.splitlines() if re.match(r" *semel [a-z]+( |$)", line)]
    assert lines
    for line in lines:
        _, name, *words = shlex.split(line, comments=True)
        commands()[name].parse_args(click.Context(commands()[name]), words)


def test_the_readme_tells_of_every_refusal_whether_a_retry_is_safe() -> None:
    rows = re.findall(r"^\| ((?:`[a-z_]+`,? ?)+) \| [^|]+ \| (yes|no) \|$", README, re.MULTILINE)
    told = {code: safe == "yes" for codes, safe in rows for code in re.findall(r"[a-z_]+", codes)}
    kinds = [kind for branch in (CallError, ClusterError) for kind in branch.__subclasses__()]
    assert told == {kind.code: kind.retry_safe for kind in kinds if kind is not Unconfirmed}  # of a read of the status


def test_the_files_that_the_architecture_names_exist() -> None:
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
    missing = [path for path in re.findall(r"`([a-z]+/[a-z_]+\.py)`", text) if not (ROOT / "src/semel" / path).exists()]
    assert missing == []


def test_the_readme_shows_a_real_run_of_the_demo() -> None:
    shown = re.search(r"<!-- demo -->\n```\n(.*?)```", README, re.DOTALL)
    assert shown is not None
    assert "6. The leader is killed with two calls in flight" in shown[1]
    assert len(re.findall(r"^   ✓ \d\. ", shown[1], re.MULTILINE)) == 9


def test_the_readme_shows_a_real_run_of_the_demo_on_a_quorum() -> None:
    shown = re.search(r"<!-- demo-quorum -->\n```\n(.*?)```", README, re.DOTALL)
    assert shown is not None
    assert "6. The leader of etcd is killed" in shown[1]
    assert len(re.findall(r"^   ✓ \d+\. ", shown[1], re.MULTILINE)) == 10


def test_no_file_names_a_package_registrys_host() -> None:
    hosts = re.compile(r"pypi\.org|registry\.npmjs|deb\.debian|pythonhosted")
    tracked = [path for folder in ("src", "docs", "scripts", "deploy", ".ci") for path in (ROOT / folder).rglob("*")]
    texts = [ROOT / "README.md", ROOT / "Makefile", ROOT / "requirements.lock", *tracked]
    named = [path for path in texts if path.is_file() and path.suffix != ".pyc" and hosts.search(path.read_text())]
    assert named == []
