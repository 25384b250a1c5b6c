"""The caller of what speaks no MCP: a POST of `{"a": …, "b": …}` under an `idempotency-key`, and a number back."""

import msgspec

from tests.bench.load import HttpCaller, next_key


class PlainCaller(HttpCaller):
    """One connection that is kept, and one request on it at a time."""

    path = "/tools/add"

    async def add(self, a: int, b: int) -> int:
        """Call the tool."""
        body = b'{"a":%d,"b":%d}' % (a, b)
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: {self.authority}\r\nContent-Type: application/json\r\n"
            f"idempotency-key: {next_key()}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return int(msgspec.json.decode(await self._ask(head.encode() + body)))
