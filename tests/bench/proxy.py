"""FastMCP's proxy in front of the gateway bench's upstream: `python -m tests.bench.proxy stdio`, or `http PORT`."""

import sys
from pathlib import Path

from fastmcp.server import create_proxy

ADDER = Path(__file__).with_name("adder.py")


def main() -> None:
    proxy = create_proxy({"mcpServers": {"adder": {"command": sys.executable, "args": [str(ADDER)]}}})
    if sys.argv[1] == "stdio":
        proxy.run(transport="stdio", show_banner=False)
    else:
        proxy.run(transport="http", host="127.0.0.1", port=int(sys.argv[2]), show_banner=False, log_level="error")


if __name__ == "__main__":
    main()
