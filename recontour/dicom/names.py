"""ROI names -> organs: TG-263 and what clinics call them.

A name is an organ's only if nothing else is left of it once case, accents, separators, digits and affixes that speak
of how the contour came about (AFFIXES) are taken away. So "Vescica", "BLADDER_MBS" and "Harnblase 2" are the bladder;
"Bladder_wall", "Rectum-PTV", "PTV_Prostate", "prostate bed", "Prostate+SV" and "SeminalVes_L" are no organ of ours,
since they are targets, parts or sums. Nor are "_Bladder", "zBladder" and "~Bladder", which TG-263 keeps for helpers and
partial contours, nor the anorectum, which is longer than the rectum; any of them can still be chosen by name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from itertools import permutations
from typing import Literal, get_args

from recontour.errors import RoiAmbiguous, UsageError

Organ = Literal["bladder", "rectum", "prostate", "seminal_vesicles"]
ORGANS: tuple[Organ, ...] = get_args(Organ)
ABSENT = "none"  # `--roi bladder=none`: there is no such organ, whatever the names say

# Without case, accents and separators; ø is o, æ is ae, ß is ss.
SYNONYMS: dict[Organ, tuple[str, ...]] = {
    "bladder": (
        *("bladder", "urinarybladder", "blad", "bldr", "vesicaurinaria"),  # English, Latin
        *("blaas", "urineblaas", "blase", "harnblase", "vessie"),  # Dutch, German, French
        *("vescica", "vescicaurinaria", "vejiga", "vejigaurinaria", "bexiga"),  # Italian, Spanish, Portuguese
        *("blaere", "blaeren", "urinblaere", "urinblaeren"),  # Norwegian, Danish
        *("blasa", "blasan", "urinblasa", "urinblasan"),  # Swedish
    ),
    "rectum": (
        *("rectum", "rect", "rektum", "rekt", "endeldarm", "enddarm", "mastdarm"),
        *("retto", "intestinoretto", "recto", "reto"),
        *("endetarm", "endetarmen", "endetarmrektum", "andtarm", "andtarmen", "aendtarm"),
    ),
    "prostate": (
        *("prostate", "prost", "prostategland", "prostata", "prostaat", "prostataklier"),
        *("prostatadruse", "vorsteherdruse", "vorsteherdruese", "ghiandolaprostatica"),
        *("blaerehalskjertel", "blaerehalskjertelen", "blaerehalskirtel", "prostatakortel"),
    ),
    "seminal_vesicles": (
        *("seminalvesicles", "seminalvesicle", "seminalves", "semvesicles", "semvesicle", "semves", "sv", "svs"),
        *("vvss", "vessem", "vesseminali", "vesseminales", "vesiculae", "vesiculaesem", "vesiculasem"),
        *("vesiculaseminalis", "vesiculaeseminales", "vesiculeseminales"),
        *("zaadblaas", "zaadblazen", "zaadblaasje", "zaadblaasjes"),
        *("samenblase", "samenblasen", "samenblaschen", "samenblaeschen", "vs"),
        *("vesiculesseminales", "vesiculeseminale", "vesiculesem", "vesiculessem"),
        *("vescicoleseminali", "vescicolaseminale", "vescichetteseminali", "vescichettaseminale", "vescicolesem"),
        *("vesiculasseminales", "vesiculaseminal", "vesiculasseminais"),
        *("saedblaere", "saedblaeren", "saedblaerer", "saedblaerene"),
        *("sadesblasa", "sadesblasan", "sadesblasor", "sadesblasorna", "saedesblaser"),
    ),
}

# How a contour came about or where it stands, not what it is of.
AFFIXES: frozenset[str] = frozenset(
    (
        *("mbs", "dl", "dls", "dlc", "ai", "auto", "autoseg", "autocontour", "atlas", "abas", "model", "nn", "unet"),
        *("mim", "limbus", "mvision", "raystation", "rs"),
        *("man", "manual", "manually", "manuell", "manuel", "manuale", "dr", "md"),
        *("seg", "segmentation", "contour", "contours", "cont", "kontur", "contorno", "struct", "structure"),
        *("roi", "oar", "organ", "whole", "total", "tot", "full", "empty"),
        *("ct", "pct", "planct", "plan", "planning", "sim", "mr", "mri", "fx"),
        *("final", "finale", "def", "definitief", "definitiv", "ok", "approved", "edit", "edited", "corr", "corrected"),
        *("new", "neu", "nieuw", "nuovo", "nuova", "nouveau", "ny", "copy", "kopie", "copia", "kopia"),
        *("v", "ver", "version", "rev"),
    )
)

_LETTERS = str.maketrans({"ø": "o", "æ": "ae", "œ": "oe", "ß": "ss", "ł": "l", "đ": "d"})
_DERIVED = re.compile(r"^\s*[_~]|[+&/%<>*!]|-\s*\d")  # helpers, sums, margins and doses
_MOST_WORDS = 3


def organ_of(roi_name: str) -> Organ | None:
    """The organ that a name means, or None."""
    if _DERIVED.search(roi_name):
        return None
    words = [w for w in _words(roi_name) if w not in AFFIXES]
    if not 0 < len(words) <= _MOST_WORDS:
        return None
    spellings = {"".join(order) for order in permutations(words)}
    return next((organ for organ in ORGANS if spellings.intersection(SYNONYMS[organ])), None)


def match_organs(roi_names: Iterable[str], chosen: Mapping[str, str] | None = None) -> dict[Organ, str]:
    """Organ to ROI name; an organ that no ROI could be is not in it.

    chosen: organ to ROI name, which overrides what names mean, or to "none" where the organ is not there.
    Raises RoiAmbiguous where several ROIs could be one organ, with all such organs and how to choose; UsageError
    where `chosen` names what does not exist, or one ROI twice.
    """
    names = list(dict.fromkeys(roi_names))
    asked = {_organ_asked(organ): _roi_asked(name, names) for organ, name in (chosen or {}).items()}
    taken = [name for name in asked.values() if name is not None]
    for name in taken:
        if taken.count(name) > 1:
            raise UsageError("one ROI chosen for two organs", where=name, allowed="one organ for each ROI")
    free = [name for name in names if name not in taken]
    candidates: dict[Organ, list[str]] = {o: [n for n in free if organ_of(n) == o] for o in ORGANS if o not in asked}
    _check_single(candidates)
    found: dict[Organ, str | None] = {o: asked[o] if o in asked else next(iter(candidates[o]), None) for o in ORGANS}
    return {organ: name for organ, name in found.items() if name is not None}


def close_to(name: str, names: Sequence[str]) -> str:
    """Up to five of `names` that look like `name`, or all of them where none does, for an error's last line."""
    close = get_close_matches(name.casefold(), {n.casefold() for n in names}, n=5, cutoff=0.5)
    return ", ".join([n for c in close for n in names if n.casefold() == c] or names)


def _check_single(candidates: Mapping[Organ, Sequence[str]]) -> None:
    several: dict[Organ, Sequence[str]] = {organ: names for organ, names in candidates.items() if len(names) > 1}
    if several:
        raise RoiAmbiguous(
            f"several ROIs could be the {' and the '.join(_spoken(o) for o in several)}",
            where="; ".join(f"{_spoken(organ)}: {', '.join(names)}" for organ, names in several.items()),
            allowed="choose: "
            + " ".join(f"--roi {_quoted(f'{organ}={names[0]}')}" for organ, names in several.items())
            + f"; {ABSENT} for an organ that is not there",
        )


def _organ_asked(organ: str) -> Organ:
    folded = organ.strip().casefold().replace(" ", "_").replace("-", "_")
    meant = ORGANS[ORGANS.index(folded)] if folded in ORGANS else organ_of(organ)
    if meant is None:
        raise UsageError(f"no organ {organ}", where="--roi", allowed=", ".join(ORGANS))
    return meant


def _roi_asked(name: str, names: Sequence[str]) -> str | None:
    if name in names:
        return name
    if name.strip().casefold() == ABSENT:
        return None
    folded = [n for n in names if n.casefold() == name.strip().casefold()]
    if len(folded) != 1:
        raise UsageError(f"no ROI {name}", where="--roi", allowed=close_to(name, folded or names))
    return folded[0]


def _words(name: str) -> list[str]:
    """Lower-case words of letters a to z: split at separators, digits and the humps of CamelCase."""
    humps = re.sub(r"(?<=[a-zà-ÿ])(?=[A-ZÀ-Þ])", " ", unicodedata.normalize("NFC", name))
    folded = unicodedata.normalize("NFKD", humps.casefold().translate(_LETTERS))
    plain = "".join(c for c in folded if not unicodedata.combining(c))
    return re.findall(r"[^\W\d_]+", plain)


def _spoken(organ: Organ) -> str:
    return organ.replace("_", " ")


def _quoted(text: str) -> str:
    return f'"{text}"' if " " in text else text
