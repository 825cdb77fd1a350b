"""The catalogue's folder is tidied when it is opened: what a kill left half done goes, results stay."""

from credo.pipeline.batch_store import Store


def test_what_was_left_half_done_is_removed_wherever_it_is(tmp_path):
    results = ["crystals/0001/report.json", "phases/A/refine/refined.cif", "phases/A/corrected/merged.hkl"]
    halves = ["crystals/.0002.x.part", "phases/.B.x.part", "phases/A/.refine.x.part", ".first/.A.x.part",
              "phases/A/corrected/.refine.x.part"]  # fmt: skip
    for name in [*results, *(f"{h}/half.res" for h in halves)]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    Store(tmp_path).close()
    left = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert left == sorted([*results, "catalogue.sqlite"])
