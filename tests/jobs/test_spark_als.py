import pytest

from jobs import _spark_als
from models.wals import fit as fit_here
from models.wals import objective
from schemas.errors import ReelflowError
from tests.models.wals.contract import EngineContract, config, planted


@pytest.mark.spark
class TestSpark(EngineContract):
    @pytest.fixture(autouse=True)
    def _session(self, spark, tmp_path):
        self.spark, self.checkpoints = spark, tmp_path / "checkpoints"

    def fit(self, *args):
        model = _spark_als.fit(self.spark, *args, checkpoints=self.checkpoints)
        assert not self.checkpoints.exists()
        return model

    def test_both_engines_reach_the_same_objective(self):
        ours = objective(fit_here(self.settings, *planted()), *planted())
        theirs = objective(self.fitted(), *planted())
        assert theirs == pytest.approx(ours, rel=2e-3)

    def test_an_exponent_that_spark_does_not_know_is_refused(self):
        with pytest.raises(ReelflowError, match=r"found regularization_exponent 0.5, expected 1"):
            self.fit(config(regularization_exponent=0.5), *planted())
