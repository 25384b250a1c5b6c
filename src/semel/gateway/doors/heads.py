"""HTTP/1.1 as the door reads it: uvicorn's protocol on httptools, with which a call takes half as long as with h11.

Adds what httptools leaves to its user: a bound on heads, and values without the blanks around them.
"""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES_MAX = 64 * 1024
"""What of a head may come after its first piece, which is what the kernel gave at once: as much as h11 takes."""


class BoundedHeads(HttpToolsProtocol):
    """Answers 400 to a head that does not come to an end."""

    _in_head = False
    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Read on; give up on a head that is too long."""
        goes_on = self._in_head
        super().data_received(data)
        if goes_on and self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
                self.send_400_response("The head of the request is too long.")

    def on_message_begin(self) -> None:
        """Note that a head begins."""
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; the blanks around its value are none of it (RFC 9110, 5.5)."""
        super().on_header(name, value.strip(b" \t"))

    def on_headers_complete(self) -> None:
        """Note that the head has ended."""
        self._in_head = False
        super().on_headers_complete()
