"""One checkpoint, taken up by other numbers of real workers."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, multiprocessing

from plcp.base import ModelError
from plcp.training.engine import SAVED, Engine, EngineConfig
from plcp.training.resharding import _converted, cut, world_size
from tests.training.test_engine import STAGES, Net, whole

CASES, STEPS, MORE = 12, 3, 4
WAYS = ((2, "", "2"), (1, "2", "2-1"), (3, "2", "2-3"), (3, "2-1", "2-1-3"))  # workers, what they load, what they save


def worker(rank: int, world: int, root: Path) -> None:
    """What a group of this size does of WAYS, for every stage; the first worker writes down what came of it."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world))
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{root / f'store-{world}'}", rank=rank, world_size=world)
    for stage, precision in STAGES:
        folder = root / f"{stage}-{precision}"
        for _, load, save in (way for way in WAYS if way[0] == world):
            config = EngineConfig(zero_stage=stage, precision=precision, averaging=0.9, weight_decay=0.1)
            engine = Engine(Net(), config, micro_batch=CASES // world, slow={"body": 0.5})
            if load:
                engine.load(folder / load)
            else:
                for seed in range(STEPS):
                    learn(engine, seed, rank, world)
            engine.save(folder / save)
            state = learnt(engine, stage)
            state["losses"] = [learn(engine, STEPS + k, rank, world) for k in range(MORE)]
            if rank == 0:
                torch.save(state, folder / f"{save}.pt")
    distributed.barrier()
    os._exit(0)  # Gloo's threads may still let go of tensors while Python ends, which aborts the process (pytorch #179291)


def learn(engine: Engine, seed: int, rank: int, world: int) -> float:
    """A step on this worker's share of a batch; the loss of all of it."""
    x = torch.randn(CASES, 8, generator=torch.Generator().manual_seed(seed))[rank::world]
    loss = (engine({"x": x})["sum"] - x.sum(1, keepdim=True)).square().mean()
    engine.backward(loss)
    engine.step(0.01)
    total = loss.detach().clone()
    distributed.all_reduce(total)
    return total.item() / world


def learnt(engine: Engine, stage: int) -> dict[str, Any]:
    """Weights, their average, Adam's steps and the groups' own options."""
    optimizer = engine.deepspeed.optimizer if stage == 0 else engine.deepspeed.optimizer.optimizer
    return {
        "weights": engine.weights(),
        "average": whole(engine),
        "steps": {float(state["step"]) for state in optimizer.state.values()},
        "options": [(group["weight_decay"], group["factor"]) for group in optimizer.param_groups],
    }


def moments(saved: Path, stage: int) -> dict[str, Tensor]:
    """Adam's moments and the fp32 weights by parameter, put together from a checkpoint's shares."""
    if stage == 0:
        states = torch.load(saved / SAVED / "mp_rank_00_model_states.pt", weights_only=False)["optimizer"]["state"]
        return {f"{group}/{kind}": state[kind] for group, state in states.items() for kind in ("exp_avg", "exp_avg_sq")}
    out = saved / "whole"
    if not out.exists():
        assert _converted(saved / SAVED, out) == out
    files = [path for path in (out / "zero").rglob("*.pt") if path.parent.name != "zero" and path.stem != "step"]
    found = {f"{path.parent.name}/{path.stem}": torch.load(path, weights_only=False) for path in files}
    return {name: (value["param"] if isinstance(value, dict) else value).flatten() for name, value in found.items()}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("worlds")
    for stage, precision in STAGES:
        for _, _, save in WAYS:
            (folder / f"{stage}-{precision}" / save).mkdir(parents=True)
    for world in (2, 1, 3):
        multiprocessing.spawn(worker, (world, folder), nprocs=world)
    return folder


@pytest.mark.system
@pytest.mark.parametrize("way", ["2-1", "2-3", "2-1-3"])
@pytest.mark.parametrize(("stage", "precision"), STAGES)
def test_another_number_of_workers_takes_up_weights_average_and_moments_to_the_bit(
    root: Path, stage: int, precision: str, way: str
) -> None:
    saved = [root / f"{stage}-{precision}" / name for name in ("2", way)]
    before, after = (torch.load(folder.with_suffix(".pt")) | {"moments": moments(folder, stage)} for folder in saved)
    for kind in ("weights", "average", "moments"):
        assert before[kind].keys() == after[kind].keys()
        assert len(before[kind]) >= 6
        for name, value in before[kind].items():
            assert torch.equal(value, after[kind][name]), (kind, name)
    assert after["steps"] == before["steps"] == {STEPS}
    assert sorted(after["options"]) == sorted(before["options"]) == [(0.0, 0.5), (0.1, 0.5)]
    assert after["losses"] == pytest.approx(before["losses"], rel=1e-5 if precision == "fp32" else 2e-2)


@pytest.mark.usefixtures("alone")
def test_a_checkpoint_that_cannot_be_converted_says_so(tmp_path: Path) -> None:
    engine = Engine(Net(), EngineConfig(zero_stage=1), micro_batch=CASES)
    engine.save(tmp_path)
    share = next((tmp_path / SAVED).glob("*optim_states.pt"))
    (share.parent / share.name.replace("rank_0", "rank_1")).write_bytes(b"cut off")
    assert world_size(tmp_path / SAVED) == 2
    with pytest.raises(ModelError, match="another number of workers"):
        engine.load(tmp_path)


@pytest.mark.parametrize(("before", "now"), [(1, 3), (3, 2), (2, 5)])
def test_shares_are_cut_anew_without_a_value_lost(before: int, now: int) -> None:
    values = torch.arange(1.0, 8.0)
    shares = [cut([values], 7, rank, before) for rank in range(before)]
    again = [cut(shares, 7, rank, now) for rank in range(now)]
    assert len({len(share) for share in again}) == 1
    assert torch.equal(torch.cat(again)[:7], values)
