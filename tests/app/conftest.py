"""A server of the page, and a browser to use it with."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

QUICK = ("--iterations", "4", "--fine-iterations", "2")
"""Options that the page of the tests begins with."""

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@dataclass
class Server:
    """A server that runs."""

    url: str
    folder: Path
    """Where its private folder is made."""
    process: subprocess.Popen[str]

    def files(self) -> list[Path]:
        """That it holds."""
        return [path for path in self.folder.rglob("*") if path.is_file()]

    def stop(self) -> int:
        """End it; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


def start(folder: Path, *options: str) -> Server:
    """A server on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "neuralpatch_cuda.cli", "serve", "--port", str(port), *QUICK, *options]
    environment = os.environ | {"TMPDIR": str(folder)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, cwd=folder)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("http"), "the server did not start"
    return Server(line.split()[0].rstrip("/"), folder, process)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("gradio")
    server = start(tmp_path_factory.mktemp("server"), "--max-upload", "4", "--max-megapixels", "6")
    yield server
    server.process.kill()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium; where it is not found, tests are skipped, unless $NEURALPATCH_BROWSER says where it must be."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = os.environ.get("NEURALPATCH_BROWSER") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium")
    quiet = ("background-networking", "component-update", "sync", "gpu", "quic")
    arguments = ["--no-sandbox", "--no-first-run", *(f"--disable-{what}" for what in quiet)]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photograph of 2,000 px."""
    path = tmp_path_factory.mktemp("photographs") / "mountains.jpg"
    with Image.open(EXAMPLES / "photos" / "picosdeeuropa.jpg") as image:
        image.resize((2000, 1500)).save(path, quality=92)
    return path


def until(what: Any, seconds: float = 20) -> None:
    """Wait for something to be so."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.05)


class Client:
    """A program that uses the page's HTTP interface."""

    def __init__(self, server: Server) -> None:
        httpx = pytest.importorskip("httpx")
        self.http = httpx.Client(base_url=f"{server.url}/gradio_api/", timeout=120)

    def upload(self, *files: tuple[str, bytes]) -> list[dict[str, Any]]:
        """Send files; what to pass for each."""
        answer = self.http.post("upload", files=[("files", file) for file in files])
        answer.raise_for_status()
        return [as_file(path, name) for path, (name, _) in zip(answer.json(), files, strict=True)]

    def fill(self, image: dict[str, Any], mask: dict[str, Any], **options: Any) -> tuple[bytes | None, str]:
        """The filled photograph's file, or None and why not."""
        body = {"image": image, "mask": mask, "options": options}
        answer = self.http.post("call/v2/fill", json=body)
        if answer.status_code != 200:
            return None, answer.text
        with self.http.stream("GET", f"call/fill/{answer.json()['event_id']}") as events:
            for line in events.iter_lines():
                kind, _, value = line.partition(": ")
                if kind == "event":
                    event = value
                elif kind == "data" and event == "error":
                    return None, json.loads(value)["error"]
                elif kind == "data" and event == "complete":
                    return self.http.get(f"file={json.loads(value)[0]['path']}").content, ""
        raise AssertionError("no answer")


def as_file(path: str, name: str = "file.png") -> dict[str, Any]:
    """An uploaded file as the interface wants it."""
    return {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    file = BytesIO()
    image.save(file, kind)
    return file.getvalue()


def small_photograph(seed: int = 0, side: int = 96) -> bytes:
    """A texture, as PNG."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    return encoded(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(2)))


def small_mask(side: int = 96) -> bytes:
    """A square in the middle, as PNG."""
    mask = Image.new("L", (side, side))
    mask.paste(255, (side // 2 - 8, side // 2 - 8, side // 2 + 8, side // 2 + 8))
    return encoded(mask)
