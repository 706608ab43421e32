"""Writing a file so that it is either whole or as it was before."""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the path of a new file in the same folder, which replaces `path` if the block raises nothing.

    The new file has the suffix and the permissions of `path`. If the block raises, the new file is removed
    and `path` is untouched. A symbolic link stays one, and its target is replaced. Devices and pipes cannot
    be replaced, so their own path is yielded.

    Raises:
        OSError: if `path` is a folder or a file that may not be written, before anything is written.
    """
    target = Path(os.path.realpath(path))
    old = target.stat() if target.exists() else None
    if old is not None and stat.S_ISDIR(old.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if old is not None and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
    if old is not None and not stat.S_ISREG(old.st_mode):
        yield target
        return
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))
    new = target.with_name(f".{secrets.token_hex(8)}{target.suffix}")
    try:
        yield new
        if old is not None:
            new.chmod(stat.S_IMODE(old.st_mode))
        new.replace(target)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
