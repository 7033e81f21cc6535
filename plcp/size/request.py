"""What the command was asked for, as a plan."""

from typing import Any

from pydantic import ValidationError

from plcp.base import ConfigError
from plcp.model.model import PRESETS, ModelConfig
from plcp.size import here, rates
from plcp.size.config import SizeConfig
from plcp.size.hardware import GPUS
from plcp.size.plan import Plan, Sizing, shape_of
from plcp.training.runs import TrainConfig

CALIBRATED = 16  # cases of the smaller calibration batch: with fewer, a processor is quicker than in a real step, its caches hold all


def sized(config: SizeConfig, given: dict[str, Any], train: TrainConfig, preset: str | None, horizon: int | None, measure: bool) -> Plan:
    """`given` wins over `config`; the model is `preset`, or `train`'s. Raises ConfigError for what does not exist."""
    try:
        request = SizeConfig.model_validate({**config.model_dump(), **given})
    except ValidationError as error:
        problem = error.errors()[0]
        raise ConfigError(f"--{str(problem['loc'][0]).replace('_', '-')} {problem['input']!r}: {problem['msg']}") from None
    if preset is not None and preset not in PRESETS:
        raise ConfigError(f"--model {preset!r} is none of {', '.join(PRESETS)}")
    model = train.model if preset is None else ModelConfig.model_validate({"preset": preset})
    spec = train.spec if horizon is None else train.spec.model_copy(update={"horizon": horizon})
    averaged = train.engine.averaging > 0
    if not measure:
        return Sizing(request, model, spec, GPUS[request.gpu], None, averaged).plan()
    here.share_threads(request.gpus)
    sizing = Sizing(request, model, spec, here.machine(request.gpus), None, averaged)
    shape = shape_of(request, model, CALIBRATED)
    sizing.rates = rates.measure(model, sizing.widths, sizing.vocabulary, shape, request.precision, here.device())
    sizing.sheet = False
    return sizing.plan()
