from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

import conf
from models import evaluation
from models.ensemble import Ensemble
from models.evaluation import BY_SEGMENT, FINAL, POPULARITY, ItemVectors, Lookup
from models.evaluation._ablations import without
from models.recommend import RecommendConfig
from tests.models.counted import popularity
from tests.models.evaluation.planted import AT, CONFIG, USERS, VIDEOS, Planted, world_of

RANKING = conf.load("recommend", RecommendConfig)
MODELS = Ensemble(Planted(), Planted(), Planted(), popularity())
# 10 and 12 are alike, 11 is unlike both.
ITEMS = ItemVectors("titles", np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]))


@pytest.fixture(scope="module")
def judged():
    return evaluation.judge_lists(CONFIG, RANKING, MODELS, world_of(), ITEMS)


@pytest.fixture(scope="module")
def rows(judged):
    return Lookup.of(judged.rows)


def test_the_gates_figures_by_hand(judged):
    figures = evaluation.figures(judged)
    assert figures["users"] == 2
    # Each user has one relevant video, and the models that know it put it first.
    for prefix in ("", "wals_", "retrieval_", "ranker_"):
        assert figures[f"{prefix}ndcg@10"] == pytest.approx(1.0)
        assert figures[f"{prefix}map@10"] == pytest.approx(1.0)
    # By popularity it is first for both: user 1 has watched 10, so 11 leads; 10 leads for user 2.
    assert figures["popularity_ndcg@10"] == pytest.approx(1.0)
    assert figures["precision@10"] == pytest.approx(0.1)
    assert figures["recall@10"] == figures["recall@100"] == pytest.approx(1.0)
    assert figures["coverage@100"] == pytest.approx(1.0)


def test_every_list_has_every_figure_and_says_how_many_users(rows):
    for model in ("popularity", "wals", "retrieval", "ranker", "final"):
        for metric in ("precision@1", "precision@5", "recall@20", "ndcg@20", "mrr", "map@100", "novelty@10", "diversity@10"):
            found = rows.get(model, metric)
            assert (found.users, found.examples) == (2, 2)
            assert found.low <= found.value <= found.high
    assert rows.get(FINAL, "precision@1").value == pytest.approx(1.0)
    assert rows.get(FINAL, "precision@5").value == pytest.approx(0.2)
    assert rows.models("ndcg@10") == ["popularity", "wals", "retrieval", "ranker", "final"]


def test_beyond_accuracy_by_hand(rows):
    # User 1 is shown 11 and 12 (unlike), user 2 all three: two unlike pairs of three.
    assert rows.get(FINAL, "diversity@10").value == pytest.approx((1 + 2 / 3) / 2)
    # Nobody viewed anything: each of three videos has chance 1/3.
    assert rows.get(FINAL, "novelty@10").value == pytest.approx(np.log2(3))
    shares = [rows.get(FINAL, "place_share@10", slice_kind="popularity_decile", slice_value=f"{n:02d}") for n in range(1, 11)]
    # By position among equals: 10, 11 and 12 lie in tenths 1, 4 and 7; of five places they have 1, 2 and 2.
    assert [round(row.value, 6) for row in shares] == [0.2, 0, 0, 0.4, 0, 0, 0.4, 0, 0, 0]
    chosen = [rows.get("chosen", "relevant_share", slice_kind="popularity_decile", slice_value=n).value for n in ("01", "04")]
    assert chosen == [0.5, 0.5]


def test_differences_are_user_by_user(rows):
    for model in ("popularity", "wals", "retrieval", "ranker"):
        found = rows.get(FINAL, "ndcg@10", baseline=model)
        assert (found.value, found.low, found.high) == pytest.approx((0, 0, 0))


def test_slices_without_a_cut_are_named(judged):
    said = " ".join(judged.notes)
    assert "No slices by country: all judged users are 'unknown'." in said
    assert "No slices by users: all judged users are 'known'." in said
    assert "No slices by age of the video (within 7 days before the test split is new): all relevant ones are new." in said
    assert "Diversity is measured by titles." in said


def test_new_videos_are_judged_alone():
    uploaded = pa.array([AT, AT - timedelta(days=30), AT], pa.timestamp("us", tz="UTC"))  # of 12, 11, 10
    videos = VIDEOS.set_column(VIDEOS.schema.get_field_index("uploaded_at"), "uploaded_at", uploaded)
    rows = Lookup.of(evaluation.judge_lists(CONFIG, RANKING, MODELS, world_of(videos=videos), ITEMS).rows)
    new = rows.get(FINAL, "recall@10", slice_kind="videos", slice_value="new")
    older = rows.get(FINAL, "recall@10", slice_kind="videos", slice_value="older")
    # 10 is new and relevant to user 2, 11 is old and relevant to user 1: one user each, too few for an interval.
    assert (new.value, new.users, new.low) == (1.0, 1, None)
    assert (older.value, older.users, older.low) == (1.0, 1, None)


def test_nobody_to_judge_has_no_figures_and_says_so():
    found = evaluation.judge_lists(CONFIG, RANKING, MODELS, world_of(at=AT + timedelta(days=1)), ITEMS)
    assert found.rows == ()
    assert found.notes == ("Nobody to judge: no user acted on a new relevant video in the test split.",)
    assert evaluation.figures(found) == {"users": 0.0}


def test_without_text_or_co_watch_there_is_no_diversity():
    found = evaluation.judge_lists(CONFIG, RANKING, MODELS, world_of(), None)
    assert Lookup.of(found.rows).get(FINAL, "diversity@10") is None
    assert (
        "No diversity: the videos have neither titles nor tags, and nothing was relevant before the test split." in found.notes
    )


def test_sources_by_hand(rows):
    # All three propose everything that may be shown, so none adds anything to the others.
    for name in ("retrieval", "wals", POPULARITY):
        assert rows.get(name, "candidate_recall@10").value == pytest.approx(1.0)
        assert rows.get(name, "candidate_recall@30").value == pytest.approx(1.0)
        assert rows.get(name, "marginal_recall").value == 0.0
    assert rows.get("union", "candidate_recall").value == pytest.approx(1.0)


def test_a_source_alone_is_missed_when_it_is_taken_away():
    config = RANKING.model_copy(update={"generators": {"retrieval": 300}})
    rows = Lookup.of(evaluation.judge_lists(CONFIG, config, MODELS, world_of(), ITEMS).rows)
    assert rows.get("retrieval", "marginal_recall").value == pytest.approx(1.0)
    assert rows.get("wals", "marginal_recall").value == 0.0
    assert rows.get("wals", "candidate_recall@10").value == pytest.approx(1.0)  # alone, whatever its limit


class TestPopularityBySegment:
    """Users 1 and 2 live in DE and speak de, where everybody watches 12, which is relevant to neither, and then 10."""

    users = USERS.set_column(USERS.schema.get_field_index("language"), "language", pa.array(["de"] * 4))
    models = Ensemble(
        Planted(),
        Planted(),
        Planted(),
        popularity([10, 11, 12], {"all": [500.0, 400.0, 300.0], "language=de": [200.0, 0.0, 400.0]}),
    )

    def test_it_is_a_baseline_beside_popularity(self):
        world = world_of(users=self.users)
        rows = Lookup.of(evaluation.judge_lists(CONFIG, RANKING, self.models, world, ITEMS).rows)
        assert rows.models("ndcg@10") == ["popularity", "popularity_by_segment", "wals", "retrieval", "ranker", "final"]
        # User 1 has watched 10 and is shown 12 and 11, user 2 12, 10 and 11: what is relevant stands second for both.
        assert rows.get(BY_SEGMENT, "mrr").value == pytest.approx(0.5)
        assert rows.get(BY_SEGMENT, "ndcg@10").value == pytest.approx(1 / np.log2(3))
        less = rows.get(BY_SEGMENT, "ndcg@10", baseline=POPULARITY)
        assert (less.value, less.low) == pytest.approx((1 / np.log2(3) - 1, 1 / np.log2(3) - 1))
        assert rows.get(FINAL, "ndcg@10", baseline=BY_SEGMENT).value == pytest.approx(1 - 1 / np.log2(3))
        assert rows.get(BY_SEGMENT, "coverage@100").value == pytest.approx(1.0)
        assert rows.get(POPULARITY, "mrr").value == pytest.approx(1.0)

    def test_without_segments_it_is_left_out_and_named(self):
        found = evaluation.judge_lists(CONFIG, RANKING, self.models, world_of(), ITEMS)
        assert BY_SEGMENT not in Lookup.of(found.rows).models("ndcg@10")
        assert "No popularity by segment: nobody who is judged belongs to a segment that is known." in found.notes


class TestAblations:
    def test_each_thing_that_the_list_has_is_taken_out_once(self):
        names = list(without(RANKING))
        assert names[:2] == ["weight ranker", "weight retrieval"]
        assert [name for name in names if name.startswith("rule ")] == [f"rule {rule.rule}" for rule in RANKING.rules]
        assert names[-3:] == ["all rules", "exploration", "rules and exploration"]
        assert without(RANKING)["weight ranker"].weights["heavy"]["ranker"] == 0
        assert len(without(RANKING)["all rules"].rules) == 0
        assert list(without(RANKING.bare().weighing({"wals": 1.0}))) == []

    def test_the_list_owes_nothing_to_what_changes_nothing_and_all_to_the_model_that_knows(self):
        """Popularity asks for 12 first; without WALS, which knows what each user likes, the relevant video falls behind it."""
        videos = VIDEOS.set_column(VIDEOS.schema.get_field_index("popularity"), "popularity", pa.array([9.0, 0.0, 0.0]))
        ranking = RANKING.weighing({"wals": 1.0, "popular": 0.01}).model_copy(update={"rules": ()})
        rows = Lookup.of(evaluation.judge_lists(CONFIG, ranking, MODELS, world_of(videos=videos), ITEMS).rows)
        owed = rows.get(FINAL, "ndcg@10", baseline=FINAL, slice_kind="without", slice_value="weight wals")
        left = rows.get(FINAL, "ndcg@10", slice_kind="without", slice_value="weight wals")
        whole = rows.get(FINAL, "ndcg@10")
        assert whole.value == pytest.approx(1.0)
        assert owed.value == pytest.approx(whole.value - left.value)
        assert owed.value >= 0
        same = rows.get(FINAL, "ndcg@10", baseline=FINAL, slice_kind="without", slice_value="exploration")
        assert same.value == pytest.approx(0)
