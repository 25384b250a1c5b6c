"""`make chaos-peers`: the fire that semel is put under, on what people would use instead, before the same judge."""
