"""The common end of the import commands: their folder, their errors and their last line."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import conf
from conf.paths import paths
from jobs.importing._report import ImportReport
from jobs.importing._staging import IMPORT_MARKER, replaced, write_marker
from schemas.errors import ReelflowError


def run_command(name: str, out: Path | None, *, force: bool, work: Callable[[Path], ImportReport]) -> int:
    """Import into a folder that appears whole, and print the report.

    Args:
        name: of the command.
        out: folder of the raw logs; None for ``raw`` in the workspace.
        force: replace a folder that holds something else.
        work: writes everything into the folder it is given.

    Returns:
        The exit status: 2 when the user can mend what went wrong.
    """
    began = time.monotonic()
    try:
        target = (out or paths().raw).resolve()
        with replaced(target, force=force) as folder:
            report = replace(work(folder), out=target)
            write_marker(folder, IMPORT_MARKER, {"importer": name, "events": report.events, "as_of": report.as_of})
    except (ReelflowError, conf.ConfigError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    print(f"{name}: {report.text(time.monotonic() - began)}")
    return 0
