"""Requirements → exact wheels with hashes for the target platform."""

from servegen.lockers.lockfile import read_lock, write_lock
from servegen.lockers.requirements import Serving, constraints, merged_requirements, unneeded
from servegen.lockers.uv import LockOptions, input_hash, lock

__all__ = [
    "LockOptions",
    "Serving",
    "constraints",
    "input_hash",
    "lock",
    "merged_requirements",
    "read_lock",
    "unneeded",
    "write_lock",
]
