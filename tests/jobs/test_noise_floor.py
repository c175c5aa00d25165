"""For which runs a measured noise floor holds: files written by hand, a line of figures each."""

import pytest

from jobs import _noise_floor
from jobs._recipe import MISSING, State
from schemas.errors import ReelflowError
from tests.builders import stage_context

DAYS = 7
REGIME = {"code_version": "a", "settings": {"wals": {"factors": 4}}, "examples": 1000}
BUNDLES = {"wals": "w", "towers": "t"}


@pytest.fixture
def at(workspace):
    """A function that gives the context of the run as of a day of January."""
    return lambda day: stage_context("noise_floor", "--as-of", f"2026-01-{day:02d}")


def measured(context, day, figure, regime=REGIME):
    """What a run as of ``day`` measured, as found in the folder of ``context``."""
    content = {"figures": {"pooled": {"pooled_pearson": figure}}, "measured_as_of": f"2026-01-{day:02d}T00:00:00Z"}
    _noise_floor.write(context, {"bundles": BUNDLES, "incumbent": True, "regime": regime}, content)
    return content


class TestRecent:
    @pytest.mark.parametrize(("day", "holds"), [(11, True), (17, True), (18, False)])
    def test_it_holds_for_so_many_days(self, at, day, holds):
        content = measured(at(10), 10, 0.9)
        assert _noise_floor.recent(at(day), REGIME, DAYS) == (content if holds else None)

    def test_being_used_again_does_not_make_it_younger(self, at):
        content = measured(at(10), 10, 0.9)
        _noise_floor.write(at(16), {"bundles": BUNDLES, "incumbent": True, "regime": REGIME}, content)
        assert _noise_floor.recent(at(17), REGIME, DAYS) == content
        assert _noise_floor.recent(at(18), REGIME, DAYS) is None

    def test_the_newest_measurement_counts(self, at):
        measured(at(10), 10, 0.9)
        content = measured(at(12), 12, 0.8)
        assert _noise_floor.recent(at(13), REGIME, DAYS) == content

    def test_a_backfill_does_not_look_into_the_future(self, at):
        measured(at(10), 10, 0.9)
        assert _noise_floor.recent(at(9), REGIME, DAYS) is None
        assert _noise_floor.recent(at(10), REGIME, DAYS) is None, "its own is what is asked for"

    @pytest.mark.parametrize(("examples", "holds"), [(500, True), (499, False), (2000, True), (2001, False)])
    def test_while_there_is_at_most_twice_or_half_the_data(self, at, examples, holds):
        measured(at(10), 10, 0.9)
        assert (_noise_floor.recent(at(11), {**REGIME, "examples": examples}, DAYS) is not None) is holds

    @pytest.mark.parametrize("changed", [{"code_version": "b"}, {"settings": {"wals": {"factors": 5}}}])
    def test_not_after_a_change_of_code_or_settings(self, at, changed):
        measured(at(10), 10, 0.9)
        assert _noise_floor.recent(at(11), {**REGIME, **changed}, DAYS) is None

    def test_what_measured_nothing_is_passed_over(self, at):
        content = measured(at(10), 10, 0.9)
        basis = {"bundles": BUNDLES, "incumbent": False, "regime": REGIME}
        _noise_floor.write(at(11), basis, {"figures": None, "why": "first"})
        assert _noise_floor.recent(at(12), REGIME, DAYS) == content


class TestFigures:
    def test_hold_for_the_models_that_they_are_beside(self, at):
        measured(at(10), 10, 0.9)
        expected = {"pooled": {"pooled_pearson": 0.9}, "measured_as_of": "2026-01-10T00:00:00Z"}
        assert _noise_floor.figures(at(10), BUNDLES) == expected
        assert _noise_floor.figures(at(10), {**BUNDLES, "wals": "another"}) is None
        assert _noise_floor.figures(at(11), BUNDLES) is None

    def test_of_nothing_are_none(self, at):
        _noise_floor.write(at(10), {"bundles": BUNDLES}, {"figures": None, "why": "no incumbent"})
        assert _noise_floor.figures(at(10), BUNDLES) is None
        assert _noise_floor.digest(None) is None


class TestCheck:
    def test_the_same_basis_is_up_to_date_and_another_is_named(self, at):
        basis = {"bundles": BUNDLES, "incumbent": True, "regime": REGIME}
        assert _noise_floor.check(at(10), basis) == (None, MISSING)
        measured(at(10), 10, 0.9)
        assert _noise_floor.check(at(10), basis)[1].current
        found = _noise_floor.check(at(10), {**basis, "incumbent": False})[1]
        assert (found.state, found.why) == (State.STALE, "measured on another incumbent")

    def test_a_damaged_file_is_said(self, at):
        measured(at(10), 10, 0.9)
        (at(10).run_folder / _noise_floor.FILE).write_text("{", encoding="utf-8")
        with pytest.raises(ReelflowError, match="noise floor"):
            _noise_floor.recent(at(11), REGIME, DAYS)
