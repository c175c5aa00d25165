"""Build the pages that show what every table's suite found in this run, for a person to open.

Reads ``runs/<as_of>/expectations/``, writes ``runs/<as_of>/data_docs/index.html``. One task builds them, after the stages that
validate and also when one of them failed: Great Expectations cannot build one site from several processes.
"""

from __future__ import annotations

import hashlib
import shutil

from jobs import _expectations, _stage
from jobs._recipe import canonical
from jobs._stage import Context, Report
from jobs._swap import swap

FOLDER = "data_docs"
PAGE = f"{FOLDER}/index.html"
_SOURCE = "made_from.txt"


def run(context: Context) -> Report:
    """Build the pages unless they show these very results."""
    results = _expectations.results(context)
    if not results:
        return Report(notes=["no suite has run yet"])
    made_from = hashlib.sha256(canonical(results).encode()).hexdigest()
    target = context.run_folder / FOLDER
    if not context.force and (target / _SOURCE).exists() and (target / _SOURCE).read_text(encoding="utf-8") == made_from:
        return Report(up_to_date=True)
    from jobs import _quality  # 4 s: only when there is something to build

    staged = context.run_folder / f"{FOLDER}.tmp"
    shutil.rmtree(staged, ignore_errors=True)
    suites = {name: (_expectations.rules_of(found), found["result"]) for name, found in results.items()}
    _quality.build_docs(staged, context.as_of, suites)
    (staged / _SOURCE).write_text(made_from, encoding="utf-8")
    swap(staged, target)
    failed = [name for name, found in results.items() if not found["passed"]]
    notes = [f"failed: {', '.join(failed)}"] if failed else []
    return Report(wrote={"suites": len(results)}, notes=[*notes, f"open {context.run_folder / PAGE}"])


def main() -> None:
    """Command line: ``python -m jobs.data_docs --as-of ISO``."""
    _stage.main("data_docs", run, __doc__)


if __name__ == "__main__":
    main()
