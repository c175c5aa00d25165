"""Great Expectations: suites over measured partitions, and its Data Docs. The only importer of great_expectations.

Import it where it is needed: the import takes 4 s. One process works on its suites one after the other, in a context in memory.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read at import

import great_expectations as gx
import pandas as pd
from great_expectations.core.expectation_validation_result import (
    ExpectationSuiteValidationResult,
    expectationSuiteValidationResultSchema,
)
from great_expectations.core.run_identifier import RunIdentifier
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.data_context.types.resource_identifiers import ExpectationSuiteIdentifier, ValidationResultIdentifier

from jobs._measures import Measured
from schemas.expectations import Expectation

WHERE = "partition"
"""The column of a frame that says which partition or day a row is."""
_PICTURE = re.compile(r"https://great-expectations-web-assets[^\"')\s]*")
_KEPT = ("success", "suite_name", "statistics", "results")


def validate(name: str, rules: Sequence[Expectation], rows: Sequence[Measured]) -> dict[str, Any]:
    """Run a suite on what was measured.

    Args:
        name: of the table, and so of the suite.
        rules: the suite; each is about the column of its name, where a row that has no such number does not count.
        rows: one a partition or day.

    Returns:
        Great Expectations' result as JSON, without times and random ids: equal measures, equal results.
    """
    columns = [rule.name for rule in rules]
    frame = pd.DataFrame([row.numbers for row in rows], columns=columns, dtype="float64")
    frame.insert(0, WHERE, [row.label for row in rows])
    source = _context().data_sources.add_pandas("lake").add_dataframe_asset(name)
    batch = source.add_batch_definition_whole_dataframe("measured").get_batch({"dataframe": frame})
    wanted = {
        "result_format": "SUMMARY",
        "unexpected_index_column_names": [WHERE],
        "partial_unexpected_count": len(frame),  # every bad partition is named, and refused to readers
    }
    found = batch.validate(_suite(name, rules), result_format=wanted).to_json_dict()
    kept = {key: found[key] for key in _KEPT}
    for result in kept["results"]:
        result["expectation_config"].pop("id", None)
    return kept


def broken(result: Mapping[str, Any]) -> Iterable[tuple[str, str, float | None]]:
    """(expectation, partition or day, what was observed) for every one that does not hold.

    An expectation that Great Expectations could not evaluate is reported for the partition "" with nothing observed.
    """
    for one in result["results"]:
        name = one["expectation_config"]["meta"]["name"]
        where = one["result"].get("partial_unexpected_index_list") or []
        if not one["success"] and not where:
            yield name, "", None
        for index in where:
            yield name, index[WHERE], index[name]


def build_docs(target: Path, as_of: datetime, suites: Mapping[str, tuple[Sequence[Expectation], Mapping[str, Any]]]) -> Path:
    """Build Data Docs from stored results.

    Args:
        target: the folder that becomes the site; nothing else may write there at the same time.
        as_of: of the run.
        suites: rules and result by table.

    Returns:
        The page to open.
    """
    context = _context()
    for site in list(context.list_data_docs_sites()):
        context.delete_data_docs_site(site)
    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(target)}
    site = {
        "class_name": "SiteBuilder",
        "store_backend": store,
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
    }
    context.add_data_docs_site("site", site)
    run = RunIdentifier(run_name=f"{as_of:%Y%m%dT%H%M%SZ}", run_time=as_of)
    for name, (rules, result) in suites.items():
        context.suites.add(_suite(name, rules))
        key = ValidationResultIdentifier(ExpectationSuiteIdentifier(name), run, batch_identifier=name)
        context.validation_results_store.set(key, _loaded(name, result, run))
    context.build_data_docs()
    _finish(target, {name: result["success"] for name, (_, result) in suites.items()})
    return target / "index.html"


def _finish(site: Path, passed: Mapping[str, bool]) -> None:
    """Let the first page work without a network, and no page ask the maker's servers for a picture.

    Its own table of results is drawn by scripts from a public server. A picture's address holds the time of the request.
    """
    for page in site.rglob("*.html"):
        page.write_text(_PICTURE.sub("", page.read_text(encoding="utf-8")), encoding="utf-8")
    links = []
    for name, good in passed.items():
        (page,) = (site / "validations" / name).rglob("*.html")
        links.append(f'<li><a href="{page.relative_to(site).as_posix()}">{name}</a>: {"passed" if good else "FAILED"}</li>')
    index = site / "index.html"
    text = index.read_text(encoding="utf-8")
    index.write_text(text.replace("<body>", f"<body><ul>{''.join(links)}</ul>", 1), encoding="utf-8")


def _context() -> Any:
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context


def _suite(name: str, rules: Sequence[Expectation]) -> Any:
    suite = gx.ExpectationSuite(name=name)
    for rule in rules:
        suite.add_expectation(
            gx.expectations.ExpectColumnValuesToBeBetween(
                column=rule.name,
                min_value=rule.minimum,
                max_value=rule.maximum,
                description=f"{rule.doc.rstrip('.')}: {rule.expected}, each {'day' if rule.daily else 'partition'}.",
                meta={"name": rule.name},
            )
        )
    return suite


def _loaded(name: str, result: Mapping[str, Any], run: Any) -> Any:
    """A stored result as Great Expectations' own object, with the run and the table that its pages show."""
    batch = {"datasource_name": "lake", "data_connector_name": "fluent", "data_asset_name": name, "batch_identifiers": {}}
    meta = {"run_id": run.to_json_dict(), "active_batch_definition": batch, "batch_spec": {}, "batch_markers": {}}
    content = expectationSuiteValidationResultSchema.load({**json.loads(json.dumps(result)), "meta": meta})
    return content if isinstance(content, ExpectationSuiteValidationResult) else ExpectationSuiteValidationResult(**content)
