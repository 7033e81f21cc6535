from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertModel

from plcp.data.prepared import Prepared
from plcp.model.model import ModelConfig
from plcp.model.preprocess import Preprocessor, train_tokenizer
from plcp.training.runs import TrainConfig
from plcp.training.task import PRETRAINED_RATE, ForecastTask, vocabulary_texts


def make(prepared: Prepared, options: TrainConfig, model: ModelConfig, vectors: Path) -> ForecastTask:
    preprocessor = Preprocessor.build(model.text, model.image, vocabulary_texts(prepared))
    common: dict[str, Any] = {"spec": options.spec, "loader": options.loader, "loss": options.loss}
    return ForecastTask(prepared, preprocessor, model=model, vectors=vectors, device=torch.device("cpu"), **common)


@pytest.fixture(scope="module")
def source(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text encoder as one downloads it: weights and tokenizer in a folder."""
    folder = tmp_path_factory.mktemp("encoder")
    tokenizer = train_tokenizer(vocabulary_texts(prepared), 400)
    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_batch_becomes_what_the_model_takes_and_its_loss_has_a_gradient(prepared: Prepared, options: TrainConfig, tmp_path: Path) -> None:
    task = make(prepared, options, options.model, tmp_path)
    batch = next(iter(task.loader("train")))
    assert {"tokens", "token_mask", "pixels"} <= batch.keys()
    total, parts = task.loss(task.model(batch), batch)
    total.backward()
    assert set(parts) == {"quantiles", "mean", "hazard", "stage", "new_peak"}
    for name, parameter in task.model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_a_frozen_tower_is_run_once_per_text_and_learns_nothing(
    prepared: Prepared, options: TrainConfig, source: Path, tmp_path: Path
) -> None:
    model = ModelConfig.model_validate({"width": 32, "text": {"source": str(source), "trainable": False}, "image": None})
    task = make(prepared, options, model, tmp_path)
    batches = list(task.loader("validation"))
    assert all(batch["text_vector"].shape == (int(batch["text"].max()) + 1, 16) for batch in batches)
    files = list(tmp_path.rglob("*.parquet"))
    again = make(prepared, options, model, tmp_path)
    assert all(torch.equal(a["text_vector"], b["text_vector"]) for a, b in zip(batches, again.loader("validation"), strict=True))
    assert list(tmp_path.rglob("*.parquet")) == files  # the vectors of another run serve
    assert not any(p.requires_grad for name, p in task.model.named_parameters() if name.startswith("text."))


def test_a_pretrained_tower_learns_slowly(prepared: Prepared, options: TrainConfig, source: Path, tmp_path: Path) -> None:
    model = ModelConfig.model_validate({"width": 32, "text": {"source": str(source)}})
    assert make(prepared, options, model, tmp_path).slow == {"text": PRETRAINED_RATE}


def test_a_photo_that_cannot_be_read_counts_as_missing(prepared: Prepared, options: TrainConfig, tmp_path: Path) -> None:
    task = make(prepared, options, options.model, tmp_path)
    batch = next(iter(make_raw(task)))
    shown = int(batch["image"].max())
    broken = {**batch, "images": [b"none", *batch["images"][1:]]}
    made = task.tensors(broken)
    assert made["pixels"].shape[0] == shown
    assert ((made["image"] == -1).numpy() == ((batch["image"] == -1) | (batch["image"] == 0))).all()


def make_raw(task: ForecastTask) -> Any:
    loader = task.loader("train")
    loader.transform = None
    return loader
