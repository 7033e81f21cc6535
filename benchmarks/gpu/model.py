"""The large model on one GPU: training under ZeRO-1 and ZeRO-3 beside the GPU's own matrix products, and scoring a catalog.

    make gpu-wheels                                               what the GPU's machine lacks, into build/gpu-wheels/
    python -m benchmarks.gpu.model                                there, under 8 minutes; benchmarks/results/gpu_model.json
    make bench NAME=gpu.model ARGS='--miniature'                  on any machine, to see that it runs; nothing is kept

It needs torch, transformers and plcp with what plcp/data and plcp/model import, no Ray; without DeepSpeed the training part is left out.
Inputs and weights are random. Texts have 128 tokens, photos 224 pixels a side, the history 104 weeks, the forecast 26.
"""

import argparse
import gc
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.results import Figure, write_results
from plcp.data.spec import Spec
from plcp.model import cost
from plcp.model.cost import Shape
from plcp.model.losses import LossConfig, loss
from plcp.model.model import InputWidths, LifeCycleModel, ModelConfig
from plcp.size.memory import Layout, Learner, memory
from plcp.training.engine import Engine, EngineConfig, load_deepspeed
from plcp.training.work import Work, peak_flops

SPEC = Spec(history_weeks=104, horizon=26, channels=("units", "price", "promo", "in_stock"), signals=(), attributes=False, vectors=False)
WIDTHS = InputWidths.of_spec(SPEC)
DTYPE = torch.bfloat16
STAGES = (1, 3)
CATALOG, MOST_SECONDS = 1_000_000, 120
SHARE_OF_PEAK = 0.5
WITHIN = 0.1  # of the memory measured


@dataclass(frozen=True)
class Scale:
    """How much of it is run."""

    preset: str
    cases: int  # a training batch
    steps: int
    scored: int  # a scoring batch with cached towers
    encoded: int  # and without


WHOLE = Scale("large", 256, 20, 8192, 512)
MINIATURE = Scale("tiny", 4, 2, 32, 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--miniature", action="store_true", help="the tiny preset and two steps, on a CPU too")
    scale = MINIATURE if parser.parse_args().miniature else WHOLE
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if scale is WHOLE and device.type != "cuda":
        raise SystemExit("needs a CUDA GPU; --miniature runs anywhere")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    write_results("gpu_model", figures(scale, device), whole=scale is WHOLE, device=name)


def figures(scale: Scale, device: torch.device) -> list[Figure]:
    config = ModelConfig.model_validate({"preset": scale.preset})
    peak = peak_flops(device, DTYPE)
    out = [Figure("matrix product of two square matrices, bf16", peak / 1e12, "TFLOP/s")]
    if find_spec("deepspeed"):
        with tempfile.TemporaryDirectory() as folder:
            alone(Path(folder), device)
            for stage in STAGES:
                out += training(config, scale, stage, peak, device)
            torch.distributed.destroy_process_group()
    else:
        print("DeepSpeed is not there: training is left out")
    return out + scoring(config, scale, device)


def alone(folder: Path, device: torch.device) -> None:
    """This process as the only worker."""
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1")
    load_deepspeed()
    backend = "nccl" if device.type == "cuda" else "gloo"
    torch.distributed.init_process_group(backend, init_method=f"file://{folder / 'store'}", rank=0, world_size=1)


def training(config: ModelConfig, scale: Scale, stage: int, peak: float, device: torch.device) -> list[Figure]:
    """Speed and memory of training steps."""
    release(device)
    shape = shape_of(config, scale.cases)
    traced = cost.trace(config, WIDTHS, vocabulary(config), shape, DTYPE)
    model = cost.build(config, WIDTHS, vocabulary(config))
    engine = Engine(model, EngineConfig(zero_stage=stage, precision="bf16"), micro_batch=scale.cases)
    host = random_batch(config, shape)
    tokens = Work(model).of(host).tokens
    batch = {name: value.to(device) for name, value in host.items()}

    def step() -> None:
        total, _ = loss(engine(batch), batch, LossConfig())
        engine.backward(total)
        engine.step(1e-4)

    learnt, frozen = cost.parameters(config, WIDTHS, vocabulary(config))
    needed = memory(Layout(stage, "none", "bf16"), Learner(learnt, frozen, 1), traced.peak, cpu=device.type == "cpu")
    seconds = timed(step, scale.steps, device)
    share = (sum(traced.forward.values()) + traced.backward) / seconds / peak
    name = f"training, {config.preset}, ZeRO-{stage}, {scale.cases} cases a step"
    return [
        Figure(f"{name}: cases", scale.cases / seconds, "cases/s"),
        Figure(f"{name}: tokens", tokens / seconds, "tokens/s"),
        Figure(f"{name}: share of the matrix product", share, "", target=f"≥ {SHARE_OF_PEAK}", met=share >= SHARE_OF_PEAK),
        *held(name, needed.device, device),
    ]


def release(device: torch.device) -> None:
    """What an earlier engine held, and the mark of the most memory."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def held(name: str, predicted: float, device: torch.device) -> list[Figure]:
    """The most memory at once beside its forecast; a CPU does not count it."""
    if device.type != "cuda":
        return [Figure(f"{name}: memory predicted", predicted / 1e9, "GB")]
    measured = float(torch.cuda.max_memory_allocated(device))
    met = abs(predicted / measured - 1) <= WITHIN
    return [Figure(f"{name}: memory", measured / 1e9, "GB", predicted / 1e9, predicted / measured, f"within {WITHIN:.0%}", met)]


def scoring(config: ModelConfig, scale: Scale, device: torch.device) -> list[Figure]:
    """Products a second with the towers' vectors at hand, and with all texts and photos to be encoded; inputs come from the host."""
    model = cost.build(config, WIDTHS, vocabulary(config)).to(device, DTYPE).eval()
    out = []
    for name, cases, cached in (("cached towers", scale.scored, True), ("all towers", scale.encoded, False)):
        batch = host_batch(config, model, cases, cached, device)

        @torch.inference_mode()
        def score(batch: dict[str, Tensor] = batch) -> None:
            outputs = model({key: value.to(device, non_blocking=True) for key, value in batch.items()})
            for value in outputs.values():
                value.cpu()

        rate = cases / timed(score, scale.steps, device)
        out.append(Figure(f"scoring, {config.preset}, {name}", rate, "products/s"))
        seconds = CATALOG / rate
        target, met = (f"≤ {MOST_SECONDS}", seconds <= MOST_SECONDS) if cached else (None, None)
        out.append(Figure(f"one million products × {SPEC.horizon} weeks, {name}", seconds, "s", target=target, met=met))
    return out


def host_batch(config: ModelConfig, model: LifeCycleModel, cases: int, cached: bool, device: torch.device) -> dict[str, Tensor]:
    """Inputs in the host's memory, pinned where there is a GPU; with vectors in the place of texts and photos if `cached`."""
    batch = random_batch(config, shape_of(config, cases))
    if cached:
        for key, tower in (("text_vector", model.text), ("image_vector", model.image)):
            if tower is not None:
                batch[key] = torch.randn(cases, tower.width, dtype=torch.float16)
        batch = {name: value for name, value in batch.items() if name not in ("tokens", "token_mask", "pixels")}
    return {name: value.pin_memory() if device.type == "cuda" else value for name, value in batch.items()}


def shape_of(config: ModelConfig, cases: int) -> Shape:
    """Every case with a text and a photo of its own, the longest the model reads."""
    return Shape(cases, cases, config.text.max_tokens if config.text is not None else 1, cases)


def vocabulary(config: ModelConfig) -> int:
    return config.text.vocabulary if config.text is not None else 0


def random_batch(config: ModelConfig, shape: Shape) -> dict[str, Tensor]:
    """A batch with random content: a processor's speed depends on it."""
    batch = cost.empty_batch(config, WIDTHS, shape)
    for name, value in batch.items():
        if value.is_floating_point() and name != "weight":
            value.uniform_(0, 3)
    batch["text"] = batch["image"] = torch.arange(shape.cases)
    if config.text is not None:
        batch["tokens"].random_(vocabulary(config))
    return batch


def timed(work: Callable[[], None], times: int, device: torch.device) -> float:
    """Seconds of one call, on average; a few before do not count."""
    for _ in range(max(2, times // 5)):
        work()
    wait(device)
    begun = time.perf_counter()
    for _ in range(times):
        work()
    wait(device)
    return (time.perf_counter() - begun) / times


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
