"""Search the hyper-parameters of a model on the validation split, over one data set or several.

``python -m jobs.tune --model wals --as-of ISO --trials N [--also HOME@AS_OF ...]`` reads what training reads, of this workspace
and of each other one (with its own ``conf.yaml``), and touches nothing of the test split. The configured settings are the first
trial; what counts is the mean gain on them over the data sets. Prints a table and the settings to paste into ``conf``; writes
``runs/<as_of>/tuning/<model>-<study>.json``, the journal beside it that the same command goes on with, and a run of MLflow.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from conf import ConfigError
from jobs._swap import replace_json
from jobs._tracking import Tracker
from jobs._window import iso, parse_time
from jobs.tuning import MODELS, Place, Result, digest, lines, opened, place_of, search, summary
from schemas.errors import ReelflowError


def run(
    model: str, places: Sequence[Place], *, trials: int, minutes: float | None = None, seed: int = 1
) -> tuple[Result, Path]:
    """Search, and write down what was found.

    Args:
        model: by name.
        places: the workspaces; the first one keeps the study.
        trials: of the whole study, those of earlier runs and the configured settings included.
        minutes: no trial of this run begins later.
        seed: of the proposals.

    Returns:
        The result, and the file that holds it.

    Raises:
        ReelflowError: an unknown model, no budget, or data that cannot be tuned on.
    """
    if model not in MODELS:
        raise ReelflowError(f"--model: found {model!r}, expected one of {', '.join(MODELS)}")
    if trials < 2:
        raise ReelflowError(f"--trials: found {trials}, expected at least 2: the first one is what is configured")
    asked = MODELS[model]
    with places[0].environment():
        context = places[0].context()
        sets = [opened(place, asked.section, asked.config, model=model) for place in places]
        study = digest(asked, sets, seed)
        folder = context.run_folder / "tuning"
        journal, report = folder / f"{model}-{study}.journal", folder / f"{model}-{study}.json"
        found = search(asked, sets, journal, trials=trials, minutes=minutes, seed=seed, say=context.say)
        result = Result(asked, sets, found, study, seed)
        replace_json(report, summary(result))
        if found.new:
            _track(result, report, iso(context.as_of))
    return result, report


def _track(result: Result, report: Path, as_of: str) -> None:
    best, defaults = result.study.best, result.study.defaults
    figures = {"best": best.figures, "configured": defaults.figures}
    metrics = {
        f"{which}_{result.model.figure}_{n}": value for which, values in figures.items() for n, value in enumerate(values)
    }
    Tracker.open().record(
        f"tune {result.model.name} {as_of}",
        {"as_of": as_of, "study": result.digest, "data_sets": ", ".join(one.name for one in result.sets)},
        {f"{result.model.section}.{field}": value for field, value in best.values.items()},
        {**metrics, "gain": best.gain or 0.0, "trials": float(len(result.study.trials))},
        report,
    )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="python -m jobs.tune", description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    found.add_argument("--model", metavar="NAME", required=True, help=f"one of {', '.join(MODELS)}")
    found.add_argument("--as-of", metavar="ISO", required=True, help="end of what training reads in this workspace")
    found.add_argument("--trials", metavar="N", type=int, default=50, help="of the whole study, what is configured included")
    found.add_argument("--minutes", metavar="N", type=float, help="begin no trial later than this")
    found.add_argument("--seed", metavar="N", type=int, default=1, help="of the proposals")
    found.add_argument(
        "--also", metavar="HOME@ISO", nargs="+", action="extend", default=[], help="other workspaces, each as of its own moment"
    )
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Command line; exits with 0, or with 2 and one line for what its user can mend."""
    given = parser().parse_args(argv)
    try:
        places = [Place(None, parse_time(given.as_of)), *map(place_of, given.also)]
        result, report = run(given.model, places, trials=given.trials, minutes=given.minutes, seed=given.seed)
    except (ReelflowError, ConfigError) as error:
        print(f"reelflow | tune | error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)
    print("\n".join(["", *lines(result), ""]))
    print(f"reelflow | tune | written to {report}", flush=True)


if __name__ == "__main__":
    main()
