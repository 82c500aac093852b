"""The webcam's frames: one picture in, one caption out, and nothing waits."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request
from starlette.concurrency import run_in_threadpool

from src.app.answers import Answer, Turns, live
from src.app.pictures import RefusedError, opened
from src.app.speakers import Speakers
from src.errors import UserError

MOST_FRAME_BYTES = 2 * 2**20
PATIENCE = 0.5
"""Seconds that a frame waits for a turn; later it would be of the past, so it is dropped."""

LIVE = """<div class="cl-live">
<div class="cl-screen"><video data-part="video" playsinline muted aria-label="What the camera sees"></video></div>
<p><button type="button" class="cl-button" data-part="toggle">Start the camera</button></p>
<p class="cl-saying" data-part="caption">The camera's pictures go to this page's own server and are not kept.</p>
<p class="cl-small" data-part="rate"></p>
<p class="cl-refusal" role="alert" data-part="problem" hidden></p>
<p class="cl-hidden" role="status" aria-live="polite" data-part="spoken"></p>
</div>"""
"""What the page's script brings to life."""


def frames(speakers: Speakers, turns: Turns) -> APIRouter:
    """POST /live with an image's bytes answers {caption, name, seconds}.

    It answers 503 where others have taken all turns (the frame is dropped), 413 and 415 where a frame is no picture of
    the allowed size, 409 where no model is there.
    """
    router = APIRouter()

    @router.post("/live")
    async def caption(request: Request) -> dict[str, str | float]:
        data = bytearray()
        async for chunk in request.stream():
            data += chunk
            if len(data) > MOST_FRAME_BYTES:
                raise HTTPException(413, f"A frame has more than {MOST_FRAME_BYTES >> 20} MB.")
        answer = await run_in_threadpool(_captioned, bytes(data), speakers, turns)
        said = answer.said[0].sentence if answer.said else ""
        return {"caption": said, "name": answer.name, "seconds": answer.seconds}

    return router


def _captioned(data: bytes, speakers: Speakers, turns: Turns) -> Answer:
    cast = speakers.now()
    with turns.taken(PATIENCE) as free:
        if not free:
            raise HTTPException(503, "Others are being captioned: the frame was dropped.")
        try:
            # Within the turn: a small file may hold so many pixels that a crowd of them would fill the memory.
            return live(opened(data, "The frame"), cast)
        except RefusedError as error:
            raise HTTPException(415, str(error)) from None
        except UserError as error:
            raise HTTPException(409, str(error)) from None
