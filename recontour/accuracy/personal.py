"""A model for each of some men, trained on nothing but his planning scan, as before a first fraction."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from recontour.accuracy.pairs import Man
from recontour.accuracy.request import AccuracyRequest
from recontour.disk import alone
from recontour.errors import UsageError
from recontour.settings import Settings

if TYPE_CHECKING:
    from recontour.network.released import ReleasedModel

_ENDED, _MADE = "ended.json", "made"


def personal_model(
    man: Man, request: AccuracyRequest, settings: Settings, say: Callable[[str], None] | None = None
) -> tuple[ReleasedModel, str]:
    """His model, trained where it is not there yet, and what the table has to say of it.

    Where training did not help, `recontour personalize` writes nothing: then it is the model that it began with, as
    in a clinic. Kept in request.personal_folder; two processes do not train one man's twice. The motions it learns
    from and is chosen by are of train.patient's seeds, never those of test days. Raises RecontourError, and
    KeyboardInterrupt where a signal broke the training off, which goes on in the next call.
    """
    from recontour.network.released import open_model

    home = request.personal_folder / re.sub(r"\W+", "-", man.name)
    home.mkdir(parents=True, exist_ok=True)
    with alone(home / "lock"):
        ended = _ended(home)
        if ended is None:
            if say:
                say(f"{man.name}: a model of his own, {request.personal.minutes:g} minutes of training")
            ended = _train(man, request, settings, home)
    if ended["kept"]:
        return open_model(home / "model"), f"personal model, {ended['minutes']:g} minutes"
    return open_model(settings.model), f"personal model not kept ({ended['reason']}): the one it began with"


def _train(man: Man, request: AccuracyRequest, settings: Settings, home: Path) -> dict[str, Any]:
    from recontour.personalize.request import PersonalizeRequest
    from recontour.personalize.work import personalize

    minutes = request.personal.minutes
    asked = PersonalizeRequest(
        planning=_planning(man, request, home),
        out=home / "model",
        model=settings.model,
        minutes=minutes,
        chosen_rois=dict(request.chosen_rois) if man.seed is None else {},
        device=settings.device,
    )
    done = personalize(asked)
    if done.decision is None:
        raise KeyboardInterrupt
    ended = {"kept": done.card is not None, "reason": done.decision.reason, "minutes": minutes, "steps": done.step}
    (home / _ENDED).write_text(json.dumps(ended), encoding="utf-8")
    shutil.rmtree(home / _MADE, ignore_errors=True)
    return ended


def _ended(home: Path) -> dict[str, Any] | None:
    path = home / _ENDED
    return cast("dict[str, Any]", json.loads(path.read_text("utf-8"))) if path.exists() else None


def _planning(man: Man, request: AccuracyRequest, home: Path) -> Path:
    """The folder of his planning scan. A made man's is written first, and lies there until his training has ended: a
    training that was broken off goes on with the same files alone."""
    if man.seed is None:
        if request.planning is None:
            raise UsageError("no planning scan", where=man.name, allowed="--planning")
        return request.planning
    from recontour.phantom.scans import write_phantom

    if not (home / _MADE).exists():
        write_phantom(home / _MADE, man.seed)
    return home / _MADE / "planning"
