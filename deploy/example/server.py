"""The tools of the compose file's nodes, until TOOLS names a folder with others."""

import semel


@semel.tool(effect="repeatable")
def add(a: int | float, b: int | float) -> int | float:
    """Add two numbers."""
    return a + b


@semel.tool
def charge(account: str, amount: int) -> str:
    """Charge an account: once, whatever crashes."""
    return f"charged {account} {amount}"
