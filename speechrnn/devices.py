"""Choosing an input device: by a number or a part of its name, and again after it was unplugged."""

import re
from dataclasses import dataclass

from speechrnn.errors import MicrophoneError

ALSA_NUMBERS = re.compile(r" *\(hw:\d+,\d+\)$")  # of a card, in its name; they change when it is plugged in again


@dataclass(frozen=True)
class Device:
    """A microphone, or another input."""

    index: int
    name: str
    host_api: str
    rate: int  # Hz, its own
    channels: int
    default: bool


def choose(found: list[Device], wanted: str | int | None) -> Device:
    """The device of that number, or with that in its name (in any case); the default one for None.

    Where several host APIs have an input of such a name, as on Windows, it is the one of the default input's.

    Raises
    ------
    MicrophoneError
        if there is no such device, or more than one
    """
    if not found:
        raise MicrophoneError("no microphone found: plug one in, or start the sound server")
    default = next((device for device in found if device.default), None)
    if wanted is None:
        return default or found[0]
    if str(wanted).isdecimal():
        matches = [device for device in found if device.index == int(wanted)]
    else:
        part = str(wanted).casefold()
        matches = [device for device in found if part in device.name.casefold()]
        if exact := [device for device in matches if part == device.name.casefold()]:
            matches = exact
        if default and len(matches) > 1:
            matches = [device for device in matches if device.host_api == default.host_api] or matches
    if len(matches) != 1:
        which = "more than one input has" if matches else "no input has"
        raise MicrophoneError(f"--device {wanted}: {which} that number or name; there are: {_listed(found)}")
    return matches[0]


def _listed(found: list[Device]) -> str:
    several = len({device.host_api for device in found}) > 1
    return "; ".join(f"{device.index} {device.name}" + f" ({device.host_api})" * several for device in found)


@dataclass(frozen=True)
class Identity:
    """What a device is found by after it was away: numbers change when devices come and go.

    Equals are inputs of one host API whose names differ in ALSA's numbers at most, as those of two equal USB
    microphones do; where the names don't differ, their order alone distinguishes them.
    """

    host_api: str
    name: str
    is_unique: bool
    place: int  # among its equals
    equals: int  # how many there were

    @classmethod
    def of(cls, device: Device, found: list[Device]) -> "Identity":
        same = [other for other in found if (other.host_api, other.name) == (device.host_api, device.name)]
        equals = _equals(device.host_api, device.name, found)
        return cls(device.host_api, device.name, len(same) == 1, equals.index(device), len(equals))

    def find(self, found: list[Device], all_are_there: bool) -> tuple[Device, bool]:
        """The device, and whether it may be one of its equals instead.

        Raises
        ------
        MicrophoneError
            if it isn't there; and, where `all_are_there` is asked for, if one of its equals is missing, which may be it
        """
        same = [device for device in found if (device.host_api, device.name) == (self.host_api, self.name)]
        if self.is_unique and len(same) == 1:
            return same[0], False
        equals = _equals(self.host_api, self.name, found)
        if not equals or (all_are_there and len(equals) < self.equals):
            raise MicrophoneError(f"{self.name}: isn't there; there are: {_listed(found)}")
        return equals[min(self.place, len(equals) - 1)], max(len(equals), self.equals) > 1


def _equals(host_api: str, name: str, found: list[Device]) -> list[Device]:
    kind = (host_api, ALSA_NUMBERS.sub("", name))
    return [device for device in found if (device.host_api, ALSA_NUMBERS.sub("", device.name)) == kind]
