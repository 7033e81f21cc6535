from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertModel

from plcp.data.prepared import Prepared
from plcp.model.model import ModelConfig
from plcp.model.preprocess import Preprocessor, train_tokenizer
from plcp.training.engine import Engine, EngineConfig, loading_shares
from plcp.training.runs import TrainConfig
from plcp.training.task import PRETRAINED_RATE, ForecastTask, take_over, vocabulary_texts


def make(prepared: Prepared, options: TrainConfig, model: ModelConfig, vectors: Path, **more: Any) -> ForecastTask:
    preprocessor = Preprocessor.build(model.text, model.image, vocabulary_texts(prepared))
    common: dict[str, Any] = {"spec": options.spec, "loader": options.loader, "loss": options.loss, **more}
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


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("recompute", [False, True])
def test_towers_come_in_shards_under_zero_3_and_learn_the_same(
    prepared: Prepared, options: TrainConfig, source: Path, tmp_path: Path, recompute: bool
) -> None:
    model = ModelConfig.model_validate({"width": 32, "text": {"source": str(source)}, "image": {"width": 32, "layers": 1}})
    config = EngineConfig(zero_stage=3, averaging=0.9)
    torch.manual_seed(0)
    sharded = make(prepared, options, model, tmp_path, loading=partial(loading_shares, config))
    loaded: list[Any] = [p for p in sharded.model.parameters() if hasattr(p, "ds_id")]
    assert {id(p) for p in loaded} == {id(p) for name, p in sharded.model.named_parameters() if name.startswith("text.")}
    assert all(p.numel() == 0 and p.ds_numel > 0 for p in loaded)
    torch.manual_seed(0)
    whole = make(prepared, options, model, tmp_path)
    assert all(p.numel() > 0 for p in whole.model.parameters())
    start = {name: value.clone() for name, value in whole.model.state_dict().items()}
    silenced = {name: torch.zeros_like(value) if name.startswith("text.") else value for name, value in start.items()}
    save_file(silenced, tmp_path / "zero.safetensors")
    levers = config.model_copy(update={"recompute": recompute})
    engines = [Engine(task.model, how, micro_batch=32) for task, how in ((sharded, levers), (whole, config))]
    batch = next(iter(whole.loader("train")))
    losses: list[list[float]] = [[], []]
    for step in range(3):
        for engine, found in zip(engines, losses, strict=True):
            torch.manual_seed(step)
            total, _ = whole.loss(engine(batch), batch)
            engine.backward(total)
            engine.step(0.01)
            found.append(total.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)  # the norm to clip to is summed in another order
    learnt, same = (engine.weights() for engine in engines)
    for name in same:
        torch.testing.assert_close(learnt[name], same[name], rtol=1e-3, atol=5e-4)
    assert not torch.equal(
        learnt["text.encoder.embeddings.word_embeddings.weight"], start["text.encoder.embeddings.word_embeddings.weight"]
    )
    take_over(engines[0].model, tmp_path / "zero.safetensors")
    assert not any(value.any() for name, value in engines[0].weights().items() if name.startswith("text."))
