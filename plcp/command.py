"""What all commands share: the words they take, the options every one has, and how they end.

Nothing heavy is imported before a command runs, so that help is instant.
"""

import functools
import inspect
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

INTERRUPTED = 130


def monday(text: str) -> date:
    """Raises ConfigError for what is no Monday."""
    from plcp.base import ConfigError

    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{text!r} is no date; write 2026-03-02") from None
    if day.weekday():
        raise ConfigError(f"{day} is a {day:%A}; weeks start on Mondays")
    return day


def number(text: str) -> int:
    """Raises ConfigError for what is no whole number."""
    from plcp.base import ConfigError

    if not text.strip().isdecimal():
        raise ConfigError(f"{text!r} is no whole number")
    return int(text)


Data = Annotated[Path, typer.Argument(metavar="DATA", help="A folder per table, in the data contract.", show_default=False)]
DataOption = Annotated[Path, typer.Option("--data", metavar="DATA", help="A folder per table, in the data contract.", show_default=False)]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="What `plcp export` wrote.", show_default=False)]
Scores = Annotated[Path, typer.Argument(metavar="SCORES", help="What `plcp score` wrote.", show_default=False)]
PreparedPath = Annotated[Path, typer.Argument(metavar="PREPARED", help="What `plcp prepare` wrote.", show_default=False)]
Out = Annotated[Path, typer.Option(help="Where to write.", show_default=False, resolve_path=True)]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML file with a section per component.", show_default=False)]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="One option, as train.steps=200; beats the file.", show_default=False)]
AsOf = Annotated[
    date | None,
    typer.Option(parser=monday, metavar="MONDAY", help="Use only what was known before it.", show_default=False),
]
Seed = Annotated[int, typer.Option("--seed", help="Of everything random.")]


def with_settings(run: Callable[..., None]) -> Callable[..., None]:
    """A command's function whose `settings` are read from --config, --set and --seed, which every command has."""

    @functools.wraps(run)
    def call(config: Path | None, overrides: list[str] | None, seed: int, **own: Any) -> None:
        from plcp.config import load

        run(**own, settings=load(config, overrides or (), seed))

    own = [p for p in inspect.signature(run).parameters.values() if p.name != "settings"]
    shared = {"config": (ConfigFile, None), "overrides": (Overrides, None), "seed": (Seed, 0)}
    added = [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=d, annotation=a) for n, (a, d) in shared.items()]
    own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    call.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in (*own, *added)}
    return call


def application(**options: Any) -> typer.Typer:
    """A command line in which errors are the user's to read and -h helps."""
    names = {"help_option_names": ["-h", "--help"]}
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings=names, **options)


def job(run: Callable[..., None]) -> None:
    """Run a function as a script of its own, with the options that every command has."""
    script = application()
    script.command()(with_settings(run))
    start(script)


def start(script: typer.Typer, *command: str) -> None:
    """Exit code 0 only if all is done, 2 for what the user can mend, 130 after Ctrl-C."""
    try:
        script([*command, *sys.argv[1:]])
    except SystemExit as left:
        if left.code == INTERRUPTED:
            typer.echo("interrupted; run the same command again to continue", err=True)
        raise
    except Exception as error:
        from plcp.base import PlcpError  # here, so that help does not wait for pydantic

        if not isinstance(error, PlcpError):
            raise
        typer.echo(f"plcp: {error}", err=True)
        sys.exit(2)
