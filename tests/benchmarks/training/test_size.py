import pytest

from benchmarks.training.size import memory_figure


@pytest.mark.soak  # as benchmarks.training.size measures it
def test_the_memory_of_a_real_training_is_the_one_foretold_to_a_tenth() -> None:
    figure = memory_figure(stage=1, workers=1, cases=8, precision="fp32")
    assert figure.met, figure
