from collections import Counter

from benchmarks.gate import _study, _table
from benchmarks.gate._bad import KINDS


def test_the_plan_deals_kinds_evenly_and_shares_no_training_among_good_ones():
    plan = _study.plan_of([101, 102, 103], 20, 2 * len(KINDS))
    dealt = [one for own in plan.values() for one in own]
    counts = Counter(kind for kind, _ in dealt)
    assert {counts[kind] for kind in KINDS} == {2}
    assert counts[_study.OTHER_SEED] == counts[_study.NEXT_DAY] == 10
    good = [(number, seed) for number, own in plan.items() for kind, seed in own if kind.startswith("good")]
    assert len(set(good)) == 20


def test_the_table_counts_refusals_by_kind():
    answers = [
        {"kind": "good: next day", "passed": True, "failed": []},
        {"kind": "NaN", "passed": False, "failed": ["finite"]},
        {"kind": "NaN", "passed": True, "failed": []},
    ]
    assert _table.share(answers, good=False) == (1, 2)
    assert _table.share(answers, good=True) == (0, 1)
    assert _table.table(answers)[2].split() == ["NaN", "2", "1", "finite", "1"]
