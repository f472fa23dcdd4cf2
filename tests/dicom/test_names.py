"""ROI names: what they mean in many languages, and what they must not be taken for."""

from __future__ import annotations

import pytest

from recontour.dicom.names import AFFIXES, SYNONYMS, match_organs, organ_of
from recontour.errors import RoiAmbiguous, UsageError

MEANT = {
    "bladder": "Bladder BLADDER bladder_MBS Bladder_DL UrinaryBladder blaas Harnblase Blase_2 Vessie vessie_auto "
    "Vescica VESCICA_final Vejiga vejiga_urinaria Blære blaere Urinblåsa Urinblære oar_bladder Bladder01 Bladder_v2",
    "rectum": "Rectum RECTUM Rektum Retto Recto Enddarm Endeldarm Mastdarm Endetarm Ändtarm rectum_MBS RectumDL Rect",
    "prostate": "Prostate Prostata PROSTATE_MBS Prostate_DL Próstata prostaat Vorsteherdrüse Prostata_MRI prost",
    "seminal_vesicles": "SeminalVes SemVes seminal_vesicles SeminalVesicles Vesicles_Seminal SV SVs VS Samenblase "
    "Samenbläschen Samenblasen zaadblazen Zaadblaasjes Vésicules_séminales Vescicole_seminali vescichette_seminali "
    "Vesículas_seminales Sædblærer sædblære Sädesblåsor Vesiculae_seminales VesSem VVSS Ves_sem",
}
NOT_MEANT = """
PTV_Prostate CTV_Prostate Prostate_PTV GTVprostate Bladder_wall Bladder-PTV Rectum-PTV RectumWall Rectum_wall
Blasenwand prostate_bed ProstateBed Prostatabett PenileBulb Penile_Bulb Bulb Prostate+SV ProstateSV
Prostata_VS SeminalVes_L SeminalVes_Prox SV_links Bladder+5mm Bladder_5mm Rectum+3 Rectum-3 zBladder _Bladder
~Bladder xRectum PRV_Rectum Rectum_PRV Bladder_opt Rectum_avoid Anorectum Anorectum_DL AnalCanal Bowel_Bag
BowelBag Gallbladder Gallenblase Femur_Head_L FemoralHead_(Left)_MBS FemoreSinistro External BODY Rectum_50Gy
Bladder/Rectum Urethra Hydrogel Spacer mesorectum Mesorektum Rectosigmoid Sigma Vesicle 123 auto CTV_SV PTV
Prostate_boost Trigone blaashals
"""


@pytest.mark.parametrize(("organ", "name"), [(o, name) for o, names in MEANT.items() for name in names.split()])
def test_meant(organ, name):
    assert organ_of(name) == organ
    assert organ_of(name.replace("_", " ")) == organ


@pytest.mark.parametrize("name", ["HARNBLASE", "VESICULES SEMINALES", "BLÆRE", "pro\u0301stata"])
def test_case_and_composition_do_not_matter(name):
    assert organ_of(name) is not None


@pytest.mark.parametrize("name", [*NOT_MEANT.split(), "", " ", "prostate bed", "Bladder minus PTV", "left SV"])
def test_not_meant(name):
    assert organ_of(name) is None


def test_no_synonym_means_two_organs_and_none_is_an_affix():
    every = [s for synonyms in SYNONYMS.values() for s in synonyms]
    assert len(every) == len(set(every))
    assert not AFFIXES.intersection(every)
    assert all(s.isascii() and s.islower() for s in every)


REAL = [
    "Bladder_MBS", "FemoralHead (Left)_MBS", "FemoralHead (Right)_MBS", "Prostate_MBS", "Rectum_MBS", "Prostata",
    "Retto", "Vescica", "FemoreSinistro", "FemoreDestro", "External", "Prostate_DL", "Anorectum_DL", "Bladder_DL",
    "Femur_Head_L_DL", "Femur_Head_R_DL",
]  # fmt: skip


class TestMatch:
    def test_one_candidate_each(self):
        names = ["PTV", "Vescica", "Retto", "Prostata", "Vescicole seminali", "CTV_prostate"]
        assert match_organs(names) == {
            "bladder": "Vescica",
            "rectum": "Retto",
            "prostate": "Prostata",
            "seminal_vesicles": "Vescicole seminali",
        }

    def test_none_has_to_be_there(self):
        assert match_organs(["PTV", "Blaas"]) == {"bladder": "Blaas"}
        assert match_organs([]) == {}

    def test_several_are_refused_with_the_list(self):
        with pytest.raises(RoiAmbiguous) as refused:
            match_organs(REAL)
        text = str(refused.value)
        assert "bladder: Bladder_MBS, Vescica, Bladder_DL" in text
        assert "rectum: Rectum_MBS, Retto" in text and "Anorectum" not in text
        assert "--roi bladder=Bladder_MBS --roi rectum=Rectum_MBS --roi prostate=Prostate_MBS" in text

    def test_a_name_with_blanks_is_quoted(self):
        with pytest.raises(RoiAmbiguous, match='--roi "bladder=Bladder 1"'):
            match_organs(["Bladder 1", "Bladder 2"])

    def test_chosen(self):
        chosen = {"bladder": "Vescica", "rectum": "retto", "Prostata": "Prostata"}
        assert match_organs(REAL, chosen) == {"bladder": "Vescica", "rectum": "Retto", "prostate": "Prostata"}

    def test_chosen_against_the_meaning_of_the_name(self):
        assert match_organs(["Rectum", "Anorectum_DL"], {"rectum": "Anorectum_DL"}) == {"rectum": "Anorectum_DL"}
        assert match_organs(["Bladder", "SV"], {"prostate": "SV"}) == {"bladder": "Bladder", "prostate": "SV"}

    def test_declared_absent(self):
        chosen = {"bladder": "none", "rectum": "None", "prostate": "Prostata"}
        assert match_organs(REAL, chosen) == {"prostate": "Prostata"}

    def test_what_does_not_exist(self):
        with pytest.raises(UsageError, match=r"no ROI Vesica .*Vescica"):
            match_organs(REAL, {"bladder": "Vesica"})
        with pytest.raises(UsageError, match=r"no organ liver .*bladder, rectum"):
            match_organs(REAL, {"liver": "Vescica"})
        with pytest.raises(UsageError, match="two organs"):
            match_organs(REAL, {"bladder": "Vescica", "rectum": "Vescica"})

    def test_names_that_differ_in_case_only(self):
        assert match_organs(["bladder", "BLADDER"], {"bladder": "BLADDER"}) == {"bladder": "BLADDER"}
        with pytest.raises(UsageError, match="bladder, BLADDER"):
            match_organs(["bladder", "BLADDER"], {"bladder": "Bladder"})
