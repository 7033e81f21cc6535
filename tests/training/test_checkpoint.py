from pathlib import Path

import pytest
from ray.train import Checkpoint

from plcp.base import ModelError
from plcp.training import checkpoint
from plcp.training.checkpoint import State


def test_the_lowest_of_the_chosen_loss_is_the_best_and_the_others_are_counted() -> None:
    state, judged = State(), []
    for step, loss in enumerate([3.0, 2.0, 2.5, 2.0, 2.1, 1.0], 1):
        state.step = step
        judged.append((state.judge({"loss": 1.0, "quantiles": loss}, "quantiles"), state.best_step, state.stale))
    # an equal loss may be kept as the best one, so its weights are wanted; but it is no progress
    assert judged == [(True, 1, 0), (True, 2, 0), (False, 2, 1), (True, 2, 2), (False, 2, 3), (True, 6, 0)]
    assert state.metrics == {"score": 1.0, "best_score": 1.0, "validation_loss": 1.0, "validation_quantiles": 1.0}


def test_a_folder_without_a_checkpoint_says_so(tmp_path: Path) -> None:
    for ask in (checkpoint.best, checkpoint.last):
        with pytest.raises(ModelError, match="holds no checkpoint of validated weights yet"):
            ask(tmp_path)


@pytest.mark.parametrize("content", ['{"step": 4', '{"stpe": 4}', "4"])
def test_a_damaged_state_is_named_with_what_to_do(tmp_path: Path, content: str) -> None:
    (tmp_path / checkpoint.STATE).write_text(content)
    with pytest.raises(ModelError, match=r"state\.json: damaged.*--no-resume"):
        checkpoint._state(Checkpoint.from_directory(str(tmp_path)))
