import torch

from plcp.model.history import channels, scale
from plcp.model.steps import last_years, planned_price, planned_promotion, step_features
from tests.model.batches import inputs, tensors


def test_last_years_weeks_stand_at_the_step_they_are_due() -> None:
    history = torch.zeros(1, 104, 7)
    history[0, 104 - 52 + 6, 0] = 100.0  # the seventh week ahead, a year ago
    values, known = channels(history)
    around = last_years(values, known, 26)[0, :, :5]  # two weeks before, one, the week itself, one after, two
    peak = torch.tensor(101.0).log()
    for step, place in ((4, 4), (5, 3), (6, 2), (7, 1), (8, 0)):
        assert torch.isclose(around[step, place], peak)
    assert around.count_nonzero() == 5


def test_two_years_of_history_give_two_years_of_seasons_and_a_short_one_none() -> None:
    values, known = channels(torch.ones(2, 104, 7))
    two, one = last_years(values, known, 12), last_years(values[:, -60:], known[:, -60:], 12)
    assert two.shape[2] == 2 * one.shape[2]
    assert last_years(values[:, -51:], known[:, -51:], 12).shape == (2, 12, 0)


def test_a_planned_price_counts_relative_to_the_last_one_known() -> None:
    future = torch.tensor([[[5.0, 0.5], [torch.nan, torch.nan]]])
    prices = torch.tensor([[8.0, 10.0, torch.nan]])
    assert torch.allclose(planned_price(future, prices), torch.tensor([[0.5, 1.0]]).log())
    assert (planned_price(future, prices * torch.nan) == 0).all()
    assert planned_promotion(future).tolist() == [[[0.5, 1.0, 1.0], [0.0, 0.0, 0.0]]]


def test_what_is_unknown_stays_finite() -> None:
    batch = tensors(inputs())
    batch["pool"][:] = torch.nan
    batch["due"][:] = torch.nan
    values, known = channels(batch["history"])
    assert torch.isfinite(step_features(batch, values, known, scale(values[..., 0], known[..., 0], batch["pool"]))).all()
