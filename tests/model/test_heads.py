import torch

from plcp.model.heads import BINS, ELASTICITY, MAX_LOG, CurveHead, event_probability, floored
from plcp.model.history import Scale
from plcp.tables import LEVELS


def size(*levels: float) -> Scale:
    level = torch.tensor(levels)
    return Scale(torch.log1p(level), torch.full_like(level, 0.5), torch.full_like(level, 0.8), level, torch.ones_like(level))


def head(scale: float = 0.0) -> CurveHead:
    head = CurveHead(width=16, context=8, steps=4, horizon=6, dropout=0.0)
    torch.nn.init.normal_(head.out.weight, std=scale)
    return head


def test_before_any_training_the_forecast_is_the_recent_level_with_half_a_normal_spread_on_each_side() -> None:
    quantiles, mean, _ = head()(torch.randn(2, 8), torch.randn(2, 6, 4), size(3.0, 200.0), torch.zeros(2, 6))
    middle = torch.log1p(torch.tensor([3.0, 200.0]))
    for k, level in enumerate(LEVELS):
        normal = torch.distributions.Normal(middle, 0.5 if level < 0.5 else 0.8)
        assert torch.allclose(quantiles[:, 0, k], normal.icdf(torch.tensor(level)), atol=1e-4)
    assert torch.allclose(mean, torch.tensor([[3.0], [200.0]]).expand(2, 6), rtol=0.02)


def test_quantiles_never_cross_and_stay_within_reason_whatever_the_weights() -> None:
    quantiles, mean, _ = head(30.0)(torch.randn(50, 8) * 5, torch.randn(50, 6, 4) * 5, size(*[4.0] * 50), torch.randn(50, 6))
    assert (quantiles.diff(dim=-1) >= 0).all()
    assert quantiles.min() >= 0
    assert quantiles.max() <= MAX_LOG + 1e-4
    assert torch.isfinite(mean).all()
    assert (mean >= 0).all()


def test_a_higher_price_never_sells_more_and_before_any_training_as_much_less_as_is_usual() -> None:
    torch.manual_seed(0)
    context, steps, level = torch.randn(50, 8), torch.randn(50, 6, 4), size(*[40.0] * 50)
    dearer, wild = torch.full((50, 6), 1.1).log(), head(0.3)
    torch.nn.init.normal_(wild.elasticity.weight, std=3.0)
    for after, before in zip(wild(context, steps, level, dearer), wild(context, steps, level, 0 * dearer), strict=True):
        assert (after <= before).all()
        assert (after < before).any()
    _, usual, response = head()(context, steps, level, dearer)
    assert torch.allclose(usual, torch.tensor((40 + 0.05) * 1.1**-ELASTICITY), rtol=1e-3)
    assert torch.allclose(response, torch.tensor(1.1**-ELASTICITY).log(), rtol=1e-3)


def test_a_quantile_below_zero_can_still_learn() -> None:
    latent = torch.tensor([-3.0, 0.5, 20.0], requires_grad=True)
    value = floored(latent)
    assert torch.allclose(value, torch.tensor([0.0, 0.5, MAX_LOG]))
    value.sum().backward()
    assert latent.grad is not None
    assert (latent.grad == 1).all()


def test_an_events_probability_never_falls_with_time() -> None:
    probability = event_probability(torch.randn(20, 3, BINS) * 8)
    assert (probability.diff(dim=-1) >= 0).all()
    assert probability.min() >= 0
    assert probability.max() <= 1
