"""Tokenize prompts with PaliGemma's SentencePiece model.

    π0                            <bos> words of the task "\\n"
    π0.5 with discrete state      <bos> "Task: …, State: 0 127 255 …;\\nAction: "

(pi05_libero has no discrete state, so its prompt has π0's form.) A prompt is stripped first; then "_" and line breaks
become spaces. Case is kept.
"""

import logging
import pathlib
from typing import Any

import numpy as np
import sentencepiece

from pirig.transforms.pipeline import Transform

_log = logging.getLogger(__name__)
_BIN_EDGES = np.linspace(-1, 1, 256 + 1)[:-1]


class PromptTokenizer:
    """A prompt tokenizer encodes prompts to a fixed length with a SentencePiece model."""

    def __init__(self, model_file: pathlib.Path, max_length: int):
        self._model = sentencepiece.SentencePieceProcessor(model_file=str(model_file))
        self._max_length = max_length

    def encode(self, prompt: str, state: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the tokens, int64[L], padded with 0, and their mask, bool[L], True at tokens. L is `max_length`.

        Args:
            state: the normalized, unpadded state, for models that read it as text.
        """
        words = clean(prompt)
        if state is None:
            tokens = self._model.encode(words, add_bos=True) + self._model.encode("\n")
        else:
            numbers = " ".join(map(str, discretize(state)))
            tokens = self._model.encode(f"Task: {words}, State: {numbers};\nAction: ", add_bos=True)
        if len(tokens) > self._max_length:
            _log.warning("a prompt of %d tokens is cut to %d: %r", len(tokens), self._max_length, prompt)
        tokens = tokens[: self._max_length]
        padding = self._max_length - len(tokens)
        return np.array(tokens + [0] * padding), np.array([True] * len(tokens) + [False] * padding)


def tokenize(tokenizer: PromptTokenizer, *, discrete_state: bool) -> Transform:
    """Return the transform that replaces `prompt` by `tokenized_prompt` and `tokenized_prompt_mask`.

    It raises KeyError if there is no prompt.
    """

    def run(data: dict[str, Any]) -> dict[str, Any]:
        rest = {key: value for key, value in data.items() if key != "prompt"}
        tokens, mask = tokenizer.encode(str(data["prompt"]), data["state"] if discrete_state else None)
        return {**rest, "tokenized_prompt": tokens, "tokenized_prompt_mask": mask}

    return run


def clean(prompt: str) -> str:
    return prompt.strip().replace("_", " ").replace("\n", " ")


def discretize(state: np.ndarray) -> np.ndarray:
    """Return the bin index of each value, int64[D], for 256 equal bins over [-1, 1); -1 for values below."""
    return np.digitize(state, _BIN_EDGES) - 1
