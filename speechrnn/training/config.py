"""Settings of a training run: a TOML file and `key=value` overrides in, checked frozen dataclasses out."""

import json
import math
import tomllib
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from speechrnn.errors import ConfigError

STREAMABLE = ("gru", "lstm", "rnn")  # cells that only look back


@dataclass(frozen=True)
class FrontEndConfig:
    """Log-mel parameters. Lengths in samples at 16 kHz, frequencies in Hz. One block is two hops."""

    window_length: int = 400  # 25 ms, periodic Hann
    hop_length: int = 160  # 10 ms
    n_fft: int = 512
    n_mels: int = 40
    f_min: float = 20.0
    f_max: float = 7600.0
    log_offset: float = 1e-7  # added to the mel power before the logarithm; a little above the noise of 16 bits
    mel_scale: str = "htk"  # htk | slaney, whose bands are narrower and are divided by their widths (librosa's default)

    def __post_init__(self) -> None:
        if not 0 < self.hop_length <= self.window_length <= self.n_fft or self.n_fft % 2:
            raise ConfigError(
                f"front_end: hop_length {self.hop_length}, window_length {self.window_length}, n_fft {self.n_fft}:"
                " each must be at most the next, and n_fft even"
            )
        if self.mel_scale not in ("htk", "slaney"):
            raise ConfigError(f"front_end.mel_scale: {self.mel_scale!r} is not one of htk, slaney")


@dataclass(frozen=True)
class NetworkConfig:
    """Causal 2-D convolutions and a recurrent stack; or, to compare with, a network that hears a whole clip at once."""

    first_channels: int = 24
    channels: int = 48
    residual_layers: int = 3
    features: int = 80  # what the recurrent stack gets for each block
    cell: str = "gru"  # gru | lstm | rnn; bigru, none and whisper (peer.py, whisper.py) can't listen live
    hidden_size: int = 152
    layers: int = 2
    dropout: float = 0.1

    def __post_init__(self) -> None:
        known = (*STREAMABLE, "bigru", "none", "whisper")
        if self.cell not in known:
            raise ConfigError(f"network.cell: {self.cell!r} is not one of {', '.join(known)}")

    @property
    def streamable(self) -> bool:
        """Whether sound may come in pieces; otherwise the network needs to hear its end first."""
        return self.cell in STREAMABLE


@dataclass(frozen=True)
class DataConfig:
    """Where the sound is and which words count. Relative folders are taken from the working directory."""

    folder: str = ""  # Speech Commands layout: a folder a word, _background_noise_ beside them
    task: str = "12"  # "12" | "35" | words separated by commas
    exclude: str = ""  # a list of what is not trained on (data_scripts.suspects): paths in `folder`, or OTHER/path
    word_folders: tuple[str, ...] = ()  # more words to train on, a folder each; see data_scripts.synthesize
    unknown_folders: tuple[str, ...] = ()  # other words, searched through and through
    speech_folders: tuple[str, ...] = ()  # running speech: one-second cuts are _unknown_
    noise_folders: tuple[str, ...] = ()  # besides _background_noise_
    bed_folders: tuple[
        str, ...
    ] = ()  # people who talk in the background (data_scripts.beds); see augment.bed_probability
    bed_share: float = 0.0  # of running speech, the part that is taken from the beds
    made_noises: int = 0  # recordings of ten seconds, besides; see made_noise
    unknown_share: float = 2.0  # clips of _unknown_ an epoch, in average words
    own_words_weight: float = 1.0  # how often other words of the folder itself are drawn, against those of the others
    speech_share: float = 0.15  # part of _unknown_ that is cut from running speech
    made_words_share: float = 0.0  # part of _unknown_ that nobody says; see made_words
    silence_share: float = 0.9  # clips of _silence_ an epoch, in average words
    hints: str = ""  # a file of data_scripts.hints: what a larger network hears in each clip; see train.hint_weight
    sources: tuple[str, ...] = ()  # what the sound is and its licence, for the model card


@dataclass(frozen=True)
class AugmentConfig:
    """What happens to a training clip. Probabilities are per clip."""

    shift_seconds: float = 0.1
    speed_probability: float = 0.5
    speed_range: float = 0.15
    vocal_tract_probability: float = 0.0  # of another throat: formants higher or lower, by vocal_tract_range at most
    vocal_tract_range: float = 0.15
    gate_probability: float = 0.15  # digital silence around the word
    gain_probability: float = 0.5
    gain_low_db: float = -34.0
    gain_high_db: float = 6.0
    noise_probability: float = 0.7
    snr_low_db: float = 0.0
    snr_high_db: float = 30.0
    bed_probability: float = 0.0  # of talkers behind a word, whatever else is there: they don't change its label
    bed_low_db: float = 8.0  # the word's loudest tenth of a second above the mean level of the talkers
    bed_high_db: float = 30.0
    room_probability: float = 0.25
    room_low_seconds: float = 0.1  # reverberation time
    room_high_seconds: float = 0.6
    room_low_db: float = 0.0  # direct sound above the reverberation
    room_high_db: float = 15.0
    band_limit_probability: float = 0.15
    response_probability: float = 0.3  # a microphone, or a place for it, that muffles, thins and colours the sound
    eight_bit_probability: float = 0.25
    suppressor_probability: float = 0.0  # noise, and what a noise suppressor leaves of it and of the word
    overdrive_probability: float = 0.0  # peaks go beyond full scale, by overdrive_db at most, and are cut off
    overdrive_db: float = 24.0
    dropout_probability: float = 0.1  # pieces of the recording are lost: digital zeros
    frequency_masks: int = 2
    frequency_mask_bands: int = 7
    time_masks: int = 2
    time_mask_frames: int = 18
    mix_probability: float = 0.0  # with another clip, 0 to 20 dB weaker: what that is, train.teachers know
    twins: bool = False  # each clip of a batch is recorded twice, at two levels; see train.consistency
    long_batch_probability: float = 0.15  # batches whose clips stand in up to two seconds of sound


@dataclass(frozen=True)
class StreamConfig:
    """Long sequences beside the clips of a step, the state carried from one to the next. Probabilities are per row."""

    rows: int = 16  # streams side by side in a step; 0: clips alone
    seconds: float = 6.0  # of each in a step
    weight: float = 1.0  # of the loss, against that of the clips
    reset_probability: float = 0.05  # a fresh state rather than the one carried over
    speech_share: float = 0.4  # rows of running speech, or of speech that starts or stops
    joined_share: float = 0.1  # rows of words run together without a pause: no commands either
    noise_share: float = 0.1  # rows without speech; in the others, words stand among silence, noise and other words
    command_share: float = 0.6  # of the words of such a row, those that are commands
    burst_share: float = 0.0  # instead of a word, a second of noise that starts and stops: `_silence_` all the same
    gap_low_seconds: float = 0.2  # between the clips of a row
    gap_high_seconds: float = 1.5

    def __post_init__(self) -> None:
        if self.rows < 0 or self.seconds < 3.0:
            raise ConfigError("stream: rows must be 0 or more, and seconds at least 3")
        shares = (self.speech_share, self.joined_share, self.noise_share)
        within = all(0.0 <= share <= 1.0 for share in (self.command_share, self.burst_share))
        if min(shares) < 0.0 or sum(shares) > 1.0 + 1e-9 or not within:
            raise ConfigError("stream: each share must be 0 to 1, those of speech, joined words and noise together too")
        if not 0.0 <= self.gap_low_seconds <= self.gap_high_seconds:
            raise ConfigError("stream: gap_low_seconds must be 0 or more, and at most gap_high_seconds")


@dataclass(frozen=True)
class TrainConfig:
    """The optimisation."""

    epochs: int = 30
    batch_size: int = 128
    learning_rate: float = 3e-3
    warmup_share: float = 0.03  # of all steps
    weight_decay: float = 0.02
    label_smoothing: float = 0.1
    consistency: float = 0.0  # weight of the divergence between the posteriors of twins
    hint_weight: float = 1.0  # of the squared error of hints; see hints
    teachers: tuple[str, ...] = ()  # checkpoints; the mean of their log posteriors is learnt besides the label
    teacher_weight: float = 0.7  # of that, against the label
    # What teachers hear. Augmented: each clip as the network does. Clean: each clip of data.folder as it was recorded,
    # once before the first epoch; the network hears it with all that is added, and other clips have their label alone.
    teachers_view: str = "augmented"  # augmented | clean
    clip_gradient_norm: float = 2.0
    average_decay: float = 0.999  # exponential moving average of the weights
    workers: int = 1  # processes that prepare batches
    threads: int = 0  # of torch; 0: one for each core
    seed: int = 1
    start_from: str = ""  # a checkpoint whose weights are the first ones, for a recipe in stages
    accelerator: str = "auto"
    freeze_normalisation: bool = False  # batch normalisation keeps its statistics: for a stage on converged weights
    devices: int = 1  # processes, each with a GPU or a part of the cores, and a part of every batch
    strategy: str = "auto"  # auto | ddp: how several learn together (auto is ddp where there are several)
    precision: str = "32-true"  # 32-true | bf16-mixed | 16-mixed: in 16 bits what may be, which is faster on a GPU

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "devices"):
            if getattr(self, name) < 1:
                raise ConfigError(f"train.{name}: {getattr(self, name)} is less than 1")
        known = {"strategy": ("auto", "ddp"), "precision": ("32-true", "bf16-mixed", "16-mixed")}
        known["teachers_view"] = ("augmented", "clean")
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise ConfigError(f"train.{name}: {getattr(self, name)!r} is not one of {', '.join(values)}")


@dataclass(frozen=True)
class Config:
    """All of it."""

    name: str = "model"
    tail_seconds: float = 0.4  # digital silence after a clip, so that a word at its very end is heard out
    front_end: FrontEndConfig = field(default_factory=FrontEndConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    stream: StreamConfig = field(default_factory=StreamConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        if self.stream.rows and not self.network.streamable:
            raise ConfigError(f"stream.rows: a network.cell of {self.network.cell!r} can't hear a stream: set it to 0")
        if self.augment.mix_probability and not self.train.teachers:
            raise ConfigError("augment.mix_probability: needs train.teachers")
        if self.augment.mix_probability and self.train.teachers_view == "clean":
            raise ConfigError(
                "augment.mix_probability: needs train.teachers_view = augmented: teachers judge the mixture"
            )
        if (self.augment.bed_probability or self.data.bed_share) and not self.data.bed_folders:
            raise ConfigError("augment.bed_probability, data.bed_share: need data.bed_folders (data_scripts.beds)")
        if self.augment.mix_probability and self.augment.twins:
            raise ConfigError("augment.mix_probability: would lay different clips on twins: set one of the two to 0")
        if self.train.consistency and not self.augment.twins:
            raise ConfigError("train.consistency: needs augment.twins = true")
        if self.augment.twins and self.train.batch_size % 2:
            raise ConfigError("train.batch_size: must be even with augment.twins")

    def to_dict(self) -> dict[str, Any]:
        return json.loads(json.dumps(asdict(self)))

    def to_toml(self) -> str:
        """The resolved settings as TOML. JSON's strings, numbers, booleans and lists are valid TOML values."""

        def toml(value: Any) -> str:  # TOML has no surrogate pairs, and JSON leaves DEL as it is
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

        top, tables = [], []
        for key, value in self.to_dict().items():
            if isinstance(value, dict):
                tables.append(f"\n[{key}]\n" + "".join(f"{k} = {toml(v)}\n" for k, v in value.items()))
            else:
                top.append(f"{key} = {toml(value)}\n")
        return "".join(top) + "".join(tables)


def _build(cls: type, values: dict[str, Any], where: str) -> Any:
    hints = get_type_hints(cls)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ConfigError(f"{where}{unknown[0]}: no such setting; there are: {', '.join(hints)}")
    built = {}
    for key, value in values.items():
        hint, name = hints[key], f"{where}{key}"
        if isinstance(hint, type) and is_dataclass(hint):
            if not isinstance(value, dict):
                raise ConfigError(f"{name}: is a table of settings, not a value")
            built[key] = _build(hint, value, f"{name}.")
        elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
            if not math.isfinite(value):
                raise ConfigError(f"{name}: {value} is not a finite number")
            built[key] = float(value)
        elif hint in (int, str, bool) and type(value) is hint:
            built[key] = value
        elif hint == tuple[str, ...] and isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
            built[key] = tuple(value)
        else:
            raise ConfigError(f"{name}: {value!r} is not {getattr(hint, '__name__', hint)}")
    return cls(**built)


def from_dict(values: dict[str, Any]) -> Config:
    """Build checked settings from nested dictionaries; raises ConfigError for an unknown key or a wrong type."""
    return _build(Config, values, "")


def _read(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The tables of a TOML file, laid over those of its `base`, if it names one, a file beside it."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({error.strerror}): give a TOML file such as configs/") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}") from None
    base = values.pop("base", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise ConfigError(f"{path}: base: {base!r} is not the name of a TOML file")
    above = (*above, path.resolve())
    if (path.parent / base).resolve() in above:
        raise ConfigError(f"{path}: base: {base} has this file as its own base: take one of the two lines out")
    return _laid_over(_read(path.parent / base, above), values)


def _laid_over(below: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    both = below | values
    for key in below.keys() & values.keys():
        if isinstance(below[key], dict) and isinstance(values[key], dict):
            both[key] = _laid_over(below[key], values[key])
    return both


def load(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> Config:
    """Read a TOML file and apply overrides such as `train.epochs=3`.

    With `base = "other.toml"` a file has the settings of another one, taken from its own folder, and changes what it
    names; a list takes the place of a list.

    Raises
    ------
    ConfigError
        naming the file or the setting
    """
    values = _read(Path(path))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"--set {override}: write it as key=value, for instance train.epochs=3")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text  # a bare word is a string
        *tables, last = key.strip().split(".")
        table = values
        for name in tables:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise ConfigError(f"--set {override}: {name} is a value, not a table")
        hint = _leaf_type(tables, last)
        table[last] = text if hint is str and not isinstance(value, str) else value  # 12 or 1.10 as it was written
    return from_dict(values)


def _leaf_type(tables: list[str], last: str) -> Any:
    cls: Any = Config
    for name in [*tables, last]:
        if not is_dataclass(cls) or name not in {f.name for f in fields(cls)}:
            return None  # the check in from_dict names it
        cls = get_type_hints(cls)[name]
    return cls
