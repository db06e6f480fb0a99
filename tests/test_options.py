"""Options from flags, the environment and files, as `neuralpatch inpaint` takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
import typer

from neuralpatch_cuda import cli
from neuralpatch_cuda.config import InpaintConfig
from neuralpatch_cuda.options import options_of


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[InpaintConfig, list[str], str]]:
    """What the command `fill` was called with."""
    calls = []
    app = typer.Typer()

    @app.command()
    @options_of(InpaintConfig, panel="Method")
    def fill(
        exemplar: Annotated[list[str] | None, typer.Option()] = None, device: str = "auto", **options: Any
    ) -> None:
        calls.append((InpaintConfig(**options), exemplar or [], device))

    @app.command()
    def other() -> None:
        pass

    monkeypatch.setattr(cli, "app", app)
    return calls


def test_what_is_typed_goes_before_the_environment_and_that_before_the_file(
    tmp_path: Path, configured: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(
        'alpha = 2\nbeta = 3.5\nseed = 4\nmask-dilate = 5\nlayers = ["relu3_1", "relu4_1"]\ncontent_weight = [6, 7]\n'
        'invert_mask = true\nmemory_budget = "1GB"\n[fill]\nexemplar = ["a", "b"]\ndevice = "cpu"\n[other]\nx = 1\n'
    )
    monkeypatch.setenv("NEURALPATCH_BETA", "8")
    monkeypatch.setenv("NEURALPATCH_SEED", "9")
    assert cli.main(["fill", "--config", str(path), "--seed", "10"]) == 0
    expected = {"alpha": 2, "beta": 8, "seed": 10, "mask_dilate": 5, "content_weight": (6, 7), "invert_mask": True}
    assert configured == [(InpaintConfig(**expected, memory_budget=10**9), ["a", "b"], "cpu")]


def test_the_environment_may_name_the_file(
    tmp_path: Path, configured: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "settings.toml").write_text("invert_mask = true")
    monkeypatch.setenv("NEURALPATCH_CONFIG", str(tmp_path / "settings.toml"))
    assert cli.main(["fill", "--no-invert-mask"]) == 0
    assert cli.main(["fill"]) == 0
    assert [config.invert_mask for config, *_ in configured] == [False, True]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"alpha = ", "are not TOML"),
        (b"\xff\xfe", "are not TOML"),
        (b"alhpa = 1", "have 'alhpa', which is no option of fill"),
        (b"alpha = -1", "alpha must be a number of at least 0, not '-1'"),
        (b"[fill]\nspeed = 1", "have 'speed', which is no option of fill"),
        (b"[fill.alpha]\nx = 1", "have 'alpha', which is no option of fill"),
        (b"fill = 3", "have 'fill', which is no option of fill"),
        (b"a=" + b"[" * 5000, "are not TOML"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_bad_files(
    tmp_path: Path, configured: list[Any], content: bytes | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "settings.toml"
    if content is not None:
        path.write_bytes(content)
    assert cli.main(["fill", "--config", str(path)]) == 2
    error = capsys.readouterr().err
    assert said in error and error.startswith("Error: ") and error.count("\n") == 1
    assert configured == []
