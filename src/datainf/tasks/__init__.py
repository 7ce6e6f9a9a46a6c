"""Tasks: a batch → one loss an example."""

from datainf.tasks.base import Task
from datainf.tasks.causal_lm import CausalLM
from datainf.tasks.classification import SequenceClassification
from datainf.tasks.custom import Custom
from datainf.tasks.text_to_image import TextToImage

__all__ = ["CausalLM", "Custom", "SequenceClassification", "Task", "TextToImage"]
