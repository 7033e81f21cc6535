"""The command line: what each command leaves behind, what it says, and how it ends."""

import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import polars as pl
import pytest

from plcp import cli, command
from plcp.data.prepared import Prepared
from plcp.data.sources import SOURCES
from plcp.tables import LIFE_CURVES, read
from tests.forecast.shop import made

PLCP = Path(sys.executable).with_name("plcp")
Ended = tuple[int, str, str]


@pytest.fixture
def plcp(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Runs a command; gives its exit code, stdout and stderr."""

    def run(*words: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["plcp", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        out, err = capfd.readouterr()
        return int(left.value.code or 0), out, err

    return run


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "shop"
    subprocess.run([PLCP, "simulate", "--skus", "30", "--weeks", "60", "--seed", "5", "--out", folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def commands() -> list[str]:
    return [command.name or "" for command in cli.app.registered_commands]


def test_help_waits_for_no_library_and_names_every_command(commands: list[str]) -> None:
    code = "import sys, plcp.cli; print([m for m in ('pydantic', 'polars', 'torch', 'ray') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    help_text = subprocess.run([PLCP, "--help"], capture_output=True, text=True, check=True).stdout
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 0.5  # of the processor: others may use the machine too
    assert all(re.search(rf"^│ {name} ", help_text, re.MULTILINE) for name in commands)


def test_every_command_has_help_and_takes_a_configuration_and_a_seed(plcp: Callable[..., Ended], commands: list[str]) -> None:
    for name in commands:
        code, out, _ = plcp(name, "--help")
        assert code == 0
        assert all(option in out for option in ("--config", "--set", "--seed", "--help")), name


def test_the_same_seed_simulates_the_same_shop(plcp: Callable[..., Ended], shop: Path, tmp_path: Path) -> None:
    for seed, same in ((5, True), (6, False)):
        folder = tmp_path / str(seed)
        assert plcp("simulate", "--skus", 30, "--weeks", 60, "--seed", seed, "--out", folder)[0] == 0
        sales = [pl.read_parquet(root / "sales/*.parquet") for root in (shop, folder)]
        assert sales[0].equals(sales[1]) is same


def test_check_names_what_is_wrong_and_where(plcp: Callable[..., Ended], shop: Path) -> None:
    code, out, _ = plcp("check", shop)
    assert code == 0
    assert re.search(r"sales: [\d,]+ of [\d,]+ rows can be used", out)


def test_check_fails_where_the_data_cannot_be_used(plcp: Callable[..., Ended], shop: Path, tmp_path: Path) -> None:
    (tmp_path / "products").symlink_to(shop / "products")
    code, _, err = plcp("check", tmp_path)
    assert code == 2
    assert "sales: the table is missing" in err


def test_prepare_leaves_shards_cut_at_the_given_day(plcp: Callable[..., Ended], shop: Path, tmp_path: Path) -> None:
    code, out, _ = plcp("prepare", shop, "--out", tmp_path / "prepared", "--as-of", "2023-11-06", "--set", "prepare.skus_per_shard=10")
    prepared = Prepared.open(tmp_path / "prepared")
    assert code == 0
    assert str(prepared.origin) == "2023-11-06"
    assert f"{prepared.skus:,} SKUs" in out
    assert len(prepared.shards) == -(-prepared.skus // 10)


def test_prepare_says_where_every_row_of_sales_went(plcp: Callable[..., Ended], shop: Path, tmp_path: Path) -> None:
    code, out, _ = plcp("prepare", shop, "--out", tmp_path / "prepared", "--as-of", "2023-11-06")
    ways = {rule: int(rows.replace(",", "")) for rows, rule in re.findall(r"^ +([\d,]+)  (.+) \(", out, re.MULTILINE)}
    assert code == 0
    assert {"in the panel", "from the origin on"} <= set(ways)
    assert sum(ways.values()) == pl.scan_parquet(shop / "sales/*.parquet").select(pl.len()).collect().item()


def test_curves_leaves_a_line_for_every_product(plcp: Callable[..., Ended], shop: Path, tmp_path: Path) -> None:
    assert plcp("prepare", shop, "--out", tmp_path / "prepared")[0] == 0
    code, out, _ = plcp("curves", tmp_path / "prepared", "--out", tmp_path / "curves")
    table = read(LIFE_CURVES, tmp_path / "curves")
    assert code == 0
    assert len(table) == Prepared.open(tmp_path / "prepared").skus
    assert f"{len(table)} SKUs in" in out
    code, _, err = plcp("curves", shop, "--out", tmp_path / "none")
    assert code == 2
    assert "no prepared data" in err


def test_more_bad_rows_than_allowed_stop_prepare_with_the_reasons(plcp: Callable[..., Ended], shop: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(shop, data)
    sales = pl.read_parquet(data / "sales/*.parquet")
    shutil.rmtree(data / "sales")
    (data / "sales").mkdir()
    spoilt = pl.when(pl.int_range(pl.len()) % 20 == 0).then(-1.0).otherwise("units").alias("units")
    sales.with_columns(spoilt).write_parquet(data / "sales" / "part.parquet")
    code, _, err = plcp("prepare", data, "--out", tmp_path / "prepared")
    assert code == 2
    assert "sales: 5.1% of its rows or files are bad, 1.0% are allowed" in err
    assert "sales/part.parquet, row 0, units: below 0 (value '-1.0')" in err
    assert not (tmp_path / "prepared").exists()
    assert pl.read_parquet(tmp_path / "prepared-quarantine" / "sales.parquet").height == -(-sales.height // 20)
    code, out, _ = plcp("prepare", data, "--out", tmp_path / "prepared", "--set", "data.max_bad_share.sales=0.06")
    assert code == 0
    assert "below 0" in out
    assert re.search(r"bad rows are in\s+\S*prepared-quarantine", out)


def test_a_day_that_is_no_monday_is_refused_and_nothing_is_written(plcp: Callable[..., Ended], shop: Path, tmp_path: Path) -> None:
    code, _, err = plcp("prepare", shop, "--out", tmp_path / "prepared", "--as-of", "2023-11-07")
    assert code == 2
    assert "Monday" in err
    assert list(tmp_path.iterdir()) == []


def test_foreign_data_becomes_the_contract(plcp: Callable[..., Ended], tmp_path: Path) -> None:
    lines = {
        "Invoice": ["536365", "536366", "C536367", "536368"],
        "StockCode": ["85123A", "71053", "71053", "POST"],
        "Description": ["WHITE HANGING HEART", "METAL LANTERN", "METAL LANTERN", "POSTAGE"],
        "Quantity": [6, 8, -8, 1],
        "InvoiceDate": ["2010-12-01 08:26:00", "2010-12-01 08:28:00", "2010-12-09 09:00:00", "2010-12-01 08:30:00"],
        "Price": [2.55, 3.39, 3.39, 18.0],
        "Customer ID": ["17850", "17850", "17850", "17850"],
        "Country": ["United Kingdom"] * 4,
    }
    pl.DataFrame(lines).write_csv(tmp_path / "retail.csv")
    code, out, _ = plcp("import", "online-retail", tmp_path / "retail.csv", "--out", tmp_path / "data")
    assert code == 0
    assert "4 rows read" in out
    assert sorted(pl.read_parquet(tmp_path / "data/sales/*.parquet")["sku_id"]) == ["71053", "85123A"]


@pytest.mark.parametrize(
    ("source", "table", "read"),
    [
        ("transactions", "sku,date,quantity\na,2024-01-02,3\na,2024-01-03,-1\n", "2 rows read, 2 kept"),
        ("wide", "sku,2024-W01,2024-W02\na,3,\n", "2 rows read, 1 kept"),
    ],
)
def test_a_tables_shape_is_named_as_its_source(plcp: Callable[..., Ended], tmp_path: Path, source: str, table: str, read: str) -> None:
    (tmp_path / "table.csv").write_text(table)
    code, out, _ = plcp("import", source, tmp_path / "table.csv", "--out", tmp_path / "data")
    assert code == 0
    assert read in out
    assert plcp("check", tmp_path / "data")[0] == 0


def test_the_help_of_import_names_every_source(plcp: Callable[..., Ended]) -> None:
    _, out, _ = plcp("import", "--help")
    assert all(source in out for source in SOURCES)


def test_an_unknown_source_is_refused_with_those_there_are(plcp: Callable[..., Ended], tmp_path: Path) -> None:
    code, _, err = plcp("import", "onlne-retail", tmp_path, "--out", tmp_path / "data")
    assert code == 2
    assert "online-retail" in err


def test_a_misspelt_option_ends_the_command_with_the_nearest_one(plcp: Callable[..., Ended], shop: Path, tmp_path: Path) -> None:
    code, _, err = plcp("prepare", shop, "--out", tmp_path / "prepared", "--set", "prepare.sku_per_shard=10")
    assert code == 2
    assert err == "plcp: unknown option prepare.sku_per_shard: did you mean prepare.skus_per_shard?\n"


def test_readers_are_told_where_there_is_no_run(plcp: Callable[..., Ended], tmp_path: Path) -> None:
    for words in (("show", tmp_path, "--sku", "a"), ("rollback", tmp_path)):
        code, _, err = plcp(*words)
        assert code == 2
        assert "run" in err


def test_every_token_is_new_and_long(plcp: Callable[..., Ended]) -> None:
    tokens = {plcp("token")[1].strip() for _ in range(3)}
    assert len(tokens) == 3
    assert all(len(token) >= 40 for token in tokens)


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["weekly"])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    with pytest.raises(SystemExit) as left:
        command.job(lambda settings: os.kill(os.getpid(), signal.SIGINT))
    assert left.value.code == 130
    assert "run the same command again to continue" in capfd.readouterr().err


@pytest.mark.system
def test_serve_answers_on_this_machine_until_it_is_told_to_stop(tmp_path: Path) -> None:
    shop = made(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = list(map(str, (PLCP, "serve", shop.model, "--prepared", shop.prepared, "--port", port)))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout
        assert server.stdout.readline() == f"serving on http://127.0.0.1:{port} until Ctrl-C\n"
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/score", json={"sku_ids": ["P001"]}, timeout=60)
        server.send_signal(signal.SIGINT)
        assert server.stdout.read().splitlines()[-1] == "stopped"  # Ray may say something of its own before
    assert answer.status_code == 200
    assert server.returncode == 0
