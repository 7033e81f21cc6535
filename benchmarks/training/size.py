"""What `plcp size` predicts beside what training takes on this machine: memory of a worker by ZeRO stage, and time.

    make bench NAME=training.size                                 all of it
    make bench NAME=training.size ARGS='--skus 300'               a smaller shop for the time; its figures are printed, not kept

Memory: a text tower of 768 × 6 beside a joint encoder of 512 × 6, 71 million parameters, 128 tokens a text; the most that worker 0 holds in
three steps, less what it held before the model was made. Time: `plcp train` with the base preset on one worker, beside the rate that
`plcp size --measure` finds in some seconds.
"""

import gc
import os
import tempfile
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path

import psutil
import torch

from benchmarks.data.prepare import plcp_prepare
from benchmarks.data.shop import sized
from benchmarks.measure import apart
from benchmarks.results import Figure, write_results
from benchmarks.training import contestants
from benchmarks.training.speed import SKUS, config_of, simulated
from plcp.data.spec import Spec
from plcp.model import cost
from plcp.model.cost import Shape
from plcp.model.losses import LossConfig, loss
from plcp.model.model import InputWidths, ModelConfig
from plcp.size import here, rates
from plcp.size.config import SizeConfig
from plcp.size.memory import Layout, Learner, memory
from plcp.size.plan import DTYPES, Sizing, settled, shape_of
from plcp.size.request import CALIBRATED
from plcp.training.engine import Engine, EngineConfig, load_deepspeed
from plcp.training.runs import TrainConfig

RUNS = ((0, 1, 8, "fp32"), (1, 1, 8, "fp32"), (1, 1, 24, "fp32"), (2, 2, 8, "fp32"), (3, 2, 8, "fp32"), (1, 1, 8, "bf16"))
MODEL = {"preset": "large", "width": 512, "layers": 6, "heads": 8, "image": None, "text": {"layers": 6}}
SPEC = Spec.model_validate({})
STEPS = 3
MEMORY_WITHIN, TIME_WITHIN = 0.10, 0.25


def main() -> None:
    skus = sized(__doc__, SKUS).parse_args().skus
    figures = [memory_figure(*run) for run in RUNS]
    with tempfile.TemporaryDirectory() as folder:
        simulated(Path(folder) / "shop", skus)
        plcp_prepare(Path(folder) / "shop", Path(folder) / "prepared")
        figures.append(time_figure(Path(folder) / "prepared"))
    write_results("training_size", figures, whole=skus == SKUS)


def memory_figure(stage: int, workers: int, cases: int, precision: str) -> Figure:
    """The memory of a worker, measured, beside its forecast."""
    config, widths = ModelConfig.model_validate(MODEL), InputWidths.of_spec(settled(SPEC, SPEC.history_weeks))
    assert config.text is not None
    shape = Shape(cases, cases, config.text.max_tokens, 1)
    traced = cost.trace(config, widths, config.text.vocabulary, shape, DTYPES[precision])
    learnt, frozen = cost.parameters(config, widths, config.text.vocabulary)
    needed = memory(Layout(stage, "none", precision), Learner(learnt, frozen, workers), traced.peak, cpu=True)
    measured = float(most_memory(stage, workers, shape, precision))
    ratio = needed.device / measured
    name = f"memory, ZeRO-{stage}, {precision}, {workers} worker{'s' * (workers > 1)}, {cases} cases each"
    met = abs(ratio - 1) <= MEMORY_WITHIN
    return Figure(name, round(measured / 1e9, 3), "GB", round(needed.device / 1e9, 3), round(ratio, 3), f"within {MEMORY_WITHIN:.0%}", met)


def most_memory(stage: int, workers: int, shape: Shape, precision: str) -> int:
    """Bytes that worker 0 of a training of some steps holds at most, beyond what it held before."""
    context = get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        told: Queue[int] = context.Queue()
        jobs = [
            context.Process(target=train, args=(rank, workers, stage, shape, precision, Path(folder) / "store", told))
            for rank in range(workers)
        ]
        for job in jobs:
            job.start()
        held = told.get(timeout=600)
        for job in jobs:
            job.join()
    return held


def train(rank: int, workers: int, stage: int, shape: Shape, precision: str, store: Path, told: "Queue[int]") -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(workers))
    torch.set_num_threads(1)
    load_deepspeed()
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=workers)
    steps(ModelConfig.model_validate({"preset": "tiny", "image": None}), stage, Shape(2, 2, 8, 1), precision)  # what any training loads
    gc.collect()
    before = psutil.Process().memory_info().rss
    Path("/proc/self/clear_refs").write_text("5")  # the kernel's mark of the most memory starts anew
    steps(ModelConfig.model_validate(MODEL), stage, shape, precision)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    if rank == 0:
        told.put(int(status["VmHWM"].split()[0]) * 1024 - before)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def steps(config: ModelConfig, stage: int, shape: Shape, precision: str) -> None:
    """Train on what `plcp size` takes for a batch."""
    assert config.text is not None
    widths = InputWidths.of_spec(settled(SPEC, SPEC.history_weeks))
    model, batch = cost.build(config, widths, config.text.vocabulary), cost.empty_batch(config, widths, shape)
    engine = Engine(model, EngineConfig.model_validate({"zero_stage": stage, "precision": precision}), micro_batch=shape.cases)
    for _ in range(STEPS):
        total, _ = loss(engine(batch), batch, LossConfig())
        engine.backward(total)
        engine.step(1e-4)


def time_figure(prepared: Path) -> Figure:
    """Cases a second of `plcp train`, beside those that a calibration of some seconds foretells."""
    config = config_of("base", batch=64, steps=30, workers=1, threads=len(os.sched_getaffinity(0)))
    predicted = apart(foretold, prepared, config).value
    measured, _ = apart(contestants.plcp, prepared, config).value
    ratio = predicted / measured
    met = abs(ratio - 1) <= TIME_WITHIN
    name = "plcp train, base preset, one worker"
    return Figure(name, round(measured, 1), "cases/s", round(predicted, 1), round(ratio, 3), f"within {TIME_WITHIN:.0%}", met)


def foretold(prepared: Path, config: TrainConfig) -> float:
    """Cases a second by calibration, for texts as long and photos as many as in the first batches."""
    task, batches = contestants.made(prepared, config)
    cases = sum(len(batch["weight"]) for batch in batches)
    length = round(sum(batch["tokens"].numel() for batch in batches) / sum(len(batch["tokens"]) for batch in batches))
    photos = sum(len(batch["pixels"]) for batch in batches) / cases
    request = SizeConfig(skus=1, gpus=1, precision="fp32", tokens=length, images_per_sku=photos, batch_per_gpu=config.loader.batch_size)
    sizing = Sizing(request, config.model, task.spec, here.machine(1), None)
    shape = shape_of(request, config.model, CALIBRATED)
    measured = rates.measure(config.model, sizing.widths, sizing.vocabulary, shape, "fp32", here.device())
    return config.loader.batch_size / (config.loader.batch_size * sizing.trained / measured.training + measured.step)


if __name__ == "__main__":
    main()
