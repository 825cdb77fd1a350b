"""Frame numbers from names, series from folders, and which of several is meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credo.io.series import choose_series, find_series, series_of
from credo.model.errors import UnreadableInput


def _touch(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["a_0001.img", "a_0003.img", "a_0002.img"], [1, 2, 3]),
        (["run2_1_0.5s.tif", "run2_2_0.5s.tif", "run2_10_0.5s.tif"], [1, 2, 10]),
        (["x12.mrc"], [12]),
        (["frame.img"], [1]),
        (["a.img", "b.img"], [1, 2]),
        (["s1_00001.img", "s2_00002.img", "s3_00003.img"], [1, 2, 3]),
        (["t20240101120000_1.img", "t20240101120017_2.img"], [1, 2]),
    ],
)
def test_the_number_is_the_part_that_counts(names: list[str], numbers: list[int]) -> None:
    assert series_of([Path(n) for n in names]).numbers.tolist() == numbers


@given(st.sets(st.integers(0, 99999), min_size=2, max_size=30), st.sampled_from(["x_", "2024_run7_", ""]))
def test_any_numbers_come_back_in_order(numbers: set[int], prefix: str) -> None:
    s = series_of([Path(f"{prefix}{n:05d}.img") for n in numbers])
    assert s.numbers.tolist() == sorted(numbers) or max(numbers) - min(numbers) > 50 * len(numbers) + 1000
    assert len(s.files) == len(numbers)


def test_the_longest_series_below_a_folder(tmp_path) -> None:
    _touch(tmp_path / "SMV" / "data", *(f"{i:05d}.img" for i in range(1, 9)))
    _touch(tmp_path / "SMV", "XCORR.cbf", "YCORR.cbf", "BKGPIX.cbf")
    _touch(tmp_path / "tiff_image", *(f"{i:05d}.tiff" for i in range(1, 30)))
    found = find_series(tmp_path)
    assert [len(s) for s in found] == [8]


def test_the_same_frames_in_three_formats(tmp_path) -> None:
    _touch(tmp_path / "SMV" / "data", *(f"{i:05d}.img" for i in range(1, 9)))
    _touch(tmp_path / "tiff", *(f"{i:05d}.tiff" for i in range(1, 9)))
    _touch(tmp_path / "RED", *(f"{i:05d}.mrc" for i in range(1, 9)))
    series, notes = choose_series(find_series(tmp_path), tmp_path)
    assert series.folder == tmp_path / "SMV" / "data"
    assert len(notes) == 2


def test_two_data_sets_are_not_guessed_between(tmp_path) -> None:
    for name in ("exp_1", "exp_2"):
        _touch(tmp_path / name / "tiff", *(f"{i:05d}.tiff" for i in range(1, 9)))
    with pytest.raises(UnreadableInput, match="holds 2 series") as caught:
        choose_series(find_series(tmp_path), tmp_path)
    assert "credo batch" in caught.value.remedy


def test_a_few_samples_are_left_aside_with_a_word(tmp_path) -> None:
    _touch(tmp_path / "diff", *(f"{i:05d}.tiff" for i in range(40)))
    _touch(tmp_path / "samples", "x_1.tiff", "x_2.tiff")
    series, notes = choose_series(find_series(tmp_path), tmp_path)
    assert len(series) == 40
    assert "samples" in notes[0]


def test_an_empty_folder(tmp_path) -> None:
    with pytest.raises(UnreadableInput, match="no frames"):
        choose_series(find_series(tmp_path), tmp_path)


def test_parts_come_with_their_master(tmp_path) -> None:
    _touch(tmp_path, "x_master.h5", "x_data_000001.h5", "x_data_000002.h5", "y.emi", "y_1.ser")
    assert sorted(s.files[0].name for s in find_series(tmp_path)) == ["x_master.h5", "y.emi"]


def test_fillers_do_not_make_another_series(tmp_path) -> None:
    """Instamatic fills the gaps of a tracked series in SMV only."""
    _touch(tmp_path / "SMV" / "data", *(f"{i:05d}.img" for i in range(1, 41)))
    _touch(tmp_path / "tiff", *(f"{i:05d}.tiff" for i in range(1, 41, 3)))
    series, _ = choose_series(find_series(tmp_path), tmp_path)
    assert series.files[0].suffix == ".img"


def test_earlier_results_are_not_frames(tmp_path) -> None:
    _touch(tmp_path, "run.mib")
    _touch(tmp_path / "credo", "report.json", "experiment.json", "integrated.h5", "reflections.h5")
    assert [s.files[0].name for s in find_series(tmp_path)] == ["run.mib"]


def test_other_pictures_with_the_same_numbers_are_not_the_same_frames(tmp_path) -> None:
    """Real-space images beside the frames, in the same format (cinchonine's img/ beside diff/)."""
    _touch(tmp_path / "diff", *(f"fN_{i:06d}.tiff" for i in range(80)))
    _touch(tmp_path / "img", *(f"fM_{i:06d}.tiff" for i in range(0, 80, 8)))
    series, notes = choose_series(find_series(tmp_path), tmp_path)
    assert series.folder.name == "diff"
    assert notes == ("Other images below the folder were left aside: img/ (10 .tiff).",)


def test_a_copy_with_the_same_names_is_the_same_frames(tmp_path) -> None:
    for folder in ("raw", "tiff"):
        _touch(tmp_path / folder, *(f"{i:05d}.tiff" for i in range(20)))
    _, notes = choose_series(find_series(tmp_path), tmp_path)
    assert notes == ("tiff: the same frames again, left aside.",)
