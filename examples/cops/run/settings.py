"""Settings from TOML files and from checkpoints, as a `Config`."""

import tomllib
from collections.abc import Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from difflayers.panoptic.files import Category
from examples.cops.config import Config

SETTINGS = Path(__file__).parents[1] / "settings"


def load(files: Sequence[Path]) -> Config:
    """Read a configuration from TOML files, such as those of stage 1 and of stage 2.

    Args:
        files: their tables and keys are those of `Config`. What no file names keeps its default.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming file and key: not TOML, an unknown table or key, a key that was given before, a
            wrong type; naming the files and the key if a value is out of range.
    """
    values: dict[str, dict[str, Any]] = {}
    for path in files:
        try:
            content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise FileNotFoundError(f"{path}: no such file; there are {', '.join(names())}") from None
        except ValueError as error:  # of TOML, or of UTF-8
            raise ValueError(f"{path}: not a TOML file ({error})") from error
        try:
            _check_names(Config, content, "")
            for table, given in content.items():
                if twice := _keys(given) & values.get(table, {}).keys():
                    raise ValueError(f"{table}.{min(twice)} was given before")
                _converted(given, get_type_hints(Config)[table], table)
                values[table] = values.get(table, {}) | given
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    try:
        return from_fields(values)
    except ValueError as error:
        raise ValueError(f"{', '.join(map(str, files))}: {error}") from error


def names() -> list[str]:
    """The data sets that `settings/` has files for."""
    return sorted({path.name.split(".")[0] for path in SETTINGS.glob("*.toml")})


def described(config: Config, categories: Sequence[Category] = ()) -> dict[str, Any]:
    """What a checkpoint says about itself: settings and classes, in plain values."""
    return {"config": asdict(config), "categories": [list(category) for category in categories]}


def read_about(path: Path, state: dict[str, Any]) -> tuple[Config, list[Category]]:
    """The settings and classes that a checkpoint of `train` holds.

    Raises:
        ValueError: naming the file, if it has none, as the authors' checkpoints, or others than today's.
    """
    if "about" not in state:
        raise ValueError(
            f"{path}: says nothing of its settings and classes, as the authors' checkpoints; name them with "
            "--published"
        )
    try:
        about = state["about"]
        return from_fields(about["config"]), [Category(*row) for row in about.get("categories", [])]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: its settings or classes cannot be read ({error})") from error


def from_fields(content: dict[str, Any]) -> Config:
    """The inverse of `dataclasses.asdict`, as checkpoints hold it; what is lacking gets its default.

    Raises:
        ValueError: naming the setting that is unknown, of a wrong type or out of range.
    """
    config: Config = _converted(content, Config, "")
    return config


def _keys(given: Any) -> set[str]:
    return set(given) if isinstance(given, dict) else set()


def _check_names(kind: Any, content: dict[str, Any], prefix: str) -> None:
    known = [entry.name for entry in fields(kind)]
    if unknown := content.keys() - set(known):
        raise ValueError(f"{prefix}{min(unknown)} is no setting; there are {', '.join(sorted(known))}")


def _table(content: dict[str, Any], kind: Any, prefix: str) -> Any:
    _check_names(kind, content, prefix)
    types = get_type_hints(kind)
    return kind(**{key: _converted(entry, types[key], prefix + key) for key, entry in content.items()})


def _converted(value: Any, wanted: Any, name: str) -> Any:
    """A value of a file as a setting of the type `wanted`."""
    options = get_args(wanted)
    if NoneType in options and get_origin(options[0]) is tuple:
        return None if value is None else _converted(value, options[0], name)
    if is_dataclass(wanted) and isinstance(value, dict):
        return _table(value, wanted, f"{name}." if name else "")
    if get_origin(wanted) is Literal:
        fits = value in options
    elif get_origin(wanted) is tuple:
        if fits := isinstance(value, list | tuple) and (options[-1] is ... or len(value) == len(options)):
            return tuple(_converted(entry, options[0], name) for entry in value)
    elif wanted is float:
        if fits := isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    else:  # int, bool, or int | None
        fits = type(value) in (options or (wanted,))
    if not fits:
        raise ValueError(f"{name or 'the settings'} must be {_described(wanted)}, got {value!r}")
    return value


def _described(wanted: Any) -> str:
    if get_origin(wanted) is Literal:
        return f"one of {', '.join(get_args(wanted))}"
    if is_dataclass(wanted):
        return "a table"
    return str(wanted) if get_args(wanted) else wanted.__name__
