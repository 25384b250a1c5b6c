"""semel inside a server that its author runs."""
