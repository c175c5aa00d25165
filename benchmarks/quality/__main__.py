"""``python -m benchmarks.quality [--raw DIR --as-of ISO [--holdout DIR]]``: quality of every model, a table and JSON.

Without ``--raw`` it simulates a platform and cuts its log. See docs/quality.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.quality._lists import FIGURES
from benchmarks.quality._run import MODELS, Task, run
from benchmarks.quality._workspace import Workspace
from benchmarks.quality.cut import cut
from conf import ConfigError
from jobs._window import parse_time
from schemas.errors import ReelflowError

REPORT = "quality.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status. An option left empty, as make does, counts as not given."""
    chosen = _options(arguments)
    try:
        with ExitStack() as stack:
            home = Path(chosen.workspace or stack.enter_context(tempfile.TemporaryDirectory(prefix="reelflow-quality-")))
            report = run(_task(chosen, home))
            text = json.dumps(report)
            (home / REPORT).write_text(text + "\n", encoding="utf-8")
    except (ReelflowError, ConfigError) as error:
        print(f"quality: {error}", file=sys.stderr)
        return 2
    print("\n".join(table(report)))
    print(text)
    return 0


def table(report: dict[str, Any]) -> list[str]:
    """The report as lines for a person."""
    asked, models = report["question"], report["models"]
    lines = [
        f"{asked['raw']} as of {asked['as_of']}: {asked['users']:,} users judged, {asked['new_users']:,} of them new; "
        f"{asked['relevant']:,} relevant, {asked['videos']:,} videos; seeds {', '.join(map(str, asked['seeds']))}",
        "",
        f"{'model':<14}" + "".join(f"{name:>14}" for name in FIGURES),
    ]
    lines += [_row(name, found["mean"]) for name, found in models.items()]
    if len(asked["seeds"]) > 1:
        lines += ["", "standard deviation over seeds"]
        lines += [_row(name, found["spread"]) for name, found in models.items() if any(found["spread"].values())]
    verdicts = [verdict for found in models.values() for verdict in found.get("verdicts", ()) if not verdict["passed"]]
    lines += [f"the gate refused the models of seed {verdict['seed']}: {verdict['reason']}" for verdict in verdicts]
    return [*lines, ""]


def _row(name: str, values: dict[str, float]) -> str:
    return f"{name:<14}" + "".join(f"{values[figure]:>14.4f}" for figure in FIGURES)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--raw", default="", metavar="DIR", help="raw logs; the simulator's without it")
    parser.add_argument("--as-of", default="", metavar="ISO", help="the cut: what is before it is learned from")
    parser.add_argument("--holdout", default="", metavar="DIR", help="raw logs from the cut on; those of --raw without it")
    parser.add_argument("--seeds", default="", metavar="N,N", help="of the models; 1 without it")
    parser.add_argument("--trials", default="", metavar="N", help="of tuning, for each baseline; 20 without it")
    parser.add_argument("--models", default="", metavar="A,B", help=f"some of {', '.join(MODELS)}; all without it")
    parser.add_argument("--workspace", default="", metavar="DIR", help="folder to keep; a temporary one without it")
    chosen = parser.parse_args(arguments)
    chosen.models = [name.strip() for name in chosen.models.split(",") if name.strip()] or list(MODELS)
    if unknown := [name for name in chosen.models if name not in MODELS]:
        parser.error(f"--models: found {', '.join(unknown)}; expected some of {', '.join(MODELS)}")
    for name, default in (("seeds", "1"), ("trials", "20")):
        given = getattr(chosen, name) or default
        if not all(part.strip().isdigit() for part in given.split(",")):
            parser.error(f"--{name} {given}: expected whole numbers of 0 or more")
        setattr(chosen, name, [int(part) for part in given.split(",")])
    if len(chosen.trials) != 1 or not chosen.trials[0]:
        parser.error("--trials: expected one number of 1 or more")
    if bool(chosen.raw) != bool(chosen.as_of):
        parser.error("--raw and --as-of: found one of them, expected both, or neither for the simulator")
    return chosen


def _task(chosen: argparse.Namespace, home: Path) -> Task:
    if chosen.raw:
        raw, as_of, holdout = Path(chosen.raw), parse_time(chosen.as_of), Path(chosen.holdout or chosen.raw)
    else:
        Workspace(home.resolve() / "simulated", {}).write().run("simulate")
        as_of = cut(home / "simulated" / "raw", home / "cut").as_of
        raw, holdout = home / "cut" / "raw", home / "cut" / "holdout"
    return Task(raw, as_of, holdout, home, chosen.seeds, chosen.trials[0], chosen.models)


if __name__ == "__main__":
    sys.exit(main())
