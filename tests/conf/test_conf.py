import importlib
import os

import pytest
import yaml

import conf
from conf import ConfigError, Section, home, load, overlaid, repository, resolved, workspace
from conf.paths import Paths, paths

# Every section, and the class that loads it: a new section must be named here.
CLASSES = {
    "paths": ("conf.paths", "Paths"),
    "window": ("jobs._stage", "WindowConfig"),
    "spark": ("jobs._session", "SparkConfig"),
    "fan_out": ("jobs._fan_out", "FanOutConfig"),
    "expectations": ("jobs._expectations", "ExpectationsConfig"),
    "ingest": ("jobs.ingest", "IngestConfig"),
    "examples": ("jobs.examples", "ExamplesConfig"),
    "split": ("jobs._training", "SplitConfig"),
    "evaluation": ("models.evaluation", "EvaluationConfig"),
    "features": ("jobs.features", "FeaturesConfig"),
    "popularity": ("models.segments", "PopularityConfig"),
    "wals": ("models.wals", "WalsConfig"),
    "logistic": ("models.logistic", "LogisticConfig"),
    "towers": ("models.towers", "TowersConfig"),
    "gate": ("models.gate", "GateConfig"),
    "hourly": ("jobs._lane", "HourlyConfig"),
    "index": ("models.ann", "IndexConfig"),
    "recommend": ("models.recommend", "RecommendConfig"),
    "fallback": ("models.recommend", "FallbackConfig"),
    "shadow": ("jobs._shadow", "ShadowConfig"),
    "scan": ("jobs.scan", "ScanConfig"),
    "history": ("jobs._served", "HistoryConfig"),
    "store": ("serving._open", "StoreConfig"),
    "http": ("serving.http", "HttpConfig"),
    "publish": ("jobs.publish", "PublishConfig"),
    "simulate": ("jobs.simulation", "SimulateConfig"),
    "airflow": ("conf.orchestration", "AirflowConfig"),
    "mlflow": ("jobs._tracking", "TrackingConfig"),
    "random_negatives": ("jobs._training", "RandomNegativesConfig"),
    "text": ("models.text", "TextConfig"),
}


class Wals(Section):
    factors: int


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    for name in ("REELFLOW_HOME", "REELFLOW_CONF", "REELFLOW_ENV"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A function that lays settings over base.yaml."""

    def lay(settings):
        file = tmp_path / "own.yaml"
        file.write_text(settings if isinstance(settings, str) else yaml.safe_dump(settings))
        monkeypatch.setenv("REELFLOW_CONF", str(file))
        return file

    return lay


def class_of(section):
    module, name = CLASSES[section]
    return getattr(importlib.import_module(module), name)


class TestSections:
    def test_every_section_has_a_class(self):
        assert set(yaml.safe_load((repository() / "conf" / "base.yaml").read_text())) == set(CLASSES)

    @pytest.mark.parametrize("section", CLASSES)
    def test_its_class_takes_every_setting_and_has_no_other(self, section):
        settings = yaml.safe_load((repository() / "conf" / "base.yaml").read_text())[section]
        into = class_of(section)
        assert set(into.model_fields) == set(settings)
        assert all(field.is_required() for field in into.model_fields.values())  # a setting stands once, in base.yaml
        loaded = load(section, into)
        assert loaded.model_dump(mode="json", include={"seed", "k", "dim"}) == {
            name: settings[name] for name in ("seed", "k", "dim") if name in settings
        }

    @pytest.mark.parametrize("environment", ["local", "prod"])
    def test_every_environment_loads(self, environment, monkeypatch):
        monkeypatch.setenv("REELFLOW_ENV", environment)
        overlay = yaml.safe_load((repository() / "conf" / f"{environment}.yaml").read_text())
        for section in CLASSES:
            loaded = load(section, class_of(section))
            for key, value in overlay.get(section, {}).items():
                assert getattr(loaded, key) == value

    def test_sections_cannot_be_changed(self):
        with pytest.raises(ValueError, match="frozen"):
            paths().raw = "elsewhere"


class TestMerging:
    def test_one_key_changes_and_its_neighbours_stay(self, own):
        before = resolved()
        own({"towers": {"id_dim": 7}, "simulate": {"taste": {"topic": 9.0}}})
        after = resolved()
        assert after["towers"] == before["towers"] | {"id_dim": 7}
        assert after["simulate"] == before["simulate"] | {"taste": before["simulate"]["taste"] | {"topic": 9.0}}
        assert {name for name in after if after[name] != before[name]} == {"towers", "simulate"}

    def test_ones_own_file_wins_over_the_environment(self, own, monkeypatch):
        monkeypatch.setenv("REELFLOW_ENV", "prod")
        own({"spark": {"driver_memory": "1g"}})
        assert (resolved()["spark"]["driver_memory"], resolved()["spark"]["shuffle_partitions"]) == ("1g", 400)

    def test_lists_are_replaced_as_a_whole(self, own):
        own({"towers": {"ranker": {"hidden": [5]}}})
        assert resolved()["towers"]["ranker"]["hidden"] == [5]

    def test_what_is_overlaid_wins_and_ends(self, own):
        own({"towers": {"id_dim": 7, "vector_dim": 3}})
        before = resolved()
        settings = {"towers": {"id_dim": 9}}
        with overlaid(settings, "a trial"):
            assert resolved() == {**before, "towers": before["towers"] | {"id_dim": 9}}
        assert resolved() == before
        assert settings == {"towers": {"id_dim": 9}}
        with (
            pytest.raises(ConfigError, match=r"a trial: unknown key 'towers\.id_din'; did you mean 'id_dim'"),
            overlaid({"towers": {"id_din": 9}}, "a trial"),
        ):
            resolved()

    def test_settings_to_try_may_be_of_any_section(self, own):
        own({"shadow": {"settings": {"towers": {"retrieval": {"dim": 128}}}}})
        assert resolved()["shadow"]["settings"] == {"towers": {"retrieval": {"dim": 128}}}

    def test_keys_that_are_data_may_be_new(self, own):
        own({"spark": {"extra": {"spark.ui.port": 4050}}, "wals": {"feedback_weights": {"share": 2.0}}})
        assert resolved()["spark"]["extra"] == {"spark.ui.port": 4050}
        assert resolved()["wals"]["feedback_weights"] == {"relevant": 1.0, "like": 0.25, "share": 2.0, "watch": 0.1}

    def test_an_empty_file_changes_nothing(self, own):
        before = resolved()
        own("# nothing\n")
        assert resolved() == before


class TestMistakes:
    @pytest.mark.parametrize(
        ("settings", "key", "hint"),
        [
            ({"wlas": {"factors": 8}}, "wlas", "did you mean 'wals'?"),
            ({"wals": {"factor": 8}}, "wals.factor", "did you mean 'factors'?"),
            ({"simulate": {"taste": {"topics": 1.0}}}, "simulate.taste.topics", "did you mean 'topic'?"),
            ({"mlflow": {"zzz": 1}}, "mlflow.zzz", "expected one of experiment, tracking_uri"),
        ],
    )
    def test_a_misspelt_key_is_named_with_the_file(self, own, settings, key, hint):
        file = own(settings)
        with pytest.raises(ConfigError) as caught:
            resolved()
        assert str(caught.value) == f"{file}: unknown key {key!r}; {hint}"

    def test_a_misspelt_key_stops_every_section(self, own):
        own({"wals": {"factor": 8}})
        with pytest.raises(ConfigError, match="did you mean 'factors'"):
            paths()

    def test_a_key_that_the_class_does_not_know(self):
        with pytest.raises(ConfigError, match=r"wals\.iterations = .*Extra inputs are not permitted"):
            load("wals", Wals)

    def test_a_key_that_base_does_not_have(self):
        class More(class_of("index")):
            nowhere: int

        with pytest.raises(ConfigError, match=r"index\.nowhere = .*Field required"):
            load("index", More)

    @pytest.mark.parametrize(
        ("settings", "section", "words"),
        [
            ({"wals": {"factors": "many"}}, "wals", r"wals\.factors = 'many': Input should be a valid integer"),
            ({"wals": {"factors": 0}}, "wals", r"wals\.factors = 0: Input should be greater than or equal to 1"),
            ({"wals": {"feedback_weights": {"lik": 1.0}}}, "wals", r"wals\.feedback_weights\.lik"),
            ({"recommend": {"segments": [{"name": "all", "weights": {"wals": 0}}]}}, "recommend", "one above 0"),
            ({"split": {"test_fraction": 0.5}}, "split", r"split\.test_fraction = 0\.5"),
            ({"wals": 5}, "wals", "configuration: wals = 5"),
        ],
    )
    def test_a_wrong_value_is_shown(self, own, settings, section, words):
        own(settings)
        with pytest.raises(ConfigError, match=words) as caught:
            load(section, class_of(section))
        assert "REELFLOW_CONF" in str(caught.value)

    def test_every_wrong_value_is_shown_at_once(self, own):
        own({"wals": {"factors": 0, "iterations": 0}})
        with pytest.raises(ConfigError, match=r"wals\.factors = 0.*; wals\.iterations = 0"):
            load("wals", class_of("wals"))

    def test_an_unknown_section(self):
        with pytest.raises(
            ConfigError, match=r"section 'walls': not in conf/base\.yaml; expected one of airflow, evaluation, examples, "
        ):
            load("walls", Wals)

    def test_a_missing_file(self, monkeypatch, tmp_path):
        monkeypatch.setenv("REELFLOW_CONF", str(tmp_path / "none.yaml"))
        with pytest.raises(ConfigError, match=r"none\.yaml: not found; expected a YAML file"):
            resolved()

    @pytest.mark.parametrize(("text", "words"), [("a: [1", "not valid YAML"), ("- 1\n", "found list, expected sections")])
    def test_a_file_that_holds_no_sections(self, own, text, words):
        own(text)
        with pytest.raises(ConfigError, match=words):
            resolved()

    def test_an_unknown_environment(self, monkeypatch):
        monkeypatch.setenv("REELFLOW_ENV", "staging")
        with pytest.raises(ConfigError, match=r"environment 'staging': found no .*; set REELFLOW_ENV to one of local, prod$"):
            resolved()


class TestPlaces:
    def test_home_is_var_in_the_repository_or_what_is_named(self, monkeypatch, tmp_path):
        assert home() == repository() / "var"
        monkeypatch.setenv("REELFLOW_HOME", str(tmp_path / "a" / ".." / "b"))
        assert home() == tmp_path / "b"

    def test_paths_lie_below_home_unless_they_are_absolute(self, own, monkeypatch, tmp_path):
        monkeypatch.setenv("REELFLOW_HOME", str(tmp_path))
        own({"paths": {"raw": "/logs", "lake": "deep/lake"}})
        found = paths()
        assert (str(found.raw), found.lake) == ("/logs", tmp_path / "deep" / "lake")
        assert found.store == tmp_path / "store" / "recommendations.sqlite"
        assert all(getattr(found, name).is_absolute() for name in Paths.model_fields)


def test_public_names_exist():
    assert conf.__all__ == sorted(conf.__all__)
    assert all(hasattr(conf, name) for name in conf.__all__)


def test_a_workspace_is_laid_over_and_taken_away(tmp_path, monkeypatch):
    monkeypatch.setenv("REELFLOW_HOME", str(tmp_path / "before"))
    monkeypatch.delenv("REELFLOW_CONF", raising=False)
    settings = tmp_path / "conf.yaml"
    settings.write_text("window: {lookback_days: 5}\n")
    with pytest.raises(KeyError), workspace(tmp_path, settings):
        assert home() == tmp_path
        assert resolved()["window"]["lookback_days"] == 5
        raise KeyError
    assert home() == tmp_path / "before"
    assert "REELFLOW_CONF" not in os.environ
    monkeypatch.setenv("REELFLOW_CONF", str(settings))
    with workspace(tmp_path, None):
        assert resolved()["window"]["lookback_days"] != 5
