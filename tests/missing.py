"""A module that cannot be found, whatever is installed: for `sys.meta_path`."""

from __future__ import annotations


class Missing:
    """Finds that a module is missing."""

    def __init__(self, name):
        self.name = name

    def find_spec(self, name, *_):
        if name == self.name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
