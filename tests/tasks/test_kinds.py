"""The two tables of tasks, models' and columns', agree with each other and with the classes."""

from __future__ import annotations

import peft
import pytest
import transformers

from datainf import tasks
from datainf.columns import PARTS
from datainf.conventions import CONVENTIONS, in_words
from datainf.tasks.kinds import KINDS, by_architecture, by_peft_task


def test_both_tables_know_the_same_tasks():
    assert KINDS.keys() == CONVENTIONS.keys()
    for name in CONVENTIONS:
        assert in_words(name).startswith(f"{name}: ")


@pytest.mark.parametrize("cls", [
    tasks.CausalLM, tasks.ImageClassification, tasks.Preference, tasks.Seq2Seq,
    tasks.SequenceClassification, tasks.TextToImage, tasks.TokenClassification,
])  # fmt: skip
def test_a_task_stands_in_the_table_under_its_own_name(cls):
    assert KINDS[cls.name].task == cls.__name__


def test_classes_and_task_types_are_those_of_transformers_and_peft():
    for kind in KINDS.values():
        assert kind.model is None or hasattr(transformers, kind.model)
        assert set(kind.peft) <= {member.value for member in peft.TaskType}


def test_every_part_that_has_an_option_is_a_part_of_some_task():
    parts = {
        part for layouts in CONVENTIONS.values() for layout in layouts for part in layout.parts
    }
    assert set(PARTS) - {"id"} <= parts


@pytest.mark.parametrize(("class_name", "encoder_decoder", "expected"), [
    ("LlamaForCausalLM", False, ("causal-lm", "preference")),
    ("GPT2LMHeadModel", False, ("causal-lm", "preference")),
    ("T5ForConditionalGeneration", True, ("seq2seq",)),
    ("T5WithLMHeadModel", True, ("seq2seq",)),
    ("Qwen2VLForConditionalGeneration", False, ()),
    ("BartForSequenceClassification", True, ("classification",)),
    ("RobertaForTokenClassification", False, ("token-classification",)),
    ("ViTForImageClassification", False, ("image-classification",)),
    ("BertForMaskedLM", False, ()),
    ("", False, ()),
])  # fmt: skip
def test_architectures(class_name, encoder_decoder, expected):
    assert by_architecture(class_name, encoder_decoder=encoder_decoder) == expected


def test_task_types():
    assert by_peft_task("CAUSAL_LM") == ("causal-lm", "preference")
    assert by_peft_task("QUESTION_ANS") == ()
