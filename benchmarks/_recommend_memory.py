"""Private memory of a recommend worker: what each further worker of a machine costs, beside the arrays that all of them map."""

from __future__ import annotations

import multiprocessing
import tempfile
import threading
from datetime import date
from multiprocessing.connection import Connection
from pathlib import Path

from models.ensemble import load_catalogue, save_catalogue
from models.recommend import Catalogue, Indexes, RecommendConfig, UserBatch, recommend_batch, rows

_INDEXES = "indexes"
_EVERY_SECONDS = 0.005


def private_mb(config: RecommendConfig, catalogue: Catalogue, users: UserBatch, indexes: Indexes, day: date) -> float:
    """The peak of a fresh process that maps a catalogue and makes lists, batch by batch; without its imports; in MB."""
    with tempfile.TemporaryDirectory() as folder:
        save_catalogue(catalogue, Path(folder))
        indexes.write(Path(folder) / _INDEXES)
        context = multiprocessing.get_context("spawn")  # a fork would share this process's arrays
        mine, other = context.Pipe(duplex=False)
        worker = context.Process(target=_work, args=(other, config, Path(folder), users, day))
        worker.start()
        other.close()
        try:
            found: float = mine.recv()
        finally:
            worker.join()
    return found


def _work(told: Connection, config: RecommendConfig, folder: Path, users: UserBatch, day: date) -> None:
    at_first = peak = _anonymous_kb()
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(_EVERY_SECONDS):
            peak = max(peak, _anonymous_kb())

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        catalogue, indexes = load_catalogue(folder), Indexes.read(folder / _INDEXES)
        for start in range(0, len(users), config.users_per_batch):
            batch = users.rows(start, start + config.users_per_batch)
            rows(recommend_batch(config, catalogue, batch, indexes, day), config, catalogue, batch)
    finally:
        done.set()
        watching.join()
    told.send((peak - at_first) / 1024)


def _anonymous_kb() -> int:
    """Resident memory of this process that belongs to no file: mapped pages can be shared and dropped, this cannot."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))
