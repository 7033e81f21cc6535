import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from plcp.base import DataError, ModelError
from plcp.model.preprocess import HELD, Preprocessor, Recent, normalised, open_image, to_pixels
from plcp.model.towers import ImageTowerConfig, TextTowerConfig

TITLES = ["RED HEART CANDLE", "blue mug 50's style", "Xmas tree decoration", "紅色杯子"]
HALF = [0.5, 0.5, 0.5]


def encoded(image: Image.Image, format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format)
    return buffer.getvalue()


COLOURED = [encoded(Image.new("RGB", (9, 9), (40 * number, 0, 99))) for number in range(5)]


@pytest.fixture(scope="module")
def preprocessor() -> Preprocessor:
    return Preprocessor.build(TextTowerConfig(vocabulary=400), ImageTowerConfig(size=16), TITLES)


def test_any_script_becomes_tokens_none_of_them_unknown(preprocessor: Preprocessor) -> None:
    assert preprocessor.tokenizer is not None
    batch = preprocessor.preprocess(["Кружка №5", "杯子 ☕"], [])
    assert (batch["tokens"][batch["token_mask"] == 1] != preprocessor.tokenizer.unk_token_id).all()


def test_the_tokenizer_does_not_depend_on_the_order_of_titles() -> None:
    one, other = (Preprocessor.build(TextTowerConfig(vocabulary=400), None, titles) for titles in (TITLES, TITLES[::-1]))
    assert one.tokenizer is not None
    assert other.tokenizer is not None
    assert one.tokenizer.get_vocab() == other.tokenizer.get_vocab()


def test_long_texts_are_cut_and_empty_ones_keep_one_token(preprocessor: Preprocessor) -> None:
    batch = preprocessor.preprocess(["word " * 500, ""], [])
    assert batch["tokens"].shape == (2, 32)
    assert batch["token_mask"].sum(1).tolist() == [32, 1]


def test_a_batch_without_texts_or_images_still_holds_one_row_of_each(preprocessor: Preprocessor) -> None:
    batch = preprocessor.preprocess([], [])
    assert len(batch["tokens"]) == len(batch["pixels"]) == 1
    assert batch["token_mask"].sum() == 1


def test_saved_and_loaded_it_makes_the_same_batch(preprocessor: Preprocessor, tmp_path: Path) -> None:
    preprocessor.save(tmp_path)
    photo = encoded(Image.new("RGB", (20, 30), "red"))
    one, other = (p.preprocess(TITLES, [photo]) for p in (preprocessor, Preprocessor.load(tmp_path)))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_folder_without_settings_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"image\.json"):
        Preprocessor.load(tmp_path)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_every_common_kind_of_photo_becomes_pixels(format: str, mode: str) -> None:
    image = Image.new("RGB", (40, 30), (200, 10, 10)).convert(mode)
    if (format, mode) in {("JPEG", "P"), ("WEBP", "P")}:
        image = image.convert("RGB")
    pixels = to_pixels(encoded(image, format), "photo", 16)
    assert pixels.shape == (16, 16, 3)
    expected = (76, 76, 76) if mode == "L" else (200, 10, 10)
    assert np.abs(pixels.reshape(-1, 3).mean(0) - expected).max() < 25  # palettes and JPEG come near it


def test_what_is_transparent_shows_as_white() -> None:
    pixels = to_pixels(encoded(Image.new("RGBA", (8, 8), (0, 0, 0, 0))), "photo", 8)
    assert torch.equal(normalised(pixels[None], HALF, HALF), torch.ones(1, 3, 8, 8))


texts_and_photos = st.lists(st.tuples(st.lists(st.sampled_from([*TITLES, ""])), st.lists(st.integers(0, 4))), max_size=8)


@given(texts_and_photos, st.integers(1, 3000))
def test_what_is_remembered_changes_no_batch_and_stays_in_its_room(
    preprocessor: Preprocessor, batches: list[tuple[list[str], list[int]]], room: int
) -> None:
    other = Preprocessor(preprocessor.tokenizer, preprocessor.max_tokens, preprocessor.image)
    other._texts, other._photos = kept = Recent(room), Recent(room)
    for texts, numbers in batches:
        photos = [COLOURED[number] for number in numbers]
        one, again = preprocessor.preprocess(texts, photos), other.preprocess(texts, photos)
        assert one.keys() == again.keys()
        assert all(torch.equal(one[name], again[name]) for name in one)
        for recent in kept:
            held = sum(array.nbytes + HELD for array in recent._held.values())
            assert held == recent._bytes <= room


def test_what_was_met_last_is_not_made_again() -> None:
    recent, made = Recent(3 * (8 + HELD)), []

    def make(items: list[bytes]) -> list[np.ndarray]:
        def of(places: list[int]) -> list[np.ndarray]:
            made.append([items[place] for place in places])
            return [np.full(8, ord(items[place]), np.uint8) for place in places]

        return recent.of(items, of)

    for items in ([b"a", b"b", b"a"], [b"b", b"c"], [b"a", b"d"], [b"a", b"b"]):
        assert [array[0] for array in make(items)] == [ord(item) for item in items]
    assert made == [[b"a", b"b"], [b"c"], [b"d"], [b"b"]]


def test_a_photo_taken_sideways_is_turned_upright() -> None:
    array = np.zeros((8, 8, 3), np.uint8)
    array[:4] = 255  # bright above
    image, exif = Image.fromarray(array), Image.Exif()
    exif[0x0112] = 3  # held upside down
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=exif)
    upright = np.asarray(open_image(buffer.getvalue(), "photo"))
    assert upright[:4].max() == 0
    assert upright[4:].min() == 255


def test_a_photo_that_is_none_is_named(preprocessor: Preprocessor) -> None:
    good = encoded(Image.new("RGB", (8, 8)))
    with pytest.raises(DataError, match="SKU 22423"):
        preprocessor.preprocess([], [good, b"no photo"], ["SKU 1", "SKU 22423"])
    with pytest.raises(DataError, match="image 0"):
        preprocessor.preprocess([], [encoded(Image.effect_noise((64, 64), 90), "JPEG")[:200]])


def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(DataError, match="photo"):
        open_image(encoded(Image.new("1", (20_000, 20_000))), "photo")
