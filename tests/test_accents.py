"""Accents: the phones of another first language in the place of those of English."""

import pytest

from data_scripts.accents import LANGUAGES, PHONES, accented


@pytest.mark.parametrize(
    ("phones", "language", "said"),
    [
        ("wˌʌn", "german", "vˌan"),
        ("wˌʌn", "spanish", "wˌan"),
        ("ɡˈoʊ", "german", "ɡˈoː"),
        ("ɡˈoʊ", "greek", "ɡˈo"),
        ("ɹˈaɪt", "french", "ʁˈaɪt"),
        ("hˈaʊs", "french", "ˈaʊs"),
        ("hˈaʊs", "russian", "xˈaʊs"),
        ("stˈɑːp", "spanish", "estˈop"),
        ("stˈɑːp", "hindi", "sʈˈaːp"),
        ("tʃˈɜːtʃ", "german", "tʃˈøɐtʃ"),  # its affricates are German too
        ("tʃˈɜːtʃ", "french", "ʃˈœʁʃ"),
        ("lˈɛft", "hindi", "lˈɛfʈ"),
    ],
)
def test_a_word_is_said_with_the_phones_of_a_first_language(phones, language, said):
    assert accented(phones, language) == said


@pytest.mark.parametrize(
    ("phones", "said"), [("fˈaɪv", "fˈaɪf"), ("fˈaɪv!", "fˈaɪf!"), ("dʒˈʌdʒ", "dʒˈatʃ"), ("sˈɛvən", "sˈɛvən")]
)
def test_voiced_ends_are_unvoiced_where_the_language_has_none(phones, said):
    assert accented(phones, "german") == accented(phones, "russian") == said


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_phone_that_the_language_lacks_is_left(language):
    lacking = {phone for phone, said in PHONES[language].items() if phone not in "".join(PHONES[language].values())}
    assert lacking
    assert not [phone for phone in lacking if phone in accented("".join(f"{phone}ˈ" for phone in lacking), language)]
