"""A batch on a cluster: Ray Data feeds a pool of actors, each with its share of a GPU."""

from __future__ import annotations

import logging
import pickle
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

from neuralpatch_cuda.batch.item import Item
from neuralpatch_cuda.batch.journal import Record
from neuralpatch_cuda.batch.run import Report
from neuralpatch_cuda.config import InpaintConfig
from neuralpatch_cuda.errors import NeuralPatchError

ATTEMPTS = 3
"""Workers that an item may take down with it before it is given up."""
BLOCKS = 10_000
"""Into which a batch is divided at most: Ray keeps account of each, and each goes to a worker as a whole."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RaySettings:
    """Where a batch runs, and on how much of it."""

    address: str | None = None
    """Of a cluster, such as "auto" or "ray://head:10001"; None: RAY_ADDRESS, or a cluster started on this machine."""
    workers: tuple[int, int] | None = None
    """Least and largest number of actors; None: as many as there is room for."""
    gpus: float = 0.0
    """Per actor; 0.5 lets two share a GPU."""
    cpus: float = 1.0
    """Per actor."""


class Ledger:
    """An actor: knows what was begun and what ended, so that a worker that takes over from a dead one need not ask."""

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()
        self._ended: dict[str, str] = {}

    def begin(self, name: str) -> tuple[int, str | None]:
        """How often an item was begun, this time included; and its record, if it has ended."""
        self._begun[name] += 1
        return self._begun[name], self._ended.get(name)

    def end(self, name: str, record: str) -> None:
        """Keep an item's record."""
        self._ended[name] = record


class Filler:
    """An actor: holds the networks and fills one item after another."""

    def __init__(self, config: InpaintConfig, settings: RaySettings, ledger: Any) -> None:
        import torch

        from neuralpatch_cuda.batch.work import Worker

        torch.set_num_threads(max(1, int(settings.cpus)))
        self._worker = Worker(config, "cuda" if settings.gpus else "cpu")
        self._ledger = ledger

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        import ray

        item: Item = pickle.loads(row["item"])
        attempt, record = ray.get(self._ledger.begin.remote(item.name))
        if record is None:
            record = self._fill(item, attempt).model_dump_json()
            ray.get(self._ledger.end.remote(item.name, record))
        return {"record": record}

    def _fill(self, item: Item, attempt: int) -> Record:
        if attempt > ATTEMPTS:
            error = f"The worker that filled it died {ATTEMPTS} times, maybe for want of memory."
            return Record(event="failed", item=item.name, error=error)
        return self._worker.write(self._worker.solve(self._worker.read(item)))


def run_on_ray(items: Iterable[Item], config: InpaintConfig, settings: RaySettings, report: Report) -> None:
    """Fill items by the actors of a Ray cluster, to which all files must have the same names.

    An item whose actor is killed is tried again by another one.

    Args:
        items: what to do.
        config: the settings that most items have.
        settings: where.
        report: told that all items are begun, and how each ended.

    Raises:
        NeuralPatchError: Ray is not installed, or the cluster cannot be reached.
    """
    try:
        import ray
        import ray.data
    except ModuleNotFoundError:
        raise NeuralPatchError(
            "The engine ray needs the package ray; install it with: pip install neuralpatch_cuda[ray]"
        ) from None
    items = list(items)
    with redirect_stdout(sys.stderr):  # Ray prints what happens to its processes
        try:
            ray.init(settings.address, logging_level=logging.ERROR, log_to_driver=False, ignore_reinit_error=True)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise NeuralPatchError(f"The Ray cluster cannot be reached: {' '.join(str(error).split())}") from error
        try:
            resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
            if resources.get("GPU", 0) < settings.gpus:
                logger.warning("The Ray cluster has no GPU yet; the batch waits for one.")
            report(Record(event="started", item=item.name) for item in items)
            for row in _dataset(items, config, settings).iter_rows():
                report([Record.model_validate_json(row["record"])])
        finally:
            ray.shutdown()


def _dataset(items: list[Item], config: InpaintConfig, settings: RaySettings) -> Any:
    """The records of the items, in the order in which they end."""
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it tells of every start and end
    ray.data.DataContext.get_current().enable_progress_bars = False
    least, most = settings.workers or (1, None)
    pickled = [{"item": pickle.dumps(item)} for item in items]
    rows: Any = ray.data.from_items(pickled, override_num_blocks=min(len(items), BLOCKS))
    return rows.map(
        Filler,
        fn_constructor_args=(config, settings, ray.remote(num_cpus=0)(Ledger).remote()),
        compute=ray.data.ActorPoolStrategy(min_size=least, max_size=most),
        num_cpus=settings.cpus,
        num_gpus=settings.gpus,
    )
