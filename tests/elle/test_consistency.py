"""Which anomaly breaks which model."""

import pytest

from checkers.elle import consistency


@pytest.mark.parametrize(
    ("anomaly", "weakest"),
    [
        ("G0", ["read-uncommitted"]),
        ("G1a", ["read-committed"]),
        ("G1c", ["read-committed"]),
        ("G-single-item", ["consistent-view", "repeatable-read"]),
        ("G-nonadjacent-item", ["repeatable-read", "snapshot-isolation"]),
        ("G2-item", ["repeatable-read"]),
        ("G2", ["serializable"]),
        ("lost-update", ["ROLA", "cursor-stability"]),
        ("G0-process", ["strong-session-read-uncommitted"]),
        ("G-single-item-process", ["strong-session-snapshot-isolation"]),
        ("G2-item-process", ["strong-session-serializable"]),
        ("G1c-realtime", ["strong-read-committed"]),
        ("G-single-item-realtime", ["strong-snapshot-isolation"]),
        ("G2-item-realtime", ["strict-serializable"]),
        ("PL-SI-cycle-exists", ["snapshot-isolation"]),
    ],
)
def test_an_anomaly_rules_out_the_models_that_elle_says(anomaly: str, weakest: list[str]) -> None:
    assert consistency.boundary([anomaly])[0] == weakest


def test_what_is_ruled_out_takes_the_stronger_models_with_it() -> None:
    _, also = consistency.boundary(["G-single-item"])
    assert "serializable" in also
    assert "strict-serializable" in also
    assert "read-committed" not in also


def test_a_stronger_model_forbids_all_that_a_weaker_one_does() -> None:
    for model, weaker in consistency.WEAKER.items():
        for other in weaker:
            assert consistency.forbidden([other]) <= consistency.forbidden([model]), (model, other)


def test_a_model_forbids_an_anomaly_if_and_only_if_the_anomaly_rules_it_out() -> None:
    for anomaly in consistency.ANOMALIES:
        ruled_out = {model for models in consistency.boundary([anomaly]) for model in models}
        for model in consistency.MODELS:
            assert (anomaly in consistency.forbidden([model])) == (model in ruled_out), (anomaly, model)


def test_models_have_the_names_that_others_give_them() -> None:
    assert consistency.forbidden(["PL-SS"]) == consistency.forbidden(["strong-serializable"])
    assert consistency.model("PL-2.99") == "repeatable-read"


@pytest.mark.parametrize("models", [("serialisable",), ("PL-4",)])
def test_a_name_that_is_none_is_refused_with_those_there_are(models: tuple[str, ...]) -> None:
    with pytest.raises(consistency.UnknownName, match="snapshot-isolation"):
        consistency.forbidden(models)
    with pytest.raises(consistency.UnknownName, match="G2-item-realtime"):
        consistency.forbidden([], ["G3"])
