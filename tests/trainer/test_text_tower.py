"""The text tower is all-MiniLM-L6-v2 as published, WordPiece included."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import tensorflow as tf

from tests.support.tiny_training import tiny_preset
from trainer.settings import TextSettings
from trainer.text_tower import TextTower, embed_texts, installed_weights, load_text_tower
from trainer.training_input_error import TrainingInputError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tower() -> TextTower:
    return load_text_tower(TextSettings())


def test_similarities_are_the_published_ones(tower: TextTower) -> None:
    """https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2"""
    person, dog, very = "a happy person", "a happy dog", "a very happy person"
    embeddings = embed_texts(tower, [f"That is {words}" for words in (person, dog, very)], 8)
    similarities = embeddings @ embeddings[0]
    np.testing.assert_allclose(similarities, [1.0, 0.695, 0.943], atol=1e-3)


def test_neither_batch_nor_case_nor_order_matters(tower: TextTower) -> None:
    texts = ["a lamp", "WHITE HANGING HEART T-LIGHT HOLDER, cream and red, 12 pieces", "", "Ämter"]
    together = embed_texts(tower, texts, 64)
    alone = embed_texts(tower, [text.lower() for text in reversed(texts)], 1)[::-1]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Wärmepumpe für die Küche", "warm ##ep ##ump ##e fur die ku ##che"),
        ("Café crème brûlée", "cafe cr ##eme br ##ule ##e"),
        ("señor, déjà", "sen ##or , de ##ja"),
        ("Ελλάδα", "ε ##λ ##λ ##α ##δ ##α"),
        ("がぎぐ", "か ##き ##く"),
        ("Wahl\u00adkampf", "wah ##lka ##mp ##f"),
    ],
)
def test_words_are_those_of_the_published_tokenizer(
    tower: TextTower, text: str, tokens: str
) -> None:
    """By `tokenizers.Tokenizer.from_file` of the model's tokenizer.json."""
    tokenize = tf.function(tower.tokenize, autograph=False)
    ids = tokenize(tf.constant([text])).numpy()[0, 1:-1]
    assert [tower.tokenizer.id_to_token(int(token_id)) for token_id in ids] == tokens.split()


def test_accents_stay_where_the_model_says_so(tmp_path: Path) -> None:
    """A German model without capitals knows "küche"."""
    folder = shutil.copytree(installed_weights(), tmp_path / "german")
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"strip_accents": False}))
    assert not load_text_tower(TextSettings(model=str(folder))).tokenizer.strip_accents


def test_a_preset_that_is_on_this_machine_is_read_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_preset(tmp_path / "preset")
    asked: list[str] = []

    def kept(handle: str, path: str) -> str:
        asked.append(handle)
        if not (folder / path).exists():
            raise FileNotFoundError(path)
        return str(folder / path)

    monkeypatch.setattr("kagglehub.model_download", kept)
    load_text_tower(TextSettings(model="bert_tiny_en_uncased"))
    assert "bert_tiny_en_uncased" in asked[0]

    def not_reached(handle: str, path: str) -> str:
        raise ConnectionError("not reached")

    monkeypatch.setattr("kagglehub.model_download", not_reached)
    with pytest.raises(TrainingInputError, match="not reached"):
        load_text_tower(TextSettings(model="bert_tiny_en_uncased"))


# KerasHub leaves the vocabulary open.
@pytest.mark.filterwarnings("ignore:.*sentencepiece:pytest.PytestUnraisableExceptionWarning")
def test_a_vocabulary_of_another_kind_is_refused(tmp_path: Path) -> None:
    """As multilingual-e5 has: a BERT with the tokenizer of XLM-RoBERTa."""
    folder = shutil.copytree(installed_weights(), tmp_path / "e5")
    path = folder / "tokenizer_config.json"
    said = json.loads(path.read_text()) | {"tokenizer_class": "XLMRobertaTokenizer"}
    path.write_text(json.dumps(said))
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the quick brown fox", "jumped over"]),
        model_prefix=str(folder / "sentencepiece.bpe"),
        vocab_size=40,
        hard_vocab_limit=False,
    )
    with pytest.raises(TrainingInputError, match=r"WordPiece .* Received: '.*e5'"):
        load_text_tower(TextSettings(model=str(folder)))


def test_long_texts_are_cut(tower: TextTower) -> None:
    embeddings = embed_texts(tower, ["lamp " * 62, "lamp " * 600], 2)
    np.testing.assert_allclose(embeddings[0], embeddings[1], atol=1e-5)
