"""The files: 27 of every kind that is read, in four languages. None of them is an example of this package."""
# ruff: noqa: E501 (the texts are data)

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import docx
import openpyxl  # type: ignore[import-untyped]
import pptx
from reportlab.lib.pagesizes import A4  # type: ignore[import-untyped]
from reportlab.lib.styles import getSampleStyleSheet  # type: ignore[import-untyped]
from reportlab.platypus import PageBreak, Paragraph, SimpleDocTemplate, Table, TableStyle  # type: ignore[import-untyped]

__all__ = ["write_files"]

Rows = Sequence[Sequence[str]]
# A page: its heading, its text, and perhaps a table.
Page = tuple[str, str, Rows]

_PDFS: Mapping[str, Sequence[Page]] = {
    "bridge-inspection.pdf": [
        ("Summary", "The Alder bridge was inspected on 3 June 2025 by Nadia Brandt. Its condition grade is 2.4.", ()),
        (
            "Defects",
            "All defects are listed by span.",
            [
                ("Span", "Defect", "Severity", "Repair by"),
                ("North", "Cracked bearing", "High", "1 September 2025"),
                ("Middle", "Rust on girder 4", "Medium", "30 April 2026"),
                ("South", "Blocked drain", "Low", "31 December 2026"),
            ],
        ),
        ("Loads", "Vehicles above 18 tonnes must not cross until the bearing has been replaced.", ()),
    ],
    "annual-accounts.pdf": [
        (
            "Income",
            "Membership fees rose for the third year running.",
            [
                ("Item", "2024", "2023"),
                ("Membership fees", "48,200", "45,900"),
                ("Donations", "12,750", "15,300"),
                ("Concert tickets", "31,480", "27,015"),
            ],
        ),
        (
            "Costs",
            "The hall was the largest cost.",
            [
                ("Item", "2024", "2023"),
                ("Hall rent", "36,000", "34,500"),
                ("Conductor", "22,400", "21,900"),
                ("Sheet music", "3,180", "2,745"),
            ],
        ),
    ],
    "mietvertrag.pdf": [
        (
            "Mietsache",
            "Vermietet wird die Wohnung im dritten Stock, Lindenweg 7, mit vier Zimmern und 96 Quadratmetern.",
            (),
        ),
        ("Miete", "Die Kaltmiete beträgt 1.240 Euro im Monat und ist am dritten Werktag fällig.", ()),
        (
            "Kündigung",
            "Die Kündigungsfrist für den Mieter beträgt drei Monate. Haustiere sind nach Absprache erlaubt.",
            (),
        ),
    ],
    "reglement-interieur.pdf": [
        ("Horaires", "La bibliothèque est ouverte du mardi au samedi, de dix heures à dix-neuf heures.", ()),
        ("Prêt", "Chaque lecteur peut emprunter huit livres pour une durée de quatre semaines.", ()),
    ],
}
_WORD: Mapping[str, Page] = {
    "travel-policy.docx": (
        "Travel policy",
        "Flights are booked four weeks ahead. First class is never paid.",
        [
            ("Country", "Per day (EUR)", "Hotel up to (EUR)"),
            ("Germany", "28", "130"),
            ("Japan", "50", "170"),
            ("Norway", "58", "190"),
        ],
    ),
    "protokoll.docx": (
        "Protokoll der Sitzung vom 12. Mai",
        ("Anwesend waren neun Mitglieder. Der Antrag auf einen neuen Spielplatz wurde mit sieben Stimmen angenommen."),
        (),
    ),
    "lettre.docx": ("Offre d'emploi", "Votre contrat commence le 2 septembre. La période d'essai dure trois mois.", ()),
}
_EXCEL: Mapping[str, Mapping[str, Rows]] = {
    "stock.xlsx": {
        "Tools": [
            ("Article", "Shelf", "Count"),
            ("Torque wrench", "B4", "17"),
            ("Heat gun", "C1", "0"),
            ("Laser level", "A9", "6"),
        ],
        "Suppliers": [("Name", "City", "Lead time"), ("Halvorsen", "Bergen", "12 days"), ("Okoye", "Leeds", "5 days")],
    },
    "kosten.xlsx": {"Kosten": [("Posten", "Januar", "Februar"), ("Strom", "212", "198"), ("Heizung", "640", "585")]},
}
_SLIDES: Mapping[str, Sequence[tuple[str, str]]] = {
    "product-launch.pptx": [
        ("Launch plan", "The launch is on 14 October in Rotterdam."),
        ("Price", "The Kestrel costs 349 euros, and 299 for schools."),
    ],
    "formation.pptx": [
        ("Sécurité", "Le casque est obligatoire dans tout l'atelier."),
        ("Urgence", "Le point de rassemblement est devant la grille nord."),
    ],
}
_TEXTS: Mapping[str, tuple[str, str]] = {
    "handbook.md": (
        (
            "# Team handbook\n\n## Holidays\n\nEveryone has 29 days of holiday.\n\n## On call\n\nThe on-call "
            "engineer answers within 15 minutes. The rota changes on Wednesdays.\n\n## Laptops\n\nA laptop is "
            "replaced after four years.\n"
        ),
        "utf-8",
    ),
    "architecture.md": (
        (
            "# Decisions\n\n## Database\n\nWe chose PostgreSQL over MongoDB because reports need joins.\n\n"
            "## Queue\n\nRedis was dropped in favour of NATS after the outage of March.\n\n| Service | Port |\n"
            "|---|---|\n| Gateway | 8443 |\n| Search | 9210 |\n"
        ),
        "utf-8",
    ),
    "recipe.txt": (
        (
            "Rye bread\n\nMix 500 g of rye flour with 380 g of water and 100 g of sourdough.\n\nBake for 55 minutes "
            "at 230 degrees.\n"
        ),
        "utf-8",
    ),
    "gate.txt": ("The code of the gate is 7731. It changes every first Monday.\n", "utf-16"),
    "preise.txt": (
        "Die Brötchen kosten 45 Cent das Stück.\n\nFür Kuchen gilt: zwei Stück zum Preis von einem ab 17 Uhr.\n",
        "latin-1",
    ),
    "auberge.txt": (
        (
            "La chambre double coûte 84 euros la nuit, petit déjeuner compris.\n\nLes chiens sont acceptés sans "
            "supplément.\n"
        ),
        "cp1252",
    ),
    "kaigi.txt": ("会議は毎週火曜日の午前十時に始まる。\n\n会議室は三階の桜の間です。\n", "shift_jis"),
    "ryokan.md": (
        "# 旅館のご案内\n\n## 温泉\n\n大浴場は朝五時から夜十一時までご利用いただけます。\n\n## 料金\n\n一泊二食付きで一万八千円です。\n",
        "utf-8",
    ),
    "orders.csv": (
        "Order,Customer,Total\n1041,Marlow & Sons,1880.50\n1042,Finch Ltd,240.00\n1043,Quayside,9312.75\n",
        "utf-8",
    ),
    "teilnehmer.csv": ("Name;Kurs;Ort\nSchäfer;Töpfern;Raum 12\nVogt;Italienisch;Raum 3\n", "cp1252"),
    "keys.eml": (
        (
            "From: Ann <ann@example.org>\nTo: Bo <bo@example.org>\nSubject: The boat house\nDate: Mon, 3 Feb 2025 "
            "10:00:00 +0000\nContent-Type: text/plain; charset=utf-8\n\nThe spare key is in the blue box behind the "
            "kiln.\n"
        ),
        "utf-8",
    ),
    "rates.html": (
        (
            "<html><head><title>Camp site</title></head><body><h1>Rates</h1><p>A pitch costs 22 euros.</p><table>"
            "<tr><th>Season</th><th>Cabin</th></tr><tr><td>Summer</td><td>95</td></tr><tr><td>Winter</td><td>61</td>"
            "</tr></table></body></html>"
        ),
        "utf-8",
    ),
    "horaires.html": (
        "<html><body><h1>Horaires du bac</h1><p>Le premier bac part à six heures vingt.</p></body></html>",
        "utf-8",
    ),
    "minutes.rtf": (r"{\rtf1\ansi The pool closes on 20 September for repairs.\par}", "ascii"),
    "analysis.ipynb": (
        json.dumps(
            {
                "cells": [
                    {
                        "cell_type": "markdown",
                        "metadata": {},
                        "source": ["# Turbine test\n", "The blade failed at 74 revolutions per second."],
                    }
                ],
                "metadata": {},
                "nbformat": 4,
                "nbformat_minor": 5,
            }
        ),
        "utf-8",
    ),
}


def write_files(folder: Path) -> None:
    """Write all of them into a folder."""
    for name, pages in _PDFS.items():
        (folder / name).write_bytes(_pdf(pages))
    for name, (title, text, rows) in _WORD.items():
        document = docx.Document()
        document.add_heading(title, 1)
        document.add_paragraph(text)
        if rows:
            table = document.add_table(rows=0, cols=len(rows[0]))
            for row in rows:
                for cell, value in zip(table.add_row().cells, row, strict=True):
                    cell.text = value
        document.save(str(folder / name))
    for name, sheets in _EXCEL.items():
        book = openpyxl.Workbook()
        book.remove(book.worksheets[0])
        for title, rows in sheets.items():
            sheet = book.create_sheet(title)
            for row in rows:
                sheet.append(row)
        book.save(folder / name)
    for name, slides in _SLIDES.items():
        deck = pptx.Presentation()
        for title, text in slides:
            slide = deck.slides.add_slide(deck.slide_layouts[1])
            for shape, value in zip(slide.placeholders, (title, text), strict=False):
                shape.text = value  # pyright: ignore[reportAttributeAccessIssue]
        deck.save(str(folder / name))
    for name, (text, encoding) in _TEXTS.items():
        (folder / name).write_bytes(text.encode(encoding))
    _write_book(folder / "lighthouse.epub")


def _pdf(pages: Sequence[Page]) -> bytes:
    styles = getSampleStyleSheet()
    parts: list[object] = []
    for title, text, rows in pages:
        parts += [Paragraph(escape(title), styles["Heading1"]), Paragraph(escape(text), styles["BodyText"])]
        if rows:
            parts.append(Table(rows, style=TableStyle([("GRID", (0, 0), (-1, -1), 0.5, "black")])))
        parts.append(PageBreak())
    target = io.BytesIO()
    SimpleDocTemplate(target, pagesize=A4).build(parts)
    return target.getvalue()


def _write_book(path: Path) -> None:
    container = (
        '<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile '
        'full-path="b.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
    )
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="i"><metadata '
        'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>The lighthouse</dc:title></metadata><manifest><item id="c" '
        'href="c.xhtml" media-type="application/xhtml+xml"/></manifest><spine><itemref idref="c"/></spine></package>'
    )
    chapter = (
        '<html xmlns="http://www.w3.org/1999/xhtml"><body><h1>The keeper</h1><p>Elspeth Moray kept the light for '
        "thirty-one years.</p><p>The lens was made in Paris by Barbier.</p></body></html>"
    )
    with zipfile.ZipFile(path, "w") as book:
        for name, text in (
            ("mimetype", "application/epub+zip"),
            ("META-INF/container.xml", container),
            ("b.opf", package),
            ("c.xhtml", chapter),
        ):
            book.writestr(name, text)
