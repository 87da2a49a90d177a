"""A random BERT of two small layers, made on the spot as a KerasHub preset directory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

WORDS = [
    "good",
    "great",
    "fine",
    "lovely",
    "bad",
    "awful",
    "poor",
    "boring",
    "film",
    "plot",
    "actor",
    "story",
    "music",
    "the",
    "a",
    "an",
    "is",
    "was",
    "and",
    "of",
    "it",
    "not",
    "very",
    "cafe",
    "naive",
    "un",
    "##aff",
    "##able",
    "##s",
    "!",
    "?",
    ".",
    ",",
    "'",
]
VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS)

_MAKE = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras, keras_hub
keras.utils.set_random_seed(3)
folder, vocabulary = sys.argv[1], sys.argv[2:]
backbone = keras_hub.models.BertBackbone(
    vocabulary_size=len(vocabulary), num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=16, dropout=0.1,
    max_sequence_length=48,
)
# Larger than the usual initial weights, which make all texts look nearly the same.
for weight in backbone.weights:
    if "kernel" in weight.path or "embeddings" in weight.path:
        weight.assign(weight * 20)
tokenizer = keras_hub.models.BertTokenizer(vocabulary=vocabulary, lowercase=True, strip_accents=True)
backbone.save_to_preset(folder)
tokenizer.save_to_preset(folder)
"""


def save_tiny_bert(folder: Path) -> None:
    """Write the preset directory."""
    # A process of its own: the tests' must not load TensorFlow, the workers do.
    subprocess.run([sys.executable, "-c", _MAKE, str(folder), *VOCABULARY], check=True, capture_output=True)
