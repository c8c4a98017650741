"""A pushed branch → its request for review, or the page on which a person opens it."""

from __future__ import annotations

from collections.abc import Mapping

from servegen.errors import ForgeError
from servegen.forges import forge
from servegen.forges.address import Address
from servegen.forges.http import Network
from servegen.progress import Progress
from servegen.values.gitops import ChangeRequest, GitSettings


def proposed(
    repository: str,
    request: ChangeRequest,
    *,
    git: GitSettings,
    tokens: Mapping[str, str],
    network: Network,
    told: str | None,
    progress: Progress,
) -> str | None:
    """URL of the request, opened or updated; without a token, of the page that opens it.

    `told` is the page that the server named itself when the branch was pushed. None where there is no page,
    as for a repository on no forge. Raises ForgeError where the forge refuses or is not what `git` says.
    """
    try:
        Address.of(repository, git.forge_url)
    except ForgeError:
        if git.forge or git.forge_url:
            raise
        return told
    if not tokens and told:
        return told
    try:
        place = forge(
            repository, name=git.forge, url=git.forge_url, tokens=tokens, network=network, progress=progress
        )
    except ForgeError as exc:
        if git.forge or git.forge_url:
            raise
        # The token that is there may be for another place.
        progress.warn(f"no pull request is opened for {request.source_branch}: {exc}; {exc.hint}")
        return told
    if not place.has_token:
        return told or place.compare_url(request.source_branch, request.target_branch)
    opened = place.propose(request)
    progress.step(f"{'opened' if opened.created else 'updated'} {opened.url}")
    return opened.url
