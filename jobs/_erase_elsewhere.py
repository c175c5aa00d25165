"""A user in the artifacts of a tracking server: bundles and pages of every run, deleted ones too."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from conf import load
from jobs import _erase_models, _erase_reports, _receipt
from jobs._erase_models import Search
from jobs._receipt import Removed
from jobs._tracking import Tracker, TrackingConfig
from models.bundle import MANIFEST
from schemas.errors import ReelflowError

_KEPT = "artifacts"


def remove(search: Search) -> list[Removed]:
    """Take the user out of all of them; what cannot be reached is left, and said."""
    if load("mlflow", TrackingConfig).tracking_uri is None:
        return []
    found: list[Removed] = []

    def change(folder: Path, address: str) -> Collection[str]:
        touched, sealed = set(), [manifest.parent for manifest in sorted(folder.rglob(MANIFEST))]
        for bundle in sealed:
            before = (bundle / MANIFEST).read_bytes()
            if count := _erase_models.forget(search, bundle):
                found.append(Removed(f"{address}/{bundle.relative_to(folder).as_posix()}", "vectors", count))
            if (bundle / MANIFEST).read_bytes() != before:
                touched.add(bundle.relative_to(folder).parts[0])
        for path in _erase_reports.redact(folder, search.user_id, sealed, dry=search.dry):
            found.append(Removed(f"{address}/{path.relative_to(folder).as_posix()}", "reports", 1))
            touched.add(path.relative_to(folder).parts[0])
        return touched

    try:
        search.left.extend(
            Tracker.open().rewrite_elsewhere(change, search.paths.runs / _receipt.FOLDER / _KEPT, dry=search.dry)
        )
    except ReelflowError as error:
        search.left.append(str(error))
    return sorted(found)
