import copy
import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing
from safetensors.torch import save_file
from torch import Tensor, distributed

from plcp.base import ConfigError, ModelError
from plcp.data.prepared import Prepared
from plcp.model.model import HEADS, LifeCycleModel
from plcp.model.preprocess import Preprocessor
from plcp.model.pretraining import PretrainLossConfig, hide
from plcp.training.pretrained import refuse_leak, start_of
from plcp.training.pretraining import HELD_OUT, PretrainTask
from plcp.training.runs import PretrainConfig, Run, TrainConfig
from plcp.training.task import take_over, vocabulary_texts


@pytest.fixture(scope="module")
def task(prepared: Prepared, options: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> PretrainTask:
    torch.manual_seed(0)
    spec, model = options.spec.fitted(prepared), options.model
    preprocessor = Preprocessor.build(model.text, model.image, vocabulary_texts(prepared))
    common: dict[str, Any] = {"spec": spec, "loader": options.loader, "device": torch.device("cpu")}
    return PretrainTask(prepared, preprocessor, model=model, loss=PretrainLossConfig(), vectors=tmp_path_factory.mktemp("V"), **common)


@pytest.fixture
def batch(task: PretrainTask) -> dict[str, Any]:
    return next(iter(task.loader("train")))


def spoiled(batch: dict[str, Any], hidden: Tensor) -> dict[str, Any]:
    """Everything that was observed in the hidden weeks is another, and so are the numbers that tell of the last week."""
    history = torch.where(hidden.unsqueeze(2), 3 * batch["history"] + 7, batch["history"])
    numeric = batch["numeric"].clone()
    numeric[hidden[:, -1], 1:4] = 99.0
    return {**batch, "history": history, "numeric": numeric}


def test_hidden_weeks_cannot_be_seen(task: PretrainTask, batch: dict[str, Any]) -> None:
    model = copy.deepcopy(task.model).eval()
    for weight in model.parameters():  # a first layer that starts at zero would hide anything
        torch.nn.init.normal_(weight, std=0.1)
    outputs, weeks = model(batch), model._hidden(batch["history"])
    assert 0.2 < weeks.float().mean() < 0.6
    assert (outputs["asked"].any(2) <= weeks).all()
    other = model(spoiled(batch, weeks))
    for name in outputs.keys() - {"target"}:
        assert torch.equal(outputs[name], other[name]), name
    assert not torch.equal(outputs["target"], other["target"])
    visible = model(spoiled(batch, ~weeks))
    assert not torch.equal(outputs["rebuilt"], visible["rebuilt"])


def test_what_is_hidden_is_as_if_it_were_unknown(batch: dict[str, Any]) -> None:
    hidden = torch.zeros(batch["history"].shape[:2], dtype=torch.bool)
    hidden[:, -8:] = True
    seen = hide(batch, hidden)
    assert torch.isnan(seen["history"][:, -8:]).all()
    assert torch.allclose(seen["history"][:, :-8], batch["history"][:, :-8], 0, 0, equal_nan=True)
    assert (seen["numeric"][:, 4] <= batch["numeric"][:, 4]).all()
    assert torch.isnan(seen["numeric"][:, 1]).all()
    nothing = hide(batch, torch.zeros_like(hidden))
    assert torch.equal(torch.nan_to_num(nothing["numeric"]), torch.nan_to_num(batch["numeric"]))


def test_the_loss_asks_only_for_hidden_weeks_that_were_observed(task: PretrainTask, batch: dict[str, Any]) -> None:
    outputs = task.model.eval()(batch)
    total, parts = task.loss(outputs, batch)
    assert set(parts) == {"units", "channels", "text", "image", "vector"}
    assert torch.isfinite(total)
    elsewhere = {**outputs, "rebuilt": torch.where(outputs["asked"], outputs["rebuilt"], 99.0)}
    assert torch.equal(task.loss(elsewhere, batch)[0], total)
    assert not (outputs["asked"] & torch.isnan(batch["history"])).any()
    there = {**outputs, "rebuilt": torch.where(outputs["asked"], 99.0, outputs["rebuilt"])}
    assert task.loss(there, batch)[1]["units"] > parts["units"]


def test_every_weight_learns(task: PretrainTask, batch: dict[str, Any]) -> None:
    task.model.train()
    total, _ = task.loss(task.model(batch), batch)
    task.model.zero_grad()
    total.backward()
    for name, parameter in task.model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_the_loss_falls_on_products_never_learned_from(prepared: Prepared, task: PretrainTask) -> None:
    batches = list(task.loader("validation"))
    learner = torch.optim.AdamW(task.model.parameters(), 5e-3)

    def judged() -> float:
        task.model.eval()
        with torch.no_grad():
            return float(np.mean([task.loss(task.model(b), b)[1]["units"] for b in batches]))

    before = judged()
    task.model.train()
    for _, batch in zip(range(25), task.loader("train"), strict=False):
        learner.zero_grad()
        task.loss(task.model(batch), batch)[0].backward()
        learner.step()
    assert judged() < 0.95 * before


def test_validating_products_are_not_learned_from_and_the_weeks_held_back_are_in_no_split(
    prepared: Prepared, task: PretrainTask, options: TrainConfig
) -> None:
    every = [sku for i in range(len(prepared.shards)) for sku in prepared.read(i).sku_id]
    held = set(every[::HELD_OUT])
    for split in ("train", "validation", "all"):
        loader = task.loader(split)
        latest: list[int] = []
        cut = loader._list

        def noted(window: int, units: np.ndarray, cut: Any = cut, latest: list[int] = latest) -> Any:
            cases = cut(window, units)
            latest.extend(cases.start.tolist())
            return cases

        loader._list = noted  # type: ignore[method-assign]
        skus = {sku for batch in loader.rest_of_epoch() for sku in batch["sku_id"]}
        assert max(latest) <= prepared.weeks - options.loader.validation_weeks
        assert skus <= held if split == "validation" else bool(skus - held)
        assert bool(skus & held) == (split != "train")


def vectors(n: int, seed: int) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(n, 8, generator=torch.Generator().manual_seed(seed)), dim=1)


def aligning(n: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    there = torch.arange(n) % 5 != 3
    outputs = {"life": 4 * vectors(n, 1), "text": vectors(n, 2), "text_there": there, "lived": torch.ones(n, dtype=torch.bool)}
    keys = torch.stack([torch.arange(1, n + 1), torch.arange(n) % 6 + 100, torch.zeros(n, dtype=torch.int64)], 1)
    return outputs, {"keys": keys, "weight": torch.ones(n)}


def test_products_of_one_title_are_no_negatives_of_each_other() -> None:
    outputs, batch = aligning(12)
    loss = PretrainTask._alignment("text", outputs, batch)
    twin = outputs["text"].clone()
    first, second = (i for i in range(12) if batch["keys"][i, 1] == 100)
    twin[second] = twin[first]  # were it a negative, it would stand for half of the probability
    among = PretrainTask._alignment("text", {**outputs, "text": twin, "text_there": torch.arange(12) == first}, batch)
    alone = PretrainTask._alignment("text", {**outputs, "text_there": torch.arange(12) == first}, batch)
    assert torch.equal(among, alone)
    assert loss != alone
    apart = {**batch, "keys": torch.arange(36).reshape(12, 3) + 1}
    assert PretrainTask._alignment("text", {**outputs, "text": twin}, apart) > PretrainTask._alignment(
        "text", {**outputs, "text": twin}, batch
    )


def share_of_alignment(rank: int, world: int, store: str, out: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    outputs, batch = aligning(13)
    own = {name: value[rank::world].clone() for name, value in outputs.items()}
    own["life"].requires_grad_()
    own["text"].requires_grad_()
    loss = PretrainTask._alignment("text", own, {name: value[rank::world] for name, value in batch.items()})
    loss.backward()
    torch.save((loss.detach(), own["life"].grad, own["text"].grad), f"{out}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.system
def test_the_alignment_and_its_gradient_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    world = 3  # shares of 5, 4 and 4 cases
    outputs, batch = aligning(13)
    life, text = outputs["life"].requires_grad_(), outputs["text"].requires_grad_()
    whole = PretrainTask._alignment("text", outputs, batch)
    whole.backward()
    torch.multiprocessing.spawn(share_of_alignment, (world, str(tmp_path / "store"), str(tmp_path)), nprocs=world)
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(world)]
    torch.testing.assert_close(torch.stack([part[0] for part in parts]).mean(), whole.detach())
    for at, full in ((1, life), (2, text)):
        together = torch.zeros_like(full)
        for rank, part in enumerate(parts):
            together[rank::world] = part[at] / world  # DeepSpeed averages over the workers
        torch.testing.assert_close(together, full.grad)


def test_a_fine_tuning_takes_over_the_encoder_and_nothing_else(prepared: Prepared, task: PretrainTask, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    learnt = {name: value.detach().clone() for name, value in task.model.state_dict().items()}
    save_file(learnt, path)
    torch.manual_seed(1)
    model = LifeCycleModel.build(task.model.config, task.model.widths, task.preprocessor)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert take_over(model, path) == sorted(HEADS)
    for name, value in model.state_dict().items():
        expected = before[name] if name.split(".")[0] in HEADS else learnt[name]
        assert torch.equal(value, expected), name
    wider = LifeCycleModel.build(task.model.config.model_copy(update={"hash_width": 4}), task.model.widths, task.preprocessor)
    with pytest.raises(ModelError, match=r"attributes\..* has the shape"):
        take_over(wider, path)
    save_file({name: value for name, value in learnt.items() if not name.startswith("fusion.")}, path)
    with pytest.raises(ModelError, match="holds no weights of fusion"):
        take_over(model, path)


def test_a_pretraining_that_saw_the_weeks_which_validate_is_refused(prepared: Prepared, options: TrainConfig, tmp_path: Path) -> None:
    shared = {"model": options.model, "spec": options.spec}
    ahead = PretrainConfig(**shared, loader=options.loader.model_copy(update={"validation_weeks": 8}))
    with pytest.raises(ConfigError, match=r"weeks up to .*are to validate"):
        refuse_leak(tmp_path, prepared.origin, ahead.held_back_from(prepared.origin), options, prepared)
    same = PretrainConfig(**shared, loader=options.loader)
    refuse_leak(tmp_path, prepared.origin, same.held_back_from(prepared.origin), options, prepared)
    earlier = prepared.origin - dt.timedelta(weeks=4)
    refuse_leak(tmp_path, earlier, ahead.held_back_from(earlier), options, prepared)
    with pytest.raises(ConfigError, match="later than"):
        refuse_leak(tmp_path, prepared.origin + dt.timedelta(weeks=1), prepared.origin, options, prepared)


def test_what_cannot_be_begun_with_is_named(prepared: Prepared, options: TrainConfig, tmp_path: Path) -> None:
    fitted = options.fitted(prepared)
    forecast = Run(tmp_path / "F", prepared, fitted, 0)
    forecast.begin()
    with pytest.raises(ModelError, match="no pretraining"):
        start_of(forecast.folder, prepared, fitted)
    before = PretrainConfig(model=options.model, spec=options.spec, loader=options.loader).fitted(prepared)
    run = Run(tmp_path / "P", prepared, before, 0)
    run.begin()
    with pytest.raises(ModelError, match="not finished"):
        start_of(run.folder, prepared, fitted)
    (run.folder / "result.json").write_text("{}")
    other = fitted.model_copy(update={"model": fitted.model.model_copy(update={"patch_weeks": 4, "dropout": 0.3})})
    with pytest.raises(ConfigError, match=r"model\.patch_weeks 8, not 4\. Give"):
        start_of(run.folder, prepared, other)
    with pytest.raises(ConfigError, match="task forecast, not pretraining"):
        replace(run, folder=forecast.folder).begin()
