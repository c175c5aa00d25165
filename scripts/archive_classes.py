"""Keep what the JVM learns while Spark starts, so that later sessions start sooner. Runs in the stages' environment.

Writes an archive of loaded classes (AppCDS, JEP 350: Dynamic CDS Archives) into the environment. ``jobs._session`` and the DAG
name it in ``SPARK_SUBMIT_OPTS``. A JVM that the archive does not fit ignores it, and says so only with ``-Xlog:class+path``.
Spark's ``conf`` folder is on the class path, and a folder there that is not empty is enough: so no ``spark-defaults.conf``.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pyspark
from pyspark.sql import SparkSession
from pyspark.sql import functions as f

ARCHIVE = Path(sys.prefix) / "spark-classes.jsa"


def main() -> None:
    """Load the classes that stages need, in a session that archives them when it ends."""
    (Path(pyspark.__file__).parent / "conf" / "spark-defaults.conf").unlink(missing_ok=True)  # earlier set-ups wrote one
    ARCHIVE.unlink(missing_ok=True)
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable  # else workers take PATH's python3
    builder = SparkSession.builder.master("local[2]").appName("reelflow set-up")
    settings = {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.extraJavaOptions": f"-XX:ArchiveClassesAtExit={ARCHIVE}",
        "spark.sql.parquet.compression.codec": "zstd",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    for key, value in settings.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    with tempfile.TemporaryDirectory() as folder:
        rows = spark.range(10_000).select("id", (f.col("id") % 7).alias("key"), f.col("id").cast("string").alias("text"))
        rows.write.partitionBy("key").parquet(f"{folder}/one")
        read = spark.read.schema("id long, text string, key long").parquet(f"{folder}/one")
        counts = read.groupBy("key").agg(f.count("*").alias("n"), f.array_sort(f.collect_set("id")).alias("ids"))
        joined = read.join(counts, on="key", how="full").withColumn("day", f.current_date())
        joined.repartition(2).sortWithinPartitions("id").select("id", "n").write.parquet(f"{folder}/two")
        read.repartitionByRange(2, "id").mapInArrow(lambda batches: batches, "id long, text string, key long").count()
        spark.sparkContext.parallelize(range(4), 2).map(lambda n: n).collect()
    process = spark.sparkContext._gateway.proc  # ends, and writes the archive, when its input is closed
    spark.stop()
    process.stdin.close()
    process.wait(timeout=120)
    if not ARCHIVE.exists():
        sys.exit("the JVM wrote no archive of classes; Spark works without, and starts more slowly")


if __name__ == "__main__":
    main()
