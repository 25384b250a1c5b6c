"""The URL that a node announces to its peers, where it is not the one it listens at."""

import pytest

from semel.errors import UsageError
from semel.serving import Node


@pytest.mark.parametrize(
    "url",
    [
        "",
        "10.0.0.5:8420",
        "ftp://a:1",
        "http://",
        "http://a:b",
        "http://a:0",
        "http://a/mcp",
        "http://a?x",
        "http://u@a",
    ],
)
def test_a_url_that_peers_could_not_use_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="cannot be advertised"):
        Node("server.py", log="memory:", advertise=url)


@pytest.mark.parametrize("url", ["http://a:8420", "https://a", "http://[::1]:8420/", "http://10.0.0.5:8420"])
def test_a_url_of_a_host_is_taken(url: str) -> None:
    Node("server.py", log="memory:", advertise=url)
