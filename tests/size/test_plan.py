import copy
import itertools
import json

import pytest

from plcp import cli
from plcp.base import ConfigError
from plcp.data.spec import Spec
from plcp.model.model import ModelConfig
from plcp.size.config import SizeConfig
from plcp.size.hardware import GPUS
from plcp.size.memory import Layout, Learner
from plcp.size.plan import Plan, Sizing, halvings
from plcp.size.rates import Rates
from plcp.size.request import sized
from plcp.size.step import exchanged, offloaded
from plcp.training.runs import TrainConfig

SPEC = Spec.model_validate({})
TINY = ModelConfig.model_validate({"preset": "tiny"})


@pytest.fixture(scope="module")
def sizing() -> Sizing:
    return Sizing(SizeConfig(skus=50_000_000, gpus=64, hourly_price=2.0), TINY, SPEC, GPUS["h200"], None)


def value(plan: Plan, name: str) -> float:
    return next(figure.value for figure in plan.figures if figure.name == name)


def changed(sizing: Sizing, **options: object) -> Plan:
    """A plan of another request from the same traces."""
    request = sizing.request.model_copy(update=options)
    other = copy.copy(sizing)
    other.request, other.learner = request, Learner(sizing.learner.learnt, sizing.learner.frozen, request.gpus)
    return other.plan()


def test_every_figure_lies_in_its_interval_and_names_its_formula_and_what_it_rests_on(sizing: Sizing) -> None:
    for figure in sizing.plan().figures:
        assert figure.low <= figure.value <= figure.high, figure.name
        assert figure.formula
        assert figure.basis
    assert json.loads(json.dumps(sizing.plan().document()))["cheapest"] == "ZeRO-1"


def test_time_and_cost_grow_with_the_shop_and_shrink_with_the_cluster(sizing: Sizing) -> None:
    names = ("pretraining", "fine-tuning", "weekly scoring", "first scoring")
    base, twice, wide = sizing.plan(), changed(sizing, skus=100_000_000), changed(sizing, gpus=128)
    for name in names:
        assert value(twice, name) == pytest.approx(2 * value(base, name))
        assert value(wide, name) < value(base, name)
        assert value(base, f"{name}: cost") == pytest.approx(value(base, name) * 64 * 2.0)
    assert value(base, "weekly scoring") < value(base, "first scoring")


def test_micro_batches_shrink_until_they_fit_and_what_never_fits_is_said(sizing: Sizing) -> None:
    small = copy.copy(sizing)
    small.gpu, small.request = GPUS["l4"], sizing.request.model_copy(update={"batch_per_gpu": 1 << 20})
    choice = small.choice(Layout(1, "none", "bf16"))
    assert choice.micro_batch is not None
    assert 1 < choice.micro_batch < 1 << 20
    small.learner = Learner(20_000_000_000, 0, 1)
    assert small.choice(Layout(1, "none", "bf16")).micro_batch is None
    assert [halvings(12), halvings(1)] == [[1, 2, 4], [1]]


def test_what_a_servers_memory_does_not_hold_is_not_offloaded_to_it(sizing: Sizing) -> None:
    to_cpu, plain = Layout(2, "cpu", "bf16"), Layout(2, "none", "bf16")
    needed = sizing.choice(to_cpu).memory.away / 1e9
    poor, rich = (copy.copy(sizing) for _ in range(2))
    poor.request, rich.request = (sizing.request.model_copy(update={"server_memory": needed * share}) for share in (0.9, 1.1))
    assert poor.choice(to_cpu).micro_batch is None
    assert rich.choice(to_cpu).micro_batch == sizing.choice(to_cpu).micro_batch
    assert poor.choice(plain).micro_batch == sizing.choice(plain).micro_batch


def test_zero_3_sends_half_as_much_again_and_in_every_micro_batch() -> None:
    learner = Learner(1_000_000, 0, 4)
    sent = {stage: exchanged(Layout(stage, "none", "bf16"), learner, 1) for stage in range(4)}
    assert sent == {0: 3e6, 1: 3e6, 2: 3e6, 3: 4.5e6}
    assert exchanged(Layout(3, "none", "bf16"), learner, 2) == 9e6
    assert exchanged(Layout(1, "none", "bf16"), Learner(1_000_000, 0, 1), 1) == 0


def test_what_is_offloaded_further_takes_longer() -> None:
    learner = Learner(1_000_000_000, 0, 8)
    seconds = [offloaded(Layout(3, where, "bf16"), learner, GPUS["h100"]) for where in ("none", "cpu", "nvme")]
    assert all(a < b for a, b in itertools.pairwise(seconds))


def test_measured_rates_take_the_place_of_the_data_sheet(sizing: Sizing) -> None:
    rates = Rates(training=1e12, forecasting=2e12, step=0.5, low=0.8, high=1.25, basis="measured")
    here = Sizing(sizing.request, TINY, SPEC, GPUS["h200"], rates)
    found = here.choice(Layout(1, "none", "bf16")).step.arithmetic
    assert found.value == pytest.approx(0.5 + here.trained * 128 / 1e12)
    assert here.basis == "traced, measured, network assumed"


def test_a_wrong_word_is_refused_with_the_words_there_are() -> None:
    with pytest.raises(ConfigError, match="--model 'huge' is none of tiny, base, large"):
        sized(SizeConfig(), {}, TrainConfig(), "huge", None, False)
    with pytest.raises(ConfigError, match=r"--gpu 'tpu'.*h200"):
        sized(SizeConfig(), {"gpu": "tpu"}, TrainConfig(), None, None, False)


def test_the_command_answers_in_json(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["plcp"])
    with pytest.raises(SystemExit):
        cli.main("size", "--skus", "1000", "--gpus", "2", "--gpu", "a10", "--json")
    plan = json.loads(capsys.readouterr().out)
    assert len(plan["layouts"]) == 8
    assert {figure["name"] for figure in plan["figures"]} >= {"fine-tuning", "weekly scoring: cost", "memory per GPU"}
