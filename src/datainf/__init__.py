"""datainf: which training examples made my fine-tuned model say this?

task = datainf.tasks.CausalLM(tokenizer)
train = datainf.collect(model, train_rows, task, out="run/train")
query = datainf.collect(model, query_rows, task, out="run/query")
drawn = datainf.collect_curvature(model, train_rows, task, out="run/curvature")
scores = datainf.attribute(train, query, curvature=drawn)
scores.top(query=0, k=10)

Names are loaded at first use: torch, which nearly all of them need, takes a second.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datainf import errors, estimators, tasks
    from datainf.attribution import attribute, attribute_top, self_influence, sweep
    from datainf.gradients.collect import collect
    from datainf.gradients.curvature import collect_curvature
    from datainf.linalg import Damping
    from datainf.scores import Scores, TopScores, load_scores
    from datainf.store import GradientStore

__version__ = "0.1.0"

__all__ = [
    "Damping",
    "GradientStore",
    "Scores",
    "TopScores",
    "attribute",
    "attribute_top",
    "collect",
    "collect_curvature",
    "errors",
    "estimators",
    "load_scores",
    "self_influence",
    "sweep",
    "tasks",
]

_HOMES = {
    "Damping": "datainf.linalg",
    "GradientStore": "datainf.store",
    "Scores": "datainf.scores",
    "TopScores": "datainf.scores",
    "attribute": "datainf.attribution",
    "attribute_top": "datainf.attribution",
    "collect": "datainf.gradients.collect",
    "collect_curvature": "datainf.gradients.curvature",
    "load_scores": "datainf.scores",
    "self_influence": "datainf.attribution",
    "sweep": "datainf.attribution",
}
"""Where each name is defined that is no module itself."""

if not TYPE_CHECKING:  # a type checker would take it to have any name

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name in _HOMES:
            found = getattr(import_module(_HOMES[name]), name)
        else:
            found = import_module(f"datainf.{name}")
        globals()[name] = found  # not asked for again
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
