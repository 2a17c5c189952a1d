"""What training makes small: of clips, of streams block by block, of their words, and of their false alarms.

A decision is made at one moment, so clips, words and alarms are judged at one moment each (max-pooling, Sun et al.
2016, arXiv:1705.02411): where the smoothed posterior speaks most clearly, as `decision.clearest` takes it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from speechrnn.card import SMOOTHING_BLOCKS
from speechrnn.evaluation import corpus

ALARM_BLOCKS = 60  # a false alarm may be looked for in each stretch of 1.2 s


def smooth(posterior: Tensor) -> Tensor:
    """Mean over SMOOTHING_BLOCKS [rows, blocks, labels] -> [rows, blocks - SMOOTHING_BLOCKS + 1, labels]."""
    return F.avg_pool1d(posterior.transpose(1, 2), SMOOTHING_BLOCKS, stride=1).transpose(1, 2)


def clearest(smoothed: Tensor, labels: Sequence[str]) -> Tensor:
    """Log posterior [rows, labels] at the moment of each row that speaks most clearly for something else than silence.

    What is learnt from it is learnt at that moment alone.
    """
    heard = [i for i, label in enumerate(labels) if label != corpus.SILENCE]
    moment = smoothed.detach()[:, :, heard].amax(2).argmax(1)
    return smoothed[torch.arange(len(smoothed), device=smoothed.device), moment].clamp(min=1e-8).log()


def block_losses(logits: Tensor, targets: Tensor, labels: Sequence[str]) -> Tensor:
    """Cross-entropy of each block [rows * blocks].

    Logits [rows, blocks, labels]; targets [rows, blocks] a label, `len(labels)` for a block that must name no word
    (`_unknown_` and `_silence_` in any proportion), or `not_yet(label, labels)`.
    """
    posterior = logits.log_softmax(-1)
    no_word = posterior[..., _no_words(labels)].logsumexp(-1, keepdim=True)
    not_yet_said = torch.logaddexp(posterior, posterior[..., labels.index(corpus.SILENCE), None])
    of_targets = torch.cat([posterior, no_word, not_yet_said], dim=-1)
    return F.nll_loss(of_targets.flatten(0, 1), targets.flatten(), reduction="none")


def not_yet(label: int, labels: Sequence[str]) -> int:
    """Target of a block in which a command may be named already or not yet (`_silence_`), but nothing else."""
    return len(labels) + 1 + label


def word_logits(posterior: Tensor, words: Tensor, blocks: int, labels: Sequence[str]) -> Tensor:
    """Log posterior of each word [words, labels], at the clearest moment of the `blocks` that begin with it.

    Posterior [rows, blocks, labels]; words int64 [words, 2]: row, first block.
    """
    smoothed = smooth(posterior)
    moments = words[:, 1:] + torch.arange(blocks - SMOOTHING_BLOCKS + 1, device=words.device)
    return clearest(smoothed[words[:, :1], moments.clamp(max=smoothed.shape[1] - 1)], labels)


def alarm_losses(posterior: Tensor, targets: Tensor, labels: Sequence[str]) -> Tensor:
    """Minus the logarithm of "no word" at the worst moment of each stretch in which there is none [stretches].

    Posterior [rows, blocks, labels]; targets as in `block_losses`.
    """
    no_words = torch.tensor([*_no_words(labels), len(labels)], device=targets.device)
    quiet = torch.isin(targets, no_words).unfold(1, SMOOTHING_BLOCKS, 1).all(-1)
    no_word = smooth(posterior)[..., _no_words(labels)].sum(-1).clamp(1e-8, 1.0)
    length = quiet.shape[1] // ALARM_BLOCKS * ALARM_BLOCKS
    quiet, no_word = (t[:, :length].reshape(-1, ALARM_BLOCKS) for t in (quiet, no_word))
    worst = torch.where(quiet, no_word, 1.0).amin(1)
    return -worst[quiet.any(1)].log()


def divergence(first: Tensor, second: Tensor) -> Tensor:
    """Mean of the Kullback-Leibler divergences both ways between posteriors, of logits (R-Drop, arXiv:2106.14448)."""
    one, other = first.log_softmax(1), second.log_softmax(1)
    ways = [F.kl_div(a, b, log_target=True, reduction="batchmean") for a, b in ((one, other), (other, one))]
    return torch.stack(ways).mean()


def _no_words(labels: Sequence[str]) -> list[int]:
    return [labels.index(label) for label in (corpus.UNKNOWN, corpus.SILENCE)]
