"""From a shop, a model and a cluster to memory, time and cost: every layout, and the cheapest that fits."""

from dataclasses import asdict, dataclass
from typing import Any

import torch

from plcp.data.spec import Spec
from plcp.model import cost
from plcp.model.cost import JOINT, TOWERS, Shape, Trace
from plcp.model.model import InputWidths, ModelConfig
from plcp.size.config import SizeConfig
from plcp.size.figure import ASSUMED, HERE, SHAPES, SHEET, Figure
from plcp.size.hardware import Gpu
from plcp.size.memory import Layout, Learner, Memory, layouts, memory
from plcp.size.rates import Rates
from plcp.size.step import Seconds, Step, step

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
TRACED = 100  # cases: all that is traced grows with them alone, and photos come in whole numbers
CONTEXT = 1.5e9  # bytes of CUDA's context, cuBLAS' and NCCL's buffers
FRAGMENTS = 1.10  # of what is asked for, that an allocator takes from the device
READING = (20_000.0, 10_000.0, 60_000.0)  # products a second that one scoring process cuts, turns into tables and writes; lowest, highest
MORE_HEADS = 1.5  # at most, what pretraining's own heads make of a step
HOUR, GB = 3600.0, 1e9


@dataclass(frozen=True)
class Choice:
    """A layout, the largest micro-batch with which it fits (None if none does), and what it needs."""

    layout: Layout
    micro_batch: int | None
    memory: Memory
    step: Step


@dataclass(frozen=True)
class Plan:
    """What `plcp size` answers."""

    asked: dict[str, Any]  # the request and what is taken of the hardware, by name
    figures: list[Figure]
    choices: list[Choice]
    best: Choice | None

    def document(self) -> dict[str, Any]:
        """As JSON."""
        rows = [
            {
                "layout": c.layout.name,
                "precision": c.layout.precision,
                "fits": c.micro_batch is not None,
                "trains": c.layout.trains,
                "micro_batch": c.micro_batch,
                "device_bytes": c.memory.device,
                "away_bytes": c.memory.away,
                "items": [asdict(item) for item in c.memory.items],
                "step_seconds": asdict(c.step.whole),
                "network_share": c.step.network_share,
            }
            for c in self.choices
        ]
        return {
            "asked": self.asked,
            "figures": [asdict(f) for f in self.figures],
            "layouts": rows,
            "cheapest": self.best and self.best.layout.name,
        }


class Sizing:
    """A model of one shape, traced once, and the arithmetic on top of it."""

    def __init__(self, request: SizeConfig, model: ModelConfig, spec: Spec, gpu: Gpu, rates: Rates | None, averaged: bool = True) -> None:
        """`rates`: measured ones; by default the data sheet's. `gpu`: what a worker runs on."""
        self.request, self.model, self.gpu = request, model, gpu
        self.rates = rates or Rates.of_sheet(gpu, request.precision)
        self.sheet = rates is None
        self.widths = InputWidths.of_spec(settled(spec, request.weeks))
        self.vocabulary = model.text.vocabulary if model.text is not None else 0
        self.shape = shape_of(request, model, TRACED)
        self.learner = Learner(*cost.parameters(model, self.widths, self.vocabulary), request.gpus, averaged)
        precisions: set[str] = {"fp32", request.precision}
        self.traces = {name: self._trace(name) for name in precisions}

    def _trace(self, precision: str) -> Trace:
        return cost.trace(self.model, self.widths, self.vocabulary, self.shape, DTYPES[precision])

    @property
    def trained(self) -> float:
        """FLOPs of a training step per case: towers that do not learn are encoded once, before."""
        trace = self.traces[self.request.precision]
        learning = [name for name in (*TOWERS, JOINT) if name == JOINT or learns(self.model, name)]
        return (sum(trace.forward[name] for name in learning) + trace.backward) / TRACED

    def forward(self, *parts: str) -> float:
        """FLOPs of a forecast per product."""
        trace = self.traces[self.request.precision]
        return sum(trace.forward[name] for name in parts) / TRACED

    def choice(self, layout: Layout) -> Choice:
        """The largest micro-batch that fits."""
        per_case = self.traces[layout.precision].peak / TRACED
        batch = self.request.batch_per_gpu
        for rounds in halvings(batch):
            needed = memory(layout, self.learner, per_case * batch / rounds, self.gpu.cpu)
            if self.taken(needed) <= self.gpu.memory and self.offloadable(layout, needed):
                return Choice(layout, batch // rounds, needed, self._step(layout, rounds))
        return Choice(layout, None, needed, self._step(layout, rounds))

    def taken(self, needed: Memory) -> float:
        """Bytes of a device that it may cost to hold so much."""
        return needed.device * FRAGMENTS + (0 if self.gpu.cpu else CONTEXT)

    def offloadable(self, layout: Layout, needed: Memory) -> bool:
        """Whether the server's memory holds what leaves the device for it, where one was named."""
        limit = self.request.server_memory
        return layout.offload != "cpu" or limit is None or needed.away <= limit * GB

    def _step(self, layout: Layout, rounds: int) -> Step:
        rates = self.rates if not self.sheet else Rates.of_sheet(self.gpu, layout.precision)
        return step(layout, self.learner, self.gpu, rates, self.trained * self.request.batch_per_gpu, rounds)

    def plan(self) -> Plan:
        choices = [self.choice(layout) for layout in layouts(self.request.precision)]
        fitting = [c for c in choices if c.micro_batch is not None and c.layout.trains]
        best = min(fitting, key=lambda c: (c.step.whole.value, c.layout.stage), default=None)
        return Plan(self.asked(), [*self.model_figures(), *(self.figures(best) if best else [])], choices, best)

    def asked(self) -> dict[str, Any]:
        """What the answer holds for: the request, and the rates that its formulas take, in GB, TFLOP/s and GB/s."""
        gpu = self.gpu
        hardware = {
            "memory of a GPU (GB)": gpu.memory / GB,
            "arithmetic reached (TFLOP/s)": self.rates.training / 1e12,
            "between GPUs of a server (GB/s)": gpu.link / GB,
            "between servers, per GPU (GB/s)": gpu.network / GB,
            "to the server's memory (GB/s)": gpu.host / GB,
        }
        given = {name: value for name, value in self.request.model_dump().items() if value is not None}
        return {"model": self.model.preset, **given, **({"gpu": "this machine"} if gpu.cpu else {}), **hardware}

    def model_figures(self) -> list[Figure]:
        learnt, frozen = float(self.learner.learnt), float(self.learner.frozen)
        return [
            exact("parameters that learn (T)", learnt, "", "counted"),
            exact("parameters that do not (F)", frozen, "", "counted"),
            exact("FLOPs of a training step", self.trained, "FLOP/case", "forward and backward, counted by torch's FlopCounterMode"),
            exact("FLOPs of a forecast with cached towers", self.forward(JOINT), "FLOP/product", "forward without the towers"),
            exact("FLOPs of the towers", self.forward(*TOWERS), "FLOP/product", "forward of text and image tower"),
        ]

    def figures(self, best: Choice) -> list[Figure]:
        """Memory, time and cost of the cheapest layout."""
        r, whole = self.request, best.step.whole
        needed = best.memory
        per_step = r.gpus * r.batch_per_gpu
        tuning = whole.times(r.skus * origins(r) * r.epochs / per_step)
        pretraining = whole.times(r.skus * r.pretrain_epochs / per_step)
        pretraining = Seconds(pretraining.value, pretraining.low, pretraining.high * MORE_HEADS)
        times = {
            "pretraining": (pretraining, f"SKUs × {r.pretrain_epochs:g} / (N × {r.batch_per_gpu}) × step; its heads up to {MORE_HEADS} ×"),
            "fine-tuning": (tuning, f"SKUs × {origins(r)} origins × {r.epochs:g} epochs / (N × {r.batch_per_gpu}) × step"),
            "weekly scoring": (self.scoring(r.changed), f"SKUs / N × (FLOPs + {r.changed:g} × towers) / rate + SKUs / N / reading"),
            "first scoring": (self.scoring(1.0), "the same, with every text and photo new"),
        }
        share, most = best.step.network_share, best.step.network.high / whole.high
        memory_low, memory_high = needed.least, self.taken(needed)
        out = [
            Figure("memory per GPU", needed.device / GB, memory_low / GB, memory_high / GB, "GB", "see the layouts", SHAPES),
            Figure("step", whole.value, whole.low, whole.high, "s", "FLOPs / rate + network + offload", self.basis),
            Figure("network's share of a step", share, 0.0, max(share, most), "", "network / step", f"{SHEET}, {ASSUMED}"),
        ]
        for name, (seconds, formula) in times.items():
            basis = self.basis if name in ("pretraining", "fine-tuning") else f"{self.basis}; reading {ASSUMED}"
            hours = seconds.times(1 / HOUR)
            spent = hours.times(r.gpus * (r.hourly_price or 1.0))
            out.append(Figure(name, hours.value, hours.low, hours.high, "h", formula, basis))
            priced = "hours × GPUs × hourly price" if r.hourly_price else "hours × GPUs"
            unit = "" if r.hourly_price else "GPU h"
            out.append(Figure(f"{name}: cost", spent.value, spent.low, spent.high, unit, priced, basis))
        return out

    def scoring(self, changed: float) -> Seconds:
        """Of the catalog: the forward pass, the towers for what is new, and reading and writing, one after the other."""
        per_gpu = self.request.skus / self.request.gpus
        seconds = per_gpu * (self.forward(JOINT) + changed * self.forward(*TOWERS)) / self.rates.forecasting
        usual, slowest, fastest = (per_gpu / rate for rate in READING)
        return Seconds(seconds + usual, max(seconds * self.rates.low, fastest), seconds * self.rates.high + slowest)

    @property
    def basis(self) -> str:
        if self.sheet:
            return f"{SHAPES}, {SHEET}, {ASSUMED}"
        return f"{SHAPES}, {HERE}" + (f", network {ASSUMED}" if self.request.gpus > 1 else "")


def exact(name: str, value: float, unit: str, formula: str) -> Figure:
    return Figure(name, value, value, value, unit, formula, SHAPES)


def origins(request: SizeConfig) -> int:
    """Origins of a product that are learned from in an epoch: no more than its weeks."""
    return min(request.cases_per_sku, request.weeks)


def learns(model: ModelConfig, tower: str) -> bool:
    config = getattr(model, tower)
    return config is not None and config.trainable


def shape_of(request: SizeConfig, model: ModelConfig, cases: int) -> Shape:
    """Of a batch in which every case has a text of its own, and a photo as often as products have one."""
    longest = model.text.max_tokens if model.text is not None else 1
    photos = round(cases * min(request.images_per_sku, 1.0))
    return Shape(cases, cases, min(request.tokens or longest, longest), max(1, photos))


def settled(spec: Spec, weeks: int) -> Spec:
    """The spec without data that would settle it: the core channels where none are named."""
    blank: dict[str, Any] = {"channels": spec.channels or ("units", "price", "promo", "in_stock"), "signals": spec.signals or ()}
    blank |= {"attributes": bool(spec.attributes), "vectors": bool(spec.vectors), "history_weeks": min(spec.history_weeks, weeks)}
    return spec.model_copy(update=blank)


def halvings(batch: int) -> list[int]:
    """Into how many equal micro-batches a batch can be cut: 1, 2, 4 … as long as it divides."""
    rounds = [1]
    while batch % (2 * rounds[-1]) == 0:
        rounds.append(2 * rounds[-1])
    return rounds
