"""A text model is told from others by all that its embeddings depend on."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from serving.text_embedding_cache import TextEmbeddingCache
from tests.support import tiny_training as tiny
from trainer.settings import TextSettings
from trainer.text_embeddings import catalogue_text_embeddings
from trainer.text_tower import load_text_tower, text_model_digest


def settings_of(folder: Path) -> TextSettings:
    return TextSettings(model=str(folder), max_tokens=16)


def other_weights(preset: Path, folder: Path) -> Path:
    """Write a model that differs from `preset` in its weights alone, in KerasHub's layout too."""
    tower = tiny.tiny_text_tower()
    for weight in tower.backbone.weights:
        weight.assign(weight.numpy()[::-1])
    shutil.copytree(preset, folder)
    tower.backbone.save_weights(str(folder / "model.weights.h5"))
    return folder


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_another_model_does_not_get_the_cached_embeddings_of_the_first(
    preset: Path, tmp_path: Path
) -> None:
    cache, texts = TextEmbeddingCache(), ["lamp 1", "lamp 2"]
    found = []
    for folder in (preset, other_weights(preset, tmp_path / "other")):
        settings = settings_of(folder)
        tower = load_text_tower(settings)
        cached = catalogue_text_embeddings(tower, texts, settings, cache)
        own = catalogue_text_embeddings(tower, texts, settings, TextEmbeddingCache())
        assert cached is not None
        np.testing.assert_array_equal(cached, own)
        found.append(cached)
    assert not np.allclose(found[0], found[1])
    cache.close()


def test_each_file_of_the_model_tells_it_apart(preset: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(preset, tmp_path / "copy")
    digest = text_model_digest(settings_of(copy))
    files = ["model.weights.h5", "config.json", "tokenizer.json", "assets/tokenizer/vocabulary.txt"]
    for name in files:
        before = (copy / name).read_bytes()
        (copy / name).write_bytes(before + b" ")
        assert text_model_digest(settings_of(copy)) != digest, name
        (copy / name).write_bytes(before)
    assert text_model_digest(settings_of(copy)) == digest


def test_neither_where_it_lies_nor_what_is_said_of_it_matters(preset: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(preset, tmp_path / "moved")
    (moved / "README.md").write_text("A model.")
    assert text_model_digest(settings_of(moved)) == text_model_digest(settings_of(preset))


def test_a_folder_without_weights_is_refused(preset: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(preset, tmp_path / "preset")
    (folder / "model.weights.h5").unlink()
    with pytest.raises(ValueError, match=r"text\.model.*with weights.*preset"):
        text_model_digest(settings_of(folder))
