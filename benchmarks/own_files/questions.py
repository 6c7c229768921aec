"""The questions: the file and page that answer each, and words that an answer must have."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["QUESTIONS", "Question"]


class Question(NamedTuple):
    """What is asked, the file that answers it, its page if it has pages, and words of the answer."""

    prompt: str
    file: str
    page: int | None
    words: str


QUESTIONS = [
    Question("Who inspected the Alder bridge?", "bridge-inspection.pdf", 1, "Nadia Brandt"),
    Question("What is the condition grade of the bridge?", "bridge-inspection.pdf", 1, "2.4"),
    Question("What defect does the north span have?", "bridge-inspection.pdf", 2, "Cracked bearing"),
    Question("When must the drain of the south span be repaired?", "bridge-inspection.pdf", 2, "31 December 2026"),
    Question("Where is the rust?", "bridge-inspection.pdf", 2, "girder 4"),
    Question("How heavy may a vehicle be that crosses the bridge?", "bridge-inspection.pdf", 3, "18 tonnes"),
    Question("How much were the donations in 2023?", "annual-accounts.pdf", 1, "15,300"),
    Question("What did concert tickets bring in?", "annual-accounts.pdf", 1, "31,480"),
    Question("What does the conductor cost?", "annual-accounts.pdf", 2, "22,400"),
    Question("How much was spent on sheet music?", "annual-accounts.pdf", 2, "3,180"),
    Question("What was the hall rent in 2024?", "annual-accounts.pdf", 2, "36,000"),
    Question("Wie hoch ist die Kaltmiete?", "mietvertrag.pdf", 2, "1.240"),
    Question("Wann ist die Miete fällig?", "mietvertrag.pdf", 2, "dritten Werktag"),
    Question("Wie lang ist die Kündigungsfrist?", "mietvertrag.pdf", 3, "drei Monate"),
    Question("Sind Haustiere erlaubt?", "mietvertrag.pdf", 3, "nach Absprache"),
    Question("Wie viele Zimmer hat die Wohnung?", "mietvertrag.pdf", 1, "vier Zimmern"),
    Question("Quand la bibliothèque est-elle ouverte ?", "reglement-interieur.pdf", 1, "mardi au samedi"),
    Question("Combien de livres peut-on emprunter ?", "reglement-interieur.pdf", 2, "huit livres"),
    Question("How much may a hotel cost in Japan?", "travel-policy.docx", None, "170"),
    Question("What is the allowance per day in Norway?", "travel-policy.docx", None, "58"),
    Question("How long ahead are flights booked?", "travel-policy.docx", None, "four weeks"),
    Question("Is first class paid?", "travel-policy.docx", None, "never paid"),
    Question("Wie viele Mitglieder waren anwesend?", "protokoll.docx", None, "neun Mitglieder"),
    Question("Was wurde über den Spielplatz beschlossen?", "protokoll.docx", None, "angenommen"),
    Question("Quand commence le contrat ?", "lettre.docx", None, "2 septembre"),
    Question("Combien de temps dure la période d'essai ?", "lettre.docx", None, "trois mois"),
    Question("How many torque wrenches are there?", "stock.xlsx", None, "17"),
    Question("On which shelf is the laser level?", "stock.xlsx", None, "A9"),
    Question("Which supplier is in Leeds?", "stock.xlsx", None, "Okoye"),
    Question("What is the lead time of Halvorsen?", "stock.xlsx", None, "12 days"),
    Question("Was kostete die Heizung im Februar?", "kosten.xlsx", None, "585"),
    Question("Wie hoch waren die Stromkosten im Januar?", "kosten.xlsx", None, "212"),
    Question("When is the launch?", "product-launch.pptx", 1, "14 October"),
    Question("What does the Kestrel cost for schools?", "product-launch.pptx", 2, "299"),
    Question("Où le casque est-il obligatoire ?", "formation.pptx", 1, "atelier"),
    Question("Où est le point de rassemblement ?", "formation.pptx", 2, "grille nord"),
    Question("How many days of holiday does everyone have?", "handbook.md", None, "29 days"),
    Question("How fast must the on-call engineer answer?", "handbook.md", None, "15 minutes"),
    Question("When does the rota change?", "handbook.md", None, "Wednesdays"),
    Question("After how many years is a laptop replaced?", "handbook.md", None, "four years"),
    Question("Why PostgreSQL and not MongoDB?", "architecture.md", None, "joins"),
    Question("What replaced Redis?", "architecture.md", None, "NATS"),
    Question("Which port does the search service have?", "architecture.md", None, "9210"),
    Question("How long is the rye bread baked?", "recipe.txt", None, "55 minutes"),
    Question("How much sourdough goes into the bread?", "recipe.txt", None, "100 g"),
    Question("What is the code of the gate?", "gate.txt", None, "7731"),
    Question("Was kosten die Brötchen?", "preise.txt", None, "45 Cent"),
    Question("Ab wann gibt es Kuchen zum halben Preis?", "preise.txt", None, "17 Uhr"),
    Question("Combien coûte la chambre double ?", "auberge.txt", None, "84 euros"),
    Question("Les chiens sont-ils acceptés ?", "auberge.txt", None, "sans supplément"),
    Question("会議はいつ始まりますか", "kaigi.txt", None, "火曜日"),
    Question("会議室はどこですか", "kaigi.txt", None, "三階"),
    Question("大浴場は何時まで利用できますか", "ryokan.md", None, "十一時"),
    Question("一泊二食付きの料金はいくらですか", "ryokan.md", None, "一万八千円"),
    Question("What is the total of order 1043?", "orders.csv", None, "9312.75"),
    Question("Which order is Finch's?", "orders.csv", None, "1042"),
    Question("Welchen Kurs besucht Schäfer?", "teilnehmer.csv", None, "Töpfern"),
    Question("In welchem Raum ist Italienisch?", "teilnehmer.csv", None, "Raum 3"),
    Question("Where is the spare key of the boat house?", "keys.eml", None, "blue box"),
    Question("What does a cabin cost in winter?", "rates.html", None, "61"),
    Question("How much is a pitch?", "rates.html", None, "22 euros"),
    Question("À quelle heure part le premier bac ?", "horaires.html", None, "six heures vingt"),
    Question("When does the pool close?", "minutes.rtf", None, "20 September"),
    Question("At what speed did the blade fail?", "analysis.ipynb", None, "74 revolutions"),
    Question("Who kept the light?", "lighthouse.epub", None, "Elspeth Moray"),
    Question("Where was the lens made?", "lighthouse.epub", None, "Paris"),
]
