"""Programs that `run.py` runs in the environments of the two: a stand-in network, and workers."""

from __future__ import annotations

MODEL = """
import sys, keras
L = keras.layers
x = given = L.Input((256, 256, 1))
skips = []
def block(x, width):
    for _ in range(2):
        x = L.LeakyReLU(negative_slope=0.1)(L.Conv2D(width, 3, padding="same")(x))
    return x
for width in (64, 128, 256, 512):
    x = block(x, width)
    skips.append(x)
    x = L.MaxPooling2D(2)(x)
x = block(x, 1024)
for width in (512, 256, 128, 64):
    x = L.Concatenate()([skips.pop(), L.Conv2DTranspose(width, 2, strides=2, padding="same")(x)])
    x = block(x, width)
model = keras.Model(given, L.Conv2D(1, 1, activation="sigmoid")(x))
model.save(sys.argv[1])
print("parameters", model.count_params())
"""

PEER_WORKER = """
import sys, json, time
start = time.perf_counter()
out, sys.stdout = sys.stdout, sys.stderr
from micrograph_cleaner_em.predictMask import MaskPredictor
from micrograph_cleaner_em.filesManager import loadMic, writeMic, loadCoords, writeCoords
from micrograph_cleaner_em.filterCoords import filterCoords
def say(**answer):
    print(json.dumps(answer), file=out, flush=True)
predictor = None if sys.argv[1] == "-" else MaskPredictor(int(sys.argv[2]), sys.argv[1], gpus=None)
say(ready=time.perf_counter() - start)
import numpy as np
for line in sys.stdin:
    file, target = json.loads(line)
    start = time.perf_counter()
    if file.endswith(".star"):
        coordinates = loadCoords(file, 1)
        read = time.perf_counter() - start
        kept = filterCoords(coordinates, np.load(file + ".npy"), 0.5, 0.8)
        judged = time.perf_counter() - start - read
        writeCoords(target, kept)
        say(read=read, judge=judged, seconds=time.perf_counter() - start, rows=len(kept))
        continue
    image, pixel_size = loadMic(file)
    writeMic(target, predictor.predictMask(image), pixel_size)
    seconds = time.perf_counter() - start
    peak = [l for l in open("/proc/self/status") if l.startswith("VmHWM")][0].split()[1]
    say(seconds=seconds, peak=int(peak) / 1024)
"""

OUR_WORKER = """
import sys, json, time
start = time.perf_counter()
from micscreen.cleaning import CleanSettings, clean
from micscreen.io import read_micrograph, write_mask, read_coordinates, write_subset, Selection
from micscreen.model.backend import open_backend
import numpy as np
backend = None
if sys.argv[1] != "-":
    backend = open_backend(sys.argv[1], device="cpu", threads=None)
    settings = CleanSettings(box_size=float(sys.argv[2]))
print(json.dumps({"ready": time.perf_counter() - start}), flush=True)
for line in sys.stdin:
    file, target = json.loads(line)
    start = time.perf_counter()
    if file.endswith(".star"):
        from micscreen.picks import Picks
        from micscreen.score import keep, score
        table = read_coordinates(file)
        read = time.perf_counter() - start
        mask = np.load(file + ".npy")
        picks = Picks(table.x, table.y, box_size=16.0)
        maps = np.stack([1 - mask, mask, *[np.zeros_like(mask)] * 4])
        kept = keep(score(picks, maps, mask.shape).goodness, 0.5)
        judged = time.perf_counter() - start - read
        write_subset(table, Selection(keep=kept), target)
        answer = {"read": read, "judge": judged, "rows": int(kept.sum())}
        print(json.dumps({**answer, "seconds": time.perf_counter() - start}), flush=True)
        continue
    cleaned = clean(read_micrograph(file), None, backend, settings)
    write_mask(target, cleaned.contamination)
    seconds = time.perf_counter() - start
    peak = [l for l in open("/proc/self/status") if l.startswith("VmHWM")][0].split()[1]
    print(json.dumps({"seconds": seconds, "peak": int(peak) / 1024}), flush=True)
"""
