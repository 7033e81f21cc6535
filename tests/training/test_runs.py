import re
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from plcp.base import ConfigError, ModelError
from plcp.data.prepared import Prepared
from plcp.model.preprocess import Preprocessor
from plcp.training.runs import CONFIG, PREPROCESSOR, RESULT, Run, TrainConfig


def test_a_folder_keeps_to_the_run_it_was_begun_with(prepared: Prepared, options: TrainConfig, tmp_path: Path) -> None:
    run = Run(tmp_path / "R", prepared, options, seed=1)
    run.begin()
    run.begin()
    assert Run.open(tmp_path / "R") == run
    assert Preprocessor.load(tmp_path / "R" / PREPROCESSOR).vocabulary > 200
    other = options.model_copy(update={"engine": options.engine.model_copy(update={"zero_stage": 1})})
    with pytest.raises(ConfigError, match=r"config\.engine\.zero_stage 3, not 1"):
        replace(run, config=other).begin()
    with pytest.raises(ConfigError, match="seed 1, not 2"):
        replace(run, seed=2).begin()
    with pytest.raises(ConfigError, match="data"):
        replace(run, data=replace(prepared, digest="another")).begin()


def test_starting_anew_removes_the_run_and_nothing_else(prepared: Prepared, options: TrainConfig, tmp_path: Path) -> None:
    run = Run(tmp_path, prepared, options, seed=1)
    (tmp_path / "notes.txt").write_text("mine")
    run.begin()
    run.forget()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_without_a_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=CONFIG):
        Run.open(tmp_path)


@pytest.mark.parametrize("content", ['{"seed": 1', "[]", '{"seed": 1}', '{"prepared": "P", "seed": 1, "config": {"stpes": 2}}'])
def test_damaged_files_are_named_with_what_to_do(prepared: Prepared, options: TrainConfig, tmp_path: Path, content: str) -> None:
    run = Run(tmp_path, prepared, options, seed=1)
    for name, ask in ((CONFIG, lambda: Run.open(tmp_path)), (RESULT, run.finished)):
        (tmp_path / name).write_text(content)
        with pytest.raises(ModelError, match=rf"(?s){name}: damaged.*--no-resume"):
            ask()


def test_a_run_can_be_continued_on_other_machines(prepared: Prepared, options: TrainConfig, tmp_path: Path) -> None:
    Run(tmp_path, prepared, options, seed=1).begin()
    Run(tmp_path, prepared, options.model_copy(update={"gpus_per_worker": 1, "cpus_per_worker": 8, "workers": (1, 8)}), seed=1).begin()


def test_workers_are_a_number_or_a_range() -> None:
    assert TrainConfig.model_validate({"workers": 3}).fewest_and_most == (3, 3)
    assert TrainConfig.model_validate({"workers": [1, 4]}).fewest_and_most == (1, 4)
    for wrong in (0, [0, 2], [3, 2], [1, 2, 3]):
        with pytest.raises(ValidationError, match="workers"):
            TrainConfig.model_validate({"workers": wrong})


def test_checkpoints_lie_with_the_run_or_in_a_folder_of_their_own(prepared: Prepared, options: TrainConfig, tmp_path: Path) -> None:
    near, far = (Run(tmp_path / name, prepared, options, seed=1) for name in "AB")
    far = replace(far, config=options.model_copy(update={"storage": "s3://shop/runs/?scheme=http"}))
    for run in (near, far):
        run.begin()
    assert near.place == str(tmp_path / "A")
    assert re.fullmatch(r"s3://shop/runs/B-[0-9a-f]{12}\?scheme=http", far.place)
    assert Run.open(tmp_path / "B").place == far.place
