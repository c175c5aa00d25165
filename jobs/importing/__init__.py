"""What every maker of raw logs needs: number files in, hour files and snapshots out, and a folder that appears whole."""

from jobs.importing._command import run_command
from jobs.importing._log import DAY_US, Step, Written, build_events, date_of, first_instants, write_log
from jobs.importing._numbers import Column, read_numbers
from jobs.importing._raw import Format, hour_path, split_hours, to_lines, write_hours, write_lines, write_snapshot, write_table
from jobs.importing._rejected import Rejected
from jobs.importing._report import ImportReport
from jobs.importing._staging import IMPORT_MARKER, SIMULATION_MARKER, read_marker, replaced, write_marker

__all__ = [
    "DAY_US",
    "IMPORT_MARKER",
    "SIMULATION_MARKER",
    "Column",
    "Format",
    "ImportReport",
    "Rejected",
    "Step",
    "Written",
    "build_events",
    "date_of",
    "first_instants",
    "hour_path",
    "read_marker",
    "read_numbers",
    "replaced",
    "run_command",
    "split_hours",
    "to_lines",
    "write_hours",
    "write_lines",
    "write_log",
    "write_marker",
    "write_snapshot",
    "write_table",
]
