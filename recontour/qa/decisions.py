"""From what a reviewer chose, on the page or in words, to the records of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from recontour.errors import ReviewRefused, UsageError
from recontour.qa.manifest import Manifest, read_manifest
from recontour.qa.review import DECISIONS, WHOLE, ReviewRecord, sha256_of

ALL = "all"
_PAGE_FILE = "the file that the report's page gives"


@dataclass(frozen=True)
class Choice:
    """One ROI ("" for the whole fraction), what was decided, and why."""

    roi: str
    decision: str
    comment: str = ""


@dataclass(frozen=True)
class Reviewed:
    """The RTSTRUCT at hand and the manifest beside it. sha256: of the file as it is now. unchanged: whether that is
    what the manifest's run wrote."""

    rtstruct: Path
    manifest: Manifest
    sha256: str

    @property
    def names(self) -> tuple[str, ...]:
        """The ROIs that can be decided on."""
        return tuple(roi.name for roi in self.manifest.rois)

    @property
    def unchanged(self) -> bool:
        return self.sha256 in {output.sha256 for output in self.manifest.outputs}

    def require_unchanged(self) -> None:
        """Raises ReviewRefused where the RTSTRUCT is not the one that the manifest speaks of."""
        if not self.unchanged:
            raise ReviewRefused(
                "the RTSTRUCT is not the one that the manifest beside it was written with: it was changed since",
                where=self.rtstruct.name,
                allowed="the RTSTRUCT as recontour wrote it; one that was edited is reviewed where it was edited",
            )


def open_reviewed(rtstruct: Path) -> Reviewed:
    """Raises UsageError where there is no RTSTRUCT, InputRefused where there is no manifest beside it."""
    digest = sha256_of(rtstruct)
    return Reviewed(rtstruct, read_manifest(rtstruct.with_name(f"{rtstruct.stem}.manifest.json")), digest)


def choices_in_words(
    by_decision: Mapping[str, Sequence[str]], comments: Sequence[str], names: Sequence[str]
) -> list[Choice]:
    """From the command line. by_decision: decision -> ROIs, or "all" for those that no other decision names.
    comments: "ROI=TEXT". Raises UsageError on an ROI that is decided twice, unknown, or has a comment alone."""
    decided: dict[str, str] = {}
    for decision, rois in by_decision.items():
        for roi in (roi for roi in rois if roi != ALL):
            _known(roi, names)
            if decided.setdefault(roi, decision) != decision:
                raise UsageError("two decisions on one ROI", where=roi, allowed="one of accept, edit, reject")
    everything = [decision for decision, rois in by_decision.items() if ALL in rois]
    if len(everything) > 1:
        raise UsageError("two decisions on all ROIs", where=ALL, allowed="one of accept, edit, reject")
    if everything:
        decided = {name: decided.get(name, everything[0]) for name in names}
    said = dict(_comment(text, names) for text in comments)
    alone = next((roi for roi in said if roi not in decided), None)
    if alone is not None:
        raise UsageError("a comment without a decision", where=alone, allowed="--accept, --edit or --reject it, too")
    return [Choice(roi, decision, said.get(roi, "")) for roi, decision in decided.items()]


def choices_from_page(file: Path, sha256: str, names: Sequence[str]) -> list[Choice]:
    """From the file that the report's page gives: {"rtstruct_sha256", "decisions": [{"roi", "decision", "comment"}]}.

    Raises ReviewRefused where it speaks of another RTSTRUCT or is no such file, UsageError on an unknown ROI.
    """
    try:
        raw: Any = json.loads(file.read_text(encoding="utf-8"))
        spoken_of, listed = raw["rtstruct_sha256"], cast("list[Any]", raw["decisions"])
        choices = [Choice(_text(one, "roi"), _text(one, "decision"), _text(one, "comment", "")) for one in listed]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReviewRefused("no decisions in it", where=file.name, allowed=_PAGE_FILE) from error
    if spoken_of != sha256:
        found = "the decisions are on another RTSTRUCT than this one"
        raise ReviewRefused(found, where=file.name, allowed="decisions made on the page of this very result")
    seen: set[str] = set()
    for choice in choices:
        if choice.roi != WHOLE:
            _known(choice.roi, names)
        if choice.decision not in DECISIONS:
            raise ReviewRefused(f"decision {choice.decision!r}", where=file.name, allowed=", ".join(DECISIONS))
        if choice.roi in seen:
            raise ReviewRefused(f"two decisions on {choice.roi!r}", where=file.name, allowed="one for each ROI")
        seen.add(choice.roi)
    return choices


def records_of(choices: Sequence[Choice], who: str, when: str, sha256: str) -> list[ReviewRecord]:
    """The records to append. Raises UsageError where nobody is named."""
    return [ReviewRecord(who, when, one.roi, one.decision, one.comment, sha256) for one in choices]


def _known(roi: str, names: Sequence[str]) -> None:
    if roi not in names:
        raise UsageError("no such ROI in the result", where=roi, allowed=", ".join(names))


def _comment(text: str, names: Sequence[str]) -> tuple[str, str]:
    """The ROI and what was said of it; where an ROI's name has an equals sign, too, the longest name that fits."""
    fits = sorted((name for name in names if text.startswith(f"{name}=")), key=len)
    if fits:
        return fits[-1], text[len(fits[-1]) + 1 :]
    roi, separator, _ = text.partition("=")
    if not separator:
        raise UsageError("a comment without an ROI", where="--comment", allowed="--comment ROI=TEXT")
    raise UsageError("no such ROI in the result", where=roi, allowed=", ".join(names))


def _text(one: Any, name: str, default: str | None = None) -> str:
    value = one.get(name, default)
    if not isinstance(value, str):
        raise TypeError(name)
    return value
