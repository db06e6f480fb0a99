"""Options of a command made from a model: from flags, the environment or a TOML file, checked by the model alone."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import typer
from pydantic import BaseModel, ByteSize
from pydantic.fields import FieldInfo

from neuralpatch_cuda.errors import ConfigError
from neuralpatch_cuda.imaging.whole import reason_of

FunctionT = TypeVar("FunctionT", bound=Callable[..., None])

PREFIX = "NEURALPATCH_"
"""Of environment variables: NEURALPATCH_ALPHA is the option --alpha."""


def _read_settings(context: typer.Context, path: Path | None) -> None:
    """Let a TOML file give the command's defaults: what is not in a table is for all commands, [inpaint] for one.

    Raises:
        ConfigError: the file cannot be read, or has a name in it that no option has.
    """
    if path is None:
        return
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"The settings {path} cannot be read: {reason_of(error)}.") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"The settings {path} are not TOML: {error}.") from error
    command = context.command
    shared = {name: value for name, value in settings.items() if not isinstance(value, dict)}
    own = settings.get(command.name or "")
    options = {parameter.name: parameter for parameter in command.params}
    defaults = {}
    for name, value in (shared | (own if isinstance(own, dict) else {})).items():
        option = options.get(name.replace("-", "_"))
        if option is None or isinstance(value, dict):
            raise ConfigError(f"The settings {path} have {name!r}, which is no option of {command.name}.")
        as_typed = isinstance(value, list) and not getattr(option, "multiple", False)
        defaults[option.name] = ",".join(map(str, value)) if as_typed else value
    context.default_map = defaults


CONFIG = inspect.Parameter(
    "config_file",
    inspect.Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE.toml",
            help=f"Take options from this file; variables such as {PREFIX}ALPHA and what is typed go before.",
            is_eager=True,
            callback=_read_settings,
            envvar=PREFIX + "CONFIG",
            show_envvar=False,
            show_default=False,
        ),
    ],
)


def options_of(model: type[BaseModel], panel: str) -> Callable[[FunctionT], FunctionT]:
    """Give a command, in place of its `**options`, one command line option per field of a model, and `--config`.

    Their values arrive as the strings that were typed; the model checks them, so that a bad value is reported
    in the same words as from Python. What is not typed is taken from the environment, then from the file of `--config`.
    """

    def decorate(function: FunctionT) -> FunctionT:
        signature = inspect.signature(function, eval_str=True)
        named = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        fields = [_option(name, field, panel) for name, field in model.model_fields.items()]
        combined = signature.replace(parameters=[*named, CONFIG, *fields])

        @functools.wraps(function)
        def command(*, config_file: Path | None, **options: Any) -> None:
            function(**options)  # the file has been read

        command.__signature__ = combined  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in combined.parameters.values()}
        return command  # type: ignore[return-value]

    return decorate


def _option(name: str, field: FieldInfo, panel: str) -> inspect.Parameter:
    default, flag = field.default, name.replace("_", "-")
    option = typer.Option(
        f"--{flag}/--no-{flag}" if isinstance(default, bool) else f"--{flag}",
        help=field.description,
        rich_help_panel=panel,
        envvar=PREFIX + name.upper(),
        show_envvar=False,
    )
    annotation: Any = Annotated[bool, option]
    if not isinstance(default, bool):
        option.metavar = _metavar(field)
        default = ",".join(default) if isinstance(default, tuple) else default and str(default)
        annotation = Annotated[str | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _metavar(field: FieldInfo) -> str:
    """What an option's value looks like: NUMBER, lbfgs|adam, ..."""
    members = get_args(field.annotation)
    if get_origin(field.annotation) is Literal:
        return "|".join(members)
    if ByteSize in members:
        return "BYTES"
    word = {int: "INTEGER", float: "NUMBER", str: "NAME", tuple: "NAME"}.get(type(field.default), "INTEGER")
    several = isinstance(field.default, tuple) or any(get_origin(member) is Annotated for member in members)
    return f"{word}[,{word}...]" if several else word
