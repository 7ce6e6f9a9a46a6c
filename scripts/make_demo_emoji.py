"""src/datainf/demos/emoji: the pictures of `datainf demo images`, from a folder of Noto Emoji.

    python scripts/make_demo_emoji.py --data FOLDER

FOLDER has metadata.jsonl with file_name, style, caption and subgroup, and the pictures of the style
`noto`, 64 × 64 on white.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

OUT = Path(__file__).parents[1] / "src" / "datainf" / "demos" / "emoji"
OF_A_KIND = 16
KINDS = {
    "face": ["face-smiling", "face-concerned"],
    "fruit": ["food-fruit"],
    "vehicle": ["transport-ground"],
}
LEFT_OUT = {
    "olive", "coconut", "upside-down face", "melting face", "station", "railway car", "monorail",
    "mountain railway", "tram car", "locomotive", "high-speed train", "metro",
}  # fmt: skip
"""Such as are hard to tell at 32 pixels."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    folder = parser.parse_args().data
    lines = (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["style"] == "noto"]
    OUT.mkdir(parents=True, exist_ok=True)
    kept = []
    for kind, subgroups in KINDS.items():
        own = [r for r in rows if r["subgroup"] in subgroups and r["caption"] not in LEFT_OUT]
        for row in own[:OF_A_KIND]:
            name = Path(row["file_name"]).name
            shutil.copyfile(folder / row["file_name"], OUT / name)
            text = f"{row['caption']}, {kind}"
            kept.append({"file_name": name, "id": row["caption"], "text": text, "kind": kind})
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
    (OUT / "metadata.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
