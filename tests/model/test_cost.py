import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from plcp.model import cost
from plcp.model.cost import Shape
from plcp.model.losses import LossConfig, loss
from plcp.model.model import InputWidths, ModelConfig

WIDTHS = InputWidths(weeks=104, horizon=26, channels=4, calendar=9, numeric=5, future=2, hashed=4, pool=6, due=2, vector=0)
SHAPE = Shape(cases=6, texts=5, tokens=20, images=4)
TINY = ModelConfig.model_validate({"preset": "tiny", "text": {"vocabulary": 512}})
NO_DROPOUT = TINY.model_copy(
    update={
        "dropout": 0.0,
        "life_dropout": 0.0,
        "modality_dropout": 0.0,
        "history_dropout": 0.0,
        "season_dropout": 0.0,
        "week_dropout": 0.0,
    }
)


def test_parameters_are_those_of_the_real_model_and_frozen_ones_stand_apart() -> None:
    model = cost.build(TINY, WIDTHS, 512)
    assert cost.parameters(TINY, WIDTHS, 512) == (sum(p.numel() for p in model.parameters()), 0)
    assert model.text is not None
    text = sum(p.numel() for p in model.text.parameters())
    frozen = TINY.model_copy(update={"text": TINY.text and TINY.text.model_copy(update={"trainable": False})})
    assert cost.parameters(frozen, WIDTHS, 512)[1] == text


def test_a_trace_counts_what_a_real_step_computes_and_keeps() -> None:
    traced = cost.trace(NO_DROPOUT, WIDTHS, 512, SHAPE, torch.float32)
    model, batch = cost.build(NO_DROPOUT, WIDTHS, 512), cost.empty_batch(NO_DROPOUT, WIDTHS, SHAPE)
    kept: dict[int, int] = {}
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()} | {t.untyped_storage().data_ptr() for t in batch.values()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with cost.counting() as counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        total, _ = loss(model(batch), batch, LossConfig())
        total.backward()
    assert sum(traced.forward.values()) + traced.backward == counter.get_total_flops()
    assert traced.saved == pytest.approx(sum(kept.values()), rel=0.05)
    assert traced.saved <= traced.peak


def test_the_fused_attention_of_a_cpu_is_counted() -> None:
    query = torch.randn(2, 4, 16, 8)
    with cost.counting() as counter:
        torch.nn.functional.scaled_dot_product_attention(query, query, query)
    with FlopCounterMode(display=False) as plain:
        query.flatten(0, 1) @ query.flatten(0, 1).mT @ query.flatten(0, 1)
    assert counter.get_total_flops() == plain.get_total_flops() > 0


def test_flops_and_memory_grow_with_the_cases_and_nothing_waits_where_nothing_is_learned() -> None:
    one, three = (cost.trace(TINY, WIDTHS, 512, SHAPE.times(k), torch.float32) for k in (1, 3))
    assert {part: 3 * flops for part, flops in one.forward.items()} == three.forward
    assert 3 * one.backward == three.backward
    assert 3 * one.peak == pytest.approx(three.peak, rel=0.01)
    idle = cost.trace(TINY, WIDTHS, 512, SHAPE, torch.float32, training=False)
    assert idle.backward == 0
    assert idle.forward["text"] == one.forward["text"]
    assert one.forward["joint"] < idle.forward["joint"] < 2 * one.forward["joint"], "and what promotions do is asked"
    assert idle.saved < 1000 < idle.peak < one.peak
