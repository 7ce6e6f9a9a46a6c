"""Several stores of the same weights, read as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from datainf.errors import StoreMismatchError
from datainf.fingerprint import digest
from datainf.second_moments import moments_digest
from datainf.store.gradient_store import GradientStore
from datainf.store.shards import ShardFile, ShardPart


def joined(stores: Sequence[GradientStore]) -> GradientStore:
    """The examples of all of them, one store's after another's, read where they lie. Where the ids
    of each only count rows, they go on counting. What a store has beside its rows is the first's.

    Raises `StoreMismatchError` for stores of other weights, parameters, tasks, dtypes or second
    moments than the first, or with an id that another has.
    """
    first = stores[0]
    if len(stores) == 1:
        return first
    files, start = list[ShardFile | ShardPart](), 0
    for store in stores:
        _require_like(first, store)
        for file in store.files:
            files.append(replace(file, shard=replace(file.shard, start=start)))
            start += file.shard.rows
    index = replace(
        first.index, n=start, shards=[file.shard for file in files], parts=[],
        fingerprints=first.index.fingerprints
        | {"data": digest([store.index.fingerprints["data"] for store in stores])},
    )  # fmt: skip
    checksums = [checksum for store in stores for checksum in store.checksums]
    return GradientStore(first.path, index, files, _ids(stores), checksums)


def _require_like(first: GradientStore, store: GradientStore) -> None:
    first.require_same_model(store)
    moments = [one.second_moments and moments_digest(one.second_moments) for one in (first, store)]
    for what, own, other in (
        ("tasks", first.index.fingerprints["task"], store.index.fingerprints["task"]),
        ("dtypes", first.index.dtype, store.index.dtype),
        ("second moments", *moments),
    ):
        if own != other:
            raise StoreMismatchError(
                f"{first.path} and {store.path} cannot be read as one: they are of other {what}",
                remedy="collect both in the same way",
            )


def _ids(stores: Sequence[GradientStore]) -> list[int | str]:
    if all(store.ids == list(range(len(store))) for store in stores):
        return list(range(sum(map(len, stores))))
    owners = dict[str, GradientStore]()  # tables know ids as texts
    for store in stores:
        texts = list(map(str, store.ids))
        for identifier in texts:
            if identifier in owners:
                raise StoreMismatchError(
                    f"{owners[identifier].path} and {store.path} both have an example with the id "
                    f"{identifier!r}",
                    remedy="ids that are unique over all data, or none in any of them",
                )
        owners |= dict.fromkeys(texts, store)
    return [identifier for store in stores for identifier in store.ids]
