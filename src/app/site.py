"""The page as a web application: Gradio's part, pictures and the camera's frames beside it, and limits round all."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
from fastapi import FastAPI
from gradio.routes import App as GradioApp
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from src.app.guard import Guard
from src.app.layout import Shown, build
from src.app.live import frames
from src.app.pictures import MOST_BYTES
from src.app.stills import files
from src.app.visitors import Visitors

STATIC = Path(__file__).with_name("static")
SCRIPTS = ("looks.js", "live.js", "keys.js")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
FIXED_FONT = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")
HEADERS = {
    # The browser itself refuses whatever would come from, or go to, anywhere else.
    "content-security-policy": "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def site(shown: Shown, host: str = LOOPBACK[0], *, loopback: bool = True) -> FastAPI:
    """The application.

    Args:
        shown: what it shows; models are loaded when somebody asks for them first.
        host: where it will be served.
        loopback: this machine alone reaches it there. Then requests in another host's name are refused, so that no page
            of the internet reads it through the visitor's browser.
    """
    application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    application.include_router(frames(shown.speakers, shown.turns))
    application.include_router(files(shown.places, shown.albums))
    application.add_middleware(Guard)
    application.add_middleware(Headers)
    if loopback:
        application.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, "[::1]", host])
    mounted: FastAPI = gr.mount_gradio_app(
        application,
        build(shown),
        path="/",
        footer_links=[],
        run_history=False,
        max_file_size=MOST_BYTES,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        theme=gr.themes.Base(
            primary_hue="blue", neutral_hue="slate", radius_size="md", font=list(FONT), font_mono=list(FIXED_FONT)
        ),
        css=_static("page.css"),
        head=f"<style>{_static('frame.css')}</style><script>{''.join(map(_static, SCRIPTS))}</script>",
    )
    [inside] = (found for route in mounted.routes if isinstance(found := getattr(route, "app", None), GradioApp))
    blocks = inside.get_blocks()
    blocks.has_launched = True  # or Gradio lets visitors name any file of this machine in place of one they sent
    inside.state_holder = Visitors.of(blocks)
    return mounted


def _static(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")


class Headers:
    """Adds HEADERS to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        await self.app(scope, receive, headed)
