"""The reading room: what the log says of the calls, out of a node's replica; read-only."""
