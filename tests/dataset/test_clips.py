"""Finding and matching clips on disk."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from fmanet_cli.dataset.clips import Clip, MatchedClip, find_clips, find_sharp_clips, match_clips, name_apart
from fmanet_cli.errors import EvaluationError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def clip(name: str, count: int = 2, folder: str = "clips") -> Clip:
    return Clip(name, tuple(Path(folder, name, f"{index}.png") for index in range(count)), is_video=False)


def test_a_folder_of_images_is_a_clip_in_natural_order(tmp_path):
    touch(tmp_path / "walk", "frame10.png", "frame9.png", "frame1.JPG", ".hidden.png", "notes.txt")
    (walk,) = find_clips(tmp_path / "walk")
    assert walk.name == "walk"
    assert [path.name for path in walk.files] == ["frame1.JPG", "frame9.png", "frame10.png"]
    assert walk.known_count == 3


def test_a_folder_of_folders_and_videos_is_a_set_of_clips(tmp_path):
    touch(tmp_path, "b/0.png", "a.mp4", "empty/readme.txt", "c.MOV")
    assert [(clip.name, clip.is_video) for clip in find_clips(tmp_path)] == [("a", True), ("c", True), ("b", False)]
    assert find_clips(tmp_path / "a.mp4")[0].known_count is None


def test_numbered_images_are_frames_and_others_photographs(tmp_path):
    touch(tmp_path, "photos/lake.jpg", "photos/tower-02.jpg", "walk/f_01.png", "walk/f_02.png", "dog.mp4")
    found = find_sharp_clips([tmp_path])
    assert [clip.name for clip in found] == ["dog", "lake", "tower-02", "walk"]
    assert [clip.is_photograph for clip in found] == [False, True, True, False]
    assert [clip.name for clip in find_sharp_clips([tmp_path / "walk"], photographs=True)] == ["f_01", "f_02"]


def test_clips_are_matched_by_name():
    matched = match_clips([clip("a"), clip("b")], [clip("b", folder="gt"), clip("a", folder="gt")])
    assert [(pair.name, pair.truth.files[0]) for pair in matched] == [
        ("a", Path("gt/a/0.png")),
        ("b", Path("gt/b/0.png")),
    ]
    assert match_clips([clip("restored")], [clip("gt")], inputs=[clip("lr")])[0].blurry == clip("lr")


def test_names_that_occur_twice_get_their_folder():
    pairs = [MatchedClip("lr", clip("lr", folder=folder), clip("gt", folder=folder)) for folder in ("dog", "house")]
    assert [pair.name for pair in name_apart([*pairs, MatchedClip("x", clip("x"), clip("x"))])] == [
        "dog/lr",
        "house/lr",
        "x",
    ]
    with pytest.raises(EvaluationError, match="several clips are called dog/lr: rename"):
        name_apart([pairs[0], pairs[0]])


def test_what_does_not_match_is_refused_in_one_line(tmp_path):
    with pytest.raises(EvaluationError, match=r"clips without a partner of the same name: b, c$"):
        match_clips([clip("a"), clip("b")], [clip("a"), clip("c")])
    with pytest.raises(EvaluationError, match="clip a has 2 frames, its partner 3: give the same frames"):
        match_clips([clip("a")], [clip("gt", 3)])
    with pytest.raises(EvaluationError, match=r"no images or videos in .*: give a video"):
        find_clips(tmp_path)
    with pytest.raises(EvaluationError, match="holds images and videos"):
        find_clips(touch(tmp_path, "a.png", "a.mp4"))
    with pytest.raises(EvaluationError, match="several clips are called a: rename"):
        find_clips(touch(tmp_path / "set", "a.mp4", "a.mkv"))
    with pytest.raises(EvaluationError, match="no such file or folder"):
        find_clips(tmp_path / "nowhere")


def test_frames_are_read_as_code_values(write_frames):
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    (found,) = find_clips(write_frames("walk", [image, image + 100]))
    first, second = found.frames()
    assert np.array_equal(first, image)
    assert np.array_equal(second, image + 100)


def test_frames_of_changing_size_are_refused(write_frames):
    (found,) = find_clips(write_frames("walk", [np.zeros((4, 6, 3)), np.zeros((4, 8, 3))]))
    with pytest.raises(EvaluationError, match="clip walk: frame 1 is 8x4, the first 6x4"):
        list(found.frames())


def test_a_video_is_a_clip_too(tmp_path):
    image = np.full((48, 64, 3), (200, 100, 50), np.uint8)
    with av.open(tmp_path / "walk.mkv", "w") as container:
        stream = container.add_stream("ffv1", rate=25, width=64, height=48, pix_fmt="bgr0")
        for shade in (image, image // 2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shade).reformat(format="bgr0")))
        container.mux(stream.encode())
    (found,) = find_clips(tmp_path)
    assert found.is_video
    assert [frame[0, 0].tolist() for frame in found.frames()] == [[200, 100, 50], [100, 50, 25]]
