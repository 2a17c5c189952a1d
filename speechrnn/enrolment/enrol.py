"""Own words into a network: takes in, an ONNX file and what to expect of it out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from speechrnn.card import file_content
from speechrnn.decision import smooth
from speechrnn.enrolment import background, expectation, graph, head, thresholds, versions
from speechrnn.enrolment.expectation import Estimate
from speechrnn.enrolment.fitting import SPAN, Moments, features
from speechrnn.enrolment.head import DELAYS, Head
from speechrnn.enrolment.takes import NOISY_SNR_DB, Take
from speechrnn.enrolment.trunk import Run, Trunk
from speechrnn.enrolment.versions import Version
from speechrnn.errors import InputError
from speechrnn.model import Model
from speechrnn.text import label_fault

# A factor of e in false accepts is three units of a logit. At the rate asked for the posterior is low, so that a word
# of which a kept one takes a part is still detected.
STEEPNESS, OPERATING_POSTERIOR = 3.0, 0.05
OWN = "own"  # what the user's background is called among the kinds of sound
FOLDS = 10  # of the takes that are held out in turn
LEAST_TAKES, FEW_TAKES = 2, 5
SHORT_SECONDS = 0.35
LEAST_SHARE = 0.5  # detected of the held-out takes; below that a word can't be distinguished from speech
ALIKE_SHARE = 0.2  # of the takes of one word that another word takes
NOT_SHARE = 0.1  # of the covariance: what the user says must not fire
MOST_WORDS = 100


@dataclass(frozen=True)
class OwnWord:
    """What was found out about a word before its file is written."""

    word: str
    takes: int
    clean: Estimate  # share detected of takes that weren't in the fit
    noisy: Estimate  # the same in noise at 10 dB
    false_accepts_per_hour: float  # asked for
    warnings: tuple[str, ...] = ()
    refusal: str = ""

    def __str__(self) -> str:
        clean, noisy = (f"{100 * share:.0f}" for share in (self.clean.share, self.noisy.share))
        return (
            f"{self.word}: {self.takes} takes; expect about {clean} of 100 heard "
            f"({100 * self.clean.low:.0f} to {100 * self.clean.high:.0f}) at {self.false_accepts_per_hour:g} false "
            f"accepts an hour, {noisy} ({100 * self.noisy.low:.0f} to {100 * self.noisy.high:.0f}) in noise at 10 dB"
        )


@dataclass(frozen=True)
class Enrolled:
    """A head with its thresholds, the file, and a report on each word."""

    head: Head
    thresholds: dict[str, float]
    reports: tuple[OwnWord, ...]
    content: bytes = field(repr=False, default=b"")


@dataclass(frozen=True)
class _TakeRuns:
    """The takes of a word as the network hears them, a list for each take."""

    fit: list[list[Run]]  # the take as it is, then other versions of it
    test: list[list[Run]]  # in noise at 10 dB
    means: list[np.ndarray]  # of the features right after the word's end, over the versions


class Enroller:
    """A model, and sound without the words as the model hears it: what is needed for own words, however often.

    Parameters
    ----------
    model : a model that is made by export.to_onnx or comes with the package
    pack : sound without the words; None for that of the package
    own_background : more of it, float32 [samples] at 16 kHz, such as an hour of the room; None for none
    """

    def __init__(
        self, model: Model, pack: background.Background | None = None, own_background: np.ndarray | None = None
    ) -> None:
        self.model, self.trunk = model, Trunk(model)
        pack = background.load() if pack is None else pack
        self.moments, self.runs, self.noise = background.moments_and_runs(self.trunk, pack)
        if own_background is not None:
            self.runs[OWN] = self.trunk.stream(own_background)

    def enrol(
        self,
        words: Mapping[str, Sequence[Take]],
        keep: Sequence[str] | None = None,
        per_hour: float = 0.5,
        negatives: Sequence[Take] = (),
        force: bool = False,
        seed: int = 0,
    ) -> Enrolled:
        """Add own words to the model.

        Parameters
        ----------
        words : for each own word its takes
        keep : words of the model that stay; None for all
        per_hour : false accepts an hour that are allowed, of each word
        negatives : what must not fire, such as a similar name
        force : bool
            make the file even where a word can't be distinguished from speech

        Raises
        ------
        InputError
            if there are too few takes, a name is taken or no good, or a word can't be distinguished from speech
        """
        model = self.model
        kept = model.card.words if keep is None else tuple(keep)
        check_words(model, words, kept)
        layout = head.columns(model.card.labels, model.card.words, tuple(words), kept)
        random = np.random.default_rng(seed)
        take_runs = {word: _runs_of_takes(self.trunk, takes, self.noise, random) for word, takes in words.items()}
        moments = self.moments
        if negatives:
            unwanted = _runs_of_takes(self.trunk, negatives, self.noise, random)
            moments = moments.with_more(np.array(unwanted.means), NOT_SHARE)

        scorer = _Scorer(model, self.runs, kept, per_hour)
        made = {word: _Word(word, takes, take_runs[word], moments, scorer) for word, takes in words.items()}
        weights = np.array([each.weights[0] for each in made.values()]).reshape(len(words), len(DELAYS), -1)
        whole = Head(tuple(words), weights, np.array([each.bias[0] for each in made.values()]))
        levels = {word: each.threshold(0) for word, each in made.items()}
        reports = [_compared(each.report(per_hour, kept), whole, levels, take_runs, scorer) for each in made.values()]
        for report in reports:
            if report.refusal and not force:
                raise InputError(f"{report.word}: {report.refusal}")
        proto = graph.with_head(model.content, model.card, whole, layout, model.name)
        card = graph.card_with_head(model.card, whole, layout, levels, _figures(model, reports, per_hour))
        return Enrolled(whole, levels, tuple(reports), file_content(proto, card, model.name))


def check_words(model: Model, words: Mapping[str, Sequence[Take]], kept: Sequence[str]) -> None:
    """Before the work: can words of these names, with so many takes, be added?

    Raises
    ------
    InputError
        as `Enroller.enrol` does
    """
    if not 1 <= len(words) <= MOST_WORDS:
        raise InputError(f"{len(words)} own words: give 1 to {MOST_WORDS}")
    for word in kept:
        if word not in model.card.words:
            raise InputError(f"--keep {word}: is not a word of this model, which knows {', '.join(model.card.words)}")
    for word, takes in words.items():
        fault = label_fault(word)
        if fault:
            raise InputError(f"own word {fault}: choose another name")
        if word in model.card.labels:
            raise InputError(f"{word}: is a label of {model.name} already: choose another name, as my_{word}")
        if len(takes) < LEAST_TAKES:
            raise InputError(f"{word}: has {len(takes)} usable take{'s'[: len(takes) != 1]}: give at least 3, better 5")


def _runs_of_takes(trunk: Trunk, takes: Sequence[Take], noise: np.ndarray, random: np.random.Generator) -> _TakeRuns:
    fit = [versions.for_fit(take, noise, random) for take in takes]
    test = [versions.for_test(take, noise, random) for take in takes]
    runs = iter(trunk.run([version.sound for each in (*fit, *test) for version in each]))
    for_fit = [[next(runs) for _ in each] for each in fit]
    means = [
        np.mean([_after(run, version, trunk) for run, version in zip(*pair, strict=True)], axis=0)
        for pair in zip(for_fit, fit, strict=True)
    ]
    return _TakeRuns(for_fit, [[next(runs) for _ in each] for each in test], means)


def _after(run: Run, version: Version, trunk: Trunk) -> np.ndarray:
    """Mean of the features [features] of the blocks right after the word's end."""
    end = min(int(np.ceil(version.end / trunk.card.block_seconds)), len(run.states) - 1)
    return features(run.states, np.arange(end, min(end + SPAN, len(run.states))), DELAYS).mean(axis=0)


class _Scorer:
    """From states to what a Spotter sees of a word: the smoothed posterior, here as a logit."""

    def __init__(self, model: Model, runs: Mapping[str, Run], kept: Sequence[str], per_hour: float) -> None:
        card = model.card
        self.card, self.runs, self.per_hour = card, runs, per_hour
        self.window = card.smoothing_blocks
        self.per_second = round(1.0 / card.block_seconds)
        self.kept = [card.labels.index(word) for word in kept]

    def logits(self, run: Run, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
        """Raw logits [blocks, heads] for weights [heads, features]."""
        heads = weights.reshape(len(weights), len(DELAYS), -1)
        return head.delayed_product(run.states, heads.transpose(1, 0, 2), DELAYS) + bias

    def smoothed(self, raw: np.ndarray) -> np.ndarray:
        return smooth(np.concatenate([np.repeat(raw[:1], self.window - 1, axis=0), raw]), self.window)

    def seen(self, run: Run, raw: np.ndarray) -> np.ndarray:
        """Logits of the smoothed posteriors of each head on its own, beside the kept words."""
        share = 1.0 - run.posteriors[:, self.kept].sum(axis=1, keepdims=True, dtype=np.float64)
        posterior = self.smoothed(np.clip(share, 0.0, 1.0) / (1.0 + np.exp(-np.clip(raw, -40.0, 40.0))))
        return logit(posterior)


def logit(posterior: np.ndarray) -> np.ndarray:
    clipped = np.clip(posterior, 1e-9, 1.0 - 1e-9)
    return np.log(clipped / (1.0 - clipped))


class _Word:
    """A word's head (number 0) and those of its folds, each without some of the takes."""

    def __init__(
        self, word: str, takes: Sequence[Take], take_runs: _TakeRuns, moments: Moments, scorer: _Scorer
    ) -> None:
        self.word, self.takes, self.take_runs, self.scorer = word, takes, take_runs, scorer
        groups = sorted({take.recording for take in takes})
        if len(groups) < LEAST_TAKES + 1:  # all takes from one or two files
            groups, of = list(range(len(takes))), list(range(len(takes)))
        else:
            of = [groups.index(take.recording) for take in takes]
        count = min(FOLDS, len(groups))
        self.folds = [[i for i in range(len(takes)) if of[i] % count == fold] for fold in range(count)]
        everyone = list(range(len(takes)))
        chosen = [everyone, *([i for i in everyone if i not in fold] for fold in self.folds)]
        means = [np.mean([take_runs.means[i] for i in some], axis=0) for some in chosen]
        self.weights = moments.directions(np.array(means))
        self.bias = np.zeros(len(means), np.float32)
        raw = {kind: scorer.logits(run, self.weights, self.bias) for kind, run in scorer.runs.items()}
        deviations = moments.deviations(self.weights)
        tails = self._tails({kind: scorer.smoothed(values) for kind, values in raw.items()}, deviations)
        scale = np.array([STEEPNESS / each.slope for each in tails], np.float32)
        starts = np.array([each.logit(scorer.per_hour) for each in tails], np.float32)
        self.weights = self.weights * scale[:, None]
        self.bias = float(logit(np.array(OPERATING_POSTERIOR))) - starts * scale
        raw = {kind: values * scale + self.bias for kind, values in raw.items()}
        seen = {kind: scorer.seen(scorer.runs[kind], values) for kind, values in raw.items()}
        self.tails = self._tails(seen, deviations * scale)

    def _tails(self, smoothed: Mapping[str, np.ndarray], deviations: np.ndarray) -> list[thresholds.Tails]:
        """Of each head, whose logits deviate so much in sound without the word."""
        found = {kind: thresholds.peaks(values, self.scorer.per_second) for kind, values in smoothed.items()}
        own = found.pop(OWN, None)
        return [
            thresholds.Tails(
                [thresholds.tail(highest[:, k], deviations[k]) for highest in found.values()],
                None if own is None else thresholds.tail(own[:, k], deviations[k]),
            )
            for k in range(len(self.weights))
        ]

    def threshold(self, number: int) -> float:
        """Of the smoothed posterior, for the false accepts asked for."""
        level = 1.0 / (1.0 + np.exp(-self.tails[number].logit(self.scorer.per_hour)))
        return float(np.clip(np.ceil(level * 1e4) / 1e4, 0.01, 0.9999))

    def peaks(self, number: int, runs: Sequence[Run]) -> np.ndarray:
        """Highest logit of the smoothed posterior in each sound."""
        chosen = slice(number, number + 1)
        return np.array(
            [
                self.scorer.seen(run, self.scorer.logits(run, self.weights[chosen], self.bias[chosen])).max()
                for run in runs
            ]
        )

    def report(self, per_hour: float, kept: Sequence[str]) -> OwnWord:
        count = len(self.takes)
        clean, noisy = np.zeros(count), np.zeros(count)
        margins = np.zeros(count)
        for number, fold in enumerate(self.folds, 1):
            level = logit(np.array(self.threshold(number)))
            for i in fold:
                margins[i] = self.peaks(number, [self.take_runs.fit[i][0]])[0] - level
                clean[i] = margins[i] >= 0.0
                noisy[i] = (self.peaks(number, self.take_runs.test[i]) >= level).mean()
        warnings = [*self._about_takes(margins), *self._taken_by_kept(kept)]
        share = clean.mean()
        refusal = ""
        if share < LEAST_SHARE:
            refusal = (
                f"can't be told from speech: of {count} takes held out in turn {int(clean.sum())} are detected at "
                f"{per_hour:g} false accepts an hour: record more takes, or choose a longer word (--force to insist)"
            )
        return OwnWord(
            self.word,
            count,
            expectation.estimate(float(clean.sum()), count),
            expectation.estimate(float(noisy.sum()), count),
            per_hour,
            tuple(warnings),
            refusal,
        )

    def _about_takes(self, margins: np.ndarray) -> list[str]:
        found = []
        seconds = np.array([take.seconds for take in self.takes])
        if len(self.takes) < FEW_TAKES:
            found.append(f"has {len(self.takes)} takes: with 5 to 20 it is detected more often")
        if np.median(seconds) < SHORT_SECONDS:
            found.append(f"is short ({np.median(seconds):.2f} s): longer words stand out from speech more surely")
        noisy = [take for take in self.takes if take.snr_db < NOISY_SNR_DB]
        if noisy:
            others = f" and {len(noisy) - 1} more" if len(noisy) > 1 else ""
            found.append(f"{noisy[0].name}{others}: noisy, {noisy[0].snr_db:.0f} dB: record closer to the microphone")
        if len(self.takes) >= LEAST_TAKES + 1:
            middle = np.median(margins)
            spread = max(1.0, 1.4826 * float(np.median(np.abs(margins - middle))))
            odd = (margins < 0.0) & (margins < middle - 3.0 * spread)
            for take in (take for take, is_odd in zip(self.takes, odd, strict=True) if is_odd):
                found.append(f"{take.name}: is unlike the other takes: leave it out if something is wrong")
        return found

    def _taken_by_kept(self, kept: Sequence[str]) -> list[str]:
        found = []
        card = self.scorer.card
        for word in kept:
            column = card.labels.index(word)
            tops = [
                self.scorer.smoothed(runs[0].posteriors[:, column : column + 1]).max() for runs in self.take_runs.fit
            ]
            taken = int(sum(top >= card.thresholds[word] for top in tops))
            if taken >= max(1, ALIKE_SHARE * len(tops)):
                found.append(
                    f"is close to {word}, which fires in {taken} of {len(tops)} takes: drop {word} with --keep, or "
                    "choose another word"
                )
        return found


def _compared(
    report: OwnWord, whole: Head, levels: Mapping[str, float], take_runs: Mapping[str, _TakeRuns], scorer: _Scorer
) -> OwnWord:
    """A report with warnings of other own words that take this one's takes."""
    from dataclasses import replace

    found = []
    flat = whole.weights.reshape(len(whole.words), -1)
    for k, other in enumerate(whole.words):
        if other == report.word:
            continue
        runs = [each[0] for each in take_runs[report.word].fit]
        own = whole.words.index(report.word)
        both = [scorer.logits(run, flat[[k, own]], whole.bias[[k, own]]) for run in runs]
        fires = [
            scorer.seen(run, raw)[:, 0].max() >= logit(np.array(levels[other]))
            for run, raw in zip(runs, both, strict=True)
        ]
        if sum(fires) >= max(1, ALIKE_SHARE * len(fires)):
            found.append(f"is close to {other}, which fires in {sum(fires)} of its {len(fires)} takes: choose another")
    return replace(report, warnings=(*report.warnings, *found)) if found else report


def _figures(model: Model, reports: Sequence[OwnWord], per_hour: float) -> dict:
    own = {
        report.word: {
            "takes": report.takes,
            "expected_share": [round(v, 3) for v in (report.clean.share, report.clean.low, report.clean.high)],
            "expected_share_at_10_db": [round(v, 3) for v in (report.noisy.share, report.noisy.low, report.noisy.high)],
            "target_false_accepts_per_hour": per_hour,
        }
        for report in reports
    }
    return model.card.figures | {"own_words": own}
