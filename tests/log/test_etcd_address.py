"""The URL of a log in etcd: what it means, and what is said of one that means nothing."""

from pathlib import Path

import pytest

from semel.errors import UsageError
from semel.log.etcd.address import EtcdAddress

FILES = "?ca={here}/ca&cert={here}/cert&key={here}/key"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text("x")
    (tmp_path / "password").write_text("s3cret\n")
    return tmp_path


def test_members_have_the_usual_port_and_the_prefix_is_semel() -> None:
    address = EtcdAddress.parse("etcd://h1,h2:2380,[::1],[::1]:1")
    assert address == EtcdAddress(endpoints=("h1:2379", "h2:2380", "[::1]:2379", "[::1]:1"), prefix="semel")


def test_a_user_has_a_password_that_the_address_does_not_show() -> None:
    address = EtcdAddress.parse("etcd://ann:p%40ss@h1/pay")
    assert (address.user, address.password, address.prefix) == ("ann", "p@ss", "pay")
    assert "ss" not in str(address)


def test_a_password_can_be_in_a_file(here: Path) -> None:
    assert EtcdAddress.parse(f"etcd://ann@h1?password_file={here}/password").password == "s3cret"


def test_files_mean_tls(here: Path) -> None:
    address = EtcdAddress.parse("etcd://h1/" + FILES.format(here=here))
    assert address.tls
    assert (address.ca, address.cert, address.key) == (here / "ca", here / "cert", here / "key")
    assert EtcdAddress.parse("etcd://h1?tls=yes").tls
    assert not EtcdAddress.parse("etcd://h1?compact=no").compact
    assert EtcdAddress.parse("etcd://h1?copies=2").copies == 2


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("etcd:h1", "two slashes"),
        ("etcd://", "no etcd member"),
        ("etcd://h1,,h2", "no etcd member"),
        ("etcd://h1:0", "no etcd member"),
        ("etcd://h1:port", "no etcd member"),
        ("etcd://::1", "no etcd member"),
        ("etcd://h1,h1:2379", "twice"),
        ("etcd://h1/a/b", "one name"),
        ("etcd://h1/a%2Fb", "one name"),
        ("etcd://h1?colour=red", "no option 'colour'"),
        ("etcd://h1?tls=yes&tls=no", "twice"),
        ("etcd://h1?tls=maybe", "tls=yes or tls=no"),
        ("etcd://h1?ca=/no/such/file", "cannot be read"),
        ("etcd://h1?cert={here}/cert", "together"),
        ("etcd://h1?tls=no&ca={here}/ca", "contradicts"),
        ("etcd://ann@h1", "password_file"),
        ("etcd://h1?password_file={here}/password", "no user"),
        ("etcd://ann:x@h1?password_file={here}/password", "keep the file"),
    ],
)
def test_a_url_that_makes_no_sense_is_refused_with_the_reason(here: Path, url: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        EtcdAddress.parse(url.format(here=here))


def test_a_refusal_shows_no_password() -> None:
    with pytest.raises(UsageError) as refusal:
        EtcdAddress.parse("etcd://ann:s3cret@h1,?colour=red")
    assert "s3cret" not in str(refusal.value)
