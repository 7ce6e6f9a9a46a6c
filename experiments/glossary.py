"""What the words in the report's tables mean."""

from __future__ import annotations

from experiments.tables import folded, table

WORDS = {
    "score, influence": "of a training row i on a query with gradient v: Σ over blocks of "
    "v_l · H_l⁻¹ · g_i,l, positive where training more on i would lower the query's loss; "
    "influence on the validation loss is its mean over the validation rows",
    "block": "what is inverted by itself: by default each trained tensor, as in the paper; "
    "“module blocks” joins the tensors of a module, “model blocks” all of them. d is a block's "
    "number of parameters, n the number of training rows",
    "H, λ": "H = mean of g gᵀ over the training rows + λ; λ = α · mean ‖g‖² / d with the paper's "
    "α = 0.1, a block each; “λ trace:0.02” is 0.02 · mean ‖g‖²",
    "`gradient`": "v · g; the paper's “Hessian-free”",
    "`weighted-gradient`": "v · g / λ, summed over blocks: the weights that `datainf` and `exact` "
    "give blocks, and no curvature",
    "`datainf`": "the paper's closed form, H⁻¹ replaced by the mean of (g gᵀ + λ)⁻¹",
    "`lissa 10`": "ten steps of the Neumann series for H⁻¹v, scaled so that it converges; not the "
    "paper's, whose damping has the other sign (“as released”, in the section on runtimes)",
    "`cg 2`, `cg 5`": "that many steps of conjugate gradients for H⁻¹v, from zero",
    "`exact`": "H⁻¹v itself",
    "unit": "every gradient, training and query, is scaled to norm 1 over all blocks first; "
    "`gradient, unit` is cosine similarity",
    "`…, model blocks, unit, λ trace:0.02`": "chosen by us before these runs, for how well they "
    "foretold the losses of models trained again on random halves of 500 rows of SST-2 with this "
    "base: on SST-2 they are not independent of the choice",
    "self-influence": "the score of a row for itself, high for what the model had to memorise",
    "own loss": "the loss of the row itself under the fine-tuned model",
    "representation similarity": "cosine of last hidden states, centred on the training rows: "
    "their mean over tokens, or that of the last token; where rows have labels, negative for those "
    "of another label",
    "BM25": "likeness of words; where rows have labels, negative for those of another label",
    "**bold**": "the highest mean of its column",
    "oracle": "knows which labels are flipped",
    "AUC, recall, precision at k": "of a ranking: the chance that a relevant row comes before an "
    "irrelevant one; the share of the relevant rows among the first as many; the share of flipped "
    "rows among the k most suspicious, k being the number of flipped ones",
}


def glossary() -> list[str]:
    return folded("What the names in the tables mean", table(("name", "what it is"), WORDS.items()))
