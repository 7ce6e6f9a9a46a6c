"""One cell of the image experiments: its figures as JSON, its contact sheet as a picture.

python -m experiments.images --task style --data FOLDER --sheet style.png > style.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

from experiments.images.cell import SHEET, run
from experiments.images.settings import DESK, QUICK
from experiments.images.tasks import TASKS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", choices=TASKS, default="style")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, help="the folder of all data; without it, QUICK")
    parser.add_argument("--sheet", type=Path, help="where to put the contact sheet, of seed 0")
    options = parser.parse_args()
    settings = QUICK if options.data is None else replace(DESK, data=options.data)
    with tempfile.TemporaryDirectory() as folder:
        figures = run({"task": options.task, "seed": options.seed}, settings, Path(folder))
        if options.sheet is not None and (Path(folder) / SHEET).exists():
            options.sheet.write_bytes((Path(folder) / SHEET).read_bytes())
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
