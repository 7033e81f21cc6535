import json
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from plcp.base import ModelError
from plcp.data.prepared import Prepared
from plcp.forecast import artifact
from plcp.forecast.calibration import Calibration
from tests.forecast.shop import prepared_shop, tiny_artifact


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepared_shop(tmp_path_factory.mktemp("shop") / "P", skus=10)


@pytest.fixture(scope="module")
def original(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_artifact(tmp_path_factory.mktemp("artifact") / "MODEL", prepared)


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "MODEL")


def test_what_was_written_is_loaded(folder: Path, prepared: Prepared) -> None:
    first = artifact.load(folder)
    shift = Calibration(np.full_like(Calibration.identity().shift, 0.25))
    other = folder.parent / "OTHER"
    digest = artifact.write(other, first.model, first.preprocessor, first.config.spec, prepared.origin, shift, {"wql": 0.61234, "seed": 3})
    second = artifact.load(other)
    assert second.digest == digest == artifact.digest(other)
    assert (second.calibration.shift == 0.25).all()
    assert second.config.origin == prepared.origin
    assert all(torch.equal(value, second.model.state_dict()[name]) for name, value in first.model.state_dict().items())
    assert "| wql | 0.6123 |" in second.card
    assert "| seed | 3 |" in second.card


def test_the_same_model_has_the_same_digest_and_another_another(original: Path, prepared: Prepared, tmp_path: Path) -> None:
    assert artifact.digest(tiny_artifact(tmp_path / "again", prepared)) == artifact.digest(original)
    assert artifact.digest(tiny_artifact(tmp_path / "other", prepared, seed=1)) != artifact.digest(original)


def test_it_runs_in_bf16(folder: Path) -> None:
    assert artifact.load(folder, dtype=torch.bfloat16).model.dtype == torch.bfloat16


def test_no_file_is_a_pickle(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            assert path.read_bytes()[:1] != pickle.PROTO, path  # how every pickle since protocol 2 begins
            assert not zipfile.is_zipfile(path), path  # how torch packs them
    assert {p.suffix for p in folder.rglob("*") if p.is_file()} == {".safetensors", ".json", ".md"}


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "calibration.json", "card.md", "tokenizer/tokenizer.json", "text/config.json"]
)
def test_a_file_that_is_missing_or_changed_is_named(folder: Path, name: str) -> None:
    path = folder / name
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ModelError, match=path.name):
        artifact.load(folder)
    path.unlink()
    with pytest.raises(ModelError, match=f"{path.name}: missing"):
        artifact.load(folder)


def test_a_file_too_many_is_named(folder: Path) -> None:
    (folder / "text" / "modeling_evil.py").write_text("import os")
    with pytest.raises(ModelError, match="modeling_evil"):
        artifact.load(folder)


def test_a_folder_that_is_no_model_says_so(tmp_path: Path) -> None:
    for call in (artifact.digest, artifact.verify, artifact.load):
        with pytest.raises(ModelError, match=r"no checksums\.json"):
            call(tmp_path)
    (tmp_path / "checksums.json").write_text("[1]")
    with pytest.raises(ModelError, match=r"checksums\.json"):
        artifact.digest(tmp_path)


def reseal(folder: Path) -> None:
    """Checksums as they would be, had the folder been written this way."""
    (folder / "checksums.json").write_text(json.dumps({"files": {name: artifact.sha256(folder / name) for name in artifact.files(folder)}}))


def test_a_model_of_other_features_or_another_version_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    for change, message in (
        ({"format": 99}, "format 99"),
        ({"features": {**config["features"], "pool": ["shop"]}}, "pool features"),
        ({"unknown": 1}, "another version"),
    ):
        (folder / "config.json").write_text(json.dumps({**config, **change}))
        reseal(folder)
        with pytest.raises(ModelError, match=message):
            artifact.load(folder)


def test_weights_that_do_not_fit_are_named(folder: Path, prepared: Prepared) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["model"]["width"] = 32
    (folder / "config.json").write_text(json.dumps(config))
    reseal(folder)
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        artifact.load(folder)


def test_an_interrupted_export_leaves_the_old_model_whole(folder: Path, prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    before, parts = artifact.digest(folder), artifact.load(folder)

    def stop(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(artifact, "card", stop)
    with pytest.raises(KeyboardInterrupt):
        artifact.write(folder, parts.model, parts.preprocessor, parts.config.spec, prepared.origin)
    assert artifact.verify(folder) == before
