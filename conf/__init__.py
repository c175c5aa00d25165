"""Configuration: YAML in, frozen pydantic models out.

``conf/base.yaml`` holds every setting once. An overlay for the environment (``REELFLOW_ENV``, ``local`` by default) and an
optional file of one's own (``REELFLOW_CONF``) are merged over it, key by key. A key that ``base.yaml`` does not know is an
error wherever it stands, so a misspelt setting never silently does nothing.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

__all__ = ["ConfigError", "Section", "home", "load", "overlaid", "repository", "resolved", "workspace"]

_FOLDER = Path(__file__).resolve().parent
_LAID: list[tuple[str, Mapping[str, Any]]] = []


class ConfigError(ValueError):
    """A setting that is missing, misspelt or out of range; the message names the key and the file."""


class Section(BaseModel):
    """Base of every configuration class: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


SectionT = TypeVar("SectionT", bound=Section)


def repository() -> Path:
    """The folder that holds the source tree."""
    return _FOLDER.parent


def home() -> Path:
    """The workspace: every file that a run writes lies below it (``REELFLOW_HOME``, default ``var`` in the repository)."""
    chosen = os.environ.get("REELFLOW_HOME")
    return Path(chosen).expanduser().resolve() if chosen else repository() / "var"


@contextmanager
def workspace(folder: Path, settings: Path | None) -> Iterator[None]:
    """Inside, this process's workspace is ``folder``, and its settings are those of a file, or the defaults."""
    laid = {"REELFLOW_HOME": str(folder), "REELFLOW_CONF": str(settings or "")}
    before = {name: os.environ.get(name) for name in laid}
    os.environ.update(laid)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextmanager
def overlaid(settings: Mapping[str, Any], source: str) -> Iterator[None]:
    """Inside, this process's settings are those of all files with ``settings`` laid over them.

    Args:
        settings: sections with some of their keys.
        source: what an error calls them.
    """
    _LAID.append((source, settings))
    try:
        yield
    finally:
        _LAID.pop()


def resolved() -> dict[str, dict[str, Any]]:
    """All sections after merging ``base.yaml``, the environment's overlay, ``REELFLOW_CONF``, and what is ``overlaid``.

    Raises:
        ConfigError: a file is missing or is no mapping, or an overlay names a key that ``base.yaml`` does not have.
    """
    merged = _read(_FOLDER / "base.yaml")
    name = os.environ.get("REELFLOW_ENV", "local")
    overlays = [_FOLDER / f"{name}.yaml"]
    if not overlays[0].exists():
        known = sorted(path.stem for path in _FOLDER.glob("*.yaml") if path.stem != "base")
        raise ConfigError(f"environment {name!r}: found no {overlays[0]}; set REELFLOW_ENV to one of {', '.join(known)}")
    if own := os.environ.get("REELFLOW_CONF"):
        overlays.append(Path(own))
    for path in overlays:
        _merge(merged, _read(path), path, ())
    for source, settings in _LAID:
        _merge(merged, deepcopy(dict(settings)), source, ())
    return merged


def load(section: str, into: type[SectionT]) -> SectionT:
    """Read one section into its configuration class.

    Args:
        section: a top-level key of ``base.yaml``, for example ``"wals"``.
        into: the class that declares the section's fields.

    Raises:
        ConfigError: an unknown key, a missing one, or a value that the class refuses.
    """
    sections = resolved()
    if section not in sections:
        raise ConfigError(f"section {section!r}: not in conf/base.yaml; expected one of {', '.join(sorted(sections))}")
    try:
        return into.model_validate(sections[section])
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join([section, *map(str, item['loc'])])} = {item.get('input')!r}: {item['msg']}" for item in error.errors()
        )
        raise ConfigError(f"configuration: {problems}; mend it in conf/ or in the file that REELFLOW_CONF names") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER) or {}
    except FileNotFoundError as error:
        raise ConfigError(f"configuration file {path}: not found; expected a YAML file (see conf/base.yaml)") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"configuration file {path}: not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"configuration file {path}: found {type(content).__name__}, expected sections with settings")
    return content


# libyaml reads base.yaml in 1.5 ms, Python in 20, and a stage reads it ten times.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# Values below these keys are free-form: their keys are data (a feedback type, a label), not settings' names.
_FREE_FORM = frozenset({("wals", "feedback_weights"), ("spark", "extra"), ("shadow", "settings")})


def _merge(base: dict[str, Any], overlay: Mapping[str, Any], source: Path | str, prefix: tuple[str, ...]) -> None:
    """Lay ``overlay`` over ``base`` in place, refusing keys that ``base`` does not have."""
    for key, value in overlay.items():
        where = (*prefix, str(key))
        if key not in base and prefix[:2] not in _FREE_FORM:
            close = difflib.get_close_matches(str(key), [str(known) for known in base], n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(sorted(map(str, base)))}"
            raise ConfigError(f"{source}: unknown key {'.'.join(where)!r}; {hint}")
        if isinstance(base.get(key), dict) and isinstance(value, dict):
            _merge(base[key], value, source, where)
        else:
            base[key] = value
