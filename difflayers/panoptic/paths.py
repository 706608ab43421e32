"""Paths made of names that come from files: they stay below their root, or are refused by name."""

import os
from pathlib import Path, PureWindowsPath


def below(root: Path, name: str) -> Path:
    """Return `root / name` if the name cannot lead out of the root.

    Args:
        root: a folder.
        name: a relative path that a file gave, such as `file_name` of a COCO-panoptic JSON.

    Raises:
        ValueError: naming name and root, if the name is empty, absolute, holds `..` or a control character,
            or cannot be a file's name on this machine.
    """
    path, windows = Path(name), PureWindowsPath(name)
    steps_out = path.is_absolute() or bool(path.drive or windows.root) or ".." in windows.parts
    if not path.parts or steps_out or not _is_plain(name):
        raise ValueError(f"the file name {name!r} must be a relative path that stays below {root}")
    return root / path


def file_to_write(root: Path, name: str) -> Path:
    """Return `root / name` as `below` does, and make the folder that the file will lie in.

    Raises:
        ValueError: as `below`; also if a symbolic link below the root leads out of it.
    """
    path = below(root, name)
    if not path.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{path}: a symbolic link leads out of {root}, nothing is written there")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def plain_name(value: object) -> str:
    """Return a value that a file gave, such as an image's id, as the beginning of a file's name.

    Raises:
        ValueError: naming the value, if its text is empty, `.`, `..`, or holds a separator or a control
            character.
    """
    name = str(value)
    if name in ("", ".", "..") or "/" in name or "\\" in name or not _is_plain(name):
        raise ValueError(f"the id {value!r} must be usable as a file's name, without / and \\")
    return name


def _is_plain(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can hold
        return False
    return not any(ord(letter) < 32 or ord(letter) == 127 for letter in name)
