"""The story that semel tells of itself: three nodes, a leader killed in the middle of two calls, every line checked."""
