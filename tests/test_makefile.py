"""The first thing a newcomer runs."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)


def make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *words], cwd=folder, capture_output=True, text=True, check=False)


def test_a_python_that_is_too_old_or_missing_is_said_so_and_nothing_is_made(tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\nexit 1\n")  # what the check of the version answers there
    old.chmod(0o755)
    for python in (str(old), "python0.0"):
        ended = make(tmp_path, "env", f"PYTHON={python}")
        assert ended.returncode != 0
        assert "PLCP needs Python 3.11 or newer" in ended.stderr
        assert python in ended.stderr
        assert not (tmp_path / ".venv").exists()


def test_an_environment_that_is_up_to_date_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/.made").touch()
    assert "pip" not in make(tmp_path, "--dry-run", "env").stdout
    newer = (tmp_path / ".venv/.made").stat().st_mtime + 1  # two touches can fall into one tick of the file system's clock
    os.utime(tmp_path / "constraints.txt", (newer, newer))
    assert "pip install" in make(tmp_path, "--dry-run", "env").stdout


def test_the_demo_takes_its_data_with_blanks_in_the_name(tmp_path: Path) -> None:
    assert "--data 'my shop.xlsx'" in make(tmp_path, "--dry-run", "demo", "DATA=my shop.xlsx").stdout
