import pytest
from pydantic import ValidationError

from conf import Section, load
from models.towers import TowersConfig
from models.tuning import SPACES, Choices, Range, around, values_of, with_values
from models.wals import WalsConfig
from schemas.errors import ReelflowError
from tests.models.towers.planted import CONFIG
from tests.models.wals.contract import config

SECTIONS = {"wals": ("wals", WalsConfig), "retrieval": ("towers", TowersConfig), "ranker": ("towers", TowersConfig)}
FIELDS = [(model, part) for model, space in SPACES.items() for part in space]


class Small(Section):
    """A section."""

    rate: float
    shape: tuple[int, ...]


def configured(model) -> Section:
    return load(*SECTIONS[model])


class TestSpaces:
    """Every space against the sections that it is about."""

    def test_there_is_one_for_each_model(self):
        assert SPACES.keys() == SECTIONS.keys()

    @pytest.mark.parametrize(("model", "part"), FIELDS, ids=lambda given: getattr(given, "field", given))
    def test_fields_exist_and_take_every_value(self, model, part):
        ends = part.values if isinstance(part, Choices) else (part.low, part.high)
        for value in ends:
            given = int(value) if getattr(part, "whole", False) else value
            changed = with_values(configured(model), {part.field: given})
            assert values_of(changed, [part]) == {part.field: given}

    @pytest.mark.parametrize(("model", "part"), FIELDS, ids=lambda given: getattr(given, "field", given))
    def test_bounds_are_in_order_and_have_a_reason(self, model, part):
        assert part.why
        if isinstance(part, Choices):
            assert part == around([part], with_values(configured(model), {part.field: part.values[0]}))[0]
        else:
            assert part.low < part.high
            assert part.low > 0 or not part.log

    @pytest.mark.parametrize("model", SPACES)
    def test_what_is_configured_lies_within(self, model):
        assert around(SPACES[model], configured(model)) == SPACES[model]

    def test_every_head_count_divides_every_width(self):
        widths, heads = (next(p.values for p in SPACES["retrieval"] if p.field == f"retrieval.{n}") for n in ("dim", "heads"))
        assert [width % count for width in widths for count in heads] == [0] * len(widths) * len(heads)


class TestAround:
    def test_a_range_reaches_to_what_is_configured(self):
        part = Range("regularization", 0.1, 10.0, "because")
        assert [around([part], config(regularization=value))[0] for value in (0.01, 1.0, 30.0)] == [
            Range("regularization", 0.01, 10.0, "because"),
            part,
            Range("regularization", 0.1, 30.0, "because"),
        ]

    def test_a_logarithmic_one_does_not_reach_to_nothing(self):
        part = Range("regularization", 0.1, 10.0, "because")
        assert around([part], config(regularization=0.0)) == (part,)

    def test_choices_get_what_is_configured_in_its_place(self):
        part = Choices("shape", ((8,), (16, 8)), "because")
        found = around([part], Small(rate=1.0, shape=(4, 8)))
        assert found[0].values == ((8,), (4, 8), (16, 8))

    def test_choices_end_where_the_data_do(self):
        part = Choices("retrieval.history", (4, 8, 20, 50), "because")
        assert around([part], CONFIG, {"retrieval.history": 20})[0].values == (4, 8, 20)
        assert around([part], CONFIG)[0].values == (4, 8, 20, 50)


class TestValues:
    def test_other_values_leave_the_rest_alone(self):
        changed = with_values(CONFIG, {"retrieval.dim": 48, "ranker.hidden": (7,), "ranker.id_dropout": 0.25})
        assert (changed.retrieval.dim, changed.ranker.hidden, changed.ranker.id_dropout) == (48, (7,), 0.25)
        back = {
            "retrieval.dim": CONFIG.retrieval.dim,
            "ranker.hidden": CONFIG.ranker.hidden,
            "ranker.id_dropout": CONFIG.ranker.id_dropout,
        }
        assert with_values(changed, back) == CONFIG

    def test_keys_that_are_data_are_values_too(self):
        changed = with_values(config(), {"feedback_weights.like": 0.5})
        assert changed.feedback_weights == {**config().feedback_weights, "like": 0.5}

    @pytest.mark.parametrize("field", ["retrieval.width", "retriever.dim", "dim", "retrieval.dim.more"])
    def test_a_field_that_does_not_exist_is_an_error(self, field):
        with pytest.raises(ReelflowError, match=f"search space: found no {field} in TowersConfig, expected a setting"):
            with_values(CONFIG, {field: 1})

    def test_a_value_that_the_section_refuses_is_one(self):
        with pytest.raises(ValidationError):
            with_values(CONFIG, {"retrieval.dropout": 1.5})
