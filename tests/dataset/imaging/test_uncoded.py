"""The mixture for machines without PyAV."""

from __future__ import annotations

import dataclasses

from fmanet_cli.dataset.imaging.mixture import Mixture, read_mixture, uncoded_mixture

_OFF = {"first_codec_share": 0, "second_codec_share": 0, "first_codecs": (), "second_codecs": (), "first_scale": (1, 1)}


def test_uncoded_classes_are_the_usual_ones_without_their_codecs():
    usual, uncoded = Mixture(), uncoded_mixture()
    assert uncoded.shares == usual.shares
    for name, recordings in usual.classes.items():
        found = uncoded.classes[name]
        assert dataclasses.replace(found, **_OFF) == dataclasses.replace(recordings, **_OFF)
        assert found.first_codec_share == found.second_codec_share == 0
    assert read_mixture("uncoded") == uncoded
