"""The memory: the `Log` protocol and the engines that keep its laws; nothing here knows what an entry means."""
