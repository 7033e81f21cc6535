import pytest
import torch

from plcp.data.spec import Spec
from plcp.model import cost
from plcp.model.cost import Shape
from plcp.model.model import InputWidths, ModelConfig
from plcp.size.plan import settled
from plcp.training.work import Done, Work, peak_flops

WIDTHS = InputWidths.of_spec(settled(Spec.model_validate({}), 104))


@pytest.mark.parametrize("given", [{"preset": "tiny"}, {"preset": "base", "text": {"trainable": False}}])
def test_the_flops_of_a_batch_are_those_of_the_model_to_a_tenth(given: dict) -> None:
    config, shape = ModelConfig.model_validate(given), Shape(8, 6, 20, 5)
    assert config.text is not None
    traced = cost.trace(config, WIDTHS, config.text.vocabulary, shape, torch.float32)
    model, batch = cost.build(config, WIDTHS, config.text.vocabulary), cost.empty_batch(config, WIDTHS, shape)
    done = Work(model).of(batch)
    assert done.flops == pytest.approx(sum(traced.forward.values()) + traced.backward, rel=0.1)


def test_tokens_are_the_positions_of_all_encoders_and_a_case_of_no_weight_is_none() -> None:
    config = ModelConfig.model_validate({"preset": "tiny"})
    model, batch = cost.build(config, WIDTHS, 512), cost.empty_batch(config, WIDTHS, Shape(8, 6, 20, 5))
    batch["weight"][2:4] = torch.tensor([0.0, 0.3])
    patches, photo, modalities = 104 // 8, (32 // 8) ** 2 + 1, 5
    done = Work(model).of(batch)
    assert done[:2] == (7, 6 * 20 + 5 * photo + 8 * (patches + modalities))
    assert done.plus(done) == Done(*(2 * x for x in done))
    without = {name: value for name, value in batch.items() if name not in ("tokens", "pixels")}
    assert Work(model).of(without).tokens == 8 * (patches + modalities)


def test_no_product_is_faster_than_the_peak() -> None:
    assert peak_flops(torch.device("cpu"), torch.float32) > 1e8
