"""Fingerprints tell values apart, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from datainf.fingerprint import bytes_digest, digest, file_digest, tensors_digest


def test_equal_values_have_equal_digests():
    assert digest({"a": 1, "b": [2, None]}) == digest({"b": [2, None], "a": 1})
    assert digest(torch.arange(6).reshape(2, 3).T) == digest(
        torch.arange(6).reshape(2, 3).T.clone()
    )


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (["ab", "c"], ["a", "bc"]),
        ([1, [2]], [[1], 2]),
        ("1", 1),
        (1, 1.0),
        (None, "null"),
        (torch.zeros(2), torch.zeros(2, 1)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
        (np.zeros(2), np.zeros((2, 1))),
        ({"a": 1}, {"a": 2}),
        (b"a", "a"),
    ],
)
def test_other_values_have_other_digests(left, right):
    assert digest(left) != digest(right)


def test_objects_without_a_value_are_refused():
    with pytest.raises(TypeError):
        digest(object())


def test_tensors_and_files(tmp_path):
    weights = {"a": torch.ones(2, dtype=torch.bfloat16), "b": torch.zeros(0)}
    assert tensors_digest(weights.items()) == tensors_digest(list(weights.items()))
    assert tensors_digest(weights.items()) != tensors_digest({"c": weights["a"]}.items())
    (tmp_path / "f").write_bytes(b"data")
    assert file_digest(tmp_path / "f") == bytes_digest(b"data")


def test_lists_of_integers_of_any_size():
    assert digest([1, 2**63]) != digest([1, 2**63 - 1])
    assert digest([True, 1]) != digest([1, 1])
    assert digest([]) != digest([[]])
    assert digest([-5, 5]) != digest([5, -5])


@pytest.mark.parametrize(
    ("value", "known"),
    [
        ([1, 2, 300, -(2**64)], "af5035d54b73d0eb106f764f2f8fb03d"),
        ({"b": [1.5, None, True], "a": "ä"}, "f7ede29fda1741546e5875b3a58e9f01"),
        (["x", [3], b"y"], "5bed68067e6792cd50124bbe0b2eca2b"),
    ],
)
def test_digests_stay_as_they_are(value, known):
    """They seed draws, and find trainings that were kept."""
    assert digest(value) == known
