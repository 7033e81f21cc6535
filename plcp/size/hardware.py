"""GPUs by their makers' data sheets: dense rates without sparsity, SXM or the strongest form where there are several."""

from dataclasses import dataclass

GB, TERA = 1e9, 1e12


@dataclass(frozen=True)
class Gpu:
    """One kind of GPU in its usual server."""

    memory: float  # bytes
    bf16: float  # FLOP/s
    fp32: float  # FLOP/s
    link: float  # bytes/s in one direction between GPUs of one server (NVLink, else PCIe)
    host: float  # bytes/s in one direction to the server's memory (PCIe)
    per_server: int
    network: float  # bytes/s in one direction per GPU between servers
    cpu: bool = False  # a machine without a GPU

    def flops(self, precision: str) -> float:
        return self.bf16 if precision == "bf16" else self.fp32


# network: one 400 Gbit/s adapter per GPU (HGX H100/H200), 200 Gbit/s (HGX A100); for the others 100 Gbit/s a server
GPUS = {
    "h200": Gpu(141 * GB, 989 * TERA, 67 * TERA, 450 * GB, 64 * GB, 8, 50 * GB),
    "h100": Gpu(80 * GB, 989 * TERA, 67 * TERA, 450 * GB, 64 * GB, 8, 50 * GB),
    "a100-80": Gpu(80 * GB, 312 * TERA, 19.5 * TERA, 300 * GB, 32 * GB, 8, 25 * GB),
    "a100-40": Gpu(40 * GB, 312 * TERA, 19.5 * TERA, 300 * GB, 32 * GB, 8, 25 * GB),
    "l40s": Gpu(48 * GB, 362 * TERA, 91.6 * TERA, 32 * GB, 32 * GB, 8, 1.6 * GB),
    "a10": Gpu(24 * GB, 125 * TERA, 31.2 * TERA, 32 * GB, 32 * GB, 4, 3.1 * GB),
    "l4": Gpu(24 * GB, 121 * TERA, 30.3 * TERA, 32 * GB, 32 * GB, 8, 1.6 * GB),
}
NVME = 6 * GB  # bytes/s a server reads or writes: one PCIe 4 drive
HOST_MEMORY = 100 * GB  # bytes/s that Adam on a server's processors works through, per GPU: two sockets of DDR5 among eight
