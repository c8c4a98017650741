"""One file a forge: opens a request for review, or updates the open one.

A file's name is the forge's name on the command line; entry points `servegen.forges` add further ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, cast

from servegen import plugins
from servegen.errors import ForgeError
from servegen.forges.address import Address
from servegen.forges.http import Network
from servegen.progress import Progress
from servegen.values.gitops import ChangeRequest, OpenedRequest

HELPERS = ("address", "choosing", "http", "problems", "proposing")
"""Modules of this package that are no forges."""


class Forge(Protocol):
    """The requests for review of one repository."""

    has_token: bool
    """Without one only `compare_url` is of use."""

    def __init__(
        self, *, address: Address, token: str | None, network: Network, progress: Progress
    ) -> None: ...

    @staticmethod
    def is_at(host: str) -> bool:
        """Whether the host's name says that it is a forge of this kind."""

    @staticmethod
    def answers(address: Address, network: Network) -> bool:
        """Whether the server there is a forge of this kind; asked without a token."""

    def propose(self, request: ChangeRequest) -> OpenedRequest:
        """Open a request, or update the open one between the same branches; ForgeError says why not.

        The source branch must have been pushed. Labels that cannot be set are a warning.
        """

    def compare_url(self, source: str, target: str) -> str:
        """The page on which a person opens the request."""


def forges() -> tuple[str, ...]:
    """The names of all forges, sorted."""
    return plugins.names(__name__)


def kind(name: str) -> type[Forge]:
    """The forge called `name`; raises ForgeError when there is none."""
    try:
        return cast(type[Forge], plugins.load(__name__, name, "FORGE"))
    except KeyError as exc:
        msg = f"there is no forge {name!r}"
        raise ForgeError(msg, hint=f"git.forge is one of: {', '.join(forges())}") from exc


def forge(
    repository: str,
    *,
    name: str | None = None,
    url: str | None = None,
    tokens: Mapping[str, str],
    network: Network,
    progress: Progress,
) -> Forge:
    """The forge of the repository with this URL; `tokens` are by forge, and `url` is of the forge or its API.

    Without `name` the host's name tells which it is, else the server is asked. Raises ForgeError.
    """
    from servegen.forges.choosing import found

    address = Address.of(repository, url)
    name, address = (name, address) if name else found(address, network)
    return kind(name)(address=address, token=tokens.get(name), network=network, progress=progress)
