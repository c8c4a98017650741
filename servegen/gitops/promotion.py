"""What has to hold before a release goes from one environment to another; pure decisions."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from servegen.errors import PromotionError
from servegen.values.gitops import Record
from servegen.values.image import LABEL, Image, ImageRef, Platform

REQUIRABLE = ("verified", "profiled", "signed")
"""Gates that --require may name; those of HEALTHY and PRESENT hold always."""
HEALTHY = "healthy"
PRESENT = "in the registry"
_HINTS = {
    HEALTHY: "servegen status shows what is wrong there; promote once it is mended",
    PRESENT: "--copy brings the image into the repository of the target",
    "verified": "package the model with an input example, and see it with: servegen verify IMAGE",
    "profiled": "a release without a measured profile has constants for numbers",
    "signed": "servegen package --push --sign-key KEY signs it",
}


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One condition, and what was found."""

    name: str
    met: bool | None
    """None where it could not be checked."""
    why: str

    @property
    def text(self) -> str:
        """As people read it in a commit."""
        state = {True: "yes", False: "no", None: "not checked"}[self.met]
        return f"{self.name}: {state} ({self.why})"


def check(gates: Iterable[Gate], required: Collection[str]) -> None:
    """PromotionError for the first gate that is not met, or that is required and could not be checked."""
    for gate in gates:
        if gate.met is False:
            msg = f"{gate.name}: {gate.why}"
        elif gate.met is None and gate.name in required:
            msg = f"{gate.name} is required and could not be checked: {gate.why}"
        else:
            continue
        raise PromotionError(msg, hint=_HINTS[gate.name])


def profiled(record: Record) -> Gate:
    """Whether the numbers of a release were measured."""
    if record.profile is None:
        return Gate(name="profiled", met=False, why="its numbers were not measured")
    return Gate(name="profiled", met=True, why=f"profile {record.profile[:12]}")


def paragraph(source: str, commit: str | None, gates: Iterable[Gate]) -> str:
    """What a commit says of a promotion; `commit` is the one at which the source was read."""
    where = f" at {commit[:12]}" if commit else ""
    lines = [f"Promoted from {source}{where}: the same image, not built again.", ""]
    return "\n".join([*lines, *(f"- {gate.text}" for gate in gates)])


def recorded_image(record: Record, ref: ImageRef) -> Image:
    """The image of a release as far as its record tells of it, where no registry can be asked."""
    facts = {
        "model-name": record.model_name,
        "model-version": None if record.version.startswith("sha-") else record.version,
        "model-digest": record.model_digest,
        "pin": record.pin,
        "run-id": record.run_id,
    }
    labels = tuple(sorted((LABEL + name, value) for name, value in facts.items() if value))
    return Image(ref=ref, platform=Platform.parse("linux/amd64"), labels=labels, asked=record.uri)
