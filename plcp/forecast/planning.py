"""What a run is made from, and which parts it takes: all of a catalog, or only what changed or was asked for."""

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from plcp.base import DataError
from plcp.data.prepared import Prepared
from plcp.forecast import artifact
from plcp.forecast.embeddings import vectors_beside
from plcp.forecast.parts import Part
from plcp.forecast.runs import Manifest, PartRecord, Run, Source, latest, published

if TYPE_CHECKING:
    from plcp.forecast.catalog import CatalogConfig

CHANGED = "changed"
NAMED = 20  # unknown SKUs that an error spells out


def plan(model: Path, prepared: Path, scores: Path, config: "CatalogConfig", only: Path | None = None) -> tuple[Source, list[Part]]:
    """What the run is made from, and a part for each shard; with `only`, a file of SKUs, for each shard that holds some of them.

    Raises ModelError or DataError where an input is none, and DataError naming SKUs that the catalog does not hold.
    """
    model, prepared, scores = model.resolve(), prepared.resolve(), scores.resolve()
    opened, digest = Prepared.open(prepared), artifact.verify(model)
    settings: dict[str, object] = {
        "forecaster": config.forecaster.model_dump(mode="json", exclude={"cache"}),
        "threads": config.replica.threads,
    }
    asked = read_skus(only) if only else []
    if asked:
        settings["only"] = hashlib.sha256("\n".join(asked).encode()).hexdigest()
    source = Source(prepared=opened.digest, model=digest, origin=opened.origin, settings=settings)
    run, cache = scores / "runs" / source.run_id, config.forecaster.cache
    forecaster = config.forecaster.model_copy(update={"cache": cache.resolve() if cache else vectors_beside(prepared)})
    parts = [
        Part(
            index=i,
            shard=s.file,
            digest=s.digest,
            context=opened.context,
            input=inputs(opened, s.digest),
            skus=s.rows,
            prepared=prepared,
            run=run,
            model=model,
            model_digest=digest,
            origin=opened.origin,
            forecaster=forecaster,
            threads=source.threads,
        )
        for i, s in enumerate(opened.shards)
    ]
    return source, those_with(asked, opened, parts) if asked else parts


def inputs(prepared: Prepared, *more: str) -> str:
    """SHA-256 of all that a part's forecasts are made from but the model: the shard, the weeks, and what is known of the whole shop."""
    return hashlib.sha256("|".join((prepared.context, *more)).encode()).hexdigest()


def read_skus(path: Path) -> list[str]:
    """The SKUs of a text file, one a line, ascending. Raises DataError for a file that cannot be read or names none."""
    try:
        found = sorted({line.strip() for line in path.read_text().splitlines()} - {""})
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a list of SKUs ({error}); give a text file with one SKU a line") from error
    if not found:
        raise DataError(f"{path}: names no SKU; give a text file with one SKU a line")
    return found


def those_with(asked: list[str], prepared: Prepared, parts: Iterable[Part]) -> list[Part]:
    """The parts that hold SKUs asked for, narrowed to them. Raises DataError naming SKUs that none holds."""
    wanted, found = set(asked), []
    for part in parts:
        own = tuple(sku for sku in prepared.read(part.index, ["sku_id"]).sku_id if sku in wanted)
        if own:
            wanted.difference_update(own)
            found.append(replace(part, only=own, skus=len(own), input=inputs(prepared, part.digest, *own)))
    if wanted:
        names = sorted(wanted)
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        raise DataError(f"not in {prepared.root}: {', '.join(names[:NAMED])}{more}; take them from the list, or prepare data that has them")
    return found


def carried_over(parts: list[Part], source: Source, scores: Path) -> list[Part]:
    """The parts, those marked that the published run made from the very same inputs: same model, origin and settings.

    A week's new origin changes what every SKU is forecast from, so then none is carried over; the towers' vectors are kept all the same.
    """
    manifest = published_manifest(scores)
    if manifest is None or manifest.source.comparable != source.comparable:
        return parts
    made: dict[str, PartRecord] = {record.input: record for record in manifest.parts}
    root = scores.resolve() / "runs" / manifest.run_id
    return [replace(part, carried=(root, made[part.input])) if part.input in made else part for part in parts]


def published_manifest(scores: Path) -> Manifest | None:
    """Of the run that readers see; None where none was published, or its manifest cannot be read."""
    try:
        return Run(latest(scores)).manifest() if published(scores) else None
    except DataError:
        return None
