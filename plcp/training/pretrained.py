"""A pretraining as the beginning of a fine-tuning: may it be, and with which weights."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from plcp.base import ConfigError, ModelError
from plcp.data.prepared import Prepared
from plcp.forecast import artifact
from plcp.training.runs import PREPROCESSOR, RESULT, Options, PretrainConfig, Run, Start, differences, record

MAY_DIFFER = (  # no weight's meaning hangs on them
    "preset",
    "dropout",
    "life_dropout",
    "modality_dropout",
    "history_dropout",
    "season_dropout",
    "week_dropout",
    "trainable",
)


def start_of(run: Path, data: Prepared, config: Options) -> Start:
    """The weights of a finished pretraining `run`, or of an artifact, for a fine-tuning on `data` with options that were `fitted` to it.

    Raises ModelError where an artifact is damaged, or the run is none or unfinished, ConfigError where its model has other shapes or reads
    other inputs, and where it saw weeks that are to validate the fine-tuning: their loss would promise too much.
    """
    if (run / artifact.CHECKSUMS).exists():
        artifact.verify(run)
        origin = artifact.read_config(run).origin
        refuse_leak(run, origin, origin, config, data)
        return Start.of(run / artifact.WEIGHTS, run / "tokenizer")
    before, content = record(run)
    if not isinstance(before, PretrainConfig):
        raise ModelError(f"{run}: no pretraining; make one with `plcp pretrain PREPARED --out RUN`")
    if not (run / RESULT).exists():
        raise ModelError(f"{run}: this pretraining is not finished; the `plcp pretrain` that began it continues it")
    if changes := [*unlike(before, config)]:
        raise ConfigError(f"{run} was pretrained with {'; '.join(changes[:5])}. Give both the same options, or pretrain again on this data")
    origin = dt.date.fromisoformat(content["origin"])
    refuse_leak(run, origin, before.held_back_from(origin), config, data)
    return Start.of(Run(run, data, before, content["seed"]).learnt(), run / PREPROCESSOR)


def refuse_leak(run: Path, origin: dt.date, seen: dt.date, config: Options, data: Prepared) -> None:
    """Raises ConfigError where what a fine-tuning begins with knew more than is right: data up to `origin`, learned from up to `seen`."""
    if origin > data.origin:
        raise ConfigError(
            f"{run} was made from data up to {origin}, later than {data.root} ({data.origin}); prepare it --as-of {data.origin}"
        )
    judged = config.held_back_from(data.origin)
    if seen > judged:
        raise ConfigError(
            f"{run} learned from weeks up to {seen}, and the weeks from {judged} on are to validate this run; give it newer data, or, "
            "where it is a pretraining, the same train.loader.validation_weeks"
        )


def unlike(before: PretrainConfig, config: Options) -> Iterator[str]:
    """In words, where the encoder of a fine-tuning is another than the pretrained one, or reads another input."""
    yield from differences(decisive(before.model.model_dump(mode="json")), decisive(config.model.model_dump(mode="json")), "model")
    old, new = (kind.spec.model_dump(mode="json", exclude={"horizon"}) for kind in (before, config))
    yield from differences(old, new, "spec")


def decisive(options: dict[str, Any]) -> dict[str, Any]:
    return {name: decisive(value) if isinstance(value, dict) else value for name, value in options.items() if name not in MAY_DIFFER}
