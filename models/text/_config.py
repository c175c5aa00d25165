"""Section ``text`` of the configuration."""

from __future__ import annotations

from pydantic import Field

from conf import Section


class TagsConfig(Section):
    """How tags are trained: ``text.tags``."""

    dim: int = Field(ge=1)
    """Length of a tag's vector."""
    window: int = Field(ge=1)
    """How many tags to each side are the context that predicts a tag."""
    min_count: int = Field(ge=1)
    """A tag on fewer videos is unknown."""
    epochs: int = Field(ge=1)
    """Passes over the tag lists."""
    seed: int = Field(ge=0, lt=2**32)
    """Of the initial vectors and of the negative samples."""


class TextConfig(Section):
    """Section ``text``."""

    encoder: str = Field(min_length=1)
    """``default``: the MiniLM that the requirements install. Else the folder of a sentence-transformers model."""
    cache: str = Field(min_length=1)
    """The SQLite file that keeps every vector ever made."""
    max_characters: int = Field(ge=1)
    """Of a title or a query; what comes after them is not read."""
    chunk: int = Field(ge=1)
    """About so many vectors go into the cache at once: what a killed run loses at most."""
    threads: int = Field(ge=0)
    """Of the processor, for the encoder; 0: one a core. The result does not depend on it."""
    tags: TagsConfig
