import torch

from plcp.model.heads import BINS, MAX_LOG, CurveHead, event_probability, floored
from plcp.model.history import Scale
from plcp.tables import LEVELS


def size(*levels: float) -> Scale:
    level = torch.tensor(levels)
    return Scale(torch.log1p(level), torch.full_like(level, 0.5), level, torch.ones_like(level))


def head(scale: float = 0.0) -> CurveHead:
    head = CurveHead(width=16, context=8, steps=4, horizon=6, dropout=0.0)
    torch.nn.init.normal_(head.out.weight, std=scale)
    return head


def test_before_any_training_the_forecast_is_the_recent_level_with_a_normal_spread() -> None:
    quantiles, mean = head()(torch.randn(2, 8), torch.randn(2, 6, 4), size(3.0, 200.0))
    middle = torch.log1p(torch.tensor([3.0, 200.0]))
    normal = torch.distributions.Normal(middle, 0.5)
    for k, level in enumerate(LEVELS):
        assert torch.allclose(quantiles[:, 0, k], normal.icdf(torch.tensor(level)), atol=1e-4)
    assert torch.allclose(mean, torch.tensor([[3.0], [200.0]]).expand(2, 6), rtol=0.02)


def test_quantiles_never_cross_and_stay_within_reason_whatever_the_weights() -> None:
    quantiles, mean = head(30.0)(torch.randn(50, 8) * 5, torch.randn(50, 6, 4) * 5, size(*[4.0] * 50))
    assert (quantiles.diff(dim=-1) >= 0).all()
    assert quantiles.min() >= 0
    assert quantiles.max() <= MAX_LOG + 1e-4
    assert torch.isfinite(mean).all()
    assert (mean >= 0).all()


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
