"""Publish a day's recommendations into the serving store, if gate and last scan passed and nothing newer is live.

Reads ``recommendations`` and ``fallback_recommendations``; writes a version of the serving store. What is live is followed by
MLflow's aliases and by the tables ``recommendation_history`` and ``publication_switches``. An older ``as_of`` than the live one
ends as ``superseded``, lists that somebody rolled back from as ``rolled_back``: both are a success that changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from pydantic import Field

from conf import Section, load
from jobs import _bundles, _due, _erased, _lane, _last_scan, _old_hours, _recipe, _registry, _served, _stage, _verdict
from jobs._loading import publish_files
from jobs._served import HistoryConfig
from jobs._stage import Context, Report
from jobs._tables import Lake, Manifest, Partition, Pending, Unit
from jobs._tracking import Tracker
from jobs._window import iso
from models.bundle import Bundle
from schemas import FALLBACK_RECOMMENDATIONS, RECOMMENDATIONS
from schemas.errors import ReelflowError
from serving import Action, Publication, PublicationRecord, ServingStore, Status, open_store


class PublishConfig(Section):
    """Section ``publish``."""

    keep_versions: int = Field(ge=0)
    """Retired versions whose rows stay, for a rollback."""
    valid_hours: float = Field(gt=0)
    """``expires_at`` is this much after ``as_of``."""


def run(context: Context) -> Report:
    """Publish unless exactly this is live already."""
    due = _due.standing(context) if context.lane == _lane.HOURLY else None
    if isinstance(due, str):
        return Report(notes=[due], facts={"status": "superseded"})
    wanted = _wanted(context)
    store, tracker = open_store(context.paths.store), Tracker.open()
    live = store.live()
    if live is not None and not context.force:
        if _is_live(context, wanted, live, store):
            _registry.note(tracker, wanted.bundles, wanted.version)
            _registry.follow(store, tracker)
            return Report(up_to_date=True, notes=[f"version {live.version} is live", *_followed(context, store)])
        if due is None and live.root_as_of > context.as_of:
            facts: dict[str, str | int] = {"status": "superseded", "model_version": wanted.version}
            return Report(read={"rows": wanted.table.rows}, notes=[_superseded(live)], facts=facts)
        if gone := _rolled_back(store, wanted.version):
            facts = {"status": "rolled_back", "model_version": wanted.version}
            return Report(read={"rows": wanted.table.rows}, notes=[gone], facts=facts)
    _registry.note(tracker, wanted.bundles, wanted.version)
    today, config = [Partition(context.last_day)], load("publish", PublishConfig)
    for table in (RECOMMENDATIONS, FALLBACK_RECOMMENDATIONS):
        context.lists.require_undamaged(table, today[0])
    files = context.lists.files(RECOMMENDATIONS, today)
    fallback = context.lists.read(FALLBACK_RECOMMENDATIONS, today)
    publication = Publication(
        as_of=context.as_of,
        generation=store.next_generation(),
        model_version=wanted.version,
        expires_at=context.as_of + timedelta(hours=config.valid_hours),
        base=None if due is None else int(wanted.table.parameters["base"]),
    )
    result = publish_files(context, store, publication, files, fallback, keep_versions=config.keep_versions)
    _registry.follow(store, tracker)
    lost = _followed(context, store)
    if due is None and result.status is Status.LIVE:
        _old_hours.remove(context, tracker, context.as_of)
        _served.forget((Lake(context.paths.cold), context.lake), context.as_of, load("history", HistoryConfig).keep_days)
    facts = {"status": str(result.status), "version": result.version, "model_version": wanted.version}
    note = f"version {result.version} is {result.status}" + (
        ""
        if result.status is Status.LIVE or live is None
        else f": what is live, as of {iso(live.as_of)}, is newer"
        if due is None
        else f": version {live.version} is live, these lists go over version {publication.base}"
    )
    return Report(
        read={"rows": wanted.table.rows}, wrote={"rows": result.rows, "users": result.users}, notes=[note, *lost], facts=facts
    )


def plan(context: Context, _pending: Pending) -> list[Unit]:
    """How what is live stands to the day's lists, or to the hour's."""
    hourly = context.lane == _lane.HOURLY
    due = _due.standing(context) if hourly else None
    if isinstance(due, str):
        return [Unit("live version", Partition(context.last_day), _recipe.Status(_recipe.State.CURRENT, due))]
    wanted, store = _wanted(context), open_store(context.paths.store)
    live = store.live()
    if live is None:
        status = _recipe.MISSING
    elif not hourly and live.root_as_of > context.as_of:
        status = _recipe.Status(_recipe.State.CURRENT, _superseded(live))
    elif not _is_live(context, wanted, live, store) and (gone := _rolled_back(store, wanted.version)):
        status = _recipe.Status(_recipe.State.CURRENT, gone)
    elif not _is_live(context, wanted, live, store):
        status = _recipe.Status(_recipe.State.STALE, f"{live.model_version} is live, as of {iso(live.as_of)}")
    elif not hourly and not _registry.is_champion(Tracker.open(), wanted.bundles):
        status = _recipe.Status(_recipe.State.STALE, "live, but not the champion in MLflow")
    elif _served.behind(store, context.lake):
        status = _recipe.Status(_recipe.State.STALE, "live, but not in the history")
    else:
        status = _recipe.CURRENT
    return [Unit("live version", Partition(context.last_day), status)]


def _followed(context: Context, store: ServingStore) -> list[str]:
    return _served.follow(store, context.lake, _erased.read(context.paths.erased))


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What this run would publish."""

    table: Manifest
    bundles: Sequence[Bundle]
    version: str


def _wanted(context: Context) -> _Wanted:
    """What the gate passed and the recommend stage made of it.

    Raises:
        ReelflowError: gate or last scan did not pass it, or the rows are not there or of other models.
    """
    _verdict.require_pass(context)
    table = context.lists.manifest(RECOMMENDATIONS, Partition(context.last_day))
    if table is None:
        raise ReelflowError(
            f"table {RECOMMENDATIONS.name}: no partition {Partition(context.last_day).path}; "
            f"run recommend --as-of {iso(context.as_of)} first"
        )
    bundles = [*_bundles.models(context).values(), _bundles.open_at(context, _bundles.SERVING)]
    _require_made_from(table, context, bundles)
    _last_scan.require_pass(context)
    return _Wanted(table, bundles, _served.model_version(context.lists, table, context.as_of))


def _is_live(context: Context, wanted: _Wanted, live: PublicationRecord, store: ServingStore) -> bool:
    """Whether this is live: a day's lists are as long as they are what later hours lie over."""
    if context.lane == _lane.DAILY and live.layers > 1:
        with store.snapshot() as snapshot:
            live = snapshot.publications()[0]
    return live.model_version == wanted.version and live.as_of == context.as_of


def _superseded(live: PublicationRecord) -> str:
    return f"superseded: what is live, as of {iso(live.root_as_of)}, is newer; nothing changes"


def _rolled_back(store: ServingStore, model_version: str) -> str:
    """Why these lists must not go live again by themselves: somebody rolled back from them; empty where nobody did."""
    same = [record for record in store.publications() if record.model_version == model_version]
    versions, skipped = {record.version for record in same}, any(record.status is Status.ROLLED_BACK for record in same)
    back = (switch for switch in store.switches() if switch.action is Action.ROLLBACK)
    last = next((one for one in back if skipped or {one.from_version, one.to_version} & versions), None)
    if last is None or last.to_version in versions:
        return ""
    said = f" ({last.reason})" if last.reason else ""
    return f"rolled back at {iso(last.at)}{said}; nothing changes; give --force to publish it all the same"


def _require_made_from(table: Manifest, context: Context, bundles: Sequence[Bundle]) -> None:
    """Refuse rows that other models made, or these models as of another time.

    Raises:
        ReelflowError: the table does not belong to this run.
    """
    strangers = [bundle.kind for bundle in bundles if table.inputs.get(bundle.kind) != bundle.digest]
    if strangers or table.parameters.get("as_of") != iso(context.as_of):
        raise ReelflowError(
            f"table {table.table}, {table.partition}: made as of {table.parameters.get('as_of')}"
            + (f" by other models ({', '.join(strangers)})" if strangers else "")
            + f"; expected as of {iso(context.as_of)} by the models that the gate passed; run recommend again"
        )


def main() -> None:
    """Command line: ``python -m jobs.publish --as-of ISO``."""
    _stage.main("publish", run, __doc__)


if __name__ == "__main__":
    main()
