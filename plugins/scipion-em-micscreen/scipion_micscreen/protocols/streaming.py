# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of the protocol: one looks for input and writes output, one runs micscreen.

Parts (see `parts`) go through four places, of which each is enough to go on from: the input set,
the predictor's folder, a score file, the output set.
"""

import csv
import os
import subprocess
import threading
import time

import numpy as np
from pwem.objects import SetOfCoordinates
from pyworkflow.object import Set

from ..constants import OTHER, THUMBNAILS
from ..fields import Fields
from ..inputs import GrowingCoordinates
from ..parts import (
    Numbers,
    addTo,
    failure,
    micIdOf,
    partName,
    readNumbers,
    readScores,
    scoreFiles,
    writeNumbers,
    writeScores,
)
from ..predictor import DONE, SOME_FAILED, Predictor, Wish

NAP = 0.5
"""s between two looks while something is being worked on."""


class ScreenSteps:
    """What `MicscreenProtDeepMicrographScreen` does when it runs."""

    # --------------------------- places -------------------------------------
    def scoresFolder(self):
        """Return the folder with a score file for every part."""
        return self._getExtraPath("scores")

    def predictor(self):
        """Return the folder in which micscreen works."""
        return Predictor(self._getExtraPath("predictor"))

    def jobFolder(self):
        """Return micscreen's job folder, for `micscreen view`."""
        return self._getExtraPath("predictor", "job")

    def numbers(self):
        """Return the run in numbers, as the last look left them."""
        return readNumbers(self._getExtraPath("numbers.json"))

    def gpus(self):
        """Return the numbers of the GPUs to use; none when none is to be used."""
        if not self.usesGpu():
            return ()
        return tuple(number for number in self.getGpuList() if number >= 0)

    # --------------------------- steps --------------------------------------
    def stepsGeneratorStep(self):
        """Hand over what is new, take scores, write output, until nothing more can come."""
        self._begin()
        while True:
            nothingMore = self._handOver()
            self._work.close(nothingMore)
            news = self._collect(self._work.news())
            if not self._waiting and nothingMore:
                break
            self._checkPredictor()
            if self._waiting and not self._running.is_set():
                self._startPredictor()
            if self._waiting:
                time.sleep(NAP)
            elif not news:
                self._streamingSleepOnWait()
        self._writeMissing()
        self._publish([])  # an output even when there is nothing to put into it
        closing = [self._predictorStep] if self._predictorStep else []
        self._insertFunctionStep(self.closeOutputStep, prerequisites=closing, needsGPU=False)

    def predictStep(self, number):
        """Run micscreen until it has nothing to do for a while, or is told that this is all."""
        from .. import Plugin

        try:
            environ = Plugin.getEnviron()
            environ.update(self._work.environment({}, self._wish()))
            self.runJob(Plugin.getProgram(), self._work.arguments(self._wish()), env=environ)
        except subprocess.CalledProcessError as error:
            if error.returncode not in (DONE, SOME_FAILED):
                self._trouble = (
                    "micscreen ended with exit code %d; its message is in the log above "
                    "(Output Log tab). Continue goes on where it was." % error.returncode
                )
                raise RuntimeError(self._trouble) from error
        finally:
            self._running.clear()

    def closeOutputStep(self):
        """Close the output: nothing more comes."""
        self._closeOutputSet()
        if self._numbers.failed and not self._numbers.micrographs:
            raise RuntimeError(
                "Not one micrograph could be screened. The first: %s: %s" % self._numbers.failed[0]
            )

    # --------------------------- inside -------------------------------------
    def _begin(self):
        """Find out what was done before."""
        self._work = self.predictor()
        self._running, self._trouble = threading.Event(), None
        self._predictorStep, self._starts, self._finished, self._given = 0, 0, 0, set()
        self._numbers = Numbers(device=self.numbers().device)
        self._fields = Fields(self)
        self._work.waitForOrphan()
        os.makedirs(self.scoresFolder(), exist_ok=True)
        fed = self._work.fed()
        seen = {key for ids in fed.values() for key in ids}
        self._incoming = GrowingCoordinates(seen)
        self._parts = {}
        for name in fed:
            self._parts[micIdOf(name)] = self._parts.get(micIdOf(name), 0) + 1
        self._homeless = {}
        self._waiting = set(fed)
        output = self.getOutput()
        there = output.getIdSet() if output is not None and output.getSize() else ()
        self._there = np.array(sorted(there), int)
        self._relink(fed)
        # Those that failed are not taken from here: they are tried once more.
        kept = map(readScores, scoreFiles(self.scoresFolder()))
        self._collect((one for one in kept if not one.failed), write=False)
        self._collect(one for one in self._work.everything() if not one.failed)
        self._work.skipNews()

    def _relink(self, fed):
        """Mend the links of parts that were handed over, if the project was moved."""
        if fed:
            self._fields.look()
        for name in fed:
            screened = self._fields.screened(micIdOf(name), None, True)
            if screened is not None:
                self._work.link(name, screened[1])

    def _handOver(self):
        """Hand all parts over that have a micrograph; return whether nothing more can come."""
        fresh = self._incoming.look(self.inputCoordinates)
        for new in fresh:
            self._homeless.setdefault(new.micId, (new.micName, []))[1].extend(new.coordinates)
        closed = self._incoming.closed
        if self._homeless or not closed or self.micsSource.get() == OTHER:
            self._fields.look()
        for micId in sorted(self._homeless):
            name, coordinates = self._homeless[micId]
            screened = self._fields.screened(micId, name, closed)
            if screened is not None:
                del self._homeless[micId]
                self._handOverOne(micId, screened, coordinates)
        if self.micsSource.get() == OTHER:
            return closed and self._fields.others.closed
        return closed and (self._fields.micrographs.closed or not self._homeless)

    def _handOverOne(self, micId, screened, coordinates):
        self._parts[micId] = self._parts.get(micId, 0) + 1
        name = partName(micId, self._parts[micId], screened[0])
        self._waiting.add(name)
        scale = self.getBoxScale()
        x = [(one.getX() + 0.5) * scale - 0.5 for one in coordinates]
        y = [(one.getY() + 0.5) * scale - 0.5 for one in coordinates]
        self._work.feed(name, screened[1], [one.getObjId() for one in coordinates], x, y)
        if not os.path.exists(screened[1]):
            stack = "@" in screened[1] and "it is in a stack, which micscreen does not read"
            why = "%s: %s" % (screened[1], stack or "there is no such file")
            self._collect([failure(name, why)])

    def _collect(self, news, write=True):
        """Keep scores in files and add them to the output; return of how many parts."""
        ready = []
        for scores in news:
            if scores.name not in self._waiting:
                continue
            micId = micIdOf(scores.name)
            if write:
                if micId in self._fields.micrographs:
                    scores.about["micrograph"] = self._fields.micrographs.name(micId)
                writeScores(self.scoresFolder(), scores)
            self._waiting.discard(scores.name)
            addTo(self._numbers, scores, self.threshold.get())
            ready.append(scores)
        if ready:
            self._publish(ready)
        return len(ready)

    def _publish(self, ready):
        """Append to the output what is kept and not there yet."""
        with self._lock:
            output = self._output()
            for scores in ready:
                new = scores.kept(self.threshold.get()) & ~np.isin(scores.ids, self._there)
                wanted = dict(zip(scores.ids[new].tolist(), scores.goodness[new].tolist()))
                for coordinate in self._fields.originals(micIdOf(scores.name), wanted):
                    output.append(coordinate)
            self._numbers.device = self._work.device or self._numbers.device
            writeNumbers(self._getExtraPath("numbers.json"), self._numbers)
            first = self.getOutput() is None
            self._updateOutputSet(self.getOutputName(), output, Set.STREAM_OPEN)
            if first:
                self._defineSourceRelation(self.inputCoordinates, output)
                if self.micsSource.get() == OTHER:
                    self._defineSourceRelation(self.inputMicrographs, output)

    def _output(self):
        """Return the output set, opened for more."""
        output = self.getOutput()
        if output is not None:
            if output.getSize():
                output.enableAppend()
            else:  # Scipion cannot append to the file of a set that was stored empty
                output.close()
                os.remove(output.getFileName())
                output.load()
            return output
        path = self._getPath("coordinates%s.sqlite" % self.getAutoSuffix().lower())
        output = self.newCoordinates(path)  # of a run that was killed it may hold some
        if output.getSize():
            self._there = np.array(sorted(output.getIdSet()), int)
            output.enableAppend()
        output.setStreamState(Set.STREAM_OPEN)
        return output

    def newCoordinates(self, path):
        """Return a set in a file, on the micrographs and with the box of the output."""
        made = SetOfCoordinates(filename=path)
        made.setBoxSize(self.getBoxSize())
        picked = self.getCoords().getMicrographs(asPointer=True)
        made.setMicrographs(self.inputMicrographs if self.scalesOutput() else picked)
        return made

    def _startPredictor(self):
        self._running.set()
        self._starts += 1
        self._given = set(self._waiting)
        self._predictorStep = self._insertFunctionStep(
            self.predictStep, self._starts, prerequisites=[], needsGPU=self.usesGpu()
        )

    def _checkPredictor(self):
        """Raise when micscreen failed; what it has not answered although it had it, has failed."""
        if self._trouble:
            raise RuntimeError(self._trouble)
        if self._starts > self._finished and not self._running.is_set():
            self._finished = self._starts
            self._collect(self._work.everything())
            why = "micscreen gave no answer; its log is in the Output Log tab"
            self._collect([failure(name, why) for name in sorted(self._given & self._waiting)])

    def _wish(self):
        return Wish(
            boxSize=self.getCoords().getBoxSize() * self.getBoxScale(),
            samplingRate=self.getMicSampling(),
            threshold=self.threshold.get(),
            batchSize=self.streamingBatchSize.get(),
            saveMasks=self.saveMasks.get(),
            thumbnails=THUMBNAILS if self.saveMicThumbnailWithMask.get() else 0,
            gpus=self.gpus(),
            threads=max(1, self.numberOfThreads.get() - 2),
        )

    # --------------------------- missing micrographs ------------------------
    def missing(self):
        """Return name and reason of every micrograph that could not be screened for want of it."""
        path = self._getExtraPath("missing.csv")
        if not os.path.exists(path):
            return []
        with open(path, newline="") as handle:
            return [tuple(row) for row in csv.reader(handle)][1:]

    def _writeMissing(self):
        path = self._getExtraPath("missing.csv")
        if not self._homeless:
            if os.path.exists(path):
                os.remove(path)
            return
        with open(path + ".part", "w", newline="") as handle:
            table = csv.writer(handle)
            table.writerow(["micrograph", "coordinates"])
            for micId, (name, coordinates) in sorted(self._homeless.items()):
                table.writerow([name or micId, "%d coordinates" % len(coordinates)])
        os.replace(path + ".part", path)
        self.warning("%d micrographs have no partner: see %s" % (len(self._homeless), path))
