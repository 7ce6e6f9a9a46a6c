"""Sources, targets and their limits."""

from __future__ import annotations

import pytest
import transformers

from conftest import make_base
from datainf import tasks
from datainf.errors import DataError, ModelError, OptionError
from datainf.tasks.base import TRUNCATED
from tiny_models import tiny_base


def test_limits_of_source_and_target_are_apart(tokenizer):
    task = tasks.Seq2Seq(tokenizer, max_length=4, max_target_length=3)
    encoded = task.encode({"source": "abcdef", "target": "uvwxyz"})
    assert tokenizer.decode(encoded["input_ids"]) == "abcd"
    assert tokenizer.decode(encoded["labels"]) == "uvw"
    assert encoded[TRUNCATED] == 2 + 3
    assert task.length(encoded) == 7
    assert task.encode(encoded) == encoded


def test_the_models_limits_are_kept(tokenizer):
    task = tasks.Seq2Seq(tokenizer, max_target_length=20).for_model(tiny_base("bart"))
    assert (task.max_length, task.max_target_length) == (96, 20)
    free = tasks.Seq2Seq(tokenizer).for_model(tiny_base("t5"))
    assert (free.max_length, free.max_target_length) == (None, None)  # relative positions
    with pytest.raises(ModelError, match="LlamaForCausalLM has no encoder and decoder"):
        tasks.Seq2Seq(tokenizer).for_model(make_base("llama"))
    with pytest.raises(OptionError, match="at least 1"):
        tasks.Seq2Seq(tokenizer, max_target_length=0)


def test_tokenised_rows(tokenizer):
    task = tasks.Seq2Seq(tokenizer, max_length=3, max_target_length=2)
    encoded = task.encode({"input_ids": [5, 6], "labels": [7, -100]})
    assert (encoded["labels"], encoded["attention_mask"]) == ([7], [1, 1])
    assert task.encode({"input_ids": [5], "labels": [7, 8, 9]})[TRUNCATED] == 1
    for row, message in [
        ({"input_ids": [5], "labels": [-100]}, "no label to learn from"),
        ({"input_ids": [5]}, "no label to learn from"),
        ({"input_ids": [5] * 4, "labels": [7]}, "4 tokens and the limit is 3"),
        ({"source": "a"}, "no source and target"),
        ({"source": "a", "target": ""}, "the target has no token"),
    ]:
        with pytest.raises(DataError, match=message):
            task.encode(row)


def test_description(tokenizer):
    task = tasks.Seq2Seq(tokenizer)
    assert task.describe({"source": "a", "target": "b"}) == "a → b"
    ids = {
        "input_ids": tokenizer("ab")["input_ids"],
        "labels": [*tokenizer("c")["input_ids"], -100],
    }
    assert task.describe(ids) == "ab → c"


SIZES = {
    "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16,
    "max_position_embeddings": 64, "pad_token_id": 0, "eos_token_id": 1,
    "decoder_start_token_id": 0,
}  # fmt: skip


def marian(source, target):
    config = transformers.MarianConfig(
        vocab_size=source, decoder_vocab_size=target, share_encoder_decoder_embeddings=False,
        tie_word_embeddings=False, **SIZES,
    )  # fmt: skip
    return transformers.MarianMTModel(config)


def fsmt(source, target):
    return transformers.FSMTForConditionalGeneration(
        transformers.FSMTConfig(
            langs=["en", "de"], src_vocab_size=source, tgt_vocab_size=target, **SIZES
        )
    )


def two_berts(source, target):
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(
        transformers.BertConfig(vocab_size=source, **size),
        transformers.BertConfig(vocab_size=target, **size),
    )
    return transformers.EncoderDecoderModel(config)


@pytest.mark.parametrize("make", [marian, fsmt, two_berts])
def test_source_and_target_of_two_vocabularies(make, tokenizer):
    task = tasks.Seq2Seq(tokenizer).for_model(make(258, 320))
    assert task.encode({"input_ids": [257], "labels": [319]})["labels"] == [319]
    with pytest.raises(DataError, match="input_ids holds 258, and the model's vocabulary has 258"):
        task.encode({"input_ids": [258], "labels": [1]})
    smaller = tasks.Seq2Seq(tokenizer).for_model(make(258, 200))
    with pytest.raises(DataError, match="labels holds 200, and the model's vocabulary has 200 ids"):
        smaller.encode({"input_ids": [257], "labels": [200]})
