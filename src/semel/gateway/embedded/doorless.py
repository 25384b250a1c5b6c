"""A node's HTTP app without the door for clients, for a node inside a server that has its own. Knows ASGI alone."""

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class Doorless:
    """The app without /mcp: tools are called where the server's author serves them, and past whatever guards that."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve anything else."""
        if scope["type"] == "http" and scope["path"].rstrip("/") == "/mcp":
            text = "this node is inside an MCP server, which serves its tools at a place of its own\n"
            await PlainTextResponse(text, status_code=404)(scope, receive, send)
        else:
            await self._app(scope, receive, send)
