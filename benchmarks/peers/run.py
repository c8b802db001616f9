"""micscreen and MicrographCleaner 1.0.2 side by side, on the same files, in turns, in one run.

Makes two fresh environments (timed), builds a Keras U-Net of about 31 M parameters, the size of
MicrographCleaner's weights and a stand-in for its SPEED only, and measures in each environment a
process of its own: the peer as shipped, micscreen as shipped, and micscreen with the very network
of the peer, imported. Files are in the page cache.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from programs import MODEL, OUR_WORKER, PEER_WORKER

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import machine, make_micrographs, write_table

PROJECT = Path(__file__).parents[2]
PEER = ["micrograph-cleaner-em==1.0.2"]
PEER_NEEDS = [
    "tensorflow-cpu", "keras", "numpy", "scipy", "h5py", "joblib", "pandas", "scikit-image",
    "opencv-python-headless", "pillow", "imageio", "mrcfile", "requests", "setuptools",
]  # fmt: skip


class Worker:
    """A process that answers one line per line."""

    def __init__(self, python: Path, code: str, *arguments: str) -> None:
        start = time.perf_counter()
        self.process = subprocess.Popen(
            [str(python), "-c", code, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self._answer()
        self.ready = time.perf_counter() - start

    def _answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            raise SystemExit(f"a worker ended: {self.process.args}")
        return json.loads(line)

    def ask(self, file: Path, target: Path) -> dict[str, Any]:
        """Let it work on one file."""
        print(json.dumps([str(file), str(target)]), file=self.process.stdin, flush=True)
        return self._answer()

    def end(self) -> None:
        """Close it."""
        self.process.stdin.close()  # type: ignore[union-attr]
        self.process.wait()


def environment(folder: Path, name: str, steps: list[list[str]]) -> tuple[Path, float, float]:
    """Make a fresh environment once; return its Python, seconds, and MiB."""
    home, record = folder / name, folder / f"{name}.json"
    python = home / "bin" / "python"
    if not record.exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        bare = _size(home)
        start = time.perf_counter()
        for step in steps:
            pip = [str(python), "-m", "pip", "install", "-q", "--no-cache-dir", *step]
            subprocess.run(pip, check=True)
        seconds = time.perf_counter() - start
        record.write_text(json.dumps({"seconds": seconds, "mib": _size(home) - bare}))
    found = json.loads(record.read_text())
    return python, found["seconds"], found["mib"]


def _size(folder: Path) -> float:
    return sum(p.stat().st_size for p in folder.rglob("*") if not p.is_symlink()) / 2**20


def version_of(python: Path, package: str) -> str:
    """Return the version of a package in an environment."""
    code = f"from importlib.metadata import version; print(version('{package}'))"
    return subprocess.check_output([str(python), "-c", code], text=True).strip()


def seconds_of(*command: str) -> float:
    """Return the median time of a command over three runs, after one that does not count."""
    times = []
    for _ in range(4):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def masks(pythons: dict[str, Path], models: dict[str, str], asked: argparse.Namespace) -> list[str]:
    """Measure seconds, memory and mask sizes, file by file in turns; return table rows."""
    codes = {"peer": PEER_WORKER, "same": OUR_WORKER, "ours": OUR_WORKER}
    rows = []
    for case in asked.cases:
        side, box, count = (int(part) for part in case.split(":"))
        paths = make_micrographs(asked.folder / f"mics{side}", count, side, 200)
        workers = {
            name: Worker(
                pythons["peer" if name == "peer" else "ours"], code, models[name], str(box)
            )
            for name, code in codes.items()
        }
        times: dict[str, list[float]] = {name: [] for name in codes}
        peaks = dict.fromkeys(codes, 0.0)
        for path in paths:
            path.read_bytes()  # page cache
            for name, worker in workers.items():
                target = asked.folder / f"{name}.{'mrc' if name == 'peer' else 'tif'}"
                answer = worker.ask(path, target)
                times[name].append(answer["seconds"])
                peaks[name] = answer["peak"]
        sizes = {
            name: (asked.folder / f"{name}.{'mrc' if name == 'peer' else 'tif'}").stat().st_size
            for name in codes
        }
        for worker in workers.values():
            worker.end()
        middle = {name: statistics.median(values) for name, values in times.items()}
        for name in codes:
            rows.append(
                f"| {side} x {side}, box {box} ({count}) | {asked.names[name]} | "
                f"{middle[name]:.3f} | {middle['peer'] / middle[name]:.1f} | {peaks[name]:.0f} | "
                f"{peaks[name] / peaks['peer']:.2f} | {sizes[name] / 2**20:.2f} |"
            )
            print(rows[-1], flush=True)
    return rows


def agreement(pythons: dict[str, Path], models: dict[str, str], folder: Path) -> str:
    """Compare `--windows` with the peer's own mask of one micrograph; return a sentence."""
    import mrcfile

    [path] = make_micrographs(folder / "mics4096", 1, 4096, 200)
    worker = Worker(pythons["peer"], PEER_WORKER, models["peer"], "200")
    worker.ask(path, folder / "theirs.mrc")
    worker.end()
    output = folder / "windows"
    for old in output.glob("*"):
        old.unlink()
    command = [str(pythons["ours"].parent / "micscreen"), "mask", str(path), "-b", "200", "-q"]
    command += ["--windows", "--model", models["same"], "-o", str(output), "--device", "cpu"]
    subprocess.run(command, check=True, capture_output=True)
    theirs = mrcfile.read(folder / "theirs.mrc")
    ours = mrcfile.read(output / f"{path.stem}.mrc")
    apart = np.abs(theirs - ours)
    inner = (slice(400, -400), slice(400, -400))
    return (
        f"With `--windows`, the same network's mask of one simulated micrograph (4096 x 4096, box "
        f"200) differs from the peer's own by {apart.mean():.5f} in the mean and {apart.max():.4f} "
        f"at most, where the mask's values have a standard deviation of {theirs.std():.4f}; "
        f"correlation {np.corrcoef(theirs[::8, ::8].ravel(), ours[::8, ::8].ravel())[0, 1]:.4f}, "
        f"without two boxes along the edges {apart[inner].max():.4f} at most."
    )


def stars(pythons: dict[str, Path], asked: argparse.Namespace) -> list[str]:
    """Measure reading, judging and writing one STAR file with many rows; return table rows."""
    rng = np.random.default_rng(0)
    file = asked.folder / "many.star"
    xy = rng.uniform(20, 4000, (asked.rows, 2))
    text = "\n".join(f"{x:13.6f}{y:13.6f}" for x, y in xy)
    file.write_text(f"\ndata_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n{text}\n")
    mask = np.zeros((4096, 4096), np.float32)
    mask[:, :1500] = 1
    np.save(str(file) + ".npy", mask)
    workers = {
        "peer": Worker(pythons["peer"], PEER_WORKER, "-"),
        "ours": Worker(pythons["ours"], OUR_WORKER, "-"),
    }
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
    for _ in range(3):
        for name, worker in workers.items():
            target = asked.folder / ("out.star" if name == "peer" else "out_folder")
            found[name].append(worker.ask(file, target))
    for worker in workers.values():
        worker.end()
    rows = []
    for name, answers in found.items():
        steps = {
            step: statistics.median(a[step] for a in answers)
            for step in ("read", "judge", "seconds")
        }
        write = steps["seconds"] - steps["read"] - steps["judge"]
        rows.append(
            f"| {asked.names[name]} | {steps['read']:.2f} | {steps['judge']:.2f} | {write:.2f} | "
            f"{asked.rows / steps['seconds']:,.0f} | {answers[0]['rows']:,} |"
        )
    return rows


def again(pythons: dict[str, Path], asked: argparse.Namespace) -> tuple[float, float]:
    """Return the seconds of another threshold for many picks on one micrograph, peer and ours.

    The peer reads coordinates and mask and judges anew; ours reads the scores of a job. Medians
    of three in turns.
    """
    file, target = asked.folder / "many.star", asked.folder / "out.star"
    [path] = make_micrographs(asked.folder / "mics4096", 1, 4096, 200)
    job, picks = asked.folder / "job", asked.folder / "one"
    shutil.rmtree(job, ignore_errors=True)
    picks.mkdir(exist_ok=True)
    shutil.copy(file, picks / f"{path.stem}.star")
    ours = str(pythons["ours"].parent / "micscreen")
    command = [ours, "screen", str(path), "-c", str(picks), "-b", "200", "-o", str(job), "-q"]
    subprocess.run([*command, "--flip-y", "no"], check=True, capture_output=True)
    peer = Worker(pythons["peer"], PEER_WORKER, "-")
    times: dict[str, list[float]] = {"peer": [], "ours": []}
    for threshold in ("0.7", "0.8", "0.9"):
        times["peer"].append(peer.ask(file, target)["seconds"])
        start = time.perf_counter()
        subprocess.run([ours, "rethreshold", str(job), "-t", threshold], check=True)
        times["ours"].append(time.perf_counter() - start)
    peer.end()
    return statistics.median(times["peer"]), statistics.median(times["ours"])


BAR = '<rect x="{x}" y="{y}" width="{w:.1f}" height="16" fill="{colour}"/>'
TEXT = '<text x="{x:.1f}" y="{y}" font-family="sans-serif" font-size="12" fill="#222">{text}</text>'


def plot(rows: list[str], target: Path) -> None:
    """Draw seconds per micrograph and peak memory of the table's rows as bars (SVG)."""
    cells = [[cell.strip() for cell in row.strip("| ").split("|")] for row in rows]
    parts, y = [], 20
    for column, title in ((2, "s per micrograph, logarithmic"), (4, "peak memory, MiB")):
        values = np.array([float(row[column]) for row in cells])
        lengths = 330 * values / values.max()
        if column == 2:
            lengths = 330 * np.log(values / 0.1) / np.log(values.max() / 0.1)
        parts.append(TEXT.format(x=10, y=y, text=f"{title} ({machine()})"))
        for (case, program, *_), value, length in zip(cells, values, lengths, strict=True):
            y += 20
            colour = {"MicrographCleaner": "#d55e00", "micscreen": "#0072b2"}.get(program, "#999")
            parts.append(TEXT.format(x=10, y=y + 12, text=f"{case}: {program}"))
            parts.append(BAR.format(x=380, y=y, w=max(length, 1), colour=colour))
            parts.append(TEXT.format(x=386 + length, y=y + 12, text=f"{value:g}"))
        y += 50
    size = f'width="800" height="{y}" viewBox="0 0 800 {y}"'
    body = "\n".join(parts)
    target.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n'
        f'<rect width="800" height="{y}" fill="white"/>\n{body}\n</svg>\n'
    )


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "peers_bench")
    parser.add_argument(
        "--cases", nargs="+", default=["4096:200:4", "4096:100:2", "8192:300:2"],
        help="side:box:micrographs",
    )  # fmt: skip
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--note", default="", help="a sentence about the machine, for the table")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    peer, peer_time, peer_size = environment(
        asked.folder, "env_peer", [PEER_NEEDS, ["--no-deps", *PEER]]
    )
    ours, our_time, our_size = environment(asked.folder, "env_ours", [[f"{PROJECT}[keras]"]])
    now = ["install", "-q", "--no-deps", "--force-reinstall", str(PROJECT)]
    subprocess.run([str(ours), "-m", "pip", *now], check=True)
    pythons = {"peer": peer, "ours": ours}
    keras, onnx = asked.folder / "standin.h5", asked.folder / "standin.onnx"
    if not onnx.exists():
        subprocess.run([str(peer), "-c", MODEL, str(keras)], check=True)
        convert = [str(ours.parent / "micscreen"), "model", "import", str(keras), "-o", str(onnx)]
        subprocess.run(convert, check=True)
    asked.names = {
        "peer": "MicrographCleaner",
        "same": "micscreen, the peer's network",
        "ours": "micscreen",
    }
    models = {"peer": str(keras), "same": str(onnx), "ours": "default"}
    rows = masks(pythons, models, asked)
    plot(rows, PROJECT / "docs" / "pictures" / "peers.svg")
    star_rows = stars(pythons, asked)
    theirs_again, ours_again = again(pythons, asked)
    agreed = agreement(pythons, models, asked.folder)
    begin = {
        "peer": seconds_of(str(peer.parent / "cleanMics"), "--help"),
        "ours": seconds_of(str(ours.parent / "micscreen"), "--help"),
    }
    ready = {}
    for name, code in (("peer", PEER_WORKER), ("ours", OUR_WORKER)):
        times = []
        for _ in range(3):
            worker = Worker(pythons[name], code, models[name], "200")
            times.append(worker.ready)
            worker.end()
        ready[name] = statistics.median(times)
    lines = [
        f"micrograph-cleaner-em 1.0.2 with tensorflow-cpu {version_of(peer, 'tensorflow-cpu')} and "
        f"keras {version_of(peer, 'keras')}; ours with onnxruntime "
        f"{version_of(ours, 'onnxruntime')}. {asked.note}".rstrip(),
        "",
        "The peer's network is a stand-in of its weights' size (a U-Net of 31 M parameters with "
        "random weights): it says something about speed and memory, nothing about masks. All "
        "programs may use all cores; one micrograph at a time, in turns; reading the file and "
        "writing the mask are included, starting the program is not. Medians.",
        "",
        "| micrographs (how many) | program | s per micrograph | times faster | peak MiB | "
        "of the peer's | mask file MiB |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
        "| environment | install, s | size, MiB | `--help`, s | network ready, s |",
        "|---|---|---|---|---|",
        f"| MicrographCleaner | {peer_time:.0f} | {peer_size:.0f} | {begin['peer']:.2f} | "
        f"{ready['peer']:.2f} |",
        f"| micscreen[keras] | {our_time:.0f} | {our_size:.0f} | {begin['ours']:.2f} | "
        f"{ready['ours']:.2f} |",
        "",
        f"A STAR file of {asked.rows:,} rows against a mask of 4096 x 4096 px, boxes of 16 px for "
        "both (s, medians of 3 in turns):",
        "",
        "| program | read | judge | write | rows per s, all three | rows kept |",
        "|---|---|---|---|---|---|",
        *star_rows,
        "",
        f"Another threshold for these rows, all on one micrograph: {theirs_again:.1f} s where "
        "coordinates and mask are read and judged again (MicrographCleaner, its process running), "
        f"{ours_again:.1f} s for `micscreen rethreshold`, its start included.",
        "",
        agreed,
    ]
    write_table("peers", "Side by side with MicrographCleaner", lines)


if __name__ == "__main__":
    main()
