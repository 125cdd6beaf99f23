"""Tiny random language models in the form that the study trains: a Llama folder with the unified vocabulary."""

from spire.training.checkpoint import new_directory, new_model, write_model
from spire.training.llama import LlamaShape
from spire.vocabulary.tokenizer import Vocabulary
from spire.vocabulary.train import train_model
from spiritlm.lm.vocabulary import Units, unified_vocabulary

LINES = ["the cat sat on the mat", "now Simon has more woollen gloves", "Sophie liked the gloves of Simon", "a: b. C"]


def write_tiny_lm(folder, expressive=False, positions=256, seed=0, scale=0.3):
    """Two layers, 20 phonetic units and, if expressive, 6 pitches and 4 styles. Weights are large enough (`scale`) for
    differences between sequences to be far above rounding."""
    vocabulary = unified_vocabulary(
        Vocabulary(train_model(LINES * 3, 300, symbols=())),
        Units(hubert=21, pitch=6 if expressive else 0, style=4 if expressive else 0),
    )
    shape = LlamaShape(
        vocab_size=vocabulary.padded_size,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=96,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        initializer_range=scale,
    )
    with new_directory(folder) as partial:
        write_model(new_model(shape, seed), vocabulary, partial, vocabulary.eos)
    return folder
