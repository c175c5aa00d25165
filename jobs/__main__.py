"""Launcher of any stage: ``python -m jobs <stage> ...``, and the application that spark-submit is given."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path


def main() -> None:
    """Hand over to the stage named first on the command line."""
    root = Path(__file__).resolve().parent.parent
    if sys.path and Path(sys.path[0]).resolve() == root / "jobs":  # run as a script, as spark-submit does
        sys.path[0] = str(root)
    stages = sorted(path.stem for path in (root / "jobs").glob("*.py") if not path.stem.startswith("_"))
    if len(sys.argv) < 2 or sys.argv[1] not in stages:
        found = sys.argv[1] if len(sys.argv) > 1 else "nothing"
        sys.exit(f"reelflow | error: stage: found {found!r}, expected one of {', '.join(stages)}")
    stage = sys.argv.pop(1)
    sys.exit(import_module(f"jobs.{stage}").main())


if __name__ == "__main__":
    main()
