"""Names in coordinate files that lead outside are names, never places to write to."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from test_pipeline import asked, do, write_mrc


def test_outputs_never_leave_the_job_folder(tmp_path: Path) -> None:
    """With rlnMicrographName full of `..` and absolute paths, nothing appears outside the job."""
    inside = tmp_path / "a/b"
    for number in range(2):
        image = np.random.default_rng(number).normal(0, 1, (96, 96))
        write_mrc(inside / f"mics/mic_{number}.mrc", image)
    names = ("../../../mics/mic_0.mrc", "/etc/mic_1.mrc", "../../escape.mrc")
    head = "data_particles\n\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnMicrographName\n"
    (inside / "picks").mkdir()
    rows = "".join(f"{20 + i} 40 {name}\n" for i, name in enumerate(names))
    (inside / "picks/particles.star").write_text(head + rows)
    before = {path for path in tmp_path.rglob("*") if inside / "job" not in path.parents}
    outcome = do(asked(inside))
    after = {path for path in tmp_path.rglob("*") if inside / "job" not in path.parents}
    assert after - before == {inside / "job"}
    assert outcome.export is not None
    assert outcome.export.kept + outcome.export.rejected + outcome.export.unscreened == 3
    assert outcome.export.unscreened >= 1
    assert any("escape" in text for text in (*outcome.warnings, *map(str, outcome.failed)))
