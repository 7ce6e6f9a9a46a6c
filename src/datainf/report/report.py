"""report.html of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from datainf import words
from datainf.errors import in_a_line
from datainf.files import make_folder, write_atomically
from datainf.progress import Progress, Silent
from datainf.provenance import PAGE, name_in, recorder
from datainf.report.contents import Contents
from datainf.report.insight import NO_MODEL, gain_insight
from datainf.report.page import is_page, packed, page
from datainf.report.subject import Subject

REPORT = "report.html"
TOP = 10
"""So many examples at each end of a query's order are on the page, unless told otherwise."""
READ = 300
"""So many training examples are read again for the tokens that scores come from, unless told
otherwise."""
MOST_BYTES = 20_000_000
NOTES = 2_000
"""So many of them are for a title, and for the sentences that say what is left out."""
TEXTS = 0.75
"""Of the most bytes what is not told of why scores are so may have, and no more is cut of it."""
SIZES = ((4000, 160), (1500, 128), (600, 96), (250, 64), (100, 48))
"""Characters of a text and pixels of a picture's side, tried in this order until there is room; and
then no pictures, and fewer examples of either end."""


def write_report(
    run: Path | str,
    *,
    scored: Path | str | None = None,
    query_store: str | None = None,
    out: Path | str | None = None,
    top: int = TOP,
    read: int | None = READ,
    model: bool = True,
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write a run's page, note it in the run's record, and return its path.

    Args:
        run: The folder of a finished run.
        scored: That of other scores of the same examples, or of other queries, as `datainf score`
            leaves them; by default the run's own.
        query_store: The store of those queries, where it is in object storage.
        out: The file; by default `report.html` beside the scores.
        top: Training examples of either end that are shown of each query.
        read: How many training examples are read again by the model, to see which of their tokens
            the scores come from: those of the first queries. None: all that are shown.
        model: Whether to load the model at all. Without it there are no such parts, and not what
            the model says.
        progress, say: Where to show how far it is, and what is left out.

    Raises `DatainfError`s: a folder that is no run, data that have changed, a disk that refuses.
    """
    folder, other = Path(run), None if scored is None else Path(scored)
    is_own = other is None or other.absolute() == folder.absolute()
    named = None if other is None or is_own else name_in(folder, other)
    asked = {"scored": named, "top": top, "read": read, "model": model}
    note = recorder(folder, **{PAGE: asked})
    subject = Subject.open(folder, other, query_store)
    path = Path(out) if out is not None else subject.scored / REPORT
    in_its_place = path.name == REPORT and subject.folder in path.parents  # damaged, perhaps
    subject.require_free(path, lambda there: in_its_place or is_page(there))
    make_folder(path.parent)
    contents = Contents(subject, top)
    say = _noting(contents.notes, say)
    pairs = contents.pairs()
    chosen, left = _first_read(contents, read) if model else (set(), 0)
    progress = progress or Silent()
    try:
        contents.insight = gain_insight(
            subject, pairs, chosen, contents.shown, with_model=model, progress=progress, say=say
        )
    except Exception as error:  # no base, no memory: what is on the disk is still worth a page
        if not model:
            raise
        say(f"{NO_MODEL}: {in_a_line(error)}")
        contents.insight = gain_insight(
            subject, pairs, set(), contents.shown, with_model=False, progress=progress, say=say
        )
    if left and any(contents.insight.streams.values()):
        say(
            f"{words.count(left, 'training example')} that the page shows are not read again for "
            "their tokens' parts; --tokens all reads them too"
        )
    text = _small_enough(contents, say)
    write_atomically(path, text.encode())
    note([path])
    return path


def _first_read(contents: Contents, most: int | None) -> tuple[set[tuple[int, int]], int]:
    """The pairs of the first queries that so many training examples have a part in; and how many
    examples are left."""
    rows, pairs = set[int](), set[tuple[int, int]]()
    everything = {row for helpful, harmful in contents.ends for row, _ in (*helpful, *harmful)}
    for query, (helpful, harmful) in enumerate(contents.ends):
        own = {row for row, _ in (*helpful, *harmful)}
        if most is None or len(rows | own) <= most:
            rows |= own
            pairs |= {(query, row) for row in own}
        else:  # of later queries what is read anyway
            pairs |= {(query, row) for row in own & rows}
    return pairs, len(everything - rows)


def _noting(notes: list[str], say: Callable[[str], None]) -> Callable[[str], None]:
    """What is said to who runs the command is on the page too, for who reads it."""

    def both(text: str) -> None:
        notes.append(text)
        say(text)

    return both


def _small_enough(contents: Contents, say: Callable[[str], None]) -> str:
    """The page: texts are cut where they alone would have nearly all of its bytes, and what is told
    of why scores are so, of the first queries by token and of more by tensor, has the rest. One
    that is too large for all that says how large it is."""
    top, parts = contents.top, _fitted(contents)
    room = MOST_BYTES - NOTES - _bytes_of(parts)
    aim = f"below {words.size(MOST_BYTES)}" if room >= 0 else "small"
    if cut := _cut(contents, top):
        say(f"{words.listed(cut)} in {REPORT}, to keep it {aim}; datainf view shows all of them")
    _tell_no_more(contents, room, aim, say)
    text = _whole(contents, parts)
    if (size := len(text.encode())) > MOST_BYTES:
        say(f"{REPORT} has {words.size(size)}, and a browser may be slow with more than "
            f"{words.size(MOST_BYTES)}; datainf view loads only what is looked at")  # fmt: skip
        text = _whole(contents, parts)
    return text


def _fitted(contents: Contents) -> dict[str, bytes]:
    """The parts without the reasons, cut until there is room for them. Pictures, and examples of
    either end, go only where there would else be no room for all the others, and not for the sake
    of reasons."""
    for limit, side in SIZES:
        contents.resize(limit=limit, side=side)
        parts = _without_reasons(contents)
        if _bytes_of(parts) <= TEXTS * MOST_BYTES:
            return parts
    while _bytes_of(parts) > MOST_BYTES - NOTES:
        if contents.has_pictures and contents.train.side is not None:
            contents.resize(limit=limit, side=None)
        elif contents.top > 1:
            contents.show_fewer(contents.top // 2)
        else:
            break
        parts = _without_reasons(contents)
    return parts


def _without_reasons(contents: Contents) -> dict[str, bytes]:
    """All parts as they are packed; those of why scores are so are empty."""
    return {
        name: packed({} if name.startswith("why-") else contents.part(name))
        for name in contents.names()
    }


def _bytes_of(parts: Mapping[str, bytes]) -> int:
    """Those of a page of these parts."""
    return len(page("", parts.items()).encode())


def _whole(contents: Contents, parts: Mapping[str, bytes]) -> str:
    """With the reasons, and with an overview that says by now what is left out."""
    late = (name for name in parts if name == "overview" or name.startswith("why-"))
    last: dict[str, Any] = {name: contents.part(name) for name in late}
    return page(f"{contents.subject.name} · datainf", {**parts, **last}.items())


def _cut(contents: Contents, top: int) -> list[str]:
    """What was done to the examples, of which so many of either end were to be shown."""
    found, limit = list[str](), contents.train.limit
    if limit < SIZES[0][0]:
        found.append(f"texts are cut to {limit} characters")
    if contents.train.side is None:
        found.append("pictures are left out")
    if contents.top < top:
        some = words.count(contents.top, "training example")
        found.append(f"each query has no more than {some} of either end")
    return found


def _tell_no_more(contents: Contents, room: int, aim: str, say: Callable[[str], None]) -> None:
    """Have what is told of queries fit into so many bytes: their parts by tensor, of the first
    queries, and then by token, of the first of these. `aim`: what the page is to be for it."""
    m = contents.told
    read = _sizes(contents) if contents.knows_tokens else None
    contents.read = 0
    told = _sizes(contents)
    more = [own - without for own, without in zip(read or told, told, strict=True)]
    contents.told = _fitting(told, room)
    contents.read = _fitting(more[: contents.told], room - sum(told[: contents.told]))
    for count, sizes, what in (
        (contents.told, told, "tensor"), (contents.read, more, "token"),
    ):  # fmt: skip
        if count < m and any(sizes[count:]):
            first = words.count(count, "query", "queries")
            some = f"of the first {first} alone" if count else "left out"
            say(f"parts of scores by {what} are {some}, to keep {REPORT} {aim}; datainf view has "
                "all of them")  # fmt: skip


def _sizes(contents: Contents) -> list[int]:
    """Bytes of what is told of each query."""
    whys = map(contents.why, range(contents.told))
    return [len(packed(why)) if why else 0 for why in whys]


def _fitting(sizes: Sequence[int], room: int) -> int:
    """How many of the first have no more bytes than that together."""
    total = 0
    for count, size in enumerate(sizes):
        total += size
        if total > room:
            return count
    return len(sizes)
