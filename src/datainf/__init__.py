"""datainf: which training examples made my fine-tuned model say this?

task = datainf.tasks.CausalLM(tokenizer)
train = datainf.collect(model, train_rows, task, out="run/train")
query = datainf.collect(model, query_rows, task, out="run/query")
drawn = datainf.collect_curvature(model, train_rows, task, out="run/curvature")
scores = datainf.attribute(train, query, curvature=drawn)
scores.top(query=0, k=10)
"""

from datainf import errors, estimators, tasks
from datainf.attribution import attribute, self_influence, sweep
from datainf.gradients import collect, collect_curvature
from datainf.linalg import Damping
from datainf.scores import Scores
from datainf.store import GradientStore

__version__ = "0.1.0"

__all__ = [
    "Damping",
    "GradientStore",
    "Scores",
    "attribute",
    "collect",
    "collect_curvature",
    "errors",
    "estimators",
    "self_influence",
    "sweep",
    "tasks",
]
