"""Cut problems as text files in the format of LPMP, gzip too."""

from difflayers.lpmp.files import read, read_multicut, write, write_multicut

__all__ = ["read", "read_multicut", "write", "write_multicut"]
