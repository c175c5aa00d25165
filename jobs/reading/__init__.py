"""Raw logs as batches of rows: any mix of Parquet, JSON Lines and CSV, no row lost, and every flaw with a name.

    reader = RawReader(file, RAW_INTERACTIONS)
    for batch in reader.batches():
        flaws = batch.flaws.add(mask, RejectReason.OUT_OF_RANGE, lambda row: batch.shown("watch_seconds", row))
        kept = batch.table.filter(...)
        refused = zip(flaws.reasons, flaws.details, batch.records(flaws.rows))
    assert reader.rows == rows of all batches

Whole blocks go through Arrow; a block that Arrow refuses is cut until only the lines that are at fault are parsed one by
one, with the same values for a line whichever way it took.
"""

from jobs.reading._files import RawFile, partition_files, snapshot_dates
from jobs.reading._flaws import Flaws
from jobs.reading._reader import RawReader, read_file
from jobs.reading._rows import Rows

__all__ = ["Flaws", "RawFile", "RawReader", "Rows", "partition_files", "read_file", "snapshot_dates"]
