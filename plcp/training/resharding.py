"""An engine's checkpoint of one number of workers, made ready for another: through DeepSpeed's universal format, without its traps."""

import contextlib
import importlib
import io
import math
import os
import socket
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from plcp.base import ModelError

SHARES = "*_optim_states.pt"  # one file per worker under ZeRO


def world_size(folder: Path) -> int:
    """Number of workers whose shares lie in an engine's folder; 1 where nothing is sharded."""
    return max(1, len(list(folder.glob(SHARES))))


@contextmanager
def universal(folder: Path) -> Iterator[Path]:
    """An engine's folder in DeepSpeed's universal format, for as long as the block lasts. Called by all workers.

    The first worker of each node converts, into a temporary folder there. Raises ModelError on all where that fails.
    """
    first = os.environ.get("LOCAL_RANK", "0") == "0"
    with tempfile.TemporaryDirectory(prefix="plcp-universal-") if first else contextlib.nullcontext("") as name:
        made = _converted(folder, Path(name) / folder.name) if first else None
        everywhere: list[Any] = [None] * distributed.get_world_size()
        distributed.all_gather_object(everywhere, (socket.gethostname(), made))
        for error in (made for _, made in everywhere if isinstance(made, ModelError)):
            raise error
        yield next(made for host, made in everywhere if made is not None and host == socket.gethostname())
        distributed.barrier()  # nobody reads any longer


def _converted(folder: Path, out: Path) -> Path | ModelError:
    """`folder` in the universal format, as `out`; or why not."""
    convert = importlib.import_module("deepspeed.checkpoint.ds_to_universal")
    one_process = Namespace(num_extract_workers=1, num_merge_workers=1)  # a fork of a process with threads may hang
    options = {"strict": True, "keep_temp_folder": False, "inject_missing_state": True}  # ZeRO-1 and 2 leave out the format's version
    out.mkdir()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            convert.main(Namespace(input_folder=str(folder), output_folder=str(out), **vars(one_process), **options))
    except Exception as error:  # DeepSpeed raises of many kinds, assertions among them
        return ModelError(f"{folder}: cannot be taken up by another number of workers ({error!r}); continue with as many as saved it")
    return out


@contextmanager
def loading_universal(engine: Any) -> Iterator[None]:
    """DeepSpeed reads the universal format in this block only: an engine left so saves ZeRO-3 without the model (DeepSpeed #7546)."""
    engine._config.load_universal_checkpoint = True
    try:
        yield
    finally:
        engine._config.load_universal_checkpoint = False


def cut(parts: Sequence[Tensor], size: int, rank: int, world: int) -> Tensor:
    """A flat tensor of `size` values that lies in padded `parts`, as worker `rank` of `world` holds it under ZeRO-3: padded as well."""
    whole = torch.cat([part.flatten() for part in parts])[:size]
    share = math.ceil(size / world)
    own = whole[rank * share : (rank + 1) * share]
    return torch.nn.functional.pad(own, (0, share - len(own)))
