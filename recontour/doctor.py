"""What this installation has, and what is wrong with it."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from recontour.errors import RecontourError

_LIBRARIES = ("torch", "itk-elastix", "pydicom", "rt-utils", "numpy", "scipy", "SimpleITK", "python-gdcm")
_LEAST_MEMORY_GB = 4.0


@dataclass(frozen=True)
class Finding:
    """`broken`: recontour cannot do its work until this is mended; `remark` says how."""

    name: str
    found: str
    remark: str = ""
    broken: bool = False


def examine() -> list[Finding]:
    """Every part that a run needs, looked at now."""
    from recontour import __version__

    findings = [Finding("recontour", __version__), Finding("python", platform.python_version())]
    findings += [_library(name) for name in _LIBRARIES]
    findings += [_attempt("elastix", _elastix), _attempt("structure set", _rt_utils), _attempt("device", _device)]
    findings += [_memory(), *_models()]
    return findings


VERIFIED = "verified"


def model_rows(folder: Path | None = None) -> list[list[str]]:
    """One row per model of a folder (default: the released ones): name, network, when released, which path gives which
    organs, and VERIFIED or what is wrong."""
    from recontour.network.released import list_models

    return [
        [
            m.name,
            m.card.architecture if m.card else "?",
            m.card.released if m.card else "?",
            _organs_by_path(m.card.path_per_organ) if m.card else "?",
            m.fault or VERIFIED,
        ]
        for m in list_models(folder)
    ]


def _organs_by_path(path_per_organ: Mapping[str, str]) -> str:
    """As in "blend: bladder, prostate; registration: rectum"."""
    organs: dict[str, list[str]] = {}
    for organ, path in path_per_organ.items():
        organs.setdefault(path, []).append(organ.replace("_", " "))
    return "; ".join(f"{path}: {', '.join(names)}" for path, names in organs.items())


def architecture_rows() -> list[list[str]]:
    """One row per network of the paper, with its parameters counted on the network itself."""
    from recontour.network.architectures import build_network, parameter_count
    from recontour.network.catalogue import ARCHITECTURES

    return [
        [name, row.description, " + ".join(row.heads), f"{parameter_count(build_network(name)):,}"]
        for name, row in ARCHITECTURES.items()
    ]


def _library(name: str) -> Finding:
    try:
        return Finding(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding(name, "missing", "install recontour again, as the README says", broken=True)


def _attempt(name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(name, look())
    except (ImportError, OSError, RecontourError, RuntimeError) as error:
        return Finding(name, f"does not work: {error}", "see the README, Installation", broken=True)


def _elastix() -> str:
    from recontour.align.elastix import load

    load()
    return "loads"


def _rt_utils() -> str:
    from recontour.dicom.rtstruct import rt_utils_helper

    rt_utils_helper()
    return "loads"


def _device() -> str:
    from recontour.network.device import describe_devices

    return describe_devices()


def _memory() -> Finding:
    import psutil

    gb = psutil.virtual_memory().available / 2**30
    short = gb < _LEAST_MEMORY_GB
    return Finding("free memory", f"{gb:.1f} GB", "a run wants about 4 GB" if short else "", broken=False)


def _models() -> list[Finding]:
    from recontour.network.released import list_models

    try:
        found = [
            Finding(f"model {m.name}", m.fault or "verified", "restore its folder" if m.fault else "", bool(m.fault))
            for m in list_models()
        ]
    except RecontourError as error:
        return [Finding("models", error.found, error.allowed, broken=True)]
    return found or [Finding("models", "none", "methods without a network still work")]
