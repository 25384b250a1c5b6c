"""Tests of the door: targets, tools, MCP in both protocol eras, and the client."""
