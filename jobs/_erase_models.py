"""A user's ids and vectors in every bundle: in the workspace, and in what MLflow keeps on this disk.

A bundle without the user is made beside it, the files that did not change as links, and put in its place in one step. It keeps
its digest (``models.bundle.reseal``), so the gate's verdict, lists, publications, aliases and a rollback go on with it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from conf.paths import Paths
from jobs import _bundles
from jobs._receipt import FOLDER, Removed
from jobs._swap import swap
from models import towers, wals
from models.bundle import MANIFEST, BundleError, open_bundle, reseal
from models.logistic import FittedLogistic
from schemas.errors import ReelflowError


@dataclass(frozen=True, slots=True)
class Search:
    """One erasure's way through the models.

    Attributes:
        paths: of the workspace.
        user_id: who is erased.
        receipt: its id.
        dry: only look.
        left: what could not be done is added here.
    """

    paths: Paths
    user_id: int
    receipt: str
    dry: bool
    left: list[str]


def remove(search: Search) -> list[Removed]:
    """Take the user out of every bundle; bundles that cannot be read are left, and said."""
    done = []
    for folder in bundles(search.paths):
        try:
            count = forget(search, folder)
        except ReelflowError as error:
            search.left.append(f"{error}; if nothing needs that bundle, delete {folder}")
            continue
        if count:
            done.append(Removed(called(search.paths, folder), "vectors", count))
    return done


def bundles(where: Paths) -> Iterator[Path]:
    """Every bundle of a workspace that lies on this disk."""
    for root in (where.bundles, where.mlflow, where.runs):
        found = (file.parent for file in root.rglob(MANIFEST))
        # What was staged and never came about, and what an erasure has yet to log again, are no bundles of the workspace.
        yield from sorted(one for one in found if not one.name.startswith(".") and where.runs / FOLDER not in one.parents)


def called(where: Paths, path: Path) -> str:
    """What a receipt calls something in a workspace."""
    roots = {name: getattr(where, name) for name in ("bundles", "mlflow", "runs", "lake", "cold")}
    found = next(((name, root) for name, root in roots.items() if path.is_relative_to(root)), None)
    return str(path) if found is None else f"{found[0]}/{path.relative_to(found[1]).as_posix()}"


def forget(search: Search, folder: Path) -> int:
    """Take the user out of a bundle; how many vectors this erasure removed of it, those of an earlier try included.

    Raises:
        ReelflowError: it is damaged, or of a format that this version does not read.
    """
    bundle = open_bundle(folder, kind=None)
    if search.receipt in bundle.erasures:
        return bundle.erasures[search.receipt]
    staged = _bundles.staging(folder)
    try:
        shutil.copytree(folder, staged, copy_function=_link)
        removed = sum(_forget(model, search.user_id) for model in _models(staged))
        if removed and not search.dry:
            reseal(staged, bundle, search.receipt, removed)
            swap(staged, folder)
    except (OSError, ValueError, LookupError) as error:
        raise BundleError(f"bundle {folder}: a model in it cannot be read ({error})") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return removed


def _models(folder: Path) -> list[Path]:
    """The files that tell what kind of a model a folder holds."""
    return sorted(path for name in ("wals.json", "features.json", "logistic.json") for path in folder.rglob(name))


def _forget(model: Path, user_id: int) -> int:
    """Take the user out of one model; returns how many vectors that were, 0 or 1."""
    if model.name == "wals.json":
        return int(wals.forget_user(model.parent, user_id))
    if model.name == "features.json":
        return int(towers.forget_user(model.parent, user_id))
    less = FittedLogistic.load(model.parent).without_user(user_id)
    if less is None:
        return 0
    for file in model.parent.iterdir():
        file.unlink()
    less.save(model.parent)
    return 1


def _link(source: str, target: str) -> str:
    """The same file under another name; a copy where the file system has no links. ``reseal`` writes the manifest anew."""
    if Path(source).name == MANIFEST:
        return shutil.copyfile(source, target)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    return target
