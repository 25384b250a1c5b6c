"""Clients of a cluster: `semel.connect` for Python, and the way through for any other MCP client."""
