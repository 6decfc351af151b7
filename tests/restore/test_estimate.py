"""What a run will take, told before it is begun."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.errors import OptionError, VideoReadError
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.restore.estimate import Estimate, Samples, disk_free, estimate
from fmanet_cli.restore.job import RestoreJob
from fmanet_cli.restore.settings import RestoreSettings
from fmanet_cli.video.write.codecs import EncoderOptions
from support.plain_upscaling import PlainUpscaling

MakeClip = Callable[..., Path]

SECONDS = 0.02


class SlowUpscaling(PlainUpscaling):
    """Takes the same time for every window."""

    def window(self, states: list[Tensor]) -> Tensor:
        time.sleep(SECONDS)
        return super().window(states)


@pytest.fixture
def slow(tiny_model: FMANet) -> Restorer:
    return Restorer(tiny_model, device="cpu", precision="fp32", runner=SlowUpscaling())


def test_time_is_measured_in_moments_for_films_that_are_long(make_clip: MakeClip, slow: Restorer) -> None:
    clip = make_clip(count=60, height=16, width=16)
    began = time.monotonic()
    found = estimate(clip, RestoreSettings(), slow, most_seconds=0.3)
    assert time.monotonic() - began < 60 * SECONDS
    assert (found.frames, found.source_size, found.output_size) == (60, (16, 16), (64, 64))
    assert found.how == "measured"
    assert found.seconds is not None
    assert found.seconds >= 60 * SECONDS
    assert found.memory_bytes is not None


def test_other_films_are_scaled_by_their_pixels(make_clip: MakeClip, slow: Restorer) -> None:
    samples = Samples(seconds_left=0.01)
    small = estimate(make_clip("a.mp4", count=10, height=16, width=16), RestoreSettings(), slow, samples=samples)
    large = estimate(make_clip("b.mp4", count=10, height=32, width=32), RestoreSettings(), slow, samples=samples)
    assert (small.how, large.how) == ("measured", "extrapolated")
    assert small.seconds is not None
    assert large.seconds == pytest.approx(4 * small.seconds)
    assert large.output_bytes == pytest.approx(4 * small.output_bytes, abs=4)


def test_disk_is_that_of_the_run(make_clip: MakeClip, tmp_path: Path, tiny_model: FMANet) -> None:
    clip = make_clip(count=24, height=40, width=48)
    restorer = Restorer(tiny_model, device="cpu", precision="fp32", runner=PlainUpscaling())
    target = tmp_path / "new/folder/out.mkv"
    settings = RestoreSettings(segment_frames=24, verify=False, encoder=EncoderOptions(preset="ultrafast"))
    found = estimate(clip, settings, restorer, target=target)
    assert found.disk_free == pytest.approx(disk_free(tmp_path / "x"), rel=0.1)  # Others write to this disk too.
    target.parent.mkdir(parents=True)
    job = RestoreJob(clip, target, restorer, settings=settings)
    assert [*job.run()]
    assert found.output_bytes == pytest.approx(target.stat().st_size, rel=0.25)
    # The closed pieces and the file that they are joined to.
    assert found.disk_bytes == 2 * found.output_bytes


def test_raw_video_and_images_are_told_exactly(make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip(count=5, height=16, width=16)
    raw = estimate(clip, RestoreSettings(), target=tmp_path / "out.y4m")
    assert (raw.output_bytes, raw.disk_bytes) == (5 * 64 * 64 * 3 // 2, 5 * 64 * 64 * 3 // 2)
    assert (raw.seconds, raw.how, raw.memory_bytes) == (None, "", None)
    images = estimate(clip, RestoreSettings(scale=1), target=tmp_path / "%03d.png")
    assert 5 * 100 < (images.output_bytes or 0) < 5 * 16 * 16 * 3 + 5 * 100


def test_frames_that_are_kept_take_no_time(make_clip: MakeClip, tmp_path: Path, slow: Restorer) -> None:
    clip = make_clip(count=20, height=16, width=16)
    settings = RestoreSettings(segment_frames=4)
    run = RestoreJob(clip, tmp_path / "out.mp4", slow, settings=settings).run()
    while next(run).frames_done < 14:
        pass
    run.close()
    samples = Samples()
    whole = estimate(clip, settings, slow, target=tmp_path / "other.mp4", samples=samples)
    rest = estimate(clip, settings, slow, target=tmp_path / "out.mp4", samples=samples)
    assert 12 <= rest.frames_kept <= 14
    assert whole.disk_bytes is not None and rest.disk_bytes is not None
    assert rest.disk_bytes < whole.disk_bytes
    assert rest.seconds == pytest.approx((20 - rest.frames_kept) / 20 * (whole.seconds or 0))


def test_bad_input_is_refused_as_by_a_run(make_clip: MakeClip, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"nonsense")
    with pytest.raises(VideoReadError, match=r"broken\.mp4"):
        estimate(tmp_path / "broken.mp4", RestoreSettings())
    with pytest.raises(OptionError, match="ffv1 in mp4"):
        estimate(make_clip(), RestoreSettings(encoder=EncoderOptions(codec="ffv1")), target="x.mp4")


def test_a_disk_too_small_is_known(make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make_clip()

    def with_free(free: int | None) -> Estimate:
        monkeypatch.setattr("fmanet_cli.restore.estimate.disk_free", lambda _: free)
        return estimate(clip, RestoreSettings())

    needed = with_free(None)
    assert needed.disk_bytes is not None
    assert not needed.lacks_disk
    assert with_free(needed.disk_bytes - 1).lacks_disk
    assert not with_free(needed.disk_bytes).lacks_disk


def test_the_sample_lies_a_quarter_into_the_film(
    make_clip: MakeClip, tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []

    class Seeing(PlainUpscaling):
        def frame_state(self, frame: Tensor) -> Tensor:
            seen.append(float(frame.mean()))
            return frame

    monkeypatch.setattr("fmanet_cli.restore.estimate.WARM_UP_SECONDS", 1.0)
    clip = make_clip(count=48, height=16, width=16)
    restorer = Restorer(tiny_model, device="cpu", precision="fp32", runner=Seeing())
    estimate(clip, RestoreSettings(), restorer)
    assert 34 <= len(seen) <= 37
    assert np.ptp(seen) > 0
