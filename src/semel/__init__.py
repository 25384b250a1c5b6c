"""semel runs MCP tool servers on a cluster so that every tool call happens once."""
