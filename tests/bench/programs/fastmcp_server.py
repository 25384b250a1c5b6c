"""The tool `add` on a FastMCP server as it comes: `fastmcp_server.py PORT`."""

import sys

from fastmcp import FastMCP

server = FastMCP("adder")


@server.tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


if __name__ == "__main__":
    server.run(transport="http", host="127.0.0.1", port=int(sys.argv[1]), show_banner=False, log_level="error")
