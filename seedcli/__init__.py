"""SEED: images as 32 discrete codes that a language model reads and writes like words."""

__version__ = "0.1.0"
