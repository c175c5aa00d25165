"""Model bundles: one directory of arrays and JSON, sealed by a manifest with the sha256 of each file. Never a pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemas.errors import ReelflowError

FORMAT_VERSION = 1
MANIFEST = "bundle.json"
_SEALED, _ERASURES = "sealed", "erasures"


class BundleError(ReelflowError):
    """A bundle that is missing, damaged, or of another kind or format than expected."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A sealed bundle: where it lies, what it holds, and the digest that identifies its content."""

    path: Path
    kind: str
    digest: str
    properties: Mapping[str, Any]
    erasures: Mapping[str, int] = field(default_factory=dict)
    """What erasures removed since it was sealed, by receipt."""


def seal(path: Path, *, kind: str, properties: Mapping[str, Any]) -> Bundle:
    """Write the manifest of a finished directory.

    Args:
        path: directory that already holds every file of the bundle.
        kind: what it is, for example ``"wals"``.
        properties: JSON-able facts: as_of, input digests, parameters, metrics, code version. No clock times: the same
            inputs must give the same bytes.

    Returns:
        The bundle; its digest covers the files' contents, the kind and the properties.
    """
    files = {
        file.relative_to(path).as_posix(): sha256(file)
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name != MANIFEST
    }
    facts = dict(properties)
    content = {"format_version": FORMAT_VERSION, "kind": kind, "properties": facts, "files": files}
    text = json.dumps(content, indent=1, sort_keys=True)
    (path / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return Bundle(path, kind, hashlib.sha256(text.encode()).hexdigest(), facts)


def reseal(path: Path, bundle: Bundle, erasure: str, removed: int) -> Bundle:
    """Write the manifest again after an erasure replaced files.

    The bundle keeps the digest that it was sealed with: that is what verdicts, lists, publications and MLflow know it by, and
    it still is that bundle, less a user. The manifest says so, and holds the sha256 of the files as they are now.

    Args:
        path: directory that holds the files.
        bundle: what it was before.
        erasure: id of the receipt.
        removed: vectors and ids that are gone.
    """
    content = _parsed((bundle.path / MANIFEST).read_bytes(), bundle.path)
    content["files"] = {name: sha256(path / name) for name in content["files"]}
    content[_SEALED] = bundle.digest
    content[_ERASURES] = {**content.get(_ERASURES, {}), erasure: removed}
    (path / MANIFEST).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return Bundle(path, bundle.kind, bundle.digest, bundle.properties, content[_ERASURES])


def open_bundle(path: Path, *, kind: str | None) -> Bundle:
    """Read a bundle's manifest and verify every file against it.

    Args:
        path: of the bundle.
        kind: what it must be; None for any.

    Raises:
        BundleError: no manifest, another kind or format version, a file missing or changed.
    """
    manifest = path / MANIFEST
    if not manifest.exists():
        raise BundleError(
            f"bundle {path}: found no {MANIFEST}; expected a sealed {kind or 'model'} bundle; run its training stage again"
        )
    content_bytes = manifest.read_bytes()
    content = _parsed(content_bytes, path)
    if content.get("format_version") != FORMAT_VERSION or content.get("kind") != (kind or content.get("kind")):
        found = f"{content.get('kind')} in format {content.get('format_version')}"
        raise BundleError(f"bundle {path}: found {found}, expected {kind} in format {FORMAT_VERSION}; train it again")
    for name, expected in content["files"].items():
        file = path / name
        found = sha256(file) if file.exists() else "nothing"
        if found != expected:
            raise BundleError(
                f"bundle {path}: file {name} has sha256 {found}, expected {expected}; it is damaged: train it again"
            )
    digest = content.get(_SEALED) or hashlib.sha256(content_bytes.rstrip(b"\n")).hexdigest()
    return Bundle(path, content["kind"], digest, content["properties"], content.get(_ERASURES, {}))


def _parsed(content_bytes: bytes, path: Path) -> dict[str, Any]:
    """The manifest's content, which must be an object with kind, files and properties."""
    try:
        content = json.loads(content_bytes)
    except ValueError:
        content = None
    expected = {"kind", "files", "properties"}
    if not isinstance(content, dict) or not expected <= content.keys() or not isinstance(content["files"], dict):
        raise BundleError(
            f"bundle {path}: {MANIFEST} is damaged, expected JSON with kind, files and properties; train it again"
        )
    return content


def sha256(file: Path) -> str:
    """Hex digest of a file's content."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
