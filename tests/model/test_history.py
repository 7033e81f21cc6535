import numpy as np
import torch

from plcp.model.history import LEVEL_WEEKS, SPREAD_FLOOR, Scale, channels, recent_state, scale
from tests.model.batches import inputs, tensors

NO_SIBLINGS = torch.full((8, 26, 2), torch.nan)


def test_unknown_values_are_zero_and_say_so() -> None:
    values, known = channels(tensors(inputs())["history"])
    assert torch.isfinite(values).all()
    assert (values[known == 0] == 0).all()
    assert known[0].sum() == 0


def test_prices_of_pennies_and_of_thousands_look_the_same() -> None:
    history = tensors(inputs())["history"]
    dear = history.clone()
    dear[..., 1] *= 1000
    assert torch.allclose(channels(history)[0], channels(dear)[0], atol=1e-4)


def test_level_and_spread_are_those_of_the_last_known_weeks() -> None:
    history = torch.full((1, 104, 7), torch.nan)
    history[0, :, 0] = 1000.0
    history[0, -LEVEL_WEEKS:, 0] = 7.0
    history[0, -1, 0] = torch.nan  # a week the shop was shut
    values, known = channels(history)
    size = scale(values[..., 0], known[..., 0], NO_SIBLINGS[:1])
    assert torch.isclose(size.level, torch.tensor(7.0), rtol=1e-4)
    assert torch.isclose(size.location, torch.tensor(8.0).log(), rtol=1e-4)
    assert size.spread >= SPREAD_FLOOR


def spreads(*weekly: torch.Tensor) -> Scale:
    values, known = channels(torch.stack(weekly)[..., None].expand(-1, -1, 7))
    return scale(values[..., 0], known[..., 0], NO_SIBLINGS[: len(weekly)])


def test_weeks_without_stock_before_the_last_quarter_leave_the_upside_as_it_is() -> None:
    steady, week = 100 * torch.exp(0.2 * torch.sin(torch.arange(26.0))), torch.arange(26)
    size = spreads(steady, torch.where(week < 10, 0.0, steady))
    assert torch.isclose(size.above[0], size.above[1], atol=0.05)
    assert size.below[1] > 3 * size.above[1]


def test_what_it_sold_before_it_fell_or_rose_is_the_spread_of_that_side() -> None:
    week = torch.arange(26)
    size = spreads(torch.where(week < 13, 100.0, 10.0), torch.where(week < 13, 10.0, 100.0))
    assert torch.isclose(size.above[0], size.below[1], atol=1e-4)
    assert torch.equal(size.below[0], size.above[1])
    assert size.above[0] > 3 * size.below[0]


def test_a_quarter_that_was_shut_counts_the_spread_about_the_weeks_before_it() -> None:
    weekly = 100 * torch.exp(0.5 * torch.sin(torch.arange(26.0)))
    size = spreads(torch.where(torch.arange(26) < 13, weekly, torch.nan))
    assert size.known == 0
    assert size.above < 0.8


def test_a_product_never_sold_stands_on_its_siblings() -> None:
    values, known = channels(torch.full((8, 104, 7), torch.nan))
    size = scale(values[..., 0], known[..., 0], torch.full((8, 26, 2), 2.0))
    assert torch.allclose(size.location, torch.full((8,), 2.0))
    assert (size.known == 0).all()
    assert torch.isfinite(torch.stack(scale(values[..., 0], known[..., 0], NO_SIBLINGS))).all()


def test_the_state_is_finite_and_of_order_one_for_every_kind_of_product() -> None:
    history = np.full((4, 104, 7), np.nan, np.float32)
    history[1, :, 0] = 0
    history[2, :, 0] = 1e6
    history[3, -1, 0] = 3
    values, known = channels(torch.from_numpy(history))
    age, due = torch.tensor([torch.nan, 500, 40, 0]), torch.full((4, 26, 2), torch.nan)
    due[1:] = 3.0
    state = recent_state(values, known, scale(values[..., 0], known[..., 0], NO_SIBLINGS[:4]), age, due)
    assert torch.isfinite(state).all()
    assert state.abs().max() < 20
