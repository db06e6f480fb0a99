"""The thread that fills: one hole at a time, and no longer than somebody waits for it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest
from PIL import Image

from neuralpatch_cuda import InpaintConfig, Inpainter
from neuralpatch_cuda.app import engine as module
from neuralpatch_cuda.app.engine import Engine, TimeLimitError
from neuralpatch_cuda.batch.work import PAINTERS, Cancelled
from neuralpatch_cuda.errors import ImageError, MaskError, NeuralPatchError
from neuralpatch_cuda.imaging.files import Photograph
from neuralpatch_cuda.imaging.metadata import Metadata
from neuralpatch_cuda.inpainter import InpaintInfo, InpaintResult, Progress, ScaleInfo

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
PHOTOGRAPH = Photograph(Image.fromarray(PIXELS), Metadata(xmp=b"kept"))
MASK = Image.new("L", (48, 40))
MASK.paste(255, (12, 10, 30, 24))
CONFIG = InpaintConfig(iterations=2, scales=1, layers="relu2_1", content_network="exemplar")
LONG = 3000
"""Iterations of 1 ms that are never done, but in tests that fail."""


def changed(**changes: Any) -> InpaintConfig:
    return InpaintConfig(**(dict(CONFIG) | changes))


async def all_of(engine: Engine, config: InpaintConfig = CONFIG, photograph: Photograph = PHOTOGRAPH) -> list[Any]:
    async with aclosing(engine.fill(photograph, MASK, config)) as events:
        return [event async for event in events]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "calibrate", lambda *_: None)
        engine = Engine(CONFIG, "cpu", 60)
        yield engine
        engine.close()


class Painter:
    """An inpainter that only takes time."""

    made: list[tuple[InpaintConfig, int]]
    """Settings of each, and the thread that made it."""
    log: list[Any]
    """What fills have begun and ended, and by how many iterations."""
    stuck: threading.Event
    """Unless this is set, no iteration ends."""

    def __init__(self, config: InpaintConfig, device: str) -> None:
        assert device == "cpu"
        self.config = config
        self.made.append((config, threading.get_ident()))

    def __call__(
        self,
        image: Image.Image,
        mask: Image.Image,
        *,
        return_info: bool,
        callback: Callable[[Progress], Any],
        on_scale: Callable[[ScaleInfo], Any],
    ) -> InpaintResult[Image.Image]:
        assert threading.get_ident() == self.made[0][1]
        count = self.config.iterations
        assert isinstance(count, int)
        self.log.append((self.config.seed, "begun"))
        done = 0
        try:
            for done in range(count):
                self.stuck.wait(20)
                time.sleep(0.001)
                callback(Progress(0, 1, 0, 1, done, count, 0.0))
        except Cancelled:
            self.log.append((self.config.seed, "cancelled"))
            raise
        self.log.append((self.config.seed, "done"))
        return InpaintResult(image, InpaintInfo())


@pytest.fixture
def painters(monkeypatch: pytest.MonkeyPatch) -> type[Painter]:
    class Fresh(Painter):
        made, log, stuck = [], [], threading.Event()

    Fresh.stuck.set()
    monkeypatch.setattr(module, "Inpainter", Fresh)
    monkeypatch.setattr(module, "calibrate", lambda *_: None)
    return Fresh


@pytest.fixture
def idle(painters: type[Painter]) -> Iterator[Engine]:
    """An engine whose painters only take time."""
    engine = Engine(CONFIG, "cpu", 60)
    yield engine
    painters.stuck.set()
    engine.close()


@pytest.mark.parametrize("image", [PHOTOGRAPH.image, (PIXELS[..., :1] * np.uint16(257))])
def test_a_fill_is_the_inpainter_s(engine: Engine, image: Any) -> None:
    config = changed(iterations=3, noise=0.1, seed=4)
    photograph = PHOTOGRAPH.with_image(image)
    *events, (filled, info) = asyncio.run(all_of(engine, config, photograph))
    result = Inpainter(config, "cpu")(image, MASK, return_info=True)
    assert type(filled.image) is type(image)
    assert (np.asarray(filled.image) == np.asarray(result.image)).all()
    assert (np.asarray(filled.image) != np.asarray(image)).any()
    assert filled.metadata == photograph.metadata
    *progress, scale = events
    assert [(event.iteration, event.iterations) for event in progress] == [(0, 3), (1, 3), (2, 3)]
    assert isinstance(scale, ScaleInfo) and info.scales == [scale]


def test_an_error_arrives_and_ends_nothing_else(engine: Engine) -> None:
    broken = Photograph(np.full((40, 48), np.nan, np.float32))
    with pytest.raises(ImageError, match=r"^The image has NaN or infinite values outside the hole; [^.]+\.$"):
        asyncio.run(all_of(engine, CONFIG, broken))
    with pytest.raises(MaskError, match="same size"):
        asyncio.run(all_of(engine, CONFIG, Photograph(Image.new("RGB", (40, 48)))))
    with pytest.raises(NeuralPatchError, match="no content network called"):
        asyncio.run(all_of(engine, changed(content_network="nonsense")))
    assert len(asyncio.run(all_of(engine))) == 4


def test_an_engine_that_cannot_begin() -> None:
    with pytest.raises(NeuralPatchError, match="no content network called"):
        Engine(changed(content_network="nonsense"), "cpu", 60)


def test_the_forecast_is_calibrated_by_the_thread_that_fills(
    painters: type[Painter], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(module, "calibrate", lambda *given: calls.append((*given, threading.get_ident())))
    engine = Engine(CONFIG, "cpu", 60)
    asyncio.run(all_of(engine))  # which comes after it
    engine.close()
    ((painter, forecast, thread),) = calls
    assert painter.config == CONFIG and forecast is engine.forecast
    assert thread == painters.made[0][1] != threading.get_ident()


def test_networks_are_loaded_once_for_the_same_settings(idle: Engine, painters: type[Painter]) -> None:
    for seed in (0, 1, 0, 1):
        asyncio.run(all_of(idle, changed(seed=seed)))
    assert [config.seed for config, _ in painters.made] == [0, 1]
    for seed in range(2, PAINTERS + 2):
        asyncio.run(all_of(idle, changed(seed=seed)))
    asyncio.run(all_of(idle))
    assert [config.seed for config, _ in painters.made] == [*range(PAINTERS + 2), 0]  # not all are kept


def test_closing_a_fill_ends_it(idle: Engine, painters: type[Painter]) -> None:
    async def leave_early() -> list[Any]:
        async with aclosing(idle.fill(PHOTOGRAPH, MASK, changed(iterations=LONG))) as events:
            async for event in events:
                assert isinstance(event, Progress)
                break
        return await all_of(idle, changed(seed=1))

    assert isinstance(asyncio.run(leave_early())[-1], tuple)
    assert painters.log == [(0, "begun"), (0, "cancelled"), (1, "begun"), (1, "done")]


def test_cancelling_the_task_that_waits_ends_its_fill(idle: Engine, painters: type[Painter]) -> None:
    """As Gradio does, while no event is there; and one that waits in line never begins."""

    async def cancel() -> list[Any]:
        painters.stuck.clear()
        tasks = [asyncio.create_task(all_of(idle, changed(iterations=LONG, seed=seed))) for seed in (0, 1)]
        while not painters.log:
            await asyncio.sleep(0.001)
        for task in tasks:
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        with pytest.raises(asyncio.CancelledError):
            await tasks[1]
        painters.stuck.set()
        return await all_of(idle, changed(seed=2))

    assert isinstance(asyncio.run(cancel())[-1], tuple)
    assert painters.log == [(0, "begun"), (0, "cancelled"), (2, "begun"), (2, "done")]


def test_a_waiter_that_is_gone_with_its_loop_ends_nothing_else(
    idle: Engine, painters: type[Painter], caplog: pytest.LogCaptureFixture
) -> None:
    async def begin() -> None:
        await anext(idle.fill(PHOTOGRAPH, MASK, changed(iterations=LONG)))

    asyncio.run(begin())
    assert isinstance(asyncio.run(all_of(idle, changed(seed=1)))[-1], tuple)
    assert painters.log[:2] == [(0, "begun"), (0, "cancelled")] and not caplog.records


def test_two_fills_are_done_one_after_the_other(idle: Engine, painters: type[Painter]) -> None:
    async def both() -> list[list[Any]]:
        return await asyncio.gather(*(all_of(idle, changed(iterations=20, seed=seed)) for seed in (0, 1)))

    results = asyncio.run(both())
    assert [len(events) for events in results] == [21, 21]
    assert painters.log == [(0, "begun"), (0, "done"), (1, "begun"), (1, "done")]


@pytest.mark.parametrize("stuck", [False, True])
def test_a_fill_that_takes_too_long(painters: type[Painter], stuck: bool) -> None:
    """Whether it tells of its course or not."""
    if stuck:
        painters.stuck.clear()
    engine = Engine(CONFIG, "cpu", 0.3)
    with pytest.raises(TimeLimitError, match=r"^This takes longer than the 0\.005 minutes [^.]+; [^.]+\.$"):
        asyncio.run(all_of(engine, changed(iterations=LONG)))
    painters.stuck.set()
    engine.close()
    assert painters.log == [(0, "begun"), (0, "cancelled")]


def test_closing_the_engine_ends_all_fills(painters: type[Painter]) -> None:
    engine = Engine(CONFIG, "cpu", 60)

    async def close() -> list[Any]:
        tasks = [asyncio.create_task(all_of(engine, changed(iterations=LONG, seed=seed))) for seed in (0, 1)]
        while not painters.log:
            await asyncio.sleep(0.001)
        await asyncio.to_thread(engine.close)
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)

    assert [type(end) for end in asyncio.run(close())] == [list, CancelledError]
    assert painters.log == [(0, "begun"), (0, "cancelled")]
