"""Which task rows are for, and which column plays which part."""

from __future__ import annotations

import pytest

from datainf.columns import Candidates, Columns, decide
from datainf.errors import DataError, OptionError

CAUSAL = Candidates(("causal-lm", "preference"), "the adapter's task type CAUSAL_LM")
SEQ2SEQ = Candidates(("seq2seq",), "the adapter's task type SEQ_2_SEQ_LM")
CLASSIFIER = Candidates(("classification",), "the adapter's task type SEQ_CLS")


@pytest.mark.parametrize(("names", "task", "parts"), [
    ("text", "causal-lm", "text=text"),
    ("prompt completion", "causal-lm", "prompt=prompt completion=completion"),
    ("messages id", "causal-lm", "messages=messages id=id"),
    ("input_ids labels attention_mask", "causal-lm",
     "input_ids=input_ids attention_mask=attention_mask labels=labels"),
    ("text label", "classification", "text=text label=label"),
    ("premise hypothesis labels", "classification",
     "text=premise text_pair=hypothesis label=labels"),
    ("input_ids label", "classification", "input_ids=input_ids label=label"),
    ("id tokens pos_tags ner_tags", "token-classification", "tokens=tokens tags=ner_tags id=id"),
    ("words tags", "token-classification", "tokens=words tags=tags"),
    ("document summary", "seq2seq", "source=document target=summary"),
    ("text summary", "seq2seq", "source=text target=summary"),
    ("question answer", "seq2seq", "source=question target=answer"),
    ("article highlights", "seq2seq", "source=article target=highlights"),
    ("input output", "seq2seq", "source=input target=output"),
    ("prompt chosen rejected", "preference", "prompt=prompt chosen=chosen rejected=rejected"),
    ("chosen rejected", "preference", "chosen=chosen rejected=rejected"),
    ("image label", "image-classification", "image=image label=label"),
    ("img fine label", "image-classification", "image=img label=label"),
    ("pixel_values labels", "image-classification", "pixel_values=pixel_values label=labels"),
    ("image caption", "text-to-image", "image=image text=caption"),
    ("file_name text", "text-to-image", "image=file_name text=text"),
])  # fmt: skip
def test_what_columns_alone_are_for(names, task, parts):
    found = decide(names.split())
    assert found.task == task
    assert found.columns == dict(pair.split("=") for pair in parts.split())
    assert found.why == "the columns of the data"


@pytest.mark.parametrize(("names", "model", "task", "parts"), [
    ("prompt completion", SEQ2SEQ, "seq2seq", "source=prompt target=completion"),
    ("input_ids labels", SEQ2SEQ, "seq2seq", "input_ids=input_ids labels=labels"),
    ("input_ids labels", CLASSIFIER, "classification", "input_ids=input_ids label=labels"),
    ("text label", CAUSAL, "causal-lm", "text=text"),
])  # fmt: skip
def test_the_model_comes_before_the_data(names, model, task, parts):
    found = decide(names.split(), model=model)
    assert (found.task, found.why) == (task, model.sign)
    assert found.columns == dict(pair.split("=") for pair in parts.split())


def test_pairs_make_a_causal_model_a_preference_task_and_that_is_said():
    found = decide(["prompt", "chosen", "rejected"], model=CAUSAL)
    assert found.task == "preference"
    assert found.why == (
        "the adapter's task type CAUSAL_LM and the columns prompt, chosen, rejected"
    )
    assert decide(["chosen", "rejected", "text"], task="causal-lm", model=CAUSAL).why == "--task"


def test_own_names_come_first():
    found = decide(["a", "b", "text"], Columns(source="a", target="b"), model=SEQ2SEQ)
    assert found.columns == {"source": "a", "target": "b"}
    # They also tell what the rows are for.
    assert decide(["a", "b"], Columns(chosen="a", rejected="b")).task == "preference"
    assert decide(["a", "b"], Columns(tokens="a", tags="b")).task == "token-classification"
    found = decide(["a", "caption"], Columns(image="a"))
    assert (found.task, found.columns) == ("text-to-image", {"image": "a", "text": "caption"})
    with pytest.raises(DataError, match=r"no column 'a' .asked for as the source"):
        decide(["b"], Columns(source="a"))


@pytest.mark.parametrize(("names", "model", "message"), [
    ("text", CLASSIFIER,
     r"the model is for classification \(the adapter's task type SEQ_CLS\), and the columns text "
     r"are those of causal-lm; .*sentence1 \+ sentence2 \+ label/labels"),
    ("a b", CAUSAL, r"for causal-lm or preference .*are for no such task"),
    ("a b", None, r"cannot tell the task from the columns a, b; .*seq2seq: "),
    ("image text label", None,
     r"those of several tasks: .*image-classification \(image, label\); text-to-image"),
    ("messages chosen rejected", CAUSAL, r"several tasks: causal-lm .*; preference"),
])  # fmt: skip
def test_what_cannot_be_decided_says_what_was_seen_and_which_option_decides(names, model, message):
    with pytest.raises(DataError, match=message) as caught:
        decide(names.split(), model=model)
    assert "--task" in caught.value.remedy


def test_a_column_that_has_no_part_is_refused():
    with pytest.raises(DataError, match="a label has no part in causal-lm or preference") as caught:
        decide(["text", "y"], Columns(label="y"), model=CAUSAL)
    assert "--text-column" in caught.value.remedy
    with pytest.raises(OptionError, match="unknown task 'poetry'"):
        decide(["text"], task="poetry")
