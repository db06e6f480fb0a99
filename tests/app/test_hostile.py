"""What users do who do not mean well, or are many, or just have the wrong file."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from neuralpatch_cuda.cli import main

from .conftest import QUICK, Client, Server, as_file, encoded, small_mask, small_photograph, start, until


@pytest.fixture(scope="module")
def client(server: Server) -> Client:
    return Client(server)


@pytest.fixture(autouse=True)
def _server_lives(server: Server, client: Client) -> Iterator[None]:
    """Whatever was done to it, it goes on."""
    yield
    assert server.process.poll() is None
    photograph, mask = client.upload(("a.png", small_photograph()), ("b.png", small_mask()))
    assert client.fill(photograph, mask)[0] is not None


def png_header(width: int, height: int) -> bytes:
    """A PNG file that claims a size and has no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_documented_commands_fill(server: Server, tmp_path: Path) -> None:
    document = Path(__file__).resolve().parents[2] / "docs" / "page.md"
    if not document.exists():
        pytest.skip("needs the source tree")
    (block,) = re.findall(r"^```sh\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL)
    assert "http://127.0.0.1:7860" in block
    photograph = encoded(Image.open(BytesIO(small_photograph())), "JPEG")
    (tmp_path / "photo.jpg").write_bytes(photograph)
    (tmp_path / "mask.png").write_bytes(small_mask())
    script = block.replace("http://127.0.0.1:7860", server.url)
    subprocess.run(["bash", "-euc", script], cwd=tmp_path, check=True, timeout=120)
    command = ["inpaint", str(tmp_path / "photo.jpg"), str(tmp_path / "mask.png"), "-o", str(tmp_path / "own.jpg")]
    assert main([*command, *QUICK, "-q", "--seed", "3", "--noise", "0.1"]) == 0
    assert (tmp_path / "filled.jpg").read_bytes() == (tmp_path / "own.jpg").read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("letter.png", b"Dear Sir or Madam", "letter.png is not an image that can be read."),
        ("huge.png", png_header(60_000, 60_000), "huge.png is 60000 x 60000 px, more than the"),
        ("large.png", png_header(3000, 2500), "large.png is 3000 x 2500 px, more than the 6 megapixels allowed."),
        ("cut.png", small_photograph()[:3000], "cut.png is damaged: "),
        ("empty.png", b"", "empty.png is not an image that can be read."),
    ],
    ids=lambda value: value if isinstance(value, str) and value.endswith(".png") else "",
)
def test_bad_photographs_are_refused_in_a_sentence(client: Client, name: str, content: bytes, problem: str) -> None:
    image, mask = client.upload((name, content), ("mask.png", small_mask()))
    filled, told = client.fill(image, mask)
    assert filled is None
    assert told.startswith(problem)
    assert image["path"] not in told, "of no use to who reads it"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"alpha": "x"}, "alpha must be a number of at least 0, not"),
        ({"colour": "red"}, "There is no option"),
        ({"content_network": "os:system"}, "content_network must be one of "),
        ({"content_network": "/etc/passwd"}, "content_network must be one of "),
        ({"texture_network": "/etc/passwd"}, "texture_network is set by the server."),
        ({"memory_budget": 1}, "memory_budget is set by the server."),
    ],
)
def test_options_that_are_not_the_users_are_refused(client: Client, options: dict[str, Any], problem: str) -> None:
    image, mask = client.upload(("a.png", small_photograph()), ("b.png", small_mask()))
    filled, told = client.fill(image, mask, **options)
    assert filled is None
    assert told.startswith(problem)


def test_half_a_gigabyte_is_refused(server: Server, client: Client) -> None:
    def body() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="big.png"\r\n\r\n'
        for _ in range(500):
            yield bytes(2**20)
        yield b"\r\n--x--\r\n"

    import httpx

    before = set(server.files())
    try:
        answer = client.http.post("upload", content=body(), headers={"Content-Type": "multipart/form-data; boundary=x"})
    except httpx.TransportError:  # it hung up on us
        pass
    else:
        assert answer.status_code == 413
        assert "exceeded maximum allowed size" in answer.text
    until(lambda: set(server.files()) <= before)


@pytest.mark.parametrize("path", ["/etc/passwd", "../../../../etc/passwd", "{folder}/../secret.png", "{folder}"])
def test_paths_that_were_not_uploaded_are_not_opened(server: Server, client: Client, path: str) -> None:
    (server.folder / "secret.png").write_bytes(small_photograph())
    image, mask = client.upload(("a.png", small_photograph()), ("b.png", small_mask()))
    folder = Path(image["path"]).parents[1]
    assert folder.parent == server.folder
    assert folder.stat().st_mode & 0o077 == 0, "others can look into it"
    path = path.format(folder=folder)
    for arguments in ((as_file(path), mask), (image, as_file(path))):
        filled, problem = client.fill(*arguments)
        assert filled is None
        assert problem
    assert client.http.get(f"file={path}").status_code in (403, 404)


def test_addresses_are_not_fetched(client: Client) -> None:
    _, mask = client.upload(("a.png", small_photograph()), ("b.png", small_mask()))
    filled, problem = client.fill(as_file("http://127.0.0.1:1/a.png"), mask)
    assert filled is None
    assert problem == "Only files that were uploaded are taken, no addresses."


def test_twenty_users_at_once(client: Client) -> None:
    def use(number: int) -> tuple[bytes | None, str]:
        image, mask = client.upload((f"{number}.png", small_photograph(number % 4)), ("mask.png", small_mask()))
        return client.fill(image, mask)

    with ThreadPoolExecutor(20) as users:
        answers = list(users.map(use, range(20)))
    assert [problem for filled, problem in answers if filled is None] == []
    for number, (filled, _) in enumerate(answers):
        assert filled == answers[number % 4][0]
    assert len({filled for filled, _ in answers}) == 4


def test_login_limits_and_end(tmp_path: Path) -> None:
    options = ("--login", "ada:lovelace", "--max-minutes", "0.001", "--max-waiting", "1")
    server = start(tmp_path, *options)
    try:
        stranger, user = Client(server), Client(server)
        assert stranger.http.post("upload", files=[("files", ("a.png", small_photograph()))]).status_code == 401
        for password, status in (("babbage", 400), ("lovelace", 200)):
            answer = user.http.post(f"{server.url}/login", data={"username": "ada", "password": password})
            assert answer.status_code == status
        image, mask = user.upload(("a.png", small_photograph(side=512)), ("b.png", small_mask(512)))
        filled, problem = user.fill(image, mask, iterations=1000)
        assert filled is None
        assert problem.startswith("This takes longer than the 0.001 minutes that a fill may take here")
        with ThreadPoolExecutor(6) as users:
            answers = list(users.map(lambda _: user.fill(image, mask, iterations=1000)[1], range(6)))
        assert any("Queue is full" in answer for answer in answers)
        assert server.files()
        assert server.stop() == 130
        assert not server.files(), "left behind"
        assert os.listdir(tmp_path) == []
    finally:
        server.process.kill()


def test_port_that_is_taken_is_told(server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    port = server.url.rpartition(":")[2]
    began = time.monotonic()
    assert main(["serve", "--port", port]) == 2
    assert f"Error: The port {port} of 127.0.0.1 cannot be used" in capfd.readouterr().err
    assert time.monotonic() - began < 60


def test_open_address_is_warned_of(capfd: pytest.CaptureFixture[str], server: Server) -> None:
    port = server.url.rpartition(":")[2]
    assert main(["serve", "--host", "0.0.0.0", "--port", port]) == 2  # taken, so that it ends
    assert "Warning: everyone who can reach 0.0.0.0 can use this page, without a login" in capfd.readouterr().err
    assert main(["serve", "--login", "ada"]) == 2
    assert "--login must be a name and a password" in capfd.readouterr().err
