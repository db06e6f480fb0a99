"""The one thread that fills holes, for whoever waits for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Literal

from PIL import Image

from neuralpatch_cuda.app.forecast import Forecast, calibrate
from neuralpatch_cuda.batch.work import PAINTERS, Cancelled
from neuralpatch_cuda.config import InpaintConfig
from neuralpatch_cuda.errors import NeuralPatchError
from neuralpatch_cuda.imaging.files import Photograph
from neuralpatch_cuda.inpainter import Inpainter, InpaintInfo, Progress, ScaleInfo


class TimeLimitError(NeuralPatchError):
    """A fill took longer than it may."""


class Engine:
    """Fills one hole at a time.

    On a processor, networks are a third slower outside of the thread that made them, so that one thread does all.
    """

    def __init__(self, config: InpaintConfig, device: str, limit: float) -> None:
        """Load the networks, and begin to find out how fast this machine is with them.

        Args:
            config: the settings that most fills have.
            device: as of `Inpainter`.
            limit: seconds that a fill may take.

        Raises:
            as `Inpainter`.
        """
        self._limit = limit
        self._painter = lru_cache(PAINTERS)(lambda config: Inpainter(config, device))
        self._thread = ThreadPoolExecutor(1, "fill")
        self._closed = threading.Event()
        self.forecast = Forecast()
        painter = self._thread.submit(self._painter, config).result()
        self._thread.submit(calibrate, painter, self.forecast)  # while the first user paints

    async def fill(
        self, photograph: Photograph, mask: Image.Image, config: InpaintConfig, cancelled: threading.Event | None = None
    ) -> AsyncGenerator[Progress | ScaleInfo | tuple[Photograph, InpaintInfo], None]:
        """Fill a hole; setting `cancelled`, or closing the iterator, ends that within an iteration.

        Yields:
            What the callbacks of `Inpainter` are told, and at last, unless it was cancelled, the filled photograph and
            its record.

        Raises:
            TimeLimitError: it took too long.
            NeuralPatchError: as `Inpainter`.
        """
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[Progress | ScaleInfo | Literal["begun"] | None] = asyncio.Queue()
        left = threading.Event()  # nobody listens any more

        def tell(event: Progress | ScaleInfo | Literal["begun"]) -> None:
            if left.is_set() or self._closed.is_set() or (cancelled is not None and cancelled.is_set()):
                raise Cancelled
            loop.call_soon_threadsafe(events.put_nowait, event)

        def solve() -> tuple[Photograph, InpaintInfo]:
            tell("begun")
            painter = self._painter(config)
            result = painter(photograph.image, mask, return_info=True, callback=tell, on_scale=tell)
            return photograph.with_image(result.image), result.info

        def end(_: Future[tuple[Photograph, InpaintInfo]]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(events.put_nowait, None)

        future = self._thread.submit(solve)
        future.add_done_callback(end)
        deadline: float | None = None  # what is waited for in line does not count
        try:
            while (event := await asyncio.wait_for(events.get(), deadline and deadline - loop.time())) is not None:
                if event == "begun":
                    deadline = loop.time() + self._limit
                else:
                    yield event
            if not isinstance(future.exception(), Cancelled):
                yield future.result()
        except (asyncio.TimeoutError, TimeoutError):
            raise TimeLimitError(
                f"This takes longer than the {self._limit / 60:g} minutes that a fill may take here; "
                "paint less, or choose a lower quality."
            ) from None
        finally:
            left.set()

    def close(self) -> None:
        """Give up what is being filled."""
        self._closed.set()
        self._thread.shutdown(cancel_futures=True)
