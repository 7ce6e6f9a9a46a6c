"""A prompt + completion run on GSM8K rows, from files alone. Writes benchmarks/gsm8k.md.

Fine-tunes the demo's tiny base with LoRA on questions and answers, then runs `datainf attribute`
with the data's own column names. The base is far too small to do the maths; the run shows the
path, its times, and what is cut to the model's limit.

    python -m benchmarks.gsm8k --data FOLDER     # holds train.jsonl and test.jsonl of GSM8K
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import describe_machine
from datainf.demos.demo import BASE
from datainf.demos.finetune import Tuning, finetune

LONGEST_QUESTION = 400
"""Characters; the base reads 512 bytes, and a question that fills them leaves nothing to learn."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--queries", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, times = Path(name), {}
        for source, target, count in (
            ("train", "train", options.rows), ("test", "query", options.queries)
        ):  # fmt: skip
            lines = (options.data / f"{source}.jsonl").read_text(encoding="utf-8").splitlines()
            short = [x for x in lines if len(json.loads(x)["question"]) <= LONGEST_QUESTION]
            (folder / f"{target}.jsonl").write_text("\n".join(short[:count]), encoding="utf-8")
        started = time.perf_counter()
        finetune(str(BASE), renamed(folder), folder / "adapter", Tuning(2, 3e-3))
        times["LoRA fine-tuning"] = time.perf_counter() - started
        started = time.perf_counter()
        done = subprocess.run(
            [
                sys.executable, "-m", "datainf", "attribute", "--adapter", "adapter",
                "--train", "train.jsonl", "--query", "query.jsonl", "--out", "run",
                "--prompt-column", "question", "--completion-column", "answer", "--top", "1",
            ],
            cwd=folder, check=True, capture_output=True, text=True,
        )  # fmt: skip
        times["datainf attribute (whole process)"] = time.perf_counter() - started
        said = [line for line in done.stderr.splitlines() if "gradients of" in line]
        top = json.loads((folder / "run" / "top.jsonl").read_text().splitlines()[0])
        write(options, times, said, top)


def renamed(folder: Path) -> Path:
    """The training rows under the names that the demo's fine-tuning reads."""
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    path = folder / "finetune.jsonl"
    path.write_text(
        "\n".join(json.dumps({"prompt": r["question"], "completion": r["answer"]}) for r in rows)
    )
    return path


def write(options: argparse.Namespace, times: dict, said: list[str], top: dict) -> None:
    text = "\n".join(
        [
            "# GSM8K, prompt + completion",
            "",
            f"The demo's tiny base, LoRA on {options.rows} rows of GSM8K (MIT, "
            f"openai/grade-school-math); {options.queries} queries. {describe_machine()}",
            "",
            *(f"    {line}" for line in said),
            "",
            "| stage | seconds |",
            "|---|---|",
            *(f"| {stage} | {seconds:.1f} |" for stage, seconds in times.items()),
            "",
            "The first query and its most helpful training example:",
            "",
            *(f"> {line}" for line in top["query"].splitlines()),
            "",
            f"score {top['helpful'][0]['score']:+.4g}, {top['helpful'][0]['where']}",
            "",
            *(f"> {line}" for line in top["helpful"][0]["text"].splitlines()),
            "",
            "Made by `python -m benchmarks.gsm8k --data FOLDER`.",
            "",
        ]
    )
    (Path(__file__).parent / "gsm8k.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
