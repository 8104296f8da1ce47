"""How well expression is predicted from what is written about a gene, with no sequence at all.

Belongs here: prompts with fields left out, three ways to turn them into numbers beside a language model's, and the
ridge regression on either. Does not: the language model (`model.language.prompt_embeddings`), scores
(`model.evaluation.tables`).

A model that reads annotations knows from "ribosomal protein" what no enhancer has told it. Its score says what its
sequence features add only beside that of the prompt alone.
"""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse.linalg import lsqr
from transformers import AutoConfig, AutoModel, AutoTokenizer

from catalog.ncbi.annotations import prompt
from model.language.directory import UNTRAINED_MARK, quiet_transformers
from model.language.gguf_files.source import handed_over
from model.predictors.closed_form import PENALTIES

Field = Literal["symbol", "designations"]
Features = NDArray[np.float64] | sparse.csr_array
"""Numbers of each gene, shape `(genes, numbers)`: dense are brought to unit variance, sparse are taken as they are."""

_SPARSE_PENALTIES = tuple(float(penalty) for penalty in np.logspace(-1, 2, 7))
"""For rows of unit length."""
_WORD = re.compile(r"[a-z]+|[0-9]+")
_VALIDATION = 0.1


def written_prompts(annotations: pl.DataFrame, *, without: Collection[Field] = ()) -> list[str]:
    """Write the prompt of each gene with some fields left out.

    Parameters
    ----------
    annotations
        What `catalog.annotate` gives, one row a gene.
    without
        `symbol` leaves out the symbol and the aliases, and takes both out of the full name and the designations where
        they stand there as a word, in any case. What a name says in other words stays: "ribosomal protein L3" is as
        good as RPL3. `designations` leaves out the other designations.
    """
    chosen = annotations
    if "designations" in without:
        chosen = chosen.with_columns(designations=pl.lit(None, dtype=pl.String))
    rows = chosen.iter_rows(named=True)
    return [prompt(_without_symbols(row) if "symbol" in without else row) for row in rows]


def _without_symbols(row: dict[str, object]) -> dict[str, object]:
    symbols = f"{row['symbol'] or ''}|{row['aliases'] or ''}".lower().split("|")
    rest: dict[str, object] = dict.fromkeys(("symbol", "aliases"))
    for field in ("name", "designations", "summary"):
        text = str(row[field] or "")
        # Few stand there at all, and a pattern takes longer to compile than a text to search.
        there = [re.escape(word) for word in sorted(symbols, key=len, reverse=True) if word and word in text.lower()]
        if there:
            text = re.sub(rf"(?<![A-Za-z0-9])(?:{'|'.join(there)})(?![A-Za-z0-9])", "", text, flags=re.IGNORECASE)
        # A designation that was nothing but the symbol is gone with its bar.
        parts = (" ".join(part.split()) for part in text.split("|"))
        rest[field] = "|".join(part for part in parts if re.search("[A-Za-z0-9]", part)) or None
    return row | rest


def word_features(prompts: Sequence[str]) -> sparse.csr_array:
    """Count the words of each prompt, rare ones for more (TF-IDF): rows of unit length, no language model.

    Words are runs of letters or of digits, in lower case, so that RPL3 is `rpl` and `3`; those of a single prompt, and
    those of all, are left out.
    """
    counted = [Counter(_WORD.findall(prompt.lower())) for prompt in prompts]
    within = Counter(word for count in counted for word in count)
    kept = sorted(word for word, times in within.items() if 1 < times < len(prompts))
    column = {word: index for index, word in enumerate(kept)}
    entries = [
        (row, column[word], times * np.log(len(prompts) / within[word]))
        for row, count in enumerate(counted)
        for word, times in count.items()
        if word in column
    ]
    rows, columns = (np.array([entry[axis] for entry in entries], dtype=np.int64) for axis in (0, 1))
    weights = np.array([entry[2] for entry in entries], dtype=np.float64)
    length = np.sqrt(np.bincount(rows, weights**2, minlength=len(prompts)))
    weights /= length[rows]
    return sparse.csr_array((weights, (rows, columns)), shape=(len(prompts), len(column)))


def amount_features(annotations: pl.DataFrame) -> NDArray[np.float64]:
    """Count how much is written of each gene, whatever it says: shape `(genes, 4)`, logarithms.

    Words of the name; aliases; designations; letters of all three. Genes that are expressed everywhere have been
    studied more.
    """
    fields = annotations.select(pl.col("name", "aliases", "designations").fill_null(""))
    entries = [fields[field].str.count_matches(r"[^|]+") for field in ("aliases", "designations")]
    letters = fields.select(pl.sum_horizontal(pl.all().str.len_chars()))
    words = fields["name"].str.count_matches(r"\S+")
    return np.log1p(np.stack([words, *entries, letters.to_series()], axis=1).astype(np.float64))


def untrained_copy(source: str | Path, out: str | Path, *, seed: int = 0) -> Path:
    """Write a model of the same architecture and tokenizer with random weights, marked as untrained.

    The control for a pretrained model: random vectors of the same words, mixed in the same way.
    """
    out = Path(out)
    with quiet_transformers():
        config = AutoConfig.from_pretrained(source, local_files_only=True, trust_remote_code=False)
        setattr(config, UNTRAINED_MARK, True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            AutoModel.from_config(config).save_pretrained(out)  # type: ignore[no-untyped-call]  # not annotated there
        AutoTokenizer.from_pretrained(source, local_files_only=True, trust_remote_code=False).save_pretrained(out)
    return out


def untrained_llama(source: Path, out: Path, *, layers: int = 8, seed: int = 0) -> Path:
    """Write the first blocks of a GGUF file's model with random weights, and its tokenizer, marked as untrained.

    Weights are drawn at 1 / sqrt(width), since the file does not say how its model was initialised.
    """
    with quiet_transformers(), handed_over(source) as (folder, options):
        config = AutoConfig.from_pretrained(folder, **options)
        setattr(config, UNTRAINED_MARK, True)
        config.num_hidden_layers = layers
        config.initializer_range = config.hidden_size**-0.5
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            AutoModel.from_config(config).save_pretrained(out)  # type: ignore[no-untyped-call]  # not annotated there
        AutoTokenizer.from_pretrained(folder, **options).save_pretrained(out)
    return out


def predict_held_out(
    features: Features,
    target: ArrayLike,
    *,
    train: ArrayLike,
    test: ArrayLike,
    families: Sequence[str] | None = None,
    folds: int = 10,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Predict genes by ridge regression on others.

    The penalty is that of least squared error on a tenth of the training genes; then all of them are fitted.

    Parameters
    ----------
    features
        Shape `(genes, numbers)`.
    target
        Shape `(genes,)`; those of test genes are not looked at.
    train, test
        Which genes, as indices.
    families
        Family of each gene, shape `(genes,)`. Given these, the families of the test genes are dealt into `folds`, and
        each gene is predicted by a ridge whose training genes are of no family in its fold; the tenth that chooses
        the penalty is of other families than the rest too.
    folds, seed
        Another seed deals otherwise.

    Returns
    -------
    Predictions of the test genes, shape `(test,)`.

    Raises
    ------
    ValueError
        If genes are in both parts, or a fold leaves fewer than 20 genes to train on.
    """
    y, train, test = np.asarray(target, dtype=np.float64), np.asarray(train), np.asarray(test)
    shared = np.intersect1d(train, test)
    if shared.size:
        raise ValueError(f"{shared.size} genes are in both train and test; take the test genes out of train")
    group = np.arange(len(y)) if families is None else np.unique(list(families), return_inverse=True)[1]
    generator = np.random.default_rng(seed)
    present = generator.permutation(np.unique(group[test]))
    parts = [present] if families is None else np.array_split(present, folds)
    predicted = np.full(len(test), np.nan)
    for part in parts:
        is_asked = np.isin(group[test], part)
        allowed = train[~np.isin(group[train], part)]
        if len(allowed) < 20:
            raise ValueError(
                f"{len(allowed)} genes are left to train on, expected at least 20; give more training genes, or take "
                "more folds so that each holds fewer families out"
            )
        if is_asked.any():
            predicted[is_asked] = _ridge(features, y, allowed, test[is_asked], group, generator)
    return predicted


def _ridge(
    features: Features,
    target: NDArray[np.float64],
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    group: NDArray[np.int64],
    generator: np.random.Generator,
) -> NDArray[np.float64]:
    drawn = generator.permutation(np.unique(group[train]))
    is_validation = np.isin(group[train], drawn[: max(1, round(_VALIDATION * len(drawn)))])
    fitted, validation = train[~is_validation], train[is_validation]
    penalties = _SPARSE_PENALTIES if sparse.issparse(features) else PENALTIES
    tried = _predictions(features, target, fitted, validation, penalties)
    best = penalties[int(np.argmin(((tried - target[validation, None]) ** 2).mean(axis=0)))]
    return _predictions(features, target, train, test, (best,))[:, 0]


def _predictions(
    features: Features,
    target: NDArray[np.float64],
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    penalties: Sequence[float],
) -> NDArray[np.float64]:
    """Predict for each penalty, shape `(test, penalties)`."""
    centre = target[train].mean()
    x, wanted, y = features[train], features[test], target[train] - centre
    if isinstance(x, np.ndarray):
        mean, scale = x.mean(axis=0), x.std(axis=0)
        scale[scale == 0] = 1
        x, wanted = (x - mean) / scale, (wanted - mean) / scale
        # One decomposition serves all penalties.
        values, vectors = np.linalg.eigh(x.T @ x)
        rotated = vectors.T @ (x.T @ y)
        coefficients = vectors @ (rotated[:, None] / (values[:, None] + np.asarray(penalties)))
    else:
        found = [lsqr(x, y, damp=penalty**0.5, atol=1e-8, btol=1e-8)[0] for penalty in penalties]
        coefficients = np.stack(found, axis=1)
    return np.asarray(wanted @ coefficients + centre)
