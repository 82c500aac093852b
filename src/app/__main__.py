"""The web page: captions of your pictures, where each word looked, a webcam, and all experiments.

    python -m src.app
    python -m src.app --port 8000
    python -m src.app --host 0.0.0.0        for others too: whoever reaches this machine may then use it

It needs no network and calls nowhere. Ctrl-C or SIGTERM ends it; what visitors have sent goes with it.
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import socket
import sys
import tempfile
import webbrowser
from collections.abc import Sequence
from ipaddress import ip_address
from threading import Thread, Timer
from types import FrameType

from src.errors import UserError, reported
from src.launch import cores
from src.places import Places

PORT = 7860
OPEN_SECONDS = 1.0


@reported()
def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    # By itself a signal would end the process at once, and leave what visitors have sent behind.
    for number in (signal.SIGTERM, *([signal.SIGHUP] if sys.platform != "win32" else [])):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _end)
    with tempfile.TemporaryDirectory(prefix="captionlab-") as uploads:
        # Read while the libraries are imported.
        os.environ |= {
            "GRADIO_ANALYTICS_ENABLED": "False",
            "GRADIO_TEMP_DIR": uploads,
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        import torch
        import uvicorn

        from src.app.answers import AT_ONCE
        from src.app.layout import Shown
        from src.app.site import site

        torch.set_num_threads(max(1, cores() // AT_ONCE))  # those who compute at once share the processor
        listening = _listen(options.host, options.port)
        port = listening.getsockname()[1]
        address = _address(options.host, port)
        shown = Shown.of(Places())
        application = site(shown, options.host, loopback=_loopback(listening))
        Thread(target=shown.speakers.now, daemon=True).start()  # the first visitor need not wait for the models
        print(f"Captionlab: {address} (Ctrl-C ends it)", flush=True)
        if options.open:
            Timer(OPEN_SECONDS, webbrowser.open, [address]).start()
        server = uvicorn.Server(uvicorn.Config(application, log_level="warning", timeout_graceful_shutdown=3))
        server.run([listening])


def _end(number: int, frame: FrameType | None) -> None:
    if number != signal.SIGTERM:  # which the server has a handler for while it serves: it would not end in the middle
        signal.raise_signal(signal.SIGTERM)
    else:
        sys.exit(128 + number)


def _address(host: str, port: int) -> str:
    named = {"127.0.0.1": "localhost"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{named}:{port}"


def _listen(host: str, port: int) -> socket.socket:
    if not host:  # a socket would listen on every address then
        raise UserError("--host is empty: name an address, 127.0.0.1 for this machine alone, or leave the option out")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except (OSError, OverflowError) as error:  # the latter for a number that no port has
        reason = error.strerror if isinstance(error, OSError) else error
        foreign = isinstance(error, socket.gaierror) or getattr(error, "errno", 0) == errno.EADDRNOTAVAIL
        remedy = "--host wants a name or an address of this machine" if foreign else "--port 0 takes any that is free"
        raise UserError(f"--host {host} --port {port} cannot be listened at ({reason}): {remedy}") from None
    return listening


def _loopback(listening: socket.socket) -> bool:
    """Whether this machine alone reaches it: at the whole of 127.0.0.0/8, or ::1."""
    return ip_address(listening.getsockname()[0]).is_loopback


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m src.app", description="The web page.")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default: this machine alone)")
    parser.add_argument("--port", type=int, default=PORT, help="default: %(default)s; 0 takes any that is free")
    parser.add_argument("--open", action="store_true", help="also open it in the browser")
    return parser


if __name__ == "__main__":
    main()
