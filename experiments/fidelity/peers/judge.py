"""Other tools' scores, held against the same trainings as ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datainf.evaluation import detection_auc, judge
from datainf.evaluation.ways import OWN, Scored
from datainf.files import write_atomically
from experiments.fidelity.likeness import folder_of
from experiments.fidelity.peers import PEERS
from experiments.fidelity.problem import Problem
from experiments.fidelity.settings import SETTINGS
from experiments.fidelity.study import held_out, plain_values, rounded
from experiments.fidelity.truth import half_losses


def judge_peers(problem: Problem, scores: Path, out: Path) -> dict[str, Any]:
    """Judge every `.npz` of a folder of scores, and write `peers.json` beside the result; what is
    there of other tools stays."""
    settings, folder = SETTINGS[problem.name], folder_of(problem.name, out)
    halves, losses = half_losses(problem, folder, settings.parts, list(settings.seeds))
    chosen_on = held_out(len(problem.query))
    path = folder / PEERS
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for file in sorted(scores.glob("*.npz")):
        with np.load(file) as arrays:
            about = json.loads(str(arrays["about"]))
            values = {name: torch.from_numpy(arrays[name]) for name in arrays if name != "about"}
        found[file.stem] = about
        if OWN in values:
            own = values.pop(OWN)
            found[file.stem]["lds"] = plain_values(
                judge(Scored(own, values), halves, losses, chosen_on)
            )
            if problem.flipped is not None:
                found[file.stem]["auc"] = detection_auc(-own.double().mean(dim=0), problem.flipped)
    write_atomically(path, (json.dumps(rounded(found), indent=1) + "\n").encode())
    return found
