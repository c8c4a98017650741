"""Which forge a server is, where nobody said so."""

from __future__ import annotations

from servegen import forges
from servegen.errors import ForgeError
from servegen.forges.address import Address
from servegen.forges.http import Network

_DEEPEST = 3
"""Longest prefix, in names, below which a forge is looked for."""


def found(address: Address, network: Network) -> tuple[str, Address]:
    """Name of the forge, and the address with the prefix below which it answers; raises ForgeError."""
    kinds = {name: forges.kind(name) for name in forges.forges()}
    for name, kind in kinds.items():
        if kind.is_at(address.host):
            return name, address
    # Without a path first: a prefix is rare, and a group of the same name is not.
    places = {address.below(parts): None for parts in range(min(_DEEPEST, address.path.count("/") - 1) + 1)}
    for place in places:
        for name, kind in kinds.items():
            if kind.answers(place, network):
                return name, place
    msg = f"{address.origin} is no forge that is known here"
    raise ForgeError(msg, hint=f"say what it is and where: git.forge ({', '.join(kinds)}), git.forge_url")
