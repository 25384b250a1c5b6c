"""The weather: the very core that runs in production, in a simulated world, from one seed.

Nothing here is imported by the rest of semel, and nothing in the core knows that it is simulated.
"""
