"""The hands: the one event loop that performs what the core decides; its peers, its replica, its tools."""
