"""For the reference: a method that overrides another and says nothing more of itself is shown with
the words of that one, as `help` shows it; mkdocs.yml names this file."""

from __future__ import annotations

from typing import Any

from griffe import Class, Extension, Module, Object


class InheritedDocstrings(Extension):
    """griffe's own reading, and where a member has no docstring that of the nearest base."""

    def on_package(self, *, pkg: Module, **_: Any) -> None:
        _in(pkg)


def _in(holder: Object) -> None:
    for member in holder.members.values():
        if member.is_alias:
            continue
        if isinstance(member, Class):
            _inherit(member)
        if isinstance(member, Class | Module):
            _in(member)


def _inherit(own: Class) -> None:
    bases = own.mro()
    for name, member in own.members.items():
        if member.is_alias or member.docstring is not None:
            continue
        above = (base.members[name] for base in bases if name in base.members)
        member.docstring = next((one.docstring for one in above if one.docstring), None)
