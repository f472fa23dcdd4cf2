"""A run's folder as training leaves it, without any training, and the small pairs that it was validated on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from recontour.network.architectures import build_network
from recontour.train.checkpoint import to_bytes
from recontour.train.dataset import PARTS
from recontour.train.settings import DataSettings, NetworkSettings, OptimiserSettings, TrainSettings


def write_pairs(data: Path, organs: tuple[str, ...] = ("rectum", "prostate")) -> None:
    """One training patient with two days, and two validation patients with one and two."""
    rng = np.random.default_rng(3)
    for split, name in (("training", "ab1-1"), ("training", "ab1-2"), ("validation", "cd2-1"), ("validation", "ef3-1"),
                        ("validation", "ef3-2")):  # fmt: skip
        hu = rng.integers(-200, 200, (2, 20, 24, 22)).astype(np.int16)
        labels = np.zeros(hu.shape, np.uint8)
        labels[0, 5:12, 6:14, 4:13], labels[1, 5:12, 7:15, 4:13] = 4, 4
        labels[0, 8:15, 15:21, 13:20], labels[1, 9:16, 15:21, 13:20] = 2, 2
        folder = data / split / name
        folder.mkdir(parents=True)
        for part, array in zip(PARTS, (*hu, *labels), strict=True):
            np.save(folder / f"{part}.npy", array)
        (folder / "pair.json").write_text(json.dumps({"organs": organs}))


def settings_of(data: Path, architecture: str = "reg") -> TrainSettings:
    return TrainSettings(
        seed=11,
        steps=900,
        patch_voxels=48,
        batch=3,
        hu_window=(-900.0, 800.0),
        data=DataSettings("prepared", str(data)),
        network=NetworkSettings(architecture),
        optimiser=OptimiserSettings(learning_rate=2e-4, head_rate=5.0),
    )


def write_run(run: Path, settings: TrainSettings, step: int = 700) -> torch.nn.Module:
    """The folder; returns the network whose weights lie in it."""
    torch.manual_seed(5)
    network = build_network(settings.network.architecture).eval()
    run.mkdir()
    told = {**settings.as_dict(), "processes": 1, "recontour": "0.0.9"}
    (run / "settings.json").write_text(json.dumps(told))
    about = {"step": str(step), "validation_msd_mm": "1.25"}
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    (run / "best.safetensors").write_bytes(to_bytes(tensors, about))
    (run / "log.csv").write_text("step,seconds,loss\n350,60.2,3\n700,120.4,2\n900,180.9,1\n")
    rows = [f"{at},cd2-1,affine,prostate,1,2,0.9" for at in (350, 700, 700, 900)]
    (run / "validation.csv").write_text("\n".join(["step,pair,path,organ,msd_mm,hd95_mm,dice", *rows]) + "\n")
    return network
