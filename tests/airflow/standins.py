"""A source tree whose stages leave a trace and a file each, and publish into a real serving store."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
STAGES = (
    "ingest", "examples", "text", "features", "train_wals", "train_towers", "evaluate", "noise_floor", "gate", "index",
    "recommend", "scan",
    "publish", "data_docs", "summary",
)  # fmt: skip
OTHERS = ("approve", "rollback", "refresh", "shadow")
WITH_STORE = ("publish", "rollback")
"""Those that need the stages' environment; the others start faster without."""

STAGE = r'''
"""Stands in for all stages. ``told.json`` says what to do, by ``as_of``: {"refuse": true, "seconds": {stage: n},
"hold": {stage: file to wait for}, "fails": stage, "meet": publishers}."""
import argparse, hashlib, importlib.util, json, os, sys, time
from pathlib import Path

HOME = Path(os.environ["REELFLOW_HOME"])
REAL = Path(os.environ["REELFLOW_REAL"])


def main(stage, arguments):
    parser = argparse.ArgumentParser()
    for option in ("--as-of", "--lane", "--by", "--at", "--reason", "--basis", "--to-version", "--request"):
        parser.add_argument(option)
    parser.add_argument("--force", action="store_true")
    parser.add_argument("--reject", action="store_true")
    given = parser.parse_args(arguments)
    told = json.loads((HOME / "told.json").read_text()).get(given.as_of, {})
    note(stage, given, "begins")
    until = time.monotonic() + told.get("seconds", {}).get(stage, 0)
    while time.monotonic() < until:
        time.sleep(0.05)
    while (wanted := told.get("hold", {}).get(stage)) and not (HOME / wanted).exists():
        time.sleep(0.05)
    if stage == told.get("fails"):
        print(f"reelflow | {stage} | error: logs: found none, expected some; deliver them", flush=True)
        sys.exit(2)
    folder = HOME / "runs" / (given.as_of or "").replace("-", "").replace(":", "")
    if stage == "rollback":
        return rollback(given)
    folder.mkdir(parents=True, exist_ok=True)
    said = {"gate": gate, "approve": approve, "publish": publish}.get(stage, make)(stage, given, folder, told)
    print(f"reelflow | {stage} | {said}", flush=True)
    note(stage, given, "ends")


def note(stage, given, what):
    entry = {"stage": stage, "as_of": given.as_of, "what": what, "kind": os.environ.get("REELFLOW_KIND"),
             "pid": os.getpid(), "force": given.force, "lane": given.lane}
    with (HOME / "trace").open("a") as trace:
        print(json.dumps(entry), file=trace, flush=True)


def make(stage, given, folder, told):
    target = HOME / "lake" / stage / folder.name
    if target.exists() and not given.force:
        return "up to date"
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_suffix(f".{os.getpid()}")
    draft.write_text(hashlib.sha256(f"{stage} {given.as_of}".encode()).hexdigest())
    draft.replace(target)
    return "made"


def gate(stage, given, folder, told):
    file = folder / "verdict.json"
    passed = not told.get("refuse")
    content = {"passed": passed, "reason": "correlation 0.93" if passed else "refused: correlation 0.41 below 0.8",
               "basis": {"as_of": given.as_of, "wals": told.get("wals", "a")},
               "verdict": {"checks": [{"name": "correlation", "passed": passed, "detail": "over 9 unseen pairs"}]}}
    before = json.loads(file.read_text()) if file.exists() else None
    file.write_text(json.dumps(approval().carried_over(before, content)))
    return "judged"


def approve(stage, given, folder, told):
    file = folder / "verdict.json"
    verdict = json.loads(file.read_text())
    digest = approval().basis_digest(verdict["basis"])
    assert given.basis == digest, (given.basis, digest)
    answer = {"approved": not given.reject, "by": given.by, "at": given.at, "reason": given.reason, "basis": digest}
    file.write_text(json.dumps({**verdict, "answers": [*verdict.get("answers", []), answer]}))
    return approval().said(json.loads(file.read_text()))


def approval():
    spec = importlib.util.spec_from_file_location("approval", REAL / "jobs" / "_approval.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def publish(stage, given, folder, told):
    from datetime import datetime, timedelta
    import pyarrow as pa
    from schemas import FALLBACK_RECOMMENDATIONS, RECOMMENDATIONS
    from serving import Publication, SqliteStore

    as_of = datetime.fromisoformat(given.as_of)
    store = SqliteStore(HOME / "store" / "recommendations.sqlite")
    (HOME / "store").mkdir(exist_ok=True)
    version = f"model-{given.as_of}"
    live = store.live()
    if live is not None and live.model_version == version and not given.force:
        return "up to date"
    shared = {"as_of": as_of, "expires_at": as_of + timedelta(hours=48), "model_version": version}

    def rows(table, keys):
        basic = {"int64": 1, "int32": 1, "double": 0.5, "float": 0.5, "string": "x"}
        needed = {field.name: basic.get(str(field.type)) for field in table.arrow if not field.nullable}
        made = [{**needed, **shared, **key} for key in keys]
        full = [{name: row.get(name) for name in table.columns} for row in made]
        return pa.Table.from_pylist(full, schema=table.arrow)

    lists = [{"user_id": user, "rank": rank, "video_id": 100 * rank} for user in range(1, 201) for rank in range(1, 6)]
    fallback = [{"segment": "all", "rank": rank, "video_id": rank, "parent": None} for rank in range(1, 6)]

    def batches():
        meet(told)
        yield from rows(RECOMMENDATIONS, lists).to_batches()

    publication = Publication(generation=store.next_generation(), **shared)
    result = store.publish(publication, batches(), rows(FALLBACK_RECOMMENDATIONS, fallback), 3)
    (folder / "publish.json").write_text(json.dumps({"facts": {"status": str(result.status), "version": result.version}}))
    return f"version {result.version} is {result.status}"


def meet(told):
    """Wait until all publishers that were told to meet are loading."""
    if "meet" in told:
        (HOME / "met").mkdir(exist_ok=True)
        (HOME / "met" / str(os.getpid())).touch()
        until = time.monotonic() + 60
        while len(list((HOME / "met").iterdir())) < told["meet"]:
            assert time.monotonic() < until, "nobody came"
            time.sleep(0.02)


def rollback(given):
    from serving import SqliteStore

    store = SqliteStore(HOME / "store" / "recommendations.sqlite")
    to = int(given.to_version) if given.to_version else None
    record = store.rollback(to, reason=f"{given.by}: {given.reason}")
    print(f"reelflow | rollback | version {record.version} is live", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
'''


def stages_python() -> Path:
    """The interpreter of the stages' environment."""
    return Path(os.environ.get("REELFLOW_VENV") or REPOSITORY / ".venv") / "bin" / "python"


def make_repository(root: Path) -> None:
    """Write the stand-ins below ``root``, with the real configuration, schemas and serving store."""
    (root / "jobs").mkdir(parents=True)
    (root / "jobs" / "__main__.py").write_text(STAGE, encoding="utf-8")
    for stage in (*STAGES, *OTHERS):
        (root / "jobs" / f"{stage}.py").write_text(
            f"import sys\nfrom jobs.__main__ import main\nmain({stage!r}, sys.argv[1:])\n", encoding="utf-8"
        )
    for package in ("conf", "schemas", "serving"):
        shutil.copytree(REPOSITORY / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    programs = root / ".venv" / "bin"
    programs.mkdir(parents=True)
    real = "|".join(f"jobs.{stage}" for stage in WITH_STORE)
    (programs / "python").write_text(
        f'#!/bin/sh\ncase "$2" in {real}) exec {stages_python()} "$@";; *) exec {sys.executable} "$@";; esac\n',
        encoding="utf-8",
    )
    (programs / "spark-submit").write_text(
        '#!/bin/sh\nwhile [ $# -gt 0 ]; do case "$1" in *__main__.py) exec python "$@";; esac; shift; done\n', encoding="utf-8"
    )
    for program in programs.iterdir():
        program.chmod(0o755)
