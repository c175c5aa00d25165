"""Where everything lies: the ``paths`` section of the configuration as absolute paths."""

from __future__ import annotations

from pathlib import Path

from conf import Section, home, load

__all__ = ["Paths", "paths"]


class Paths(Section):
    """The folders and files of a workspace, named once."""

    raw: Path
    """The platform's logs, read only."""
    lake: Path
    """Tables between stages."""
    cold: Path
    """Where ``jobs.archive`` moves old partitions; may be another file system, and serves one lake."""
    erased: Path
    """Who was erased, as keyed hashes; to be kept as long as the raw logs."""
    bundles: Path
    """Model bundles."""
    store: Path
    """The serving store's SQLite file, where ``store.url`` names no other store."""
    runs: Path
    """What each stage said, reports and summaries."""
    mlflow: Path
    """Tracking database and artifacts."""
    truth: Path
    """The simulator's hidden preferences; no stage reads it."""


def paths() -> Paths:
    """Read the configured paths, made absolute: a relative one lies below :func:`conf.home`.

    Raises:
        ConfigError: the section is missing, or names a path that :class:`Paths` does not know.
    """
    configured = load("paths", into=Paths)
    root = home()
    return Paths(**{name: root / Path(getattr(configured, name)).expanduser() for name in Paths.model_fields})
