"""The record of a run, as JSON beside the output: what went in, with what, what came of it, and how it was judged.

It names scans by their UIDs, never a patient by name or identifier.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from math import isfinite
from pathlib import Path
from typing import Any, cast

from recontour.disk import UMASK
from recontour.errors import InputRefused, OutputRefused
from recontour.qa.checks import LIGHTS, RoiFacts, Verdict
from recontour.qa.words import in_words

SCHEMA = 1
_LIBRARIES = ("numpy", "scipy", "torch", "itk-elastix", "pydicom", "rt-utils", "SimpleITK")


@dataclass(frozen=True)
class ScanRecord:
    """A series that went in: UIDs, and how many images."""

    study_uid: str
    series_uid: str
    frame_of_reference_uid: str
    images: int


@dataclass(frozen=True)
class OutputRecord:
    """A file that was written: its name without a folder, and its sha256."""

    file: str
    sha256: str


@dataclass(frozen=True)
class ModelRecord:
    """A released model: its name and the sha256 of its weights."""

    name: str
    sha256: str


@dataclass(frozen=True)
class AlignmentRecord:
    """The affine daily -> planning. shift_mm: LPS, of the middle of the region; shift: the same in words.
    quality: correlation of both scans after it. matrix: its 4 x 4 numbers row by row, LPS mm; none in older files."""

    shift_mm: tuple[float, float, float]
    rotation_degrees: float
    scale: float
    quality: float | None = None
    shift: str = ""
    matrix: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "shift", self.shift or in_words(self.shift_mm))


@dataclass(frozen=True)
class RoiRecord:
    """One ROI: the facts (qa.checks.RoiFacts says what each is), and the verdict. shift_mm is LPS, shift in words."""

    name: str
    organ: str
    light: str
    reasons: tuple[str, ...]
    before_ml: float
    after_ml: float
    shift_mm: tuple[float, float, float]
    shift: str
    jacobian_min: float
    jacobian_max: float
    jacobian_p01: float
    jacobian_p99: float
    folding: float
    disagreement_mm: float | None
    image_match: float | None
    parts_before: int
    parts_after: int
    touches_border: bool
    out_of_view: float = 0.0
    order: str = ""
    edge_mean_mm: float | None = None
    edge_p95_mm: float | None = None

    @staticmethod
    def of(facts: RoiFacts, verdict: Verdict) -> RoiRecord:
        """The record of what was measured and how it was judged."""
        return RoiRecord(light=verdict.light, reasons=verdict.reasons, shift=in_words(facts.shift_mm), **asdict(facts))


@dataclass(frozen=True)
class Manifest:
    """Everything about one run.

    written: ISO 8601 time with offset. versions: name -> version (versions_here()). settings: Settings.as_dict().
    planning, daily: the two scans; structures_uid: SOP instance UID of the planning structure set. model: None where
    no network took part. seconds: per stage, in order. left_out: ROI name -> why it was not brought over.
    light, reasons: of the whole fraction. notes: what reading the input left out or mended on the way, in words.
    """

    written: str
    versions: dict[str, str]
    settings: dict[str, Any]
    planning: ScanRecord
    daily: ScanRecord
    structures_uid: str
    outputs: tuple[OutputRecord, ...]
    alignment: AlignmentRecord
    rois: tuple[RoiRecord, ...]
    light: str
    reasons: tuple[str, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict[str, str])
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    model: ModelRecord | None = None
    notes: tuple[str, ...] = ()
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        for light in (self.light, *(roi.light for roi in self.rois)):
            if light not in LIGHTS:
                raise InputRefused(f"light {light!r}", where="manifest", allowed=", ".join(LIGHTS))

    def as_dict(self) -> dict[str, Any]:
        """Nested plain values for JSON; what is not a finite number becomes null."""
        return cast("dict[str, Any]", _plain(asdict(self)))

    def as_json(self) -> str:
        """The text of the file."""
        return json.dumps(self.as_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file. Raises InputRefused where it is none, or of another schema."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputRefused("not a readable manifest", where=path.name, allowed="a file that recontour wrote") from error
    return manifest_from(raw, path.name)


def manifest_from(raw: Any, where: str = "manifest") -> Manifest:
    """The manifest from its plain values (as_dict). Raises InputRefused."""
    schema = cast("dict[str, Any]", raw).get("schema") if isinstance(raw, dict) else None
    if schema != SCHEMA:
        raise InputRefused(f"schema {schema!r}", where=where, allowed=f"schema {SCHEMA}")
    try:
        return _manifest(cast("dict[str, Any]", raw))
    except (KeyError, TypeError, ValueError) as error:
        raise InputRefused("parts are missing or of another kind", where=where, allowed="a whole manifest") from error


def write_manifest(manifest: Manifest, path: Path, overwrite: bool = False) -> None:
    """The file, whole or not at all: written beside, synced, renamed. Raises OutputRefused."""
    if path.exists() and not overwrite:
        raise OutputRefused("the file exists", where=path.name, allowed="another name, or --overwrite")
    try:
        write_text(path, manifest.as_json())
    except OSError as error:
        raise OutputRefused("the file could not be written", where=path.name, allowed="a folder with room") from error


def write_text(path: Path, text: str) -> None:
    """UTF-8 into `path`, whole or not at all; replaces what is there. Raises OSError, and then leaves no trace."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o666 & ~UMASK)  # mkstemp's own 600 would hide it from colleagues
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def versions_here(libraries: tuple[str, ...] = _LIBRARIES) -> dict[str, str]:
    """recontour, Python and the libraries that shape a result, with their versions; what is not there is left out."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import recontour

    out = {"recontour": recontour.__version__, "python": platform.python_version()}
    for library in libraries:
        try:
            out[library] = version(library)
        except PackageNotFoundError:
            continue
    return out


def _manifest(raw: dict[str, Any]) -> Manifest:
    values = {f.name: raw[f.name] for f in fields(Manifest)}
    values["planning"], values["daily"] = (ScanRecord(**raw[name]) for name in ("planning", "daily"))
    values["outputs"] = tuple(OutputRecord(**output) for output in raw["outputs"])
    values["alignment"] = AlignmentRecord(**_tupled(raw["alignment"]))
    values["rois"] = tuple(RoiRecord(**_known(_tupled(roi))) for roi in raw["rois"])
    values["model"] = None if raw["model"] is None else ModelRecord(**raw["model"])
    values["reasons"], values["notes"] = tuple(raw["reasons"]), tuple(raw["notes"])
    return Manifest(**values)


def _known(roi: Mapping[str, Any]) -> dict[str, Any]:
    """Without what was once measured of an ROI and is no more."""
    return {f.name: roi[f.name] for f in fields(RoiRecord) if f.name in roi}


def _tupled(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(cast("list[Any]", v)) if isinstance(v, list) else v for name, v in raw.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in cast("list[Any]", value)]
    return None if isinstance(value, float) and not isfinite(value) else value
