"""Multicut of volumes that do not fit in memory: block by block, on any scheduler of dask.

Needs dask, which the extra `volumes` installs.
"""

from difflayers.blockwise.blocks import BlockError
from difflayers.blockwise.parts import solve
from difflayers.blockwise.region_graphs import VolumeRegions, regions
from difflayers.blockwise.volume import VolumeSolution, multicut
from difflayers.blockwise.watershed import supervoxels

__all__ = ["BlockError", "VolumeRegions", "VolumeSolution", "multicut", "regions", "solve", "supervoxels"]
