"""The door: MCP in, MCP out; the only folder that imports `mcp` and what serves HTTP."""
