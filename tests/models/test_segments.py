import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

import conf
from models.segments import FittedPopularity, PopularityConfig, fit_popularity
from schemas.errors import ReelflowError

AT = dt.datetime(2026, 1, 8, tzinfo=dt.UTC)
CHAINS = (("country", "language"), ("country", "device"), ("language",))
CONFIG = PopularityConfig(chains=CHAINS, segment_prior_events=2.0, min_events=0.5)
VIDEOS = np.array([10, 20, 30, 99])
HALF_LIFE = 2.0


def times(days_ago):
    return pa.array([AT - dt.timedelta(days=days) for days in days_ago], pa.timestamp("us", tz="UTC"))


def examples_of(rows):
    """Rows of (user, video, days ago, label, device)."""
    users, videos, ages, labels, devices = zip(*rows, strict=True)
    return pa.table({
        "user_id": users, "video_id": videos, "occurred_at": times(ages), "known_at": times(ages),
        "label": pa.array(labels, pa.int32()), "weight": [1.0] * len(rows), "device": pa.array(devices, pa.string()),
    })  # fmt: skip


ROWS = (
    (1, 10, 0, 1, "tv"), (1, 20, 0, 1, "tv"), (2, 10, 0, 1, "phone"), (2, 10, 2, 1, "phone"), (3, 30, 0, 1, None),
    (4, 30, 4, 1, "tv"),
    (1, 99, 0, 0, "tv"),  # shown, and not liked
    (1, 20, -1, 1, "tv"),  # known only tomorrow
)  # fmt: skip


def fitted(config=CONFIG, rows=ROWS, at=AT):
    # User 2 lived in France until yesterday, 4 is unknown, and nothing is known of 3.
    versions = pa.table({
        "user_id": [1, 2, 2, 3], "valid_from": times([9, 9, 1, 9]), "country": ["DE", "FR", "DE", None],
        "language": ["de", "fr", "fr", None], "city": pa.array([None] * 4, pa.string()),
    })  # fmt: skip
    return fit_popularity(config, examples_of(rows), versions, at=at, half_life_days=HALF_LIFE)


def row(model, name):
    return model.segments.index(name)


def people(**columns):
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def test_counts_halve_with_age_and_only_what_was_known_counts():
    model = fitted()
    assert model.scores(VIDEOS)[0].tolist() == [2.5, 1.0, 1.25, 0.0]
    assert model.scores(np.array([99, 10, 10]))[0].tolist() == [0.0, 2.5, 2.5]
    later = fitted(at=AT + dt.timedelta(days=2))
    assert later.scores(VIDEOS)[0] == pytest.approx([1.25, 0.5 + 0.5**0.5, 0.625, 0.0])


def test_a_segment_is_what_its_users_were_then_mixed_with_its_parent():
    model = fitted()
    assert model.segments == (
        "all", "country=DE", "country=DE|device=phone", "country=DE|device=tv", "country=DE|language=de",
        "country=DE|language=fr", "country=FR", "country=FR|device=phone", "country=FR|language=fr", "language=de",
        "language=fr",
    )  # fmt: skip
    assert model.parents.tolist() == [0, 0, 1, 1, 1, 1, 0, 6, 6, 0, 0]
    total, everybody = 4.75, np.array([2.5, 1.0, 1.25, 0.0])
    # DE: user 1's two videos and user 2's of today; FR: user 2's of two days ago, which weighs a half.
    german = (np.array([2.0, 1.0, 0.0, 0.0]) * total + 2.0 * everybody) / (3.0 + 2.0)
    french = (np.array([0.5, 0.0, 0.0, 0.0]) * total + 2.0 * everybody) / (0.5 + 2.0)
    on_tv = (np.array([1.0, 1.0, 0.0, 0.0]) * total + 2.0 * german) / (2.0 + 2.0)
    found = model.scores(VIDEOS)
    assert (found.dtype, found.shape) == (np.float32, (11, 4))
    np.testing.assert_allclose(found[row(model, "country=DE")], german, rtol=1e-6)
    np.testing.assert_allclose(found[row(model, "country=FR")], french, rtol=1e-6)
    np.testing.assert_allclose(found[row(model, "country=DE|device=tv")], on_tv, rtol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), total, rtol=1e-6)
    some = np.array([row(model, "country=DE|device=tv"), 0, row(model, "country=DE|device=tv")])
    np.testing.assert_array_equal(model.scores(VIDEOS, some), found[some])


def test_a_small_segment_is_none_and_its_users_get_its_parent():
    model = fitted(CONFIG.model_copy(update={"min_events": 1.5}))
    # In France half an event, on German phones one, in the language fr one and a half.
    assert model.segments == (
        "all",
        "country=DE",
        "country=DE|device=tv",
        "country=DE|language=de",
        "language=de",
        "language=fr",
    )
    users = people(country=["DE", "DE", "FR", None, "DE", "DE"], device=["phone", "tv", "tv", "tv", None, "radio"])
    assert model.row_of(users, ("country", "device")).tolist() == [1, 2, 0, 0, 1, 1]
    assert model.row_of(users, ("country",)).tolist() == [1, 1, 0, 0, 1, 1]
    assert model.row_of(people(language=["fr", "de", "xx", None]), ("language",)).tolist() == [5, 4, 0, 0]
    assert model.row_of(users.slice(0, 0), ("country", "device")).tolist() == []
    assert model.rows_of_chain(("country", "device")).tolist() == [1, 2]
    assert model.rows_of_chain(("language",)).tolist() == [4, 5]
    with pytest.raises(
        ReelflowError, match="found the chain device, expected the beginning of one of: country, language; country, d"
    ):
        model.row_of(users, ("device",))


def test_a_value_with_the_separator_counts_as_not_known():
    model = fitted(rows=[(1, 10, 0, 1, "tv|radio"), (1, 20, 0, 1, "tv")])
    assert [name for name in model.segments if "device" in name] == ["country=DE|device=tv"]
    users = people(country=["DE", "DE|device=tv"], device=["tv|radio", None])
    assert model.row_of(users, ("country", "device")).tolist() == [1, 0]


def test_a_large_segment_stands_on_its_own_and_a_small_one_backs_off():
    rows = [(1, 10, 0, 1, None)] * 5000 + [(2, 20, 0, 1, None)] * 1 + [(3, 30, 0, 1, None)] * 5000
    model = fitted(CONFIG.model_copy(update={"segment_prior_events": 50.0}), rows)
    shares = model.scores(VIDEOS) / 10_001
    assert shares[row(model, "country=DE"), 0] > 0.99
    np.testing.assert_allclose(shares[row(model, "language=fr")], [0.49, 0.02, 0.49, 0.0], atol=0.01)
    # It backs off to Germany, where hardly anyone watches 30, and not to everybody.
    np.testing.assert_allclose(shares[row(model, "country=DE|language=fr")], [0.975, 0.02, 0.005, 0.0], atol=0.001)


def by_loops(config, rows, versions, at):
    """Segments and their shares over dictionaries, one example at a time."""
    counts = {(): {}}
    parent = {}
    for user, video, age, label, device in rows:
        if not label or age < 0:
            continue
        own = [one for one in versions if one["user_id"] == user]
        then = [one for one in own if one["valid_from"] <= at - dt.timedelta(days=age)][-1:] or own[:1]
        values = {"device": device, **(then[0] if then else {})}
        member = {()}
        for chain in config.chains:
            name = ()
            for kind in chain:
                if values.get(kind) is None:
                    break
                parent[(*name, (kind, values[kind]))] = name
                name = (*name, (kind, values[kind]))
                member.add(name)
        for name in member:
            cell = counts.setdefault(name, {})
            cell[video] = cell.get(video, 0.0) + 0.5 ** (age / HALF_LIFE)
    kept = {name: cell for name, cell in counts.items() if not name or sum(cell.values()) >= config.min_events - 1e-9}
    total = sum(counts[()].values())

    def share(name, video):
        own = kept[name]
        if not name:
            return own.get(video, 0.0) / total
        prior = config.segment_prior_events
        return (own.get(video, 0.0) + prior * share(parent[name], video)) / (sum(own.values()) + prior)

    text = {name: "|".join(f"{kind}={value}" for kind, value in name) or "all" for name in kept}
    return {text[name]: [share(name, video) * total for video in VIDEOS.tolist()] for name in kept}


def test_loops_over_dictionaries_find_the_same():
    rng = np.random.default_rng(5)

    def some(*values):
        return values[int(rng.integers(len(values)))]

    versions = [
        {
            "user_id": user,
            "valid_from": AT - dt.timedelta(days=days),
            "country": some("DE", "FR", "IT", None),
            "language": some("de", "fr", None),
            "city": some("Bonn", "Rome|1", "São Paulo", None),
        }
        for user in range(40)
        for days in (9, 3)[: int(rng.integers(3))]
    ]
    rows = [
        (some(*range(40)), some(10, 20, 30), some(0, 1, 5, -1), some(0, 1, 1), some("tv", "phone", None)) for _ in range(600)
    ]
    chains = (("country", "language", "city"), ("country", "language", "device"), ("language", "device"))
    config = PopularityConfig(chains=chains, segment_prior_events=7.0, min_events=3.0)
    table = pa.Table.from_pylist(versions).set_column(1, "valid_from", times([(AT - v["valid_from"]).days for v in versions]))
    model = fit_popularity(config, examples_of(rows), table, at=AT, half_life_days=HALF_LIFE)
    known = [{**one, "city": None if one["city"] == "Rome|1" else one["city"]} for one in versions]
    expected = by_loops(config, rows, known, AT)
    assert set(model.segments) == set(expected)
    assert len(expected) > 20
    for name, scores in zip(model.segments, model.scores(VIDEOS), strict=True):
        np.testing.assert_allclose(scores, expected[name], rtol=1e-5, err_msg=name)
    for name, parent in zip(model.segments[1:], model.parents[1:], strict=True):
        assert model.segments[parent] == (name.rpartition("|")[0] or "all")
    users = table.append_column("device", pa.array([some("tv", "phone", None) for _ in versions], pa.string()))
    for chain in chains:
        found = model.row_of(users, chain)
        for own, at in zip(users.to_pylist(), found, strict=True):
            names = ["|".join(f"{kind}={own[kind]}" for kind in chain[:depth]) for depth in range(len(chain) + 1)]
            usable = [name for name in names if name in expected and "Rome" not in name]
            assert model.segments[at] == (usable[-1] if usable else "all")


def test_a_model_survives_the_disk(tmp_path):
    model = fitted()
    model.save(tmp_path)
    again = FittedPopularity.load(tmp_path)
    np.testing.assert_array_equal(again.scores(VIDEOS), model.scores(VIDEOS))
    assert (again.config, again.half_life_days, again.videos, again.segments) == (CONFIG, 2.0, model.videos, model.segments)
    assert again.parents.tolist() == model.parents.tolist()
    np.save(tmp_path / "parents.npy", np.zeros(2, dtype=np.int64))
    with pytest.raises(ReelflowError, match=r"found counts of 3 videos and 11 segments with 2 parents, expected 3 and 11"):
        FittedPopularity.load(tmp_path)
    (tmp_path / "indptr.npy").unlink()
    with pytest.raises(ReelflowError, match="cannot be read"):
        FittedPopularity.load(tmp_path)
    (tmp_path / "popularity.json").write_text('{"format_version": 1}')
    with pytest.raises(ReelflowError, match="found format 1, expected 2"):
        FittedPopularity.load(tmp_path)


def test_the_same_examples_give_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        fitted().save(tmp_path / name)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


def test_without_anything_relevant_nothing_is_popular():
    model = fitted(rows=[(1, 10, 0, 0, "tv")])
    assert model.segments == ("all",)
    assert model.scores(VIDEOS).tolist() == [[0.0] * 4]
    assert model.row_of(people(country=["DE"], language=["de"]), ("country", "language")).tolist() == [0]


def test_where_nothing_is_known_of_users_there_is_only_everybody():
    model = fitted(rows=[(3, 10, 0, 1, None), (4, 20, 0, 1, None)])
    assert model.segments == ("all",)
    assert model.scores(VIDEOS).tolist() == [[1.0, 1.0, 0.0, 0.0]]


@pytest.mark.parametrize("chains", [[], [[]], [["country", "country"]], [["planet"]]])
def test_senseless_chains_are_refused(chains):
    with pytest.raises(ValidationError):
        PopularityConfig(chains=chains, segment_prior_events=1.0, min_events=0.0)


def test_the_section_of_base_yaml_is_valid():
    assert conf.load("popularity", PopularityConfig).segment_prior_events > 0
