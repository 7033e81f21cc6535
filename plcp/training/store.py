"""Where a run's checkpoints lie, a local folder or a bucket: written whole or not counted, and checked before they are used.

Each worker signs the files it adds to a checkpoint with a manifest of their sizes and SHA-256 sums. A checkpoint is whole if it
has the manifests of all workers and every file that they name, at its size; the sums are compared when it is read.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.fs
import ray
import ray.train
from ray.train.v2._internal.exceptions import CheckpointManagerInitializationError

from plcp.base import ConfigError, PlcpError
from plcp.console import errors
from plcp.folders import sha256

FOLDER = "checkpoints"  # below a run, or below the place its options name
MANIFESTS = "manifest-*.json"  # one of each worker, by its rank
SNAPSHOT = "checkpoint_manager_snapshot.json"  # Ray Train's list of a run's checkpoints
WAIT, LONGEST_WAIT = 0.5, 15.0  # seconds between the attempts to store a checkpoint: doubled from the first up to the other


class StorageError(PlcpError):
    """Storage that cannot be reached, or has no room left."""


class DamagedError(PlcpError):
    """A checkpoint whose files are not what was written."""

    def __init__(self, name: str, damage: str) -> None:
        super().__init__(name, damage)
        self.name, self.damage = name, damage

    def __str__(self) -> str:
        return f"checkpoint {self.name}: {self.damage}"


@dataclass(frozen=True)
class Store:
    """A run's checkpoints at `place`: a folder, or a URI as pyarrow takes it (s3://bucket/run)."""

    place: str

    @cached_property
    def _found(self) -> tuple[pyarrow.fs.FileSystem, str]:
        try:
            with self.reaching():
                return pyarrow.fs.FileSystem.from_uri(self.place)
        except ValueError as error:
            raise ConfigError(
                f"storage {self.place}: {error}; give a folder's whole path, or a URI as pyarrow takes it (s3://…)"
            ) from error

    @property
    def files(self) -> pyarrow.fs.FileSystem:
        return self._found[0]

    @property
    def root(self) -> str:
        """The folder of all checkpoints, on `files`."""
        return below(self._found[1], FOLDER)

    @contextmanager
    def reaching(self) -> Iterator[None]:
        """Raises StorageError in place of what goes wrong with the storage."""
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"{self.place}: {error}. Make sure that the checkpoints' storage can be reached and has room; "
                "the same command then continues from the last whole checkpoint"
            ) from error

    def result(self) -> ray.train.Result | None:
        """What Ray Train knows of the checkpoints; None where there is none yet. Raises DamagedError where its list is."""
        logging.getLogger("ray.train.v2").setLevel(logging.WARNING)  # Ray explains at length that it found what is looked for
        with self.reaching():
            if self.files.get_file_info(f"{self.root}/{SNAPSHOT}").type == pyarrow.fs.FileType.NotFound:
                return None
            try:
                return ray.train.Result.from_path(self.root, self.files)
            except CheckpointManagerInitializationError as error:
                raise DamagedError(SNAPSHOT, f"in {self.place}: {error}; continue the training, which makes the list anew") from error

    def recover(self, describe: Callable[[dict[str, Any]], dict[str, Any]], state: str) -> None:
        """Leave whole checkpoints only, and a list of them all that Ray Train can read, whatever a crash or a full disk left behind.

        Args:
            describe: a checkpoint's file `state`, read, as the metrics it was reported with.

        Raises DamagedError where checkpoints were made and none is whole.
        """
        with self.reaching():
            self.files.create_dir(self.root)
            present, listed = self._present(), self._listed()
            damage = {name: self._damage(name) for name in sorted(present | listed)}
            whole = {name for name, found in damage.items() if not found}
            if listed and not whole:
                raise DamagedError(*next((name, str(found)) for name, found in damage.items()))
            if whole != listed or not whole:
                self._list_anew({name: describe(self._read(f"{name}/{state}")) for name in whole})
            for name in listed - whole:
                errors.print(f"train: checkpoint {name} is left out: {damage[name]}")
            for name in present - whole:
                self.discard(name)

    def tidy(self, latest: str) -> None:
        """Remove what workers that were killed left half stored. `latest`: a checkpoint that Ray Train has listed."""
        with self.reaching():
            listed = self._listed()
            if latest in listed:
                for name in self._present() - listed:
                    self.discard(name)

    def forget(self) -> None:
        """Remove all checkpoints."""
        with self.reaching():
            if self.files.get_file_info(self.root).type != pyarrow.fs.FileType.NotFound:
                self.files.delete_dir(self.root)

    def leave_out(self, damaged: DamagedError) -> None:
        """Remove a checkpoint whose sums do not hold. Raises the error itself where there is no other one: a person has to look then."""
        with self.reaching():
            if not self._listed() - {damaged.name}:
                raise damaged
            self.discard(damaged.name)

    def discard(self, name: str) -> None:
        """Remove one checkpoint."""
        with self.reaching():
            self.files.delete_dir(f"{self.root}/{name}")

    def _listed(self) -> set[str]:
        """Names of the checkpoints in Ray Train's list; none where it is missing or was cut off."""
        try:
            return {entry["checkpoint_dir_name"] for entry in self._read(SNAPSHOT)["checkpoint_results"]}
        except (FileNotFoundError, ValueError):
            return set()

    def _present(self) -> set[str]:
        """Names of all checkpoints, whole or not."""
        return {Path(info.path).name for info in self._list(self.root) if info.type == pyarrow.fs.FileType.Directory}

    def _damage(self, name: str) -> str | None:
        """What a checkpoint lacks to be whole, as far as names and sizes tell."""
        folder = f"{self.root}/{name}"
        sizes = {info.path.rpartition(f"{name}/")[2]: info.size for info in self._list(folder, recursive=True)}
        worker, workers = 0, 1
        while worker < workers:
            manifest = manifest_of(worker)
            if not sizes.get(manifest):
                return f"no {manifest}, so it was never finished"
            try:
                content = self._read(f"{name}/{manifest}")
            except ValueError:
                return f"{manifest} is cut off"
            for path, (size, _) in content["files"].items():
                if sizes.get(path) != size:
                    return f"{path} has {sizes.get(path, 'no')} bytes in place of {size}"
            worker, workers = worker + 1, content["workers"]
        return None

    def _list(self, folder: str, recursive: bool = False) -> list[pyarrow.fs.FileInfo]:
        return list(self.files.get_file_info(pyarrow.fs.FileSelector(folder, allow_not_found=True, recursive=recursive)))

    def _read(self, path: str) -> dict[str, Any]:
        with self.files.open_input_stream(f"{self.root}/{path}") as file:
            return dict(json.loads(file.read()))

    def _list_anew(self, metrics: dict[str, dict[str, Any]]) -> None:
        """Write Ray Train's list, in its own format: sorted from the worst to the best, all validated by the loop itself."""
        order = {name: index for index, name in enumerate(sorted(metrics, key=lambda name: metrics[name]["step"]))}
        entries = {name: {"version": 0, "checkpoint_dir_name": name, "metrics": metrics[name]} for name in order}
        worst_first = sorted(order, key=lambda name: (-metrics[name]["score"], order[name]))
        content = {
            "ray_version": ray.__version__,
            "checkpoint_results": [entries[name] for name in worst_first],
            "checkpoint_report_indices": [order[name] for name in worst_first],
            "latest_checkpoint_result": entries[list(order)[-1]] if order else None,
            "current_report_index": len(order),
            "pending_training_results": [],
            "pending_validation_specs": [],
            "validated_checkpoint_dir_names": [],
            "timed_out_validation_checkpoint_dir_names": [],
            "failed_validation_checkpoint_dir_names": [],
        }
        with self.files.open_output_stream(f"{self.root}/{SNAPSHOT}") as file:
            file.write(json.dumps(content).encode())


def below(place: str, name: str) -> str:
    """A folder of a folder or URI; options of a URI (?endpoint_override=…) stay at its end."""
    path, mark, options = place.partition("?")
    return f"{path.rstrip('/')}/{name}{mark}{options}"


def manifest_of(worker: int) -> str:
    return MANIFESTS.replace("*", f"{worker:05d}")


def sign(folder: Path, worker: int, workers: int) -> None:
    """Add the manifest of a worker's files to their folder."""
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    content = {"workers": workers, "files": {name: [path.stat().st_size, sha256(path)] for name, path in files.items()}}
    (folder / manifest_of(worker)).write_text(json.dumps(content, indent=1))


def damage(folder: Path, share: slice) -> str | None:
    """What in a `share` of a checkpoint's files is not what was written; `folder` is local."""
    manifests = [json.loads(path.read_text())["files"] for path in sorted(folder.glob(MANIFESTS))]
    signed = sorted((name, *entry) for manifest in manifests for name, entry in manifest.items())
    for name, size, expected in signed[share]:
        path = folder / name
        if not path.exists() or path.stat().st_size != size or sha256(path) != expected:
            return f"{name} is not what was written"
    return None


def persistently(attempt: Callable[[], Any], seconds: float, what: str) -> Any:
    """The result of an attempt, tried again for so many seconds where the storage fails. Raises StorageError after that."""
    until, wait = time.monotonic() + seconds, WAIT
    while True:
        try:
            return attempt()
        except OSError as error:
            if time.monotonic() + wait > until:
                raise StorageError(
                    f"{what}: could not be stored for {seconds:.0f} s ({error}). The checkpoints before it are kept. Make sure that the "
                    "storage can be reached and has room; the same command then continues from the last of them"
                ) from error
            errors.print(f"train: {what} could not be stored, trying again in {wait:.0f} s ({error})")
        time.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT)


def local_share() -> slice:
    """Of a list that the workers of a node go through together: this one's."""
    return slice(int(os.environ.get("LOCAL_RANK", 0)), None, int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
