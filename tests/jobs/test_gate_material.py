"""Which of an incumbent's models have not seen what a candidate is judged by: ten examples, one an hour, cut by hand."""

import shutil
from datetime import timedelta

import pytest

from jobs._bundles import TOWERS, WALS
from jobs._gate_material import unspoilt
from jobs._window import DAY, HOUR, Window
from models.bundle import Bundle
from tests.builders import moment, stage_context
from tests.jobs.hours import row_of
from tests.jobs.planted import write_examples

AS_OF, CANDIDATE = moment("2026-01-07T00:00"), "2026-01-08T00:00:00Z"
FIRST = moment("2026-01-06T01:00")
OCCURRED = [FIRST + n * HOUR for n in range(10)]
SPLIT = {"validation_fraction": 0.2, "test_fraction": 0.2}
# Of ten examples 80 % of the way from the first to the last is place 7.2, 60 % place 5.4: the lower ones are 7 and 5.
HOLDOUT_ENDS, EARLY_ENDS = OCCURRED[7], OCCURRED[5]
SECOND = timedelta(seconds=1)


def bundles(**changes):
    """The incumbent's, trained on the three days before AS_OF."""
    parameters = {"split": SPLIT, "window": str(Window(AS_OF - 3 * DAY, AS_OF)), **changes}
    facts = {"as_of": "2026-01-07T00:00:00Z", "recipe": {"parameters": parameters}}
    return {kind: Bundle(None, kind, kind, facts) for kind in (WALS, TOWERS)}


@pytest.fixture
def context(workspace):
    (workspace.home / "settings.yaml").write_text("window: {lookback_days: 3}\n", encoding="utf-8")
    rows = [row_of(1, 100 + n, at) for n, at in enumerate(OCCURRED)]
    write_examples(workspace, rows, Window(FIRST, AS_OF))
    return stage_context("gate", "--as-of", CANDIDATE)


@pytest.mark.parametrize(
    ("test_start", "part"),
    [
        (HOLDOUT_ENDS + SECOND, "holdout"),
        (HOLDOUT_ENDS, "holdout"),
        (HOLDOUT_ENDS - SECOND, "early"),
        (EARLY_ENDS, "early"),
        (EARLY_ENDS - SECOND, ""),
    ],
)
def test_the_newest_that_ended_before_the_test_split(context, test_start, part):
    found, why = unspoilt(context, bundles(), test_start)
    assert found == part
    assert why == (
        f"the incumbent's {part} models, which have not seen the test split"
        if part
        else "no model of the incumbent ended before the test split, which begins at 2026-01-06T05:59:59Z"
    )


@pytest.mark.parametrize(
    "changed", [{"window": str(Window(AS_OF - 2 * DAY, AS_OF))}, {"split": {**SPLIT, "test_fraction": 0.1}}]
)
def test_models_of_another_look_back_or_split_are_not_compared(context, changed):
    other = {**bundles(), TOWERS: bundles(**changed)[TOWERS]}
    assert unspoilt(context, other, HOLDOUT_ENDS) == (
        "", "the incumbent was trained on another look-back or split; wait for the next day's comparison"
    )  # fmt: skip


def test_without_its_examples_nothing_can_be_said(workspace, context):
    shutil.rmtree(workspace.lake.root / "examples")
    found = unspoilt(context, bundles(), HOLDOUT_ENDS)
    assert found == ("", "the examples of the incumbent's look-back are no longer in the lake")
