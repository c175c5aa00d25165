"""Training of the ranker: examples a second against a plain ``DataLoader`` loop, and memory by the number of examples.

Impressions with every feature of ``models.features``: 30 watches, 10 likes, 20 impressions and 5 searches in the histories, all
full, or the watches alone; titles of 384 numbers, 20,000 users and as many videos; widths and batches are those of the
configuration, a thread a core. The reference has the same encoded rows, module, loss and batch size, and AdamW; its ``Dataset``
gives one example at a time and its ``DataLoader`` puts batches together. Both encode before the clock starts; of each the best
pass counts, of 3 over all examples and of 3 over the loader's 40,960.

Memory is the peak of a process of its own that encodes ``REELFLOW_BENCH_EXAMPLES`` examples (1,000,000 without it, several
separated by commas), whose histories come in parts as they do from Parquet, and trains an epoch; the reference is the size of
the encoded tensors.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from benchmarks._figure import Figure, best_seconds
from conf import load, repository
from models.features import FEATURES, Number
from models.rows import HISTORY_ROW
from models.towers import TowerData, TowersConfig, fit_ranker
from models.towers._content import content_of
from models.towers._data import Encoded, UserInputs, VideoInputs, encode_examples
from models.towers._ranker import _Ranker
from schemas import HISTORIES, QUERY_TEXT, USER_VERSIONS, VIDEO_VERSIONS
from schemas import columns as col

EXAMPLES, PLAIN_EXAMPLES = 400_000, 40_960
_USERS, _VIDEOS, _QUERIES, _TITLE = 20_000, 20_000, 1_000, 384
_PART = 50_000  # examples whose histories are decoded at a time, as in training
_LENGTHS = {"watched": 30, "liked": 10, "seen": 20, "searched": 5}
_START, _LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)
_TIME = pa.timestamp("us", tz="UTC")
_MICROS_PER_DAY = 86_400_000_000


def measure() -> list[Figure]:
    config = load("towers", TowersConfig)
    ranker = config.ranker.model_copy(update={"min_steps_per_epoch": 1})
    config = config.model_copy(update={"ranker": ranker, "threads": len(os.sched_getaffinity(0))})
    data, figures = examples(EXAMPLES), []
    for name, without in (("ranker, 30 watches", ("liked", "seen", "searched")), ("ranker, all histories", ())):
        some, marks = config.model_copy(update={"leave_out": without}), list[float]()
        fit_ranker(some, data, 1, lambda _, marks=marks: marks.append(time.perf_counter()), epochs=4)  # type: ignore[misc]
        rate = EXAMPLES / float(min(np.diff(marks)))
        said = f"DataLoader loop; batch {config.ranker.batch_size}, {config.threads} threads"
        figures.append(Figure(name, "examples/s", rate, _plain(some, data), said))
    for n in map(int, os.environ.get("REELFLOW_BENCH_EXAMPLES", "1000000").split(",")):
        command = [sys.executable, "-m", "benchmarks.towers", str(n)]
        done = subprocess.run(command, cwd=repository(), capture_output=True, text=True, check=True)
        told = json.loads(done.stdout.splitlines()[-1])
        said = f"of them encoded tensors; {told['seconds']:.0f} s to encode and train an epoch"
        figures.append(Figure(f"ranker memory, {n / 1e6:g} M examples", "MB", told["peak_mb"], told["encoded_mb"], said))
    return figures


def examples(n: int) -> TowerData:
    """Examples with full histories; one in ten is relevant."""
    rng = np.random.default_rng(0)
    videos = _videos(rng)
    columns: dict[str, Any] = {
        col.USER_ID: rng.integers(_USERS, size=n),
        col.VIDEO_ID: rng.integers(_VIDEOS, size=n),
        col.EXPOSURE: pa.DictionaryArray.from_arrays(np.zeros(n, np.int8), ["impression"]).dictionary_decode(),
        col.OCCURRED_AT: _times(np.sort(rng.integers(0, 14 * _MICROS_PER_DAY, n))),
        col.DEVICE: np.array(["phone", "tv", "web"])[rng.integers(3, size=n)],
        col.LABEL: (rng.random(n) < 0.1).astype(np.int32),
        col.WEIGHT: np.ones(n),
        HISTORY_ROW: np.arange(n),
    }
    counted = {name for feature in FEATURES if isinstance(feature, Number) for name in feature.columns}
    for name in sorted(counted - set(VIDEO_VERSIONS.columns)):
        columns[name] = rng.integers(0, 1000, n).astype(np.float64)
    whole = np.ones(n, dtype=bool)
    queries = [{col.QUERY: f"query {k}", col.VECTOR: rng.normal(size=_TITLE).tolist()} for k in range(_QUERIES)]
    return TowerData(
        examples=pa.table(columns),
        users=_users(rng),
        videos=videos,
        queries=pa.Table.from_pylist(queries, schema=QUERY_TEXT.arrow),
        watches=pa.table({col.USER_ID: [0], col.VIDEO_ID: [0], col.OCCURRED_AT: pa.array([_LONG_AGO], _TIME)}),
        train=whole,
        validation=~whole,
        histories=lambda: _histories(n),
    )


def _histories(n: int) -> Iterator[pa.Table]:
    """Lists of all examples, made as they are asked for."""
    for start in range(0, n, _PART):
        size, rng = min(_PART, n - start), np.random.default_rng(start)
        columns = {}
        for name, length in _LENGTHS.items():
            history = HISTORIES[name]
            ids = rng.integers(_QUERIES if name == "searched" else _VIDEOS, size=size * length)
            texts = pa.array([f"query {k}" for k in range(_QUERIES)])
            values = texts.take(pa.array(ids)) if name == "searched" else pa.array(ids)
            ages = np.sort(rng.integers(1, 10**6, (size, length)), axis=1).astype(np.int32)
            offsets = np.arange(size + 1, dtype=np.int32) * length
            columns[history.values] = pa.ListArray.from_arrays(offsets, values)
            columns[history.ages] = pa.ListArray.from_arrays(offsets, ages.ravel())
        yield pa.table(columns)


def _users(rng: np.random.Generator) -> pa.Table:
    return pa.table({
        col.USER_ID: np.arange(_USERS),
        col.VALID_FROM: pa.array([_LONG_AGO] * _USERS, _TIME),
        col.AGE: rng.integers(13, 80, _USERS).astype(np.int32),
        col.GENDER: np.array(["f", "m"])[rng.integers(2, size=_USERS)],
        col.LANGUAGE: np.array(["de", "en", "es"])[rng.integers(3, size=_USERS)],
        col.COUNTRY: np.array(["DE", "GB", "ES", "MX"])[rng.integers(4, size=_USERS)],
        col.CITY: [f"city {k}" for k in rng.integers(200, size=_USERS)],
    }).select(USER_VERSIONS.columns)  # fmt: skip


def _videos(rng: np.random.Generator) -> pa.Table:
    vectors = [
        pa.FixedSizeListArray.from_arrays(rng.normal(size=_VIDEOS * dim).astype(np.float32), dim) for dim in (_TITLE, 64)
    ]
    uploaded = _times(-rng.integers(0, 300 * _MICROS_PER_DAY, _VIDEOS))
    facts = {
        col.VIDEO_ID: np.arange(_VIDEOS),
        col.VALID_FROM: pa.array([_LONG_AGO] * _VIDEOS, _TIME),
        col.CREATOR_ID: rng.integers(2_000, size=_VIDEOS),
        col.LANGUAGE: np.array(["de", "en", "es"])[rng.integers(3, size=_VIDEOS)],
        col.DURATION_SECONDS: rng.uniform(5, 600, _VIDEOS),
        col.UPLOADED_AT: uploaded,
    }
    texts = zip((col.TITLE_VECTOR, col.TAGS_VECTOR), vectors, strict=True)
    return pa.table(facts | {name: vector.cast(pa.list_(pa.float32())) for name, vector in texts})


def _times(micros: NDArray[np.int64]) -> pa.Array:
    return pa.array(micros + int(_START.timestamp()) * 1_000_000).cast(_TIME)


class _Rows(Dataset[Any]):
    """One example at a time."""

    def __init__(self, encoded: Encoded) -> None:
        self.encoded = encoded

    def __len__(self) -> int:
        return min(len(self.encoded), PLAIN_EXAMPLES)

    def __getitem__(self, place: int) -> Any:
        row, own = torch.tensor(place), self.encoded
        codes = torch.cat((own.users[own.user[row]], own.past.codes[row]))
        histories = [(codes_[row], ages[row]) for codes_, ages in own.past.histories]
        video = own.video[row]
        texts = [text[row] for text in own.past.texts]
        of_video = (own.videos.codes[video], own.numbers[row], own.videos.about[video])
        return codes, histories, texts, of_video, own.label[row], own.weight[row]


def _plain(config: TowersConfig, data: TowerData) -> float:
    """Examples a second of the reference."""
    spec = data.fit_spec(min_count=config.min_count, leave_out=config.leave_out)
    content = content_of(spec, data.videos)
    encoded = encode_examples(spec, data, data.train, content.reader(spec))
    module = _Ranker(config, spec, content.dim)
    optimizer = torch.optim.AdamW(module.parameters(), lr=config.ranker.learning_rate)
    torch.set_num_threads(config.threads)
    loader = DataLoader(_Rows(encoded), batch_size=config.ranker.batch_size, shuffle=True)
    return PLAIN_EXAMPLES / best_seconds(lambda: _pass(loader, module, optimizer, encoded))


def _pass(loader: DataLoader[Any], module: _Ranker, optimizer: torch.optim.Optimizer, encoded: Encoded) -> None:
    for codes, histories, texts, of_video, label, weight in loader:
        users = UserInputs(codes, tuple(map(tuple, histories)), tuple(texts), encoded.past.text_vectors)
        loss = F.binary_cross_entropy_with_logits(module(users, VideoInputs(*of_video)), label, weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _in_this_process(n: int) -> dict[str, float]:
    config, data = load("towers", TowersConfig), examples(n)
    began = time.perf_counter()
    fit_ranker(config, data, 1, epochs=1)
    seconds = time.perf_counter() - began
    few = np.arange(n) < _PART
    spec = data.fit_spec(min_count=config.min_count, leave_out=())
    part = encode_examples(spec, data, few, content_of(spec, data.videos).reader(spec))
    own = [part.user, part.video, part.numbers, part.label, part.weight, part.past.codes, *part.past.texts]
    bytes_ = sum(tensor.nbytes for tensor in (*own, *(tensor for pair in part.past.histories for tensor in pair)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "peak_mb": peak, "encoded_mb": bytes_ / len(part) * n / 2**20}


if __name__ == "__main__":
    print(json.dumps(_in_this_process(int(sys.argv[1]))))
