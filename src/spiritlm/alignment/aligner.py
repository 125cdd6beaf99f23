"""Words of known text in speech: forced alignment by a CTC model.

Guarantee: there is an entry for each word of the text, in order and as it is written there; times do not run backwards
and lie within the audio; they depend on the audio, the text and the model only, not on the batch.

A CTC model says a letter for a frame or two somewhere within it, so what lies between the last letter of a word and the
first of the next is shared out: the boundary is in the middle where the gap is a short one, and where it is longer than
PAUSE it stays a pause, of which each word gets EDGE. The first and last word get EDGE of what is around them, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from spiritlm.alignment.ctc_model import RATE, CtcModel
from spiritlm.alignment.letters import Word, with_star
from spiritlm.alignment.viterbi import Path, best_paths, needed_frames
from spiritlm.alignment.words import Spans

PAUSE = 0.3  # seconds without a letter that are a pause
EDGE = 0.08  # seconds of a pause that belong to the word beside it
SIDE_BY_SIDE = 64  # utterances whose paths are searched together
HELD = 64 * 30 * RATE  # samples beyond which no further utterance is read ahead: 123 MB
STATES = 1 << 22  # frames x states searched side by side at most, but for one utterance alone


class Aligner:
    """Aligns with `model`; `align` yields what it found for each (samples, text) in order."""

    def __init__(self, model: CtcModel):
        self.model = model

    def align(self, items: Iterable[tuple[np.ndarray, str]]) -> Iterator[tuple[Spans, str]]:
        """(words with seconds from the start of the samples, reason why there are none) for float32 [N] at 16 kHz and
        a text each. A text without words gives no words and no reason."""
        for batch in _batches(items):
            words = [self.model.letters.words(text) for _, text in batch]
            scores = list(self.model.log_probs(wav for wav, _ in batch))
            found: list[tuple[Spans, str]] = [((), "")] * len(batch)
            order = sorted(range(len(batch)), key=lambda i: len(scores[i]))
            for group in self._groups(order, scores, words):
                for i, result in zip(group, self._aligned(group, batch, scores, words), strict=True):
                    found[i] = result
            yield from found

    def _groups(self, order: list[int], scores: list, words: list) -> Iterator[list[int]]:
        group: list[int] = []
        for i in order:
            size = len(scores[i]) * (2 * sum(len(w.labels) + 1 for w in words[i]) + 1)
            if group and size * (len(group) + 1) > STATES:
                yield group
                group = []
            group.append(i)
        if group:
            yield group

    def _aligned(self, group: list[int], batch: list, scores: list, words: list) -> Iterator[tuple[Spans, str]]:
        letters = self.model.letters
        joined = [letters.joined(words[i]) for i in group]
        starred = [
            with_star(scores[i], letters.blank) if letters.star in labels else scores[i]
            for i, (labels, _) in zip(group, joined, strict=True)
        ]
        paths = best_paths(starred, [labels for labels, _ in joined], letters.blank)
        for i, (labels, owners), path in zip(group, joined, paths, strict=True):
            if not words[i]:
                yield (), ""
            elif not labels:
                yield (), "no word of the text has a letter that the model knows"
            elif path is None:
                yield (), f"{len(scores[i])} frames, {needed_frames(labels)} are needed to say the text"
            else:
                yield self.spans(words[i], owners, path, len(batch[i][0]) / RATE), ""

    def spans(self, words: Sequence[Word], owners: Sequence[int], path: Path, duration: float) -> Spans:
        """Times of `words` on `path`, whose label j is of the word owners[j]; `duration` of the audio in seconds."""
        first, last = (frames.tolist() for frames in _frames_of_words(len(words), owners, path.labels))
        spoken = [w for w in range(len(words)) if first[w] >= 0]
        starts, ends = {}, {}
        for w in spoken:
            starts[w] = min(max(self.model.seconds(first[w]), 0.0), duration)
            ends[w] = min(max(self.model.seconds(last[w] + 1), starts[w]), duration)
        for w, after in zip(spoken, spoken[1:], strict=False):
            gap = starts[after] - ends[w]
            if gap <= PAUSE:
                ends[w] = starts[after] = ends[w] + gap / 2
            else:
                ends[w], starts[after] = ends[w] + EDGE, starts[after] - EDGE
        starts[spoken[0]] = max(0.0, starts[spoken[0]] - EDGE)
        ends[spoken[-1]] = min(duration, ends[spoken[-1]] + EDGE)
        found, at = [], starts[spoken[0]]
        for w, word in enumerate(words):
            # A word that is not spoken, such as a dash, takes no time.
            start = round(starts.get(w, at), 4)
            end = max(round(ends.get(w, start), 4), start)
            found.append((word.text, start, end))
            at = end
        return tuple(found)


def _batches(items: Iterable[tuple[np.ndarray, str]]) -> Iterator[list[tuple[np.ndarray, str]]]:
    batch: list[tuple[np.ndarray, str]] = []
    held = 0
    for item in items:
        batch.append(item)
        held += len(item[0])
        if len(batch) == SIDE_BY_SIDE or held > HELD:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _frames_of_words(count: int, owners: Sequence[int], labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last frame of each word, -1 for one without labels."""
    first, last = np.full(count, -1), np.full(count, -1)
    of_label = np.asarray(owners)
    for frame in np.flatnonzero(labels >= 0):
        word = of_label[labels[frame]]
        if word >= 0:
            first[word] = frame if first[word] < 0 else first[word]
            last[word] = frame
    return first, last
