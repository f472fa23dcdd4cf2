"""Pass, review or reject: pure rules on numbers, each with a reason that a clinician can read.

The limits are in settings.QaSettings, where they come from in docs/qa.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import hypot
from typing import Literal

from recontour.qa.words import in_words
from recontour.settings import OrganLimits, QaSettings

Light = Literal["pass", "review", "reject"]
LIGHTS: tuple[Light, ...] = ("pass", "review", "reject")


@dataclass(frozen=True)
class RoiFacts:
    """What was measured of one ROI (qa/measure.py).

    before_ml, after_ml: planned and daily volume. shift_mm: of its centre, LPS, after alignment.
    jacobian_*: local volume change planning over daily inside the organ, extremes and percentiles; folding: the share
    of the organ where it is not positive. disagreement_mm: mean distance of both paths' surfaces; image_match:
    correlation of both scans around the organ; both None where there is none to measure.
    touches_border: cut by the edge of the daily scan. out_of_view: the share of it where the daily scan shows nothing,
    or what lies outside the body. order: what of the order of organs it breaks, such as "not above the prostate".
    edge_mean_mm, edge_p95_mm: how far the edges that the daily scan shows lie from the contour, by area (qa/edges.py);
    None where there are no scans to measure it on.
    """

    name: str
    organ: str
    before_ml: float
    after_ml: float
    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    jacobian_min: float = 1.0
    jacobian_max: float = 1.0
    jacobian_p01: float = 1.0
    jacobian_p99: float = 1.0
    folding: float = 0.0
    disagreement_mm: float | None = None
    image_match: float | None = None
    parts_before: int = 1
    parts_after: int = 1
    touches_border: bool = False
    out_of_view: float = 0.0
    order: str = ""
    edge_mean_mm: float | None = None
    edge_p95_mm: float | None = None


@dataclass(frozen=True)
class StudyFacts:
    """What was measured of the whole fraction.

    rotation_degrees, scale: of the affine; scale is the largest change of length in any direction, 1.02 is 2 %.
    alignment_match: correlation of both scans after the affine, None where not measured. same_patient: whether both
    scans name one patient. left_out: ROIs that were asked for and could not be brought over. unlike: what lies beyond
    the scans that the network was trained on (qa/likeness.py). metal_then_ml, metal_now_ml: of metal at the organs'
    height, in the planning and in the daily scan.
    """

    rotation_degrees: float = 0.0
    scale: float = 1.0
    alignment_match: float | None = None
    same_patient: bool = True
    left_out: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    metal_then_ml: float = 0.0
    metal_now_ml: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """`light`, and one sentence for every rule that did not pass, the gravest first."""

    light: Light
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """One rule that did not pass."""

    light: Light
    reason: str


def judge(facts: RoiFacts, settings: QaSettings) -> Verdict:
    """The verdict on one ROI. An ROI that was lost is judged by that alone."""
    return _verdict(findings(facts, settings).values())


def findings(facts: RoiFacts, settings: QaSettings) -> dict[str, Finding]:
    """Rule (of RULES) -> what it found, for those that did not pass; of an ROI that was lost that alone."""
    lost = _lost(facts)
    if lost:
        return {_LOST: lost}
    limits = settings.limits_for(facts.organ)
    asked = {name: rule(facts, settings, limits) for name, rule in _ROI_RULES.items()}
    return {name: found for name, found in asked.items() if found}


def judge_study(facts: StudyFacts, rois: Iterable[Verdict], settings: QaSettings) -> Verdict:
    """The verdict on the fraction: the gravest of its own rules and of its ROIs. Reasons: its own, and a count."""
    own = [rule(facts, settings) for rule in STUDY_RULES]
    lights = [verdict.light for verdict in rois]
    if not lights:
        own.append(Finding("reject", "No ROI was brought over to the daily scan."))
    grave: tuple[tuple[Light, str], ...] = (("reject", "rejected"), ("review", "to be reviewed"))
    for light, what in grave:
        count = sum(found == light for found in lights)
        if count:
            own.append(Finding(light, f"{count} of {len(lights)} ROIs {'is' if count == 1 else 'are'} {what}."))
    return _verdict(own)


def _verdict(findings: Iterable[Finding | None]) -> Verdict:
    found = sorted((f for f in findings if f), key=lambda f: -LIGHTS.index(f.light))
    return Verdict(found[0].light if found else "pass", tuple(f.reason for f in found))


def _lost(facts: RoiFacts) -> Finding | None:
    if facts.before_ml <= 0:
        return Finding("reject", "The planning contours enclose no volume.")
    if facts.after_ml <= 0:
        return Finding("reject", f"Nothing is left on the daily scan of {facts.before_ml:.1f} ml in the plan.")
    return None


def _volume(facts: RoiFacts, settings: QaSettings, limits: OrganLimits) -> Finding | None:
    ratio = facts.after_ml / facts.before_ml
    light = _outside(ratio, limits.volume_review, limits.volume_reject)
    low, high = limits.volume_reject if light == "reject" else limits.volume_review
    d = _decimals(ratio, low, high, least=2)
    change = f"The volume went from {facts.before_ml:.1f} to {facts.after_ml:.1f} ml, {ratio:.{d}f} times"
    return _found(light, f"{change}; {low:.{d}f} to {high:.{d}f} times is allowed.")


def _shift(facts: RoiFacts, settings: QaSettings, limits: OrganLimits) -> Finding | None:
    moved = hypot(*facts.shift_mm)
    light = _above(moved, limits.shift_review_mm, limits.shift_reject_mm)
    limit = limits.shift_reject_mm if light == "reject" else limits.shift_review_mm
    d = _decimals(moved, limit, least=1)
    return _found(light, f"The centre moved by {moved:.{d}f} mm ({in_words(facts.shift_mm)}); {limit:g} mm is allowed.")


def _stretch(facts: RoiFacts, settings: QaSettings, limits: OrganLimits) -> Finding | None:
    low, high = settings.jacobian_review
    if low <= facts.jacobian_p01 and facts.jacobian_p99 <= high:
        return None
    d = max(_decimals(facts.jacobian_p01, low, least=2), _decimals(facts.jacobian_p99, high, least=2))
    factors = f"{facts.jacobian_p01:.{d}f} to {facts.jacobian_p99:.{d}f}"
    change = f"Inside it the volume changes locally by factors of {factors}"
    return Finding("review", f"{change}; {low:g} to {high:g} is allowed.")


def _folding(facts: RoiFacts, settings: QaSettings, limits: OrganLimits) -> Finding | None:
    light = _above(facts.folding, settings.folding_review, settings.folding_reject)
    limit = settings.folding_reject if light == "reject" else settings.folding_review
    d = _decimals(100 * facts.folding, 100 * limit, least=2)
    folds = f"The deformation folds over itself in {facts.folding:.{d}%} of it"
    return _found(light, f"{folds}; {limit:.{d}%} is allowed.")


def _disagreement(facts: RoiFacts, settings: QaSettings, limits: OrganLimits) -> Finding | None:
    limit = settings.disagreement_review_mm, settings.disagreement_reject_mm
    apart = "The carried-over and the newly found contour are {value} mm apart on average; {limit} mm is allowed."
    return _beyond(_above, facts.disagreement_mm, limit, apart, least=1)


def _edges(facts: RoiFacts, settings: QaSettings, limits: OrganLimits) -> Finding | None:
    limit = settings.edges_review_mm, settings.edges_reject_mm
    off = "The daily scan's edge lies {value} mm off this contour at its worst twentieth; {limit} mm is allowed."
    return _beyond(_above, facts.edge_p95_mm, limit, off, least=1)


def _match(facts: RoiFacts, settings: QaSettings, limits: OrganLimits) -> Finding | None:
    limit = settings.match_review, settings.match_reject
    looks = "Around it the warped planning scan resembles the daily scan by {value} (correlation); {limit} is required."
    return _beyond(_below, facts.image_match, limit, looks, least=2)


def _border(facts: RoiFacts, settings: QaSettings, limits: OrganLimits) -> Finding | None:
    return _found(
        "review" if facts.touches_border else "pass",
        "It reaches the edge of the daily scan; what lies beyond has no contour.",
    )


def _parts(facts: RoiFacts, settings: QaSettings, limits: OrganLimits) -> Finding | None:
    before, after = facts.parts_before, facts.parts_after
    return _found(
        "review" if before != after else "pass",
        f"It is in {after} part{'s' * (after != 1)} on the daily scan; the plan had {before}.",
    )


def _view(facts: RoiFacts, settings: QaSettings, limits: OrganLimits) -> Finding | None:
    light = _above(facts.out_of_view, settings.out_of_view_review, float("inf"))
    return _found(light, f"Of it {facts.out_of_view:.0%} lie outside the field of view of the daily scan, or the body.")


def _order(facts: RoiFacts, settings: QaSettings, limits: OrganLimits) -> Finding | None:
    doubt = "has it another organ's contour?"
    return _found("review" if facts.order else "pass", f"It lies {facts.order}, unlike in other men: {doubt}")


RoiRule = Callable[[RoiFacts, QaSettings, OrganLimits], Finding | None]
_ROI_RULES: dict[str, RoiRule] = {
    "volume": _volume,
    "shift": _shift,
    "stretch": _stretch,
    "folding": _folding,
    "disagreement": _disagreement,
    "edges": _edges,
    "match": _match,
    "border": _border,
    "view": _view,
    "order": _order,
    "parts": _parts,
}
_LOST = "lost"
RULES = (_LOST, *_ROI_RULES)  # all that an ROI is asked for, in this order


def _alignment(facts: StudyFacts, settings: QaSettings) -> Finding | None:
    limit = settings.alignment_review, settings.alignment_reject
    looks = "After alignment the two scans resemble each other by {value} (correlation); {limit} is required."
    return _beyond(_below, facts.alignment_match, limit, looks, least=2)


def _rotation(facts: StudyFacts, settings: QaSettings) -> Finding | None:
    light = _above(facts.rotation_degrees, settings.rotation_review_degrees, settings.rotation_reject_degrees)
    limit = settings.rotation_reject_degrees if light == "reject" else settings.rotation_review_degrees
    d = _decimals(facts.rotation_degrees, limit, least=1)
    return _found(light, f"The patient lies {facts.rotation_degrees:.{d}f} degrees turned; {limit:g} is allowed.")


def _scale(facts: StudyFacts, settings: QaSettings) -> Finding | None:
    change = abs(facts.scale - 1.0)
    light = _above(change, settings.scale_review, settings.scale_reject)
    limit = settings.scale_reject if light == "reject" else settings.scale_review
    d = _decimals(100 * change, 100 * limit, least=0)
    stretches = f"Alignment stretches the patient by {change:.{d}%} in one direction"
    return _found(light, f"{stretches}; {100 * limit:g}% is allowed.")


def _patient(facts: StudyFacts, settings: QaSettings) -> Finding | None:
    return _found("pass" if facts.same_patient else "reject", "The two scans do not name the same patient.")


def _left_out(facts: StudyFacts, settings: QaSettings) -> Finding | None:
    names = ", ".join(facts.left_out)
    return _found("review" if names else "pass", f"Asked for and not brought over: {names}.")


def _unlike(facts: StudyFacts, settings: QaSettings) -> Finding | None:
    said = f"Unlike what the network was trained on: {'; '.join(facts.unlike)}."
    return _found("review" if facts.unlike else "pass", said)


def _metal(facts: StudyFacts, settings: QaSettings) -> Finding | None:
    then, now = facts.metal_then_ml, facts.metal_now_ml
    light = _above(max(then, now), settings.metal_review_ml, float("inf"))
    new, gone = now > settings.metal_review_ml >= then, then > settings.metal_review_ml >= now
    where = "the daily scan, not in the plan's" if new else "the planning scan, not today's" if gone else "both scans"
    amount = f"{max(then, now):.0f} ml of metal, such as a hip prosthesis"
    return _found(light, f"There are {amount}, in {where}: its streaks can mislead the contours.")


StudyRule = Callable[[StudyFacts, QaSettings], Finding | None]
STUDY_RULES: tuple[StudyRule, ...] = (_patient, _alignment, _rotation, _scale, _unlike, _metal, _left_out)


def _beyond(
    light_of: Callable[[float, float, float], Light],
    value: float | None,
    limits: tuple[float, float],
    words: str,
    least: int,
) -> Finding | None:
    """limits: review, reject. words: with {value} and {limit}, which get `least` decimals or more. None: nothing was
    measured."""
    if value is None:
        return None
    light = light_of(value, *limits)
    limit = limits[light == "reject"]
    d = _decimals(value, limit, least=least)
    return _found(light, words.format(value=f"{value:.{d}f}", limit=f"{limit:.{d}f}"))


def _found(light: Light, reason: str) -> Finding | None:
    return None if light == "pass" else Finding(light, reason)


def _decimals(value: float, *limits: float, least: int) -> int:
    """How many decimals tell a value from its limits: "0.80; 0.80 is required" explains nothing."""
    told = (d for d in range(least, least + 4) if all(f"{value:.{d}f}" != f"{limit:.{d}f}" for limit in limits))
    return next(told, least)


def _above(value: float, review: float, reject: float) -> Light:
    """A value that is not a number is above every limit."""
    return "pass" if value <= review else "review" if value <= reject else "reject"


def _below(value: float, review: float, reject: float) -> Light:
    return "pass" if value >= review else "review" if value >= reject else "reject"


def _outside(value: float, review: tuple[float, float], reject: tuple[float, float]) -> Light:
    if review[0] <= value <= review[1]:
        return "pass"
    return "review" if reject[0] <= value <= reject[1] else "reject"
