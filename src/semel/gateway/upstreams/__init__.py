"""What the doors stand before: MCP servers of this process, over pipes, or over HTTP, and how they are named."""
