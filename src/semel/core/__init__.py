"""The mind: what a call is, what the entries add up to, and what a node decides; no I/O, no clock, no chance."""
