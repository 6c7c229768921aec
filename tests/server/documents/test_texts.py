"""How texts are read: their encoding, their Markdown, and the passages that they are cut into."""

from __future__ import annotations

import pytest

from chat_sessions.server.documents.reading.blocks import Block, blocks_of, pieces, sentences
from chat_sessions.server.documents.reading.content import Unreadable, kind_of
from chat_sessions.server.documents.reading.terms import function_words, language_asked_in, terms, words
from tests.server.documents.made import read_whole


class TestEncodings:
    @pytest.mark.parametrize(
        ("text", "encoding"),
        [
            ("The gate code is 7731.", "utf-16"),
            ("The gate code is 7731.", "utf-16-le"),
            ("The gate code is 7731.", "utf-32"),
            ("Café open.", "utf-8-sig"),
            ("Café open.", "cp1252"),
            ("Die Brötchen kosten 45 Cent das Stück.", "latin-1"),
            ("Les élèves paient 12 € la nuit à l\u2019auberge.", "cp1252"),
            ("Zażółć gęślą jaźń, to jest polski tekst o dużych łodziach.", "cp1250"),
            ("Ключи лежат в синей коробке.", "cp1251"),
            ("Собрание начинается в понедельник. Взнос составляет 300 рублей.", "koi8-r"),
            ("Собрание начинается в понедельник. Взнос составляет 300 рублей.", "cp866"),
            ("הספרייה פתוחה בימים ראשון עד חמישי בין השעות תשע לשבע.", "cp1255"),
            ("يفتح المتحف أبوابه من الساعة التاسعة صباحا.", "cp1256"),
            ("Το τρένο φεύγει στις δέκα το πρωί.", "iso-8859-7"),  # noqa: RUF001
            ("Klucz leży pod doniczką.", "cp1250"),
            ("Szkoła żeglarska\n\nOpłata za kurs wynosi 480 złotych. Łódź należy zwrócić czystą.", "iso-8859-2"),
            ("Szkoła żeglarska\n\nOpłata za kurs wynosi 480 złotych. Łódź należy zwrócić czystą.", "cp852"),
            ("Članarina iznosi 40 eura godišnje. Šteta se prijavljuje čuvaru.", "iso-8859-2"),
            ("A tagdíj évente tizenkétezer forint, amelyet március végéig kell befizetni. Őszi túra.", "cp1250"),
            ("Klucz leży pod doniczką.", "cp852"),
            ("Raktas nuo valtinės yra pas sargą. Mokestis yra 40 eurų per metus.", "cp1257"),
            ("Üyelik ücreti yıllık 400 liradır ve mart sonuna kadar ödenmelidir.", "cp1254"),  # noqa: RUF001
            ("Der Schlüssel für das Bootshaus hängt außen. Größere Schäden sind zu melden.", "cp850"),
            ("Der Schlüssel für das Bootshaus hängt außen. Größere Schäden sind zu melden.", "mac_roman"),
            ("La clé du hangar est chez le gardien. L\u2019été, c\u2019est à payer avant mars.", "mac_roman"),
            ("La clé du hangar est chez le gardien. Être à l'heure est nécessaire, même l'été.", "cp1252"),
            ("La cotisation s'élève à 40 €, à payer avant le 31 mars.", "iso-8859-15"),
            ("Nøglen til bådhuset ligger hos pedellen. Større skader anmeldes på forhånd.", "cp850"),
            ("Ключ от лодочного сарая у сторожа. Взнос платится до конца марта.", "iso-8859-5"),  # noqa: RUF001
            ("Ключ от лодочного сарая у сторожа. Взнос платится до конца марта.", "mac_cyrillic"),  # noqa: RUF001
            ("Το κλειδί του υπόστεγου είναι στον φύλακα. Η συνδρομή είναι 40 ευρώ.", "cp737"),  # noqa: RUF001
            ("会議は毎週火曜日の午前十時に始まる。", "iso2022_jp"),
            ("会議は毎週火曜日の午前十時に始まる。", "shift_jis"),
            ("会议每周二上午十点开始。门的密码是7731。", "gb18030"),
            ("회의는 매주 화요일 오전 열 시에 시작한다.", "euc_kr"),
        ],
    )
    def test_a_text_is_read_in_the_encoding_that_it_is_written_in(self, text: str, encoding: str) -> None:
        assert read_whole(text.encode(encoding), "a.txt").text == text

    @pytest.mark.parametrize(
        ("text", "encoding"),
        [
            ("Ключ в коробке. Взнос составляет 400 рублей.", "cp1251"),
            ("Ключ в коробке. Взнос составляет 400 рублей.", "koi8_r"),
            ("Το κλειδί είναι στον φύλακα. Η συνδρομή είναι 40 ευρώ.", "cp1253"),  # noqa: RUF001
            ("הספרייה פתוחה בימים ראשון עד חמישי בין השעות תשע לשבע.", "cp1255"),
            ("يفتح المتحف أبوابه من الساعة التاسعة صباحا.", "cp1256"),
            ("会議は毎週火曜日の午前十時に始まる。", "shift_jis"),
            ("회의는 매주 화요일 오전 열 시에 시작한다.", "euc_kr"),
        ],
    )
    def test_a_script_is_found_among_more_english(self, text: str, encoding: str) -> None:
        whole = f"This module reads the configuration file and starts the server; pass it a port number. {text}"
        assert read_whole(whole.encode(encoding), "a.txt").text == whole

    def test_a_note_says_in_what_a_text_was_read_if_its_language_does_not_fit_that(self) -> None:
        sure = read_whole("Die Brötchen kosten 45 Cent das Stück.".encode("cp1252"), "a.txt")
        unsure = read_whole("İstanbul ığdır şehir".encode("cp1254"), "a.txt")  # noqa: RUF001
        assert sure.notes == []
        (note,) = unsure.notes
        assert note.startswith("its encoding is not certain: it was read as ")

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"", "it is empty"),
            (b"\0\1\2\3\4", "it is not a kind of document that can be read"),
            (bytes(range(1, 256)) * 9, "it is not text in any known encoding"),
            (b"\x89PNG\r\n\x1a\n", "it is a picture"),
            (b"PK\x03\x04 no archive", "it is damaged"),
        ],
    )
    def test_what_is_no_text_is_refused_whatever_its_name(self, data: bytes, reason: str) -> None:
        with pytest.raises(Unreadable, match=reason):
            kind_of(data, "notes.txt")

    @pytest.mark.parametrize(
        ("text", "damaged"),
        [
            ("Die Öffnungszeiten der Bücherei sind täglich von neun bis achtzehn Uhr.\n", b"\xff\n"),
            ("図書館は月曜日に休みます。貸出期間は三週間です。\n", b"\xff\n"),
            ("Le musée est fermé le lundi. L'entrée coûte cinq euros.\n", b"\xe9\n"),
            ("Der Gärtner heißt Müller. Er mäht dienstags. Alles ist grün, schön und früh.\n", "Grü".encode()[:-1]),
            ("図書館は月曜日に休みます。", "貸".encode()[:-1]),
            ("The gate opens at seven. Café visitors use the side door.\n", b"The lamp \xff is broken."),
        ],
        ids=["German", "Japanese", "French", "cut", "cut in three", "English"],
    )
    def test_a_text_with_a_bad_byte_keeps_all_others_and_a_note_says_so(self, text: str, damaged: bytes) -> None:
        found = kind_of(text.encode() + damaged, "a.txt")
        assert found.text == text + damaged.decode(errors="replace")
        assert found.text.count("\ufffd") == 1
        assert found.notes == ("it is partly unreadable: what is not utf-8 was read as \ufffd, once",)

    def test_a_sign_for_damage_that_the_text_holds_itself_is_not_counted(self) -> None:
        whole = "The sign \ufffd für schöne, größere Schäden."
        assert kind_of(whole.encode(), "a.txt").notes == ()
        assert kind_of(whole.encode() + b"\xff", "a.txt").notes[0].endswith(", once")

    def test_damage_in_a_text_with_a_mark_is_noted_too(self) -> None:
        assert "partly unreadable" in kind_of("Café open.".encode("utf-8-sig") + b"\xff, \xff.", "a.txt").notes[0]
        assert "partly unreadable" in kind_of("Café open.".encode("utf-16") + b"a", "a.txt").notes[0]

    def test_data_with_a_few_letters_of_text_is_refused(self) -> None:
        noise = bytes(range(1, 256)) * 9
        with pytest.raises(Unreadable, match="it is not text in any known encoding"):
            kind_of("schöne Grüße, äöü".encode() + noise, "notes.txt")
        with pytest.raises(Unreadable):
            kind_of("schöne Grüße, äöü".encode() + b"\0\1\2\xff", "notes.txt")

    def test_a_text_of_punctuation_has_nothing_that_can_be_found(self) -> None:
        assert read_whole("... --- ...").texts == []


class TestMarkdown:
    def test_each_section_is_a_passage_and_formatting_stays_as_it_is_written(self) -> None:
        whole = read_whole("Before.\n\n# One\n\nText *with* `code`.\n\n## Two ##\nMore.\n")
        assert whole.sections == ["", "One", "Two"]
        assert whole.texts == ["Before.", "# One\n\nText *with* `code`.", "## Two\n\nMore."]

    def test_headings_may_be_underlined(self) -> None:
        assert read_whole("Title\n=====\n\nText.\n\nPart\n----\nMore.\n").sections == ["Title", "Part"]

    def test_a_heading_keeps_a_hash_that_belongs_to_it(self) -> None:
        assert read_whole("# C#\n\nText.").sections == ["C#"]

    def test_the_hashes_of_code_are_no_headings(self) -> None:
        whole = read_whole("# Setup\n\n```sh\n# comment\npip install x\n```\n")
        assert whole.sections == ["Setup"]
        assert "# comment\npip install x" in whole.text

    def test_front_matter_is_text_and_rules_are_left_out(self) -> None:
        assert read_whole("---\ntitle: x\n---\nText.\n\n***\n\nMore.\n").text == "title: x\nText.\n\nMore."

    def test_a_table_is_a_block_with_its_header(self) -> None:
        (table,) = blocks_of("| What | How much |\n|:--|--:|\n| Hotel | 140 |\n| Meals \\| day | 42 |\n")
        assert table == Block(head="| What | How much |\n|:--|--:|", rows=("| Hotel | 140 |", "| Meals \\| day | 42 |"))

    @pytest.mark.parametrize(
        "text",
        [
            "[a](" * 50_000,
            "**_" * 50_000,
            "# " + " " * 100_000 + "b",
            "|-" * 50_000 + "\n" + "|-" * 50_000,
            ">" * 200_000 + " quoted",
            "- " * 100_000 + "item",
        ],
        ids=["links", "emphasis", "heading", "table", "quotes", "lists"],
    )
    def test_a_text_made_to_be_slow_is_read_all_the_same(self, text: str) -> None:
        assert list(blocks_of(text))


class TestPassages:
    def test_every_part_of_a_long_table_has_its_header_and_no_row_is_lost(self) -> None:
        rows = "".join(f"| Item {number} | {'x' * 50} |\n" for number in range(200))
        whole = read_whole(f"# Stock\n\nWhat we have.\n\n| Name | Mark |\n|---|---|\n{rows}")
        tables = [text for text in whole.texts if "| Item" in text]
        assert len(tables) > 4
        assert all("| Name | Mark |\n|---|---|\n" in text for text in tables)
        assert sum(text.count("| Item ") for text in tables) == 200
        assert set(whole.sections) == {"Stock"}

    @pytest.mark.parametrize(
        ("text", "end"),
        [
            ("It is one line. " * 3000, "."),
            ("会議は始まる。" * 3000, "。"),
            ("a word and " * 5000, "d"),
            ("x" * 50_000, "x"),
        ],
        ids=["sentences", "without spaces", "words", "one word"],
    )
    def test_a_paragraph_without_end_is_cut_where_a_reader_would(self, text: str, end: str) -> None:
        parts = list(pieces(text, 900))
        assert max(map(len, parts)) <= 900
        assert "".join("".join(parts).split()) == "".join(text.split())
        assert sum(part.endswith(end) for part in parts) > len(parts) // 3

    def test_sentences_are_as_they_are_in_the_text(self) -> None:
        text = 'It cost 0.38 EUR, e.g. for a ferry. "Really?" Yes! Results follow. It ends'
        assert list(sentences(text)) == [
            "It cost 0.38 EUR, e.g. for a ferry.",
            '"Really?"',
            "Yes!",
            "Results follow.",
            "It ends",
        ]

    def test_the_headings_above_a_passage_find_it(self) -> None:
        whole = read_whole("# Travel\n\n## Hotels\n\nUp to 140 a night.")
        assert "travel" in whole.terms

    def test_a_text_beyond_the_limit_is_read_up_to_it_with_a_note(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("chat_sessions.server.documents.reading.documents.MAX_TEXT_CHARACTERS", 1_000_000)
        whole = read_whole("The wind is strong.\n" * 60_000)
        assert whole.notes == ["only the first 1 of its 1.2 million characters were read"]


class TestTerms:
    @pytest.mark.parametrize(
        ("one", "other", "language"),
        [
            ("RG-4", "rg4", "eng"),
            ("companies", "company", "eng"),
            ("9,140", "9140", "eng"),
            ("the station's", "the stations", "eng"),
            ("Häuser", "Hauser", "deu"),
            ("Mieten", "Miete", "deu"),
            ("élèves", "eleve", "fra"),
            ("salariés", "salaries", "fra"),
            ("durée", "duree", "fra"),
            ("œuvre", "oeuvre", "fra"),
            ("organización", "organizaciones", "spa"),
            ("Søren Kjær", "Kjaer", "dan"),
            ("Łódź", "Lodz", "pol"),
            ("Ægir", "aegir", "isl"),
            ("İzmir", "izmir", "tur"),
        ],
    )
    def test_forms_of_one_word_share_a_term(self, one: str, other: str, language: str) -> None:
        assert set(terms(one, language)) & set(terms(other, language))

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("12.750,00", "12750"),
            ("12.750,00", "12.750"),
            ("8,400.00", "8,400"),
            ("3,400.50", "3400.5"),
            ("1,5", "1.50"),
            ("1'234'567.80", "1234567,8"),
        ],
    )
    def test_an_amount_with_and_without_its_cents_share_a_term(self, one: str, other: str) -> None:
        assert set(terms(one, "eng")) & set(terms(other, "eng"))

    @pytest.mark.parametrize(
        ("one", "other"), [("1.5", "15"), ("12.750,00", "1275000"), ("3.10", "3.1"), ("0.075", "75")]
    )
    def test_different_numbers_stay_different(self, one: str, other: str) -> None:
        assert terms(one, "eng")[-1] not in terms(other, "eng")

    def test_letters_of_other_scripts_stay_as_they_are(self) -> None:
        assert terms("Москва 東京 مكتب", "") == ["москва", "東京", "مكتب"]

    @pytest.mark.parametrize(("one", "other"), [("RG-4", "RG-3"), ("84.2", "842x"), ("Q1", "Q3")])
    def test_different_words_stay_different(self, one: str, other: str) -> None:
        assert terms(one, "eng")[-1] != terms(other, "eng")[-1]

    def test_a_script_without_spaces_is_taken_apart_into_pairs(self) -> None:
        assert list(words("会議は10時")) == ["会議", "議は", "10", "時"]

    def test_which_words_say_nothing_depends_on_the_language_of_the_question(self) -> None:
        for asked, language in {"Was kostet die Miete?": "deu", "Where did he die in the war?": "eng"}.items():
            assert language_asked_in(words(asked), ("deu", "eng")) == language
            assert ("die" in function_words(words(asked), language)) == (language == "deu")

    @pytest.mark.parametrize(
        ("text", "language"),
        [
            ("The train leaves at ten in the morning.", "eng"),
            ("Der Zug fährt am Morgen um zehn Uhr von Gleis drei ab.", "deu"),
            ("Le train part à dix heures du matin de la voie trois.", "fra"),
        ],
    )
    def test_the_language_of_a_document_is_found(self, text: str, language: str) -> None:
        assert read_whole(text).language == language
