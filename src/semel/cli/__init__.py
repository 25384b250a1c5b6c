"""The console: one file a group of commands. The only room that knows click and rich."""
