"""Stores in object storage: s3://, gs:// and whatever else fsspec knows.

`place` makes of what a person gave a path, a `pathlib.Path` or one that answers as it does; the
others are what `datainf.files` and a store's shards do otherwise where a path `is_remote`:
`objects` put and fetched whole, a `cache` of shards on this machine, and a `lock` that no system
holds. The libraries that do it are imported by `place`, for a URL.
"""

from datainf.remote.places import forbid_url, is_remote, place

__all__ = ["forbid_url", "is_remote", "place"]
