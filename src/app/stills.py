"""The test images and the pipeline's figures, as the browser asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from fastapi import APIRouter, HTTPException, Response
from fastapi.responses import FileResponse

from src import config
from src.app.gallery import Album, Albums
from src.app.pictures import jpeg
from src.data.images import ImageBytes, ImageError, decode
from src.data.manifest import ImageRecord
from src.errors import UserError
from src.places import Places, search_folder

THUMBNAIL = 480
KEPT = 512
"""Thumbnails in memory, some 30 kB each."""
BRIEFLY = {"Cache-Control": "private, max-age=60"}


def files(places: Places, albums: Albums) -> APIRouter:
    """GET /test-images/DIGEST/N, /figures/NAME.png and /search-figures/STUDY/NAME.png; 404 for whatever else is asked
    for. DIGEST is the album's: browsers keep pictures by their address."""
    router = APIRouter()
    root = config.load().dataset.root

    @lru_cache(KEPT)
    def thumbnail(image: ImageRecord) -> bytes:
        data = ImageBytes(root)(image.location)  # opened anew: the archive may have been replaced since
        return jpeg(decode(data, image.filename, at_least=THUMBNAIL), THUMBNAIL)

    @router.get("/test-images/{digest}/{number}")
    def test_image(digest: str, number: int) -> Response:
        try:
            album: Album = albums.now()
            image = album.images[number] if digest == album.digest and number >= 0 else None
            if image is not None:
                return Response(thumbnail(image), media_type="image/jpeg", headers=BRIEFLY)
        except (UserError, ImageError, IndexError):
            pass
        raise HTTPException(404, "There is no such test image.")

    @router.get("/figures/{name}.png")
    def figure(name: str) -> FileResponse:
        return _one_of({path.stem: path for path in places.figures.glob("*.png")}, name)

    @router.get("/search-figures/{study}/{name}.png")
    def search_figure(study: str, name: str) -> FileResponse:
        found = {f"{path.parent.parent.name}/{path.stem}": path for path in search_folder().glob("*/figures/*.png")}
        return _one_of(found, f"{study}/{name}")

    return router


def _one_of(known: Mapping[str, Path], name: str) -> FileResponse:
    """The file of that name. Names are looked up, never joined to a path."""
    if name not in known:
        raise HTTPException(404, "There is no such figure.")
    return FileResponse(str(known[name]), media_type="image/png", headers=BRIEFLY)
