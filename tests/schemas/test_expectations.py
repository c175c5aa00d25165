import ast
from collections import Counter
from pathlib import Path

import pytest

import schemas
from schemas import EXAMPLES, INTERACTIONS, TABLES, Field, Table
from schemas.expectations import NULL_RISE, OF_THE_WINDOW, RATES, READS, WEIGHTED, WRITES, Expectation, suite

JOBS = Path(__file__).resolve().parents[2] / "jobs"
LIMITS = {limit: 0.5 for rate in (*RATES, NULL_RISE) for limit in (rate.minimum, rate.maximum) if limit}
OFF = dict.fromkeys(LIMITS)
# They know tables because of what expectations are about, not to read their rows.
OBSERVERS = {"jobs._expectations", "jobs._measures", "jobs._profile", "jobs._quality", "jobs._stage", "jobs._tables"}


def tables_of(module, seen):
    """The names of the tables that a module of jobs, and what it imports of jobs, take from schemas."""
    if module in seen | OBSERVERS:
        return set()
    seen.add(module)
    found = set()
    for node in ast.walk(ast.parse((JOBS / f"{module.removeprefix('jobs.')}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "schemas":
            values = (getattr(schemas, alias.name, None) for alias in node.names)
            found |= {value.name for value in values if isinstance(value, Table)}
        elif isinstance(node, ast.ImportFrom) and node.module == "jobs":
            helpers = [f"jobs.{alias.name}" for alias in node.names if alias.name.startswith("_")]
            found |= {name for helper in helpers for name in tables_of(helper, seen)}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jobs._"):
            found |= tables_of(node.module, seen)
    return found


def test_every_table_is_written_by_one_stage():
    written = Counter(table.name for tables in WRITES.values() for table in tables)
    assert written == Counter(table.name for table in TABLES)
    assert set(WRITES) | set(READS) <= {path.stem for path in JOBS.glob("[!_]*.py")}


@pytest.mark.parametrize("stage", sorted({*WRITES, *READS}))
def test_a_stage_reads_and_writes_what_is_declared(stage):
    declared = {table.name for table in (*WRITES.get(stage, ()), *READS.get(stage, ()))}
    assert tables_of(f"jobs.{stage}", set()) & {table.name for table in TABLES} <= declared


def test_hourly_tables_are_read_over_the_window():
    assert {table.name for table in TABLES if "hr" in table.partitioned_by} <= {table.name for table in OF_THE_WINDOW}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_names_are_distinct_and_docs_are_sentences(table):
    rules = suite(table, LIMITS)
    assert len({rule.name for rule in rules}) == len(rules) > 0
    assert all(rule.doc.endswith(".") for rule in rules)
    assert all(rule.minimum is not None or rule.maximum is not None for rule in rules)


def test_value_rules_follow_from_the_fields():
    table = Table(
        name="t",
        doc="",
        key=("id", "rank"),
        fields=(
            Field(name="id", type="int64", doc=""),
            Field(name="rank", type="int32", doc="", minimum=1, maximum=9),
            Field(name="kind", type="string", doc="", nullable=True, allowed=("a", "b")),
        ),
    )
    found = [(rule.name, rule.minimum, rule.maximum) for rule in suite(table, OFF)]
    assert found == [
        ("id_nulls", None, 0),
        ("rank_nulls", None, 0),
        ("rank_minimum", 1, None),
        ("rank_maximum", None, 9),
        ("kind_strangers", None, 0),
        ("repeated_keys", None, 0),
    ]


def test_rate_rules_take_their_limits_from_the_settings():
    limits = OFF | {"max_duplicate_share": 0.2, "min_volume_ratio": 0.1, "max_null_rise": 0.3}
    found = {rule.name: (rule.minimum, rule.maximum) for rule in suite(INTERACTIONS, limits) if rule.daily}
    optional = {field.name for field in INTERACTIONS.fields if field.nullable}
    assert found == {"duplicate_share": (None, 0.2), "volume_ratio": (0.1, None)} | {
        f"{name}_null_rise": (None, 0.3) for name in optional
    }


@pytest.mark.parametrize(
    ("minimum", "maximum", "inside", "outside", "words"),
    [
        (0.1, 10, [0.1, 1, 10], [0.09, 11], "0.1 to 10"),
        (None, 0, [-1, 0], [1], "at most 0"),
        (1, None, [1, 2], [0], "at least 1"),
    ],
)
def test_limits_are_inclusive(minimum, maximum, inside, outside, words):
    rule = Expectation(name="n", doc="", minimum=minimum, maximum=maximum)
    assert all(rule.holds(value) for value in inside)
    assert not any(rule.holds(value) for value in outside)
    assert rule.expected == words


def test_what_is_weighted_are_columns():
    assert WEIGHTED[EXAMPLES.name] == ("label", "weight")
    assert set(WEIGHTED[EXAMPLES.name]) <= set(EXAMPLES.columns)
