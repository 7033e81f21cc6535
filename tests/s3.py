"""A server of this machine that speaks S3."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow.fs

from plcp.local_ray import unused_port

BUCKET = "shop"
WAIT_SECONDS = 30
KEYS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass(frozen=True)
class Server:
    """`uri`: a place in its only bucket."""

    process: subprocess.Popen
    uri: str


@contextmanager
def s3_server() -> Iterator[Server]:
    """An empty bucket, whose keys are in the environment for as long as the block lasts."""
    endpoint = f"127.0.0.1:{unused_port()}"
    before = dict(os.environ)
    os.environ.update(KEYS)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", endpoint.partition(":")[2]]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _make_bucket(endpoint)
            yield Server(process, f"s3://{BUCKET}/runs?endpoint_override={endpoint}&scheme=http")
        finally:
            process.kill()
            os.environ.clear()
            os.environ.update(before)


def _make_bucket(endpoint: str) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            files = pyarrow.fs.S3FileSystem(endpoint_override=endpoint, scheme="http", allow_bucket_creation=True, connect_timeout=1)
            return files.create_dir(BUCKET)
        time.sleep(0.2)
    raise TimeoutError(f"no S3 server at {endpoint} after {WAIT_SECONDS} s")
