"""The doors of a node: MCP and HTTP in, answers out."""
