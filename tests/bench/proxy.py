"""FastMCP's proxy in front of an upstream: `python -m tests.bench.proxy UPSTREAM.py stdio`, or `… http PORT`."""

import sys

from fastmcp.server import create_proxy


def main() -> None:
    proxy = create_proxy({"mcpServers": {"adder": {"command": sys.executable, "args": [sys.argv[1]]}}})
    if sys.argv[2] == "stdio":
        proxy.run(transport="stdio", show_banner=False)
    else:
        proxy.run(transport="http", host="127.0.0.1", port=int(sys.argv[3]), show_banner=False, log_level="error")


if __name__ == "__main__":
    main()
