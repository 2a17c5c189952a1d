"""Loss terms: cross-entropy of blocks, max-pooled cross-entropy of clips and words, a penalty for false accepts.

A decision is made at one block, so clips and words have their loss at one block (max-pooling loss, Sun et al. 2016,
arXiv:1705.02411): the one with the highest smoothed posterior of a label other than `_silence_`, as in
`decision.clearest`. A stretch without commands has its loss at the block that is nearest to a false accept.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from speechrnn.card import SMOOTHING_BLOCKS
from speechrnn.evaluation import corpus

FALSE_ACCEPT_BLOCKS = 60  # one worst block in each stretch of 1.2 s


def smooth(posterior: Tensor) -> Tensor:
    """Mean over SMOOTHING_BLOCKS [rows, blocks, labels] -> [rows, blocks - SMOOTHING_BLOCKS + 1, labels]."""
    return F.avg_pool1d(posterior.transpose(1, 2), SMOOTHING_BLOCKS, stride=1).transpose(1, 2)


def max_pool(smoothed: Tensor, labels: Sequence[str]) -> Tensor:
    """Log posterior [rows, labels] at the block of each row where a label other than `_silence_` is most probable.

    The gradient reaches that block alone.
    """
    others = [i for i, label in enumerate(labels) if label != corpus.SILENCE]
    moment = smoothed.detach()[:, :, others].amax(2).argmax(1)
    return smoothed[torch.arange(len(smoothed), device=smoothed.device), moment].clamp(min=1e-8).log()


def block_losses(logits: Tensor, targets: Tensor, labels: Sequence[str]) -> Tensor:
    """Cross-entropy of each block [rows * blocks].

    Logits [rows, blocks, labels]; targets [rows, blocks] a label, `len(labels)` for a block that must name no word
    (the sum of `_unknown_` and `_silence_`), or `not_yet(label, labels)`.
    """
    posterior = logits.log_softmax(-1)
    no_word = posterior[..., _no_words(labels)].logsumexp(-1, keepdim=True)
    label_or_silence = torch.logaddexp(posterior, posterior[..., labels.index(corpus.SILENCE), None])
    of_targets = torch.cat([posterior, no_word, label_or_silence], dim=-1)
    return F.nll_loss(of_targets.flatten(0, 1), targets.flatten(), reduction="none")


def not_yet(label: int, labels: Sequence[str]) -> int:
    """Target of a block while a word is spoken: the sum of its label and `_silence_`."""
    return len(labels) + 1 + label


def word_logits(posterior: Tensor, words: Tensor, blocks: int, labels: Sequence[str]) -> Tensor:
    """Log posterior of each word [words, labels], max-pooled over the `blocks` that begin with it.

    Posterior [rows, blocks, labels]; words int64 [words, 2]: row, first block.
    """
    smoothed = smooth(posterior)
    moments = words[:, 1:] + torch.arange(blocks - SMOOTHING_BLOCKS + 1, device=words.device)
    return max_pool(smoothed[words[:, :1], moments.clamp(max=smoothed.shape[1] - 1)], labels)


def false_accept_losses(posterior: Tensor, targets: Tensor, labels: Sequence[str]) -> Tensor:
    """Cross-entropy of "no command" at the worst block of each stretch without one [stretches].

    Posterior [rows, blocks, labels]; targets as in `block_losses`.
    """
    no_words = torch.tensor([*_no_words(labels), len(labels)], device=targets.device)
    quiet = torch.isin(targets, no_words).unfold(1, SMOOTHING_BLOCKS, 1).all(-1)
    no_word = smooth(posterior)[..., _no_words(labels)].sum(-1).clamp(1e-8, 1.0)
    length = quiet.shape[1] // FALSE_ACCEPT_BLOCKS * FALSE_ACCEPT_BLOCKS
    quiet, no_word = (t[:, :length].reshape(-1, FALSE_ACCEPT_BLOCKS) for t in (quiet, no_word))
    worst = torch.where(quiet, no_word, 1.0).amin(1)
    return -worst[quiet.any(1)].log()


def symmetric_kl(first: Tensor, second: Tensor) -> Tensor:
    """Mean of the two Kullback-Leibler divergences between softmax(first) and softmax(second), logits [rows, labels].

    The consistency term of R-Drop (Liang et al. 2021, arXiv:2106.14448).
    """
    one, other = first.log_softmax(1), second.log_softmax(1)
    ways = [F.kl_div(a, b, log_target=True, reduction="batchmean") for a, b in ((one, other), (other, one))]
    return torch.stack(ways).mean()


def _no_words(labels: Sequence[str]) -> list[int]:
    return [labels.index(label) for label in (corpus.UNKNOWN, corpus.SILENCE)]
