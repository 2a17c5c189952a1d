"""Settings of a training run: frozen dataclasses, read from a TOML file and `key=value` overrides, and checked."""

import difflib
import json
import math
import textwrap
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from speechrnn.card import TAIL_SECONDS, whole_blocks
from speechrnn.errors import ConfigError, InputError
from speechrnn.names import file_name
from speechrnn.text import has_control
from speechrnn.training import toml_files
from speechrnn.training.bounds import Between, Bounded, Probability, Share, Weight, shown

HOPS_PER_BLOCK = 2  # a block has one row of posteriors
STREAMABLE = ("gru", "lstm", "rnn")  # causal cells


@dataclass(frozen=True)
class FrontEndConfig(Bounded):
    """Log-mel parameters. Lengths in samples at 16 kHz, frequencies in Hz. One block is two hops."""

    table = "front_end."

    window_length: Annotated[int, Between(32, 8192)] = 400  # 25 ms, periodic Hann
    hop_length: Annotated[int, Between(16, 8192)] = 160  # 10 ms
    n_fft: Annotated[int, Between(32, 8192)] = 512
    n_mels: Annotated[int, Between(2, 256)] = 40
    f_min: Annotated[float, Between(0.0, 8000.0)] = 20.0
    f_max: Annotated[float, Between(1.0, 8000.0)] = 7600.0
    # added to the mel power before the logarithm; a little above the noise of 16 bits
    log_offset: Annotated[float, Between(1e-12, 1.0)] = 1e-7
    mel_scale: str = "htk"  # htk | slaney, whose bands are narrower and are divided by their widths (librosa's default)

    def __post_init__(self) -> None:
        if not 0 < self.hop_length <= self.window_length <= self.n_fft or self.n_fft % 2:
            raise ConfigError(
                f"front_end: hop_length {self.hop_length}, window_length {self.window_length}, n_fft {self.n_fft}:"
                " each must be at most the next, and n_fft even"
            )
        if self.mel_scale not in ("htk", "slaney"):
            raise ConfigError(f"front_end.mel_scale: {shown(self.mel_scale)} is not one of htk, slaney")
        if self.f_min >= self.f_max:
            raise ConfigError(f"front_end: f_min {self.f_min:g} must be below f_max {self.f_max:g}")
        super().__post_init__()

    @property
    def block_length(self) -> int:
        """Samples in a block."""
        return HOPS_PER_BLOCK * self.hop_length


@dataclass(frozen=True)
class NetworkConfig(Bounded):
    """Causal 2-D convolutions and a recurrent stack; or, as a baseline, a network for whole clips."""

    table = "network."

    first_channels: Annotated[int, Between(1, 512)] = 24
    channels: Annotated[int, Between(1, 512)] = 48
    residual_layers: Annotated[int, Between(0, 32)] = 3
    features: Annotated[int, Between(1, 1024)] = 80  # input of the recurrent stack for each block
    cell: str = "gru"  # gru | lstm | rnn; for whole clips alone: bigru, none (a DS-CNN), whisper
    hidden_size: Annotated[int, Between(1, 1024)] = 152
    layers: Annotated[int, Between(1, 24)] = 2
    dropout: Annotated[float, Between(0.0, 0.95)] = 0.1

    def __post_init__(self) -> None:
        known = (*STREAMABLE, "bigru", "none", "whisper")
        if self.cell not in known:
            raise ConfigError(f"network.cell: {shown(self.cell)} is not one of {', '.join(known)}")
        super().__post_init__()

    @property
    def streamable(self) -> bool:
        """Whether the network is causal, and so works on a stream; otherwise it needs the whole clip."""
        return self.cell in STREAMABLE


@dataclass(frozen=True)
class DataConfig(Bounded):
    """Where the audio is and which words are labels. Relative folders are below the working directory."""

    table = "data."

    folder: str = ""  # Speech Commands layout: a folder a word, _background_noise_ beside them
    task: str = "12"  # "12" | "35" | words separated by commas
    exclude: str = ""  # list of label errors, not trained on (data_scripts.suspects): paths in `folder`, or OTHER/path
    word_folders: tuple[str, ...] = ()  # more words to train on, a folder each; see data_scripts.synthesize
    unknown_folders: tuple[str, ...] = ()  # other words, in folders of any depth
    speech_folders: tuple[str, ...] = ()  # running speech: one-second cuts are _unknown_
    noise_folders: tuple[str, ...] = ()  # besides _background_noise_
    bed_folders: tuple[str, ...] = ()  # talkers in the background (data_scripts.beds); see augment.bed_probability
    bed_share: Share = 0.0  # of running speech, the part that is babble
    made_noises: Annotated[int, Between(0, 10000)] = 0  # recordings of ten seconds of synthetic noise
    unknown_share: Annotated[float, Between(0.0, 100.0)] = 2.0  # clips an epoch, relative to those of a word
    # how often _unknown_ words of `folder` are drawn, relative to those of other folders
    own_words_weight: Annotated[float, Between(1e-3, 1e3)] = 1.0
    speech_share: Share = 0.15  # part of _unknown_ that is cut from running speech
    made_words_share: Share = 0.0  # part of _unknown_ that is pseudo-words, spliced of others
    silence_share: Annotated[float, Between(0.0, 100.0)] = 0.9  # clips an epoch, relative to those of a word
    hints: str = ""  # feature distillation: embeddings by data_scripts.hints; see train.hint_weight
    sources: tuple[str, ...] = ()  # recordings and their licences, for the model card

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.speech_share + self.made_words_share > 1.0 + 1e-9:
            raise ConfigError("data: speech_share and made_words_share must be 1 at most together")
        if bad := next(filter(has_control, self.sources), None):
            raise ConfigError(f"data.sources: {shown(bad)} has a control character: a model card takes none")


@dataclass(frozen=True)
class AugmentConfig(Bounded):
    """Augmentation of training clips. Probabilities are per clip."""

    table = "augment."

    shift_seconds: Annotated[float, Between(0.0, 1.0)] = 0.1
    speed_probability: Probability = 0.5
    speed_range: Annotated[float, Between(0.0, 0.5)] = 0.15
    vocal_tract_probability: Probability = 0.0  # VTLP: formants scaled by 1 +- vocal_tract_range at most
    vocal_tract_range: Annotated[float, Between(0.0, 0.5)] = 0.15
    gate_probability: Probability = 0.15  # noise gate: digital silence around the word
    gain_probability: Probability = 0.5
    gain_low_db: Annotated[float, Between(-100.0, 60.0)] = -34.0
    gain_high_db: Annotated[float, Between(-100.0, 60.0)] = 6.0
    noise_probability: Probability = 0.7
    snr_low_db: Annotated[float, Between(-60.0, 120.0)] = 0.0
    snr_high_db: Annotated[float, Between(-60.0, 120.0)] = 30.0
    bed_probability: Probability = 0.0  # of talkers in the background (babble)
    bed_low_db: Annotated[float, Between(-60.0, 120.0)] = 8.0  # SNR of the word's loudest tenth of a second
    bed_high_db: Annotated[float, Between(-60.0, 120.0)] = 30.0
    room_probability: Probability = 0.25
    room_low_seconds: Annotated[float, Between(0.01, 10.0)] = 0.1  # reverberation time
    room_high_seconds: Annotated[float, Between(0.01, 10.0)] = 0.6
    room_low_db: Annotated[float, Between(-60.0, 60.0)] = 0.0  # direct sound above the reverberation
    room_high_db: Annotated[float, Between(-60.0, 60.0)] = 15.0
    band_limit_probability: Probability = 0.15
    response_probability: Probability = 0.3  # of a microphone with a frequency response that isn't flat
    eight_bit_probability: Probability = 0.25
    suppressor_probability: Probability = 0.0  # of noise followed by a noise suppressor
    overdrive_probability: Probability = 0.0  # of clipping: peaks exceed full scale by overdrive_db at most
    overdrive_db: Annotated[float, Between(0.0, 60.0)] = 24.0
    dropout_probability: Probability = 0.1  # of dropouts: gaps of digital zeros
    frequency_masks: Annotated[int, Between(0, 100)] = 2
    frequency_mask_bands: Annotated[int, Between(0, 256)] = 7
    time_masks: Annotated[int, Between(0, 100)] = 2
    time_mask_frames: Annotated[int, Between(0, 10000)] = 18
    mix_probability: Probability = 0.0  # of another clip added, 0 to 20 dB weaker; the target is that of train.teachers
    twins: bool = False  # R-Drop: two views of each clip, with converters of their own; see train.consistency
    long_batch_probability: Probability = 0.15  # of batches with up to a second of audio around the clips

    def __post_init__(self) -> None:
        super().__post_init__()
        for low in ("gain_low_db", "snr_low_db", "bed_low_db", "room_low_seconds", "room_low_db"):
            high = low.replace("low", "high")
            if getattr(self, low) > getattr(self, high):
                raise ConfigError(f"augment.{low}: must be at most {high}")


@dataclass(frozen=True)
class StreamConfig(Bounded):
    """Long sequences beside the clips of a step, with the state carried over. Probabilities are per row."""

    table = "stream."

    rows: Annotated[int, Between(0, 1024)] = 16  # streams side by side in a step; 0: clips alone
    seconds: Annotated[float, Between(3.0, 100.0)] = 6.0  # length of each in a step
    weight: Weight = 1.0  # of the loss, relative to that of the clips
    reset_probability: Probability = 0.05  # of a zero state instead of the one carried over
    speech_share: Share = 0.4  # rows of running speech, or of speech that starts or stops
    joined_share: Share = 0.1  # rows of words joined without a pause, which are no commands either
    noise_share: Share = 0.1  # rows without speech; in the others, words stand among silence, noise and other words
    command_share: Share = 0.6  # of the words of such a row, those that are commands
    burst_share: Share = 0.0  # noise bursts of a second in place of words: `_silence_`
    gap_low_seconds: Annotated[float, Between(0.0, 60.0)] = 0.2  # between the clips of a row
    gap_high_seconds: Annotated[float, Between(0.0, 60.0)] = 1.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.speech_share + self.joined_share + self.noise_share > 1.0 + 1e-9:
            raise ConfigError("stream: the shares of speech, joined words and noise must be 1 at most together")
        if self.gap_low_seconds > self.gap_high_seconds:
            raise ConfigError("stream: gap_low_seconds must be at most gap_high_seconds")


@dataclass(frozen=True)
class TrainConfig(Bounded):
    """Optimisation, distillation and devices."""

    table = "train."

    epochs: Annotated[int, Between(1, 100000)] = 30
    batch_size: Annotated[int, Between(1, 65536)] = 128
    learning_rate: Annotated[float, Between(1e-9, 100.0)] = 3e-3
    warmup_share: Share = 0.03  # of all steps
    weight_decay: Annotated[float, Between(0.0, 1000.0)] = 0.02
    label_smoothing: Annotated[float, Between(0.0, 0.95)] = 0.1
    consistency: Weight = 0.0  # R-Drop: weight of the KL divergence between two views; needs augment.twins
    hint_weight: Weight = 1.0  # feature distillation: weight of the squared error; see data.hints
    teachers: tuple[str, ...] = ()  # distillation, as start_from: their mean log posterior is a target
    teacher_weight: Share = 0.7  # of that target; the rest is that of the label
    # Input of teachers. Augmented: the same as that of the network. Clean: clips of data.folder without augmentation,
    # once before the first epoch; other clips have their label alone.
    teachers_view: str = "augmented"  # augmented | clean
    clip_gradient_norm: Annotated[float, Between(1e-6, 1e6)] = 2.0
    average_decay: Annotated[float, Between(0.0, 1.0)] = 0.999  # exponential moving average of the weights
    workers: Annotated[int, Between(0, 256)] = 1  # processes that prepare batches
    threads: Annotated[int, Between(0, 1024)] = 0  # of torch; 0: one for each core
    seed: Annotated[int, Between(0, 2**32 - 1)] = 1
    # initial weights: a checkpoint, an ONNX file of ours, or the name of a shipped model
    start_from: str = ""
    accelerator: str = "auto"
    freeze_normalisation: bool = False  # batch normalisation keeps its statistics, for fine-tuning
    # processes, each with a GPU or a part of the cores, and a part of every batch
    devices: Annotated[int, Between(1, 1024)] = 1
    strategy: str = "auto"  # auto | ddp; auto is ddp where there are several devices
    precision: str = "32-true"  # 32-true | bf16-mixed | 16-mixed; mixed precision is faster on a GPU

    def __post_init__(self) -> None:
        super().__post_init__()
        known = {"strategy": ("auto", "ddp"), "precision": ("32-true", "bf16-mixed", "16-mixed")}
        known["teachers_view"] = ("augmented", "clean")
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise ConfigError(f"train.{name}: {shown(getattr(self, name))} is not one of {', '.join(values)}")


@dataclass(frozen=True)
class Config(Bounded):
    """Settings of a training run: two of its own and six tables."""

    name: str = "model"
    # digital silence appended to a clip, so that a word at its end is still recognised
    tail_seconds: Annotated[float, Between(0.0, 10.0)] = TAIL_SECONDS
    front_end: FrontEndConfig = field(default_factory=FrontEndConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    stream: StreamConfig = field(default_factory=StreamConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            file_name(self.name, "name:")  # of the run folder, and of the model that is made of it
        except InputError as error:
            raise ConfigError(str(error)) from None
        if self.stream.rows and not self.network.streamable:
            raise ConfigError(f"stream.rows: a network.cell of {self.network.cell!r} needs whole clips: set it to 0")
        if self.augment.mix_probability and not self.train.teachers:
            raise ConfigError("augment.mix_probability: needs train.teachers")
        if self.augment.mix_probability and self.train.teachers_view == "clean":
            raise ConfigError(
                "augment.mix_probability: needs train.teachers_view = augmented: the target of a mixture is theirs"
            )
        if (self.augment.bed_probability or self.data.bed_share) and not self.data.bed_folders:
            raise ConfigError("augment.bed_probability, data.bed_share: need data.bed_folders (data_scripts.beds)")
        if self.augment.mix_probability and self.augment.twins:
            raise ConfigError("augment.mix_probability: can't be combined with twins: set one of the two to 0")
        if self.train.consistency and not self.augment.twins:
            raise ConfigError("train.consistency: needs augment.twins = true")
        if self.augment.twins and self.train.batch_size % 2:
            raise ConfigError("train.batch_size: must be even with augment.twins")

    @property
    def tail_samples(self) -> int:
        """Samples of the digital silence after a clip: whole blocks, as many as `Card.tail_blocks`."""
        return whole_blocks(self.tail_seconds, self.front_end.block_length) * self.front_end.block_length

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


def _build(cls: type, values: Any, where: str) -> Any:
    hints = {f.name: get_type_hints(cls)[f.name] for f in fields(cls)}
    if not isinstance(values, dict):
        raise ConfigError(f"{where.rstrip('.') or 'settings'}: is a table of settings, not a value")
    unknown = [key for key in values if key not in hints]
    if unknown:
        key = _word(unknown[0])
        near = difflib.get_close_matches(key, hints, 5, 0.5) or hints
        listed = textwrap.shorten(", ".join(near), 400, placeholder=" ...")
        raise ConfigError(f"{where}{key}: no such setting; there {'is' if len(near) == 1 else 'are'}: {listed}")
    built: dict[str, Any] = {}
    for key, value in values.items():
        hint, name = hints[key], f"{where}{key}"
        if isinstance(hint, type) and is_dataclass(hint):
            built[key] = _build(hint, value, f"{name}.")
        elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
            built[key] = _finite(value, name)
        elif hint in (int, str, bool) and type(value) is hint:
            built[key] = _text(value, name) if hint is str else value
        elif hint == tuple[str, ...] and isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
            built[key] = tuple(_text(v, name) for v in value)
        else:
            raise ConfigError(f"{name}: {shown(value)} is not {getattr(hint, '__name__', hint)}")
    return cls(**built)


def _word(key: Any) -> str:
    """The name of a setting for a message."""
    return key if isinstance(key, str) and key.isprintable() and 0 < len(key) <= 60 else shown(key)


def _finite(value: float, name: str) -> float:
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        number = math.inf
    if not math.isfinite(number):
        raise ConfigError(f"{name}: {shown(value)} is not a finite number")
    return number


def _text(value: str, name: str) -> str:
    """Check that a text can be the name of a file, and stand in TOML."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{name}: {shown(value)} is no text in UTF-8, which a TOML file must be: rename it") from None
    if "\0" in value:
        raise ConfigError(f"{name}: {shown(value)} has a NUL in it: take it out")
    return value


def from_dict(values: dict[str, Any]) -> Config:
    """Build checked settings from nested dictionaries; raises ConfigError for an unknown key or a wrong type."""
    return _build(Config, values, "")


def load(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> Config:
    """Read a TOML file and apply overrides such as `train.epochs=3`.

    With `base = "other.toml"` a file has the settings of another one, taken from its own folder, and changes what it
    names; a list takes the place of a list.

    Raises
    ------
    ConfigError
        naming the file or the setting
    """
    values = toml_files.read_over_bases(Path(path))
    for override in overrides:
        key, equals, text = override.partition("=")
        *tables, last = key.strip().split(".")
        if not equals or not all((*tables, last)):
            raise ConfigError(f"--set {_word(override)}: write it as key=value, for instance train.epochs=3")
        table = values
        for name in tables:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise ConfigError(f"--set {_word(override)}: {_word(name)} is a value, not a table")
        table[last] = _value(text, _leaf_type(tables, last))
    return from_dict(values)


def _value(text: str, hint: Any) -> Any:
    """The value of an override: as TOML, or a string as it was written."""
    try:
        (value,) = toml_files.parse(f"value = {text}").values()
    except ValueError:  # no TOML, or more than one value
        return text  # a bare word is a string
    return text if hint is str and not isinstance(value, str) else value  # 12 or 1.10 as it was written


def _leaf_type(tables: list[str], last: str) -> Any:
    cls: Any = Config
    for name in [*tables, last]:
        if not is_dataclass(cls) or name not in {f.name for f in fields(cls)}:
            return None  # the check in from_dict names it
        cls = get_type_hints(cls)[name]
    return cls
