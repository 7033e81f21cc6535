from pathlib import Path

import pytest
import torch
from transformers import SiglipConfig, SiglipModel

from plcp.base import ModelError
from plcp.model.preprocess import Preprocessor
from plcp.model.towers import ImageTower, ImageTowerConfig, TextTower, TextTowerConfig


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real SigLIP of two towers, tiny and random, as a local folder."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = SiglipConfig(text_config={**sizes, "vocab_size": 50}, vision_config={**sizes, "image_size": 24, "patch_size": 8})
    folder = tmp_path_factory.mktemp("siglip")
    SiglipModel(config).save_pretrained(folder)
    return folder


def test_padding_does_not_change_a_texts_vector() -> None:
    tower = TextTower.build(TextTowerConfig(), vocabulary=300).eval()
    tokens = torch.tensor([[5, 6, 7]])
    alone = tower(tokens, torch.ones_like(tokens))
    padded = tower(torch.tensor([[5, 6, 7, 0, 0]]), torch.tensor([[1, 1, 1, 0, 0]]))
    assert torch.allclose(alone, padded, atol=1e-6)


def test_a_saved_shape_and_weights_give_the_same_tower(tmp_path: Path) -> None:
    for name, tower in (("t", TextTower.build(TextTowerConfig(), 300)), ("i", ImageTower.build(ImageTowerConfig()))):
        tower.save_config(tmp_path / name)
        kind, config = (TextTower, TextTowerConfig()) if name == "t" else (ImageTower, ImageTowerConfig())
        again = kind.restore(tmp_path / name, config)  # type: ignore[arg-type]
        again.load_state_dict(tower.state_dict())
        item = (torch.ones(1, 4, dtype=torch.long),) * 2 if name == "t" else (torch.ones(1, 3, 32, 32),)
        assert torch.equal(tower.eval()(*item), again.eval()(*item))


def test_a_two_tower_model_gives_its_vision_part_and_a_frozen_tower_learns_nothing(siglip: Path) -> None:
    config = ImageTowerConfig(source=str(siglip), trainable=False)
    tower = ImageTower.build(config).train()
    assert not tower.training
    assert tower.size == 24
    assert Preprocessor.build(None, config, []).image == {"size": 24, "mean": [0.5] * 3, "std": [0.5] * 3}
    vectors = tower(torch.zeros(2, 3, 24, 24))
    assert vectors.shape == (2, 16)
    assert not vectors.requires_grad


def test_a_real_text_encoder_loads_from_its_folder_and_knows_what_is_alike(minilm: str) -> None:
    config = TextTowerConfig(source=minilm, trainable=False)
    preprocessor = Preprocessor.build(config, None, [])
    batch = preprocessor.preprocess(["red ceramic mug", "crimson coffee cup", "garden hose"], [])
    mug, cup, hose = torch.nn.functional.normalize(TextTower.build(config, 0)(batch["tokens"], batch["token_mask"]), dim=1)
    assert mug @ cup > mug @ hose + 0.2


def test_a_folder_that_does_not_exist_is_never_looked_up_on_the_internet(tmp_path: Path) -> None:
    for source in (str(tmp_path / "none"), "./none", "a/b/c"):
        with pytest.raises(ModelError, match="no such model folder"):
            TextTower.build(TextTowerConfig(source=source), 0)


def test_a_folder_that_holds_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=str(tmp_path)):
        TextTower.build(TextTowerConfig(source=str(tmp_path)), 0)
