"""MLflow: runs, registered bundles and aliases. The only module that imports it.

Each kind of bundle is a registered model, ``reelflow-<kind>``. ``candidate`` is the newest trained version and never moves to
an older ``as_of``. ``champion`` is what is live, ``previous`` what a rollback returns to; ``jobs._registry`` alone moves these.
Bundles of another lane are versions of a model of their own, ``reelflow-<kind>-<lane>``: days are not compared with them.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlparse

from conf import Section, load
from conf.paths import paths
from jobs._window import parse_time
from models.bundle import Bundle, BundleError, open_bundle
from schemas.errors import ReelflowError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # a server that is away: 14 s, not 4 minutes; tasks try again

CANDIDATE, CHAMPION, PREVIOUS = "candidate", "champion", "previous"
FETCHED = "fetched-"
"""Folders below ``paths.runs`` that begin so hold what a process fetched from a tracking server."""
LANE = "lane"
"""The property of a bundle that says which lane made it; of none, the daily one."""

PUBLISHED, ROLLED_BACK = "true", "rolled_back"
"""What the tag ``published`` of a version says: it was live, or it was until somebody rolled back behind it."""


_PUBLICATION = "publication"
"""Tags that begin so name the publications of a version."""


class TrackingConfig(Section):
    """Section ``mlflow``."""

    tracking_uri: str | None
    """Where the tracking server or database is; null for a SQLite file below ``paths.mlflow``."""
    experiment: str
    """Name of the experiment that runs are logged to."""


@dataclass(frozen=True, slots=True)
class Published:
    """A bundle that was made live: what it is, as of when, its digest, where its files were logged to, and its version."""

    kind: str
    as_of: datetime
    digest: str
    source: str
    version: str


class Tracker:
    """One experiment and its registered models."""

    def __init__(self, client: MlflowClient, experiment_id: str, folder: Path) -> None:
        self._client = client
        self._folder = folder
        self._experiment_id = experiment_id

    @staticmethod
    def open() -> Tracker:
        """Connect to the configured tracking server or file, and make the experiment on first use.

        Raises:
            ReelflowError: it cannot be reached, as any method of the tracker.
        """
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
        from sqlalchemy.exc import SQLAlchemyError

        config = load("mlflow", TrackingConfig)
        folder = paths().mlflow
        folder.mkdir(parents=True, exist_ok=True)
        uri = config.tracking_uri or f"sqlite:///{folder / 'mlflow.db'}"
        with _one_at_a_time(folder, "schema"):  # concurrent first uses would both create the schema
            try:
                client = cast("MlflowClient", _Reachable(MlflowClient(tracking_uri=uri, registry_uri=uri)))
                found = client.get_experiment_by_name(config.experiment)
            except (MlflowException, SQLAlchemyError, ValueError) as error:
                raise _trouble(uri, "open", error) from error
            if found is None:
                local = None if config.tracking_uri else (folder / "artifacts").as_uri()
                with suppress(MlflowException):
                    client.create_experiment(config.experiment, artifact_location=local)
                found = client.get_experiment_by_name(config.experiment)
        if found is None or found.lifecycle_stage != "active":
            raise ReelflowError(
                f"mlflow {_shown(uri)}: found the experiment {config.experiment} deleted; expected an active one; "
                "restore it, or mend mlflow.experiment"
            )
        return Tracker(client, found.experiment_id, folder)

    def register(self, bundle: Bundle, metrics: Mapping[str, float], history: Sequence[Mapping[str, float]] = ()) -> str:
        """Log a training run with its parameters, metrics and bundle, and register the bundle as the candidate.

        A bundle that is registered already is only given its alias again.

        Returns:
            The version of the registered model.
        """
        name = self._model(bundle)
        version = self._find(name, bundle.digest) or self._log(name, bundle, metrics, history)
        self._move(name, CANDIDATE, version)
        return str(version.version)

    def holds(self, bundle: Bundle, alias: str | None = None) -> bool:
        """Whether a bundle is registered, under the given alias if one is given."""
        name = self._model(bundle)
        version = self._find(name, bundle.digest)
        if version is None or alias is None:
            return version is not None
        held = self._alias(name, alias)
        return held is not None and held.version == version.version

    def annotate(self, bundle: Bundle, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Add metrics and tags to the run and the version of a registered bundle."""
        name = self._model(bundle)
        version = self._find(name, bundle.digest)
        if version is None:
            return
        for key, figure in metrics.items():
            self._client.log_metric(str(version.run_id), _metric_name(key), figure)
        for key, value in tags.items():
            self._client.set_model_version_tag(name, version.version, key, value)

    def attach(self, bundle: Bundle, file: Path, folder: str) -> None:
        """Log a file below a folder of the run of a registered bundle; the one of the same name before it is replaced."""
        version = self._find(self._model(bundle), bundle.digest)
        if version is not None:
            self._client.log_artifact(str(version.run_id), str(file), folder)

    def record(
        self, name: str, tags: Mapping[str, str], parameters: Mapping[str, Any], metrics: Mapping[str, float], file: Path
    ) -> None:
        """Log a run that makes no bundle, with one file."""
        run_id = self._client.create_run(self._experiment_id, run_name=name, tags=dict(tags)).info.run_id
        for key, value in parameters.items():
            self._client.log_param(run_id, key, value)
        for key, figure in metrics.items():
            self._client.log_metric(run_id, _metric_name(key), figure)
        self._client.log_artifact(run_id, str(file))
        self._client.set_terminated(run_id)

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Inside, no other process of this workspace moves ``champion`` and ``previous``."""
        with _one_at_a_time(self._folder, "aliases"):
            yield

    def note_publication(self, bundle: Bundle, publication: str) -> None:
        """Write down with a registered bundle that it is part of a publication, whether that one goes live or not."""
        self.annotate(bundle, {}, {f"{_PUBLICATION}.{publication}": str(bundle.properties["as_of"])})

    def of_publication(self, kind: str, publication: str) -> Published | None:
        """The bundle of a kind that a publication was made with; None for one that was not noted."""
        query = f"name='{self._name(kind)}' and tags.`{_PUBLICATION}.{publication}` != ''"
        found = max(self._client.search_model_versions(query), key=lambda one: int(one.version), default=None)
        return None if found is None else _published(kind, found)

    def at(self, kind: str, alias: str) -> Published | None:
        """The version of a kind that an alias names, or None."""
        held = self._alias(self._name(kind), alias)
        return None if held is None else _published(kind, held)

    def set_standing(self, published: Published, standing: str) -> None:
        """Write down with a published bundle how it stands: ``PUBLISHED`` or ``ROLLED_BACK``."""
        self._client.set_model_version_tag(self._name(published.kind), published.version, "published", standing)

    def point(self, kind: str, alias: str, published: Published | None) -> None:
        """Make an alias name a published bundle, or nothing."""
        name = self._name(kind)
        held = self._alias(name, alias)
        if published is None and held is not None:
            self._client.delete_registered_model_alias(name, alias)
        elif published is not None and (held is None or held.version != published.version):
            self._client.set_registered_model_alias(name, alias, published.version)

    def incumbent(self, kind: str, before: datetime) -> Published | None:
        """The newest bundle older than ``before`` that was published and not rolled back, or None."""
        published = (found for found in self._versions(self._name(kind)) if found.tags.get("published") == PUBLISHED)
        versions = (found for found in published if _as_of(found) < before)
        newest = max(versions, key=lambda found: (_as_of(found), int(found.version)), default=None)
        return None if newest is None else _published(kind, newest)

    def forget(self, kind: str, lane: str, before: datetime) -> None:
        """Delete the versions of another lane that are older than ``before``, with their runs and the artifacts on this disk.

        A run whose artifacts lie elsewhere is marked as deleted: ``mlflow gc`` removes them.
        """
        name = f"{self._name(kind)}-{lane}"
        held = {str(version) for version in self._aliases(name).values()}
        for version in list(self._versions(name)):  # a page begins at a place, which a deletion would move
            if _as_of(version) >= before or str(version.version) in held:
                continue
            self._client.delete_model_version(name, version.version)
            place = str(self._client.get_run(str(version.run_id)).info.artifact_uri)
            if _on_this_disk(place):
                shutil.rmtree(urlparse(place).path, ignore_errors=True)
            self._client.delete_run(str(version.run_id))

    def fetch(self, published: Published) -> Bundle:
        """Open a published bundle as it was logged, whatever has been trained for its ``as_of`` since.

        One that lies elsewhere is copied below ``paths.runs``, until this process ends.

        Raises:
            BundleError: it is damaged.
        """
        copy = None if _on_this_disk(published.source) else mkdtemp(dir=_copies(paths().runs))
        bundle = open_bundle(self._download(published.source, copy), kind=published.kind)
        if bundle.digest != published.digest:
            raise BundleError(
                f"bundle {published.source}: found digest {bundle.digest}, expected the published {published.digest}; "
                "restore the artifact store"
            )
        return bundle

    def rewrite_elsewhere(self, change: Callable[[Path, str], Collection[str]], kept: Path, *, dry: bool) -> list[str]:
        """Let ``change`` work on a copy of each run's artifacts outside ``paths.mlflow``, and log what it changed again.

        Of all runs of the experiment and of registered versions, deleted ones too: their artifacts stay until ``mlflow gc``.
        An upload that is cut off leaves files of both states behind, so the copy is kept until it is through: the next call
        begins with those.

        Args:
            change: is given the directory of a run's artifacts and their address; returns the names in it that it changed.
            kept: directory for the copies that have to be logged again.
            dry: only look.

        Returns:
            What could not be done.
        """
        left: list[str] = []
        for folder in () if dry else sorted(kept.glob("*")):
            left += self._logged_again(folder)
        for run_id, address in sorted(self._elsewhere().items()):
            if (kept / run_id).exists():
                continue  # its upload was just cut off again: what the server has is of both states
            try:
                if not self._client.list_artifacts(run_id):
                    continue
                with TemporaryDirectory(dir=_copies(paths().runs)) as copy:
                    folder = self._download(address, copy)
                    touched = change(folder, address)
                    if not touched or dry:
                        continue
                    for path in folder.iterdir():
                        if path.name not in touched:
                            shutil.rmtree(path) if path.is_dir() else path.unlink()
                    kept.mkdir(parents=True, exist_ok=True)
                    folder.rename(kept / run_id)
            except (ReelflowError, OSError) as error:
                left.append(f"artifacts {address}: cannot be rewritten: {error}; mend the artifact store, or delete that run")
                continue
            left += self._logged_again(kept / run_id)
        return left

    def _elsewhere(self) -> dict[str, str]:
        """The addresses of the artifacts of runs that do not lie below ``paths.mlflow``, by run."""
        from mlflow.entities import ViewType

        runs: list[Run] = []
        token: str | None = None
        while token != "":
            page = self._client.search_runs(
                [self._experiment_id], run_view_type=ViewType.ALL, max_results=1000, page_token=token
            )
            runs += page
            token = page.token or ""
        models = self._client.search_registered_models(f"name LIKE '{self._name('%')}'", max_results=1000)
        known = {str(version.run_id) for model in models for version in self._versions(model.name)}
        runs += [self._client.get_run(run_id) for run_id in sorted(known - {run.info.run_id for run in runs})]
        addresses = {run.info.run_id: str(run.info.artifact_uri) for run in runs}
        return {run: address for run, address in addresses.items() if not self._in_workspace(address)}

    def _in_workspace(self, address: str) -> bool:
        return _on_this_disk(address) and Path(urlparse(address).path).is_relative_to(self._folder)

    def _logged_again(self, folder: Path) -> list[str]:
        """Upload a run's changed artifacts, and let go of the copy; returns what could not be done."""
        try:
            self._client.log_artifacts(folder.name, str(folder))
        except (ReelflowError, OSError) as error:
            return [f"artifacts of run {folder.name}: cannot be logged again: {error}"]
        shutil.rmtree(folder)
        return []

    def _download(self, source: str, folder: str | None) -> Path:
        """The files of an artifact, copied into a folder where one is given.

        Raises:
            BundleError: they cannot be fetched.
        """
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        try:
            return Path(download_artifacts(source, dst_path=folder, tracking_uri=self._client.tracking_uri))
        except (MlflowException, OSError) as error:
            raise BundleError(f"bundle {source}: cannot be fetched: {error}; restore the artifact store") from error

    def _log(
        self, name: str, bundle: Bundle, metrics: Mapping[str, float], history: Sequence[Mapping[str, float]]
    ) -> ModelVersion:
        from mlflow.exceptions import MlflowException

        as_of = str(bundle.properties["as_of"])
        run = self._client.create_run(self._experiment_id, run_name=f"{bundle.kind} {as_of}", tags={"as_of": as_of})
        run_id = run.info.run_id
        recipe = bundle.properties["recipe"]
        for key, value in _flat(recipe["parameters"]).items():
            self._client.log_param(run_id, key, value)
        for key, figure in metrics.items():
            self._client.log_metric(run_id, _metric_name(key), figure)
        for record in history:
            step = int(record.get("epoch", 0))
            for key, figure in record.items():
                if key != "epoch":
                    self._client.log_metric(run_id, _metric_name(key), figure, step=step)
        self._client.log_artifacts(run_id, str(bundle.path), bundle.kind)
        with suppress(MlflowException):
            self._client.create_registered_model(name)
        tags = {"as_of": as_of, "digest": bundle.digest, "code_version": str(recipe["code_version"])}
        tags |= {f"input.{key}": str(value) for key, value in recipe["inputs"].items()}
        source = f"{run.info.artifact_uri}/{bundle.kind}"
        version = self._client.create_model_version(name, source, run_id, tags=tags)
        self._client.set_terminated(run_id)
        return version

    def _versions(self, name: str) -> Iterator[ModelVersion]:
        """Every version of a registered model."""
        token: str | None = None
        while token != "":
            page = self._client.search_model_versions(f"name='{name}'", max_results=1000, page_token=token)
            yield from page
            token = page.token or ""

    def _aliases(self, name: str) -> Mapping[str, str]:
        from mlflow.exceptions import MlflowException

        try:
            found: Mapping[str, str] = self._client.get_registered_model(name).aliases
        except MlflowException:  # there is none of that name: whatever else it may be is a ReelflowError
            return {}
        return found

    def _move(self, name: str, alias: str, version: ModelVersion) -> None:
        current = self._alias(name, alias)
        if current is None or _as_of(current) <= _as_of(version):
            self._client.set_registered_model_alias(name, alias, version.version)

    def _alias(self, name: str, alias: str) -> ModelVersion | None:
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_model_version_by_alias(name, alias)
        except MlflowException:
            return None

    def _find(self, name: str, digest: str) -> ModelVersion | None:
        found = self._client.search_model_versions(f"name='{name}' and tags.digest='{digest}'", max_results=1)
        return found[0] if found else None

    @staticmethod
    def _name(kind: str) -> str:
        return f"reelflow-{kind}"

    @classmethod
    def _model(cls, bundle: Bundle) -> str:
        """The registered model that a bundle is a version of."""
        lane = bundle.properties.get(LANE)
        return cls._name(bundle.kind) + (f"-{lane}" if lane else "")


class _Reachable:
    """A client whose methods raise :class:`ReelflowError` for all but what a caller may ask about.

    That is what is not there, is there already, or has no alias of that name.
    """

    _ANSWERS = frozenset({"RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "INVALID_PARAMETER_VALUE"})

    def __init__(self, client: MlflowClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        return self._translated(found) if callable(found) else found

    def _translated(self, method: Callable[..., Any]) -> Callable[..., Any]:
        from mlflow.exceptions import MlflowException

        @wraps(method)
        def call(*arguments: Any, **named: Any) -> Any:
            try:
                return method(*arguments, **named)
            except MlflowException as error:
                if error.error_code in self._ANSWERS:
                    raise
                raise _trouble(str(self._client.tracking_uri), method.__name__.replace("_", " "), error) from error

        return call


def _trouble(uri: str, doing: str, error: Exception) -> ReelflowError:
    """What to say of a server or database that does not answer."""
    return ReelflowError(
        f"mlflow {_shown(uri)}: cannot {doing}: {_shown(' '.join(str(error).split()))}; "
        "expected a tracking server or database that answers; start it, or mend mlflow.tracking_uri"
    )


def _shown(text: str) -> str:
    """Addresses without a password."""
    return re.sub(r"//\S*@", "//", text)


def _on_this_disk(uri: str) -> bool:
    return urlparse(uri).scheme in ("", "file")


_made: dict[Path, Path] = {}


def _copies(runs: Path) -> Path:
    """A folder that this process removes when it ends; an erasure removes what one that was killed left."""
    if runs not in _made or not _made[runs].exists():
        runs.mkdir(parents=True, exist_ok=True)
        _made[runs] = Path(mkdtemp(prefix=FETCHED, dir=runs))
        atexit.register(shutil.rmtree, _made[runs], ignore_errors=True)
    return _made[runs]


@contextmanager
def _one_at_a_time(folder: Path, what: str) -> Iterator[None]:
    import fcntl

    with (folder / f".{what}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _published(kind: str, version: ModelVersion) -> Published:
    return Published(kind, _as_of(version), str(version.tags["digest"]), str(version.source), str(version.version))


def _as_of(version: ModelVersion) -> datetime:
    return parse_time(version.tags.get("as_of", "1970-01-01T00:00:00Z"))


def _metric_name(name: str) -> str:
    return name.replace("@", "_at_")


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
