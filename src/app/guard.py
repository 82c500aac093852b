"""What the page answers at all: the addresses that it uses itself, asked for by itself."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from src.app.live import MOST_FRAME_BYTES
from src.app.pictures import MOST_BYTES

OWN = re.compile(
    r"/|/(config|theme\.css|favicon\.ico|robots\.txt|manifest\.json|live|"
    r"(static|assets|svelte|test-images|figures|search-figures)/.*"
    r"|gradio_api/(info/?|startup-events|theme\.css|upload|upload_progress|cancel|reset/?|heartbeat/.*|queue/(join|data)"
    # A file of this machine, never of another: Gradio would fetch it and answer with it in this page's name.
    r"|call/.*|file=(?!\w[\w+.-]+:).*))"
)
"""Addresses that the page, its API and its pictures need. Gradio has many more: it fetches files of other machines,
keeps what a visitor was shown under a link, runs code that is written in the browser."""


MOST_SENT = MOST_FRAME_BYTES + 2**20
"""Bytes of a request; more only where a picture is uploaded."""
MOST_UPLOADED = MOST_BYTES + 2**20
"""Of one request: a picture of the allowed size, and what is written around it."""


class Guard:
    """Refuses every other address, what another website asks through a visitor's browser, and requests of any size.

    A link to the page may stand anywhere. Browsers say where a request comes from (W3C Fetch Metadata; those that do
    not say the Origin); programs say neither.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if _foreign(scope):
                await PlainTextResponse("Another website may not ask this.", 403)(scope, receive, send)
                return
            if not OWN.fullmatch(scope["path"]):
                await PlainTextResponse("There is nothing here.", 404)(scope, receive, send)
                return
            await _limited(self.app, scope, receive, send)
            return
        await self.app(scope, receive, send)


async def _limited(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    limit = MOST_UPLOADED if scope["path"] == "/gradio_api/upload" else MOST_SENT
    too_much = PlainTextResponse(f"This is more than {limit >> 20} MB.", 413)
    declared = Headers(scope=scope).get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        await too_much(scope, receive, send)
        return
    received, answered = 0, False

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        return message if received <= limit else {"type": "http.disconnect"}

    async def watched(message: Message) -> None:
        nonlocal answered
        if answered or received <= limit:  # what is said of a visitor who seems to have left is not for him
            answered = True
            await send(message)

    try:
        await app(scope, counted, watched)
    except Exception:
        if received <= limit:
            raise
    if received > limit and not answered:
        await too_much(scope, receive, send)


def _foreign(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    if scope["path"] == "/" and scope["method"] in ("GET", "HEAD"):
        return False
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site:
        return site not in ("same-origin", "none")
    return origin is not None and urlsplit(origin).netloc != headers.get("x-forwarded-host", headers.get("host"))
