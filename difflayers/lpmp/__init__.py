"""Cut problems as text files: the format of LPMP, plain edge lists, and PACE's cluster editing."""

from difflayers.lpmp.reading import read, read_multicut
from difflayers.lpmp.writing import write, write_multicut

__all__ = ["read", "read_multicut", "write", "write_multicut"]
