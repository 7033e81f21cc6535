from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from plcp.forecast.forecaster import Forecaster
from plcp.forecast.recorded import recorded
from plcp.serving.cases import Packer
from tests.forecast.shop import prepared_shop, tiny_artifact


def test_a_recorded_model_gives_the_models_numbers_for_any_number_of_cases(tmp_path: Path) -> None:
    prepared = prepared_shop(tmp_path / "prepared", 24)
    packer = Packer(Forecaster.load(tiny_artifact(tmp_path / "model", prepared, lively=True)))
    cases = [case for index in range(len(prepared.shards)) for case in packer.cases(prepared.read(index)) if not case.reason]
    packer.values(cases)  # the towers' vectors
    graph = recorded(packer.forecaster.artifact.model, packer.batch(cases[:2]))
    assert graph is not packer.forecaster.artifact.model
    for some in (cases[:1], cases[5:8], cases):
        batch = packer.batch(some)
        own, other = packer.forecaster.forward(batch), packer.forecaster.forward(batch, graph)
        for name, values in own.items():
            np.testing.assert_allclose(other[name], values, rtol=1e-5, atol=1e-6, err_msg=name)


class Counting(nn.Module):
    """Decides by a value in Python."""

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"sum": batch["x"] * float(len(batch["x"]))}


def test_a_model_that_cannot_be_recorded_is_run_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    model = Counting().eval()
    run = recorded(model, {"x": torch.ones(3)})
    assert "gives other numbers" in caplog.text
    assert run({"x": torch.ones(5)})["sum"].tolist() == [5.0] * 5
