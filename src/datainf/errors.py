"""Every error that datainf raises on purpose.

    DatainfError
    ├── InputError            what was given cannot be used
    │   ├── DataError         a data file, a row or a column
    │   ├── ModelError        a base model, an adapter, or the two together
    │   ├── TrainingError     a person's own training failed, or left no adapter
    │   ├── OptionError       an option's value
    │   └── PlanError         a run that the disk or the memory has no room for
    ├── CoverageError         a trainable parameter has no per-example gradient rule
    ├── VerificationError     batched gradients differ from one-at-a-time autograd
    ├── NonFiniteError        a loss or a gradient is not finite
    ├── StoreError            a gradient store or a scores file cannot be used
    │   ├── StoreMismatchError    it was made of other weights, data or settings
    │   ├── StoreCorruptError     its bytes are not the ones that were written
    │   ├── StoreIncompleteError  its collection has not finished
    │   └── StoreBusyError        another process is writing to it
    ├── PeerError             another of the processes that work together has stopped
    └── WriteError            the disk refused (full, read-only, no permission)

Each message says what happened, the likely cause and what to try; where data is concerned, it
names the file and the row. No message says a secret of the environment or of an address.
"""

from __future__ import annotations

from datainf.redaction import beginning, redacted


class DatainfError(Exception):
    """Base of all errors raised on purpose.

    `remedy`, where there is one, says what to try; it ends the message.
    """

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        self.message = message = redacted(message)
        self.remedy = remedy = None if remedy is None else redacted(remedy)
        super().__init__(message if remedy is None else f"{message}\nTry: {remedy}")


class InputError(DatainfError):
    """What was given cannot be used."""


class DataError(InputError):
    """A data file, a row or a column cannot be used."""


class ModelError(InputError):
    """A base model or an adapter cannot be used, or the two do not fit together."""


class TrainingError(InputError):
    """A person's own training failed, or left no adapter."""


class OptionError(InputError, ValueError):
    """An option has a value outside what it takes."""


class PlanError(InputError):
    """A run that the disk or the memory has no room for; the remedy names what would make it
    fit."""


class CoverageError(DatainfError):
    """A parameter's gradients cannot be told apart by example in a batch; none is skipped."""


class VerificationError(DatainfError):
    """Batched per-example gradients differ from one-at-a-time autograd."""


class NonFiniteError(DatainfError):
    """A loss or a gradient is NaN or infinite; the message names the examples."""


class StoreError(DatainfError):
    """A gradient store or a scores file cannot be used."""


class StoreMismatchError(StoreError):
    """A store was made of other weights, other data or other settings than those asked for."""


class StoreCorruptError(StoreError):
    """A file's bytes are not the ones that were written."""


class StoreIncompleteError(StoreError):
    """The collection of a store has not finished."""


class StoreBusyError(StoreError):
    """Another process is writing to the store."""


class PeerError(DatainfError):
    """Another of the processes that work on a run together has stopped; it says why."""


class WriteError(DatainfError):
    """The disk refused a write: it is full, read-only or not ours."""


def in_a_line(error: Exception) -> str:
    """What went wrong, be it raised by datainf or by what it stands on."""
    if isinstance(error, DatainfError):
        return error.message
    return beginning(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}", 200)


def without_path(error: DatainfError, path: object) -> str:
    """What an error says of a file, for a message that names the file itself."""
    return error.message.removeprefix(redacted(str(path))).removeprefix(":").removeprefix(" ")


def first_line(error: Exception, lines: int = 1) -> str:
    """What a library's error says first, or what kind it is."""
    text = " ".join(line.strip() for line in str(error).strip().splitlines()[:lines])
    return beginning(text, 300) or type(error).__name__
