"""Tasks: a batch → one loss an example."""

from datainf.tasks.base import Task
from datainf.tasks.causal_lm import CausalLM
from datainf.tasks.classification import SequenceClassification
from datainf.tasks.custom import Custom
from datainf.tasks.image_classification import ImageClassification
from datainf.tasks.preference import Preference
from datainf.tasks.seq2seq import Seq2Seq
from datainf.tasks.text_to_image import TextToImage
from datainf.tasks.token_classification import TokenClassification
from datainf.tasks.trainer import FromTrainer

__all__ = [
    "CausalLM",
    "Custom",
    "FromTrainer",
    "ImageClassification",
    "Preference",
    "Seq2Seq",
    "SequenceClassification",
    "Task",
    "TextToImage",
    "TokenClassification",
]
