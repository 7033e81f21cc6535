import contextlib

import pytest
import torch

from plcp.training.average import WeightAverage


def test_the_average_follows_with_a_decay_that_starts_low() -> None:
    weights = [torch.tensor([1.0]), torch.tensor([[4.0]], dtype=torch.bfloat16)]
    average = WeightAverage(weights, decay=0.5)
    expected = 1.0
    for count in range(20):
        weights[0].fill_(count)
        average.update(weights)
        decay = min(0.5, (1 + count) / (10 + count))
        expected = decay * expected + (1 - decay) * count
        assert average.values[0].item() == pytest.approx(expected)
    assert average.values[1].dtype == torch.float32


def test_an_average_that_is_taken_up_again_lies_where_the_weights_do_and_its_count_with_the_host() -> None:
    weights = [torch.zeros(2, device="meta"), torch.zeros(3)]
    average = WeightAverage(weights, decay=0.5)
    average.restore([torch.ones(2), torch.ones(3), torch.tensor(7.0)], weights)
    assert [value.device.type for value in average.values] == ["meta", "cpu", "cpu"]
    assert average.values[-1].item() == 7


def test_swapped_weights_come_back_even_after_an_error() -> None:
    weights = [torch.tensor([1.0])]
    average = WeightAverage(weights, decay=0.9)
    weights[0].fill_(3.0)
    with contextlib.suppress(RuntimeError), average.swapped(weights):
        assert weights[0].item() == 1.0
        raise RuntimeError
    assert weights[0].item() == 3.0
