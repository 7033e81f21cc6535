"""The configuration: one file and dotted overrides, and errors that name the option and its nearest neighbour."""

from pathlib import Path

import pytest

from plcp import config
from plcp.base import ConfigError


def write(folder: Path, text: str) -> Path:
    file = folder / "plcp.yaml"
    file.write_text(text)
    return file


def test_without_a_file_every_component_has_its_own_defaults() -> None:
    settings = config.load()
    assert settings.prepare.skus_per_shard == 4096
    assert settings.data.duplicate_sales == "sum"


def test_a_file_sets_options_and_an_override_beats_it(tmp_path: Path) -> None:
    file = write(tmp_path, "prepare:\n  skus_per_shard: 100\ndata:\n  duplicate_sales: last\n")
    settings = config.load(file, ["prepare.skus_per_shard=200"])
    assert settings.prepare.skus_per_shard == 200
    assert settings.data.duplicate_sales == "last"


def test_overrides_reach_options_below_options() -> None:
    settings = config.load(overrides=["data.max_bad_share.sales=0.2", "data.today=2026-01-05"])
    assert settings.data.allowed("sales") == 0.2
    assert str(settings.data.today) == "2026-01-05"


def test_a_misspelt_option_is_refused_with_the_nearest_one_named() -> None:
    with pytest.raises(ConfigError, match=r"unknown option prepare\.sku_per_shard: did you mean prepare\.skus_per_shard\?"):
        _ = config.load(overrides=["prepare.sku_per_shard=10"]).prepare


def test_a_misspelt_option_below_another_is_refused_with_the_nearest_one_named() -> None:
    with pytest.raises(ConfigError, match=r"unknown option decide\.risk\.stockot: did you mean decide\.risk\.stockout\?"):
        _ = config.load(overrides=["decide.risk.stockot=0.5"]).decide


def test_a_misspelt_section_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match=r"unknown option prepar: did you mean prepare\?"):
        config.load(overrides=["prepar.skus_per_shard=10"])


def test_an_unknown_option_near_to_none_lists_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"unknown option prepare\.xyz: there are: max_weeks, skus_per_shard"):
        _ = config.load(overrides=["prepare.xyz=1"]).prepare


def test_a_wrong_value_is_refused_with_the_option_and_the_value_named() -> None:
    with pytest.raises(ConfigError, match=r"option prepare\.skus_per_shard: .*, got 'many'"):
        _ = config.load(overrides=["prepare.skus_per_shard=many"]).prepare


def test_every_wrong_option_of_a_section_is_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"(?s)duplicate_sales.*week_label"):
        _ = config.load(overrides=["data.duplicate_sales=x", "data.week_label=y"]).data


@pytest.mark.parametrize(
    "override", ["prepare", "prepare=1", "skus_per_shard=3", ".a=1", "prepare.=1", "prepare.skus_per_shard.x=1", "data.today=[1"]
)
def test_an_override_that_names_no_option_is_refused(override: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        config.load(overrides=["prepare.skus_per_shard=5", override])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.yaml: cannot be read"):
        config.load(tmp_path / "no.yaml")


@pytest.mark.parametrize(
    ("text", "message"), [("a: [1", "is not YAML"), ("just words", "expected sections"), ("prepare: 3", "expected sections")]
)
def test_a_file_that_holds_no_sections_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config.load(write(tmp_path, text))


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    assert config.load(write(tmp_path, "")).prepare == config.load().prepare


@pytest.mark.parametrize("section", config.SECTIONS)
def test_every_section_stands_without_a_file(section: str) -> None:
    assert getattr(config.load(), section) is not None
