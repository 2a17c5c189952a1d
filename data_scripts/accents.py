"""Foreign accents of English: phones of a first language in place of those that it lacks.

Substitutions: Swan and Smith, "Learner English: a teacher's guide to interference and other problems", 2001. All of
them at once are a strong accent.
"""

import re


def _table(pairs: str) -> dict[str, str]:
    return {phone: other for phone, _, other in (pair.partition(">") for pair in pairs.split())}


# Phones as espeak-ng writes them for en-us and en-gb, without marks of stress, and what takes their place.
PHONES = {
    "french": _table("h> θ>s ð>z ɹ>ʁ tʃ>ʃ dʒ>ʒ ɾ>t ɪ>i iː>i ʊ>u uː>u ʌ>œ æ>a ɑː>ɔ ɜː>œʁ oʊ>o əʊ>o eɪ>e ɚ>œʁ"),
    "german": _table("w>v θ>s ð>z ɹ>ʁ ɾ>t ʌ>a æ>ɛ ɑː>ɔ ɜː>øɐ oʊ>oː əʊ>oː eɪ>eː ɚ>ɐ"),
    "greek": _table("h>x ɹ>ɾ ʃ>s ʒ>z tʃ>ʦ dʒ>ʣ ɾ>t ɪ>i iː>i ʊ>u uː>u ʌ>a æ>a ɑː>o ɔ>o ɔː>o ɜː>eɾ oʊ>o əʊ>o ə>a ɚ>eɾ"),
    "hindi": _table("w>ʋ v>ʋ θ>tʰ ð>d ɹ>ɾ t>ʈ d>ɖ ɾ>ʈ ʌ>ə æ>ɛ ɔ>aː ɔː>aː ɑː>aː ɜː>əɾ oʊ>oː əʊ>oː eɪ>eː ɚ>əɾ"),
    "russian": _table("w>v h>x θ>s ð>z ɹ>r ŋ>n ɾ>t ɪ>i iː>i ʊ>u uː>u ʌ>a æ>ɛ ɑː>o ɔ>o ɔː>o ɜː>ɛr oʊ>o əʊ>o ɚ>ar"),
    "spanish": _table(
        "v>b h>x z>s ð>d ɹ>ɾ ʃ>tʃ ʒ>ʝ dʒ>ʝ ɾ>t ɪ>i iː>i ʊ>u uː>u ʌ>a æ>a ɑː>o ɔ>o ɔː>o ɜː>eɾ oʊ>o əʊ>o ə>e ɚ>eɾ"
    ),
}
DEVOICED = _table("b>p d>t ɡ>k v>f z>s ʒ>ʃ dʒ>tʃ")
DEVOICING = ("german", "russian")  # no voiced stop or fricative ends a word
LANGUAGES = tuple(PHONES)
KEPT = ("aɪ", "aʊ", "ɔɪ", "tʃ", "dʒ")  # diphthongs and affricates are one phone, unless a table says otherwise


def accented(phones: str, language: str) -> str:
    """Phones of an English word, stress marked, as a speaker of `language` (one of LANGUAGES) says them."""
    phones = _replaced({phone: phone for phone in KEPT} | PHONES[language], phones)
    if language == "spanish":
        phones = re.sub(r"^s(?=[ˈˌ]?[ptkmnl])", "es", phones)  # no initial s before a consonant
    if language in DEVOICING:
        phones = _replaced(DEVOICED, phones, at=r"(?=\W*$)")
    return phones


def _replaced(table: dict[str, str], phones: str, at: str = "") -> str:
    """Each phone of the table in one go, the longest that fits first; `at`: a pattern of what must follow."""
    longest_first = "|".join(sorted(table, key=len, reverse=True))
    return re.sub(f"({longest_first}){at}", lambda found: table[found[0]], phones)
