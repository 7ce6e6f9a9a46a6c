"""Make the base of the desk scale, once, for all seeds of both tasks.

    python -m experiments.images.pretrain --data FOLDER      # some 20 minutes of one core

Of the emoji, the 540 that no task uses, in two of the three styles: `openmoji_black` is left out,
so that the weights may be passed on (see the README beside them).
"""

from __future__ import annotations

import argparse
import logging
import time
from dataclasses import replace
from pathlib import Path

from experiments.images.base import FOLDER
from experiments.images.data import for_base
from experiments.images.pretraining import AS_COMMITTED, pretrain

SEEN = ("twemoji", "noto")
SAID_EVERY = 50

log = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder of all data")
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--steps", type=int, help="fewer or more than it was made with")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    settings = AS_COMMITTED
    if options.steps is not None:
        settings = replace(settings, steps=replace(settings.steps, count=options.steps))
    motifs = for_base("emoji", options.data)
    subjects = [(motif.picture(style), motif.caption) for motif in motifs for style in SEEN]
    log.info("%d pictures of %d emoji", len(subjects), len(motifs))
    started, losses = time.perf_counter(), []

    def say(step: int, loss: float) -> None:
        losses.append(loss)
        if (step + 1) % SAID_EVERY == 0:
            mean = sum(losses[-SAID_EVERY:]) / SAID_EVERY
            log.info("step %d of %d, loss %.4f", step + 1, settings.steps.count, mean)

    unet = pretrain(subjects, settings, say)
    unet.half().save_pretrained(options.out)
    log.info("%s: %.0f s", options.out, time.perf_counter() - started)


if __name__ == "__main__":
    main()
