# SPDX-License-Identifier: GPL-3.0-or-later
"""The protocol: its form, what others ask it, and what it tells."""

import pyworkflow.protocol.params as params
from pwem.objects import SetOfCoordinates
from pwem.protocols import EMProtocol
from pyworkflow.protocol import STEPS_PARALLEL, ProtStreamingBase
from pyworkflow.protocol.constants import GPU_LIST, USE_GPU

from ..constants import OTHER, SAME, THUMBNAILS
from ..parts import inDigits
from .streaming import ScreenSteps


class MicscreenProtDeepMicrographScreen(ScreenSteps, EMProtocol, ProtStreamingBase):
    """Removes coordinates that lie in carbon or gold film, ice contamination, crystalline ice,
    aggregates or damage. Every coordinate gets a goodness between 0 (bad) and 1 (good) from the
    masks that micscreen's network predicts; those below the threshold are left out. Coordinates
    are never added or moved.
    """

    _label = "deep micrograph cleaner"
    _possibleOutputs = {"outputCoordinates_Full": SetOfCoordinates}
    stepsExecutionMode = STEPS_PARALLEL

    # --------------------------- form ---------------------------------------
    def _defineParams(self, form):
        form.addHidden(
            USE_GPU,
            params.BooleanParam,
            default=True,
            label="Use GPU?",
            help="With Yes, the GPU is used when the machine has one that micscreen can use, and "
            "the CPU otherwise; the summary says which it was. With several GPUs in the list, all "
            "of them must be usable. With No, no GPU is touched. A CPU is fast enough: about a "
            "tenth of a second per micrograph.",
        )
        form.addHidden(
            GPU_LIST,
            params.StringParam,
            default="0",
            label="Choose GPU IDs",
            help="Numbers of the GPUs to use, for example 0 or 0,1.",
        )
        form.addSection(label="Input")
        form.addParam(
            "inputCoordinates",
            params.PointerParam,
            pointerClass="SetOfCoordinates",
            important=True,
            label="Input coordinates",
            help="The picks to be judged. The set may still be growing.",
        )
        form.addParam(
            "micsSource",
            params.EnumParam,
            choices=["same as coordinates", "other"],
            default=SAME,
            important=True,
            display=params.EnumParam.DISPLAY_HLIST,
            label="Micrographs source",
            help="By default the micrographs on which the coordinates were picked are screened. "
            "With _other_, another set of the same fields of view is, for example one that was "
            "not filtered; both are related by micName, or by micId when no name is in both.\n\n"
            "Particles are expected dark on bright. When they are bright on dark this is noticed, "
            "and the picture is inverted for the network.",
        )
        form.addParam(
            "inputMicrographs",
            params.PointerParam,
            pointerClass="SetOfMicrographs",
            condition="micsSource==%d" % OTHER,
            important=True,
            allowsNull=True,
            label="Input micrographs",
            help="The micrographs that are screened. Their pixel size may differ.",
        )
        form.addParam(
            "useOtherScale",
            params.EnumParam,
            choices=["same as coordinates", "scale to micrographs"],
            default=SAME,
            condition="micsSource==%d" % OTHER,
            display=params.EnumParam.DISPLAY_HLIST,
            label="Output scale",
            help="*same as coordinates*: the output is on the micrographs on which the coordinates "
            "were picked, untouched.\n*scale to micrographs*: coordinates and box size are "
            "brought to the pixel size of the other micrographs, and belong to these.",
        )
        form.addParam(
            "threshold",
            params.FloatParam,
            default=-1,
            label="Threshold",
            help="Coordinates with a goodness below it are removed. Between 0 and 1; 0.75 to 0.9 "
            "is recommended, a higher one removes more. With -1 nothing is removed, and the "
            "viewer lets you choose.",
        )
        form.addParam(
            "streamingBatchSize",
            params.IntParam,
            default=-1,
            expertLevel=params.LEVEL_ADVANCED,
            label="Batch size",
            help="Micrographs that are taken at a time. -1: automatic; 0: all that are there; 1 or "
            "more: so many. The network is loaded once, whatever the batch.",
        )
        form.addParam(
            "saveMasks",
            params.BooleanParam,
            default=False,
            expertLevel=params.LEVEL_ADVANCED,
            label="Keep the predicted masks?",
            help="They are small, at the scale of the network, in extra/predictor/job/masks.",
        )
        form.addParam(
            "saveMicThumbnailWithMask",
            params.BooleanParam,
            default=True,
            expertLevel=params.LEVEL_ADVANCED,
            label="Make thumbnails with mask and coordinates?",
            help="Of at most %d micrographs in the whole run, spread over it." % THUMBNAILS,
        )
        ProtStreamingBase._defineStreamingParams(self, form)
        form.addParallelSection(threads=3, mpi=0)

    # --------------------------- what others ask ----------------------------
    def getInputMicrographsPointer(self):
        """Return a pointer to the micrographs that are screened."""
        if self.micsSource.get() == OTHER:
            return self.inputMicrographs
        coordinates = self.getCoords()
        return None if coordinates is None else coordinates.getMicrographs(asPointer=True)

    def getInputMicrographs(self):
        """Return the micrographs that are screened; None when they are not there yet."""
        pointer = self.getInputMicrographsPointer()
        return None if pointer is None else pointer.get()

    def getCoords(self):
        """Return the input coordinates; None when they are not there yet."""
        return self.inputCoordinates.get()

    def getCoordSampling(self):
        """Return the pixel size of the micrographs that were picked, Å/px."""
        return self.getCoords().getMicrographs().getSamplingRate()

    def getMicSampling(self):
        """Return the pixel size of the micrographs that are screened, Å/px."""
        return self.getInputMicrographs().getSamplingRate()

    def getBoxScale(self):
        """Return the pixel size of picking / that of screening."""
        return self.getCoordSampling() / self.getMicSampling()

    def getBoxSize(self):
        """Return the box size of the output, px."""
        box = self.getCoords().getBoxSize()
        return round(box * self.getBoxScale()) if self.scalesOutput() else box

    def scalesOutput(self):
        """Return whether the output is on the other micrographs."""
        return self.micsSource.get() == OTHER and self.useOtherScale.get() == OTHER

    def getAutoSuffix(self):
        """Return `_Full`, or `_Auto_` and the threshold in three digits, rounded."""
        threshold = self.threshold.get()
        if threshold < 0:
            return "_Full"
        return "_Auto_" + inDigits(threshold)

    def getOutputName(self):
        """Return the name of the output."""
        return "outputCoordinates" + self.getAutoSuffix()

    def getOutput(self):
        """Return the output; None when it is not there yet."""
        return getattr(self, self.getOutputName(), None)

    # --------------------------- what it tells ------------------------------
    def _validate(self):
        errors = []
        threshold = self.threshold.get()
        if threshold is None or not (threshold == -1 or 0 <= threshold <= 1):
            errors.append("The threshold is between 0 and 1, or -1 to remove nothing.")
        if self.streamingBatchSize.get() is None or self.streamingBatchSize.get() < -1:
            errors.append("The batch size is -1 (automatic), 0 (all), or a number.")
        if self.numberOfThreads.get() < 3:
            errors.append(
                "At least 3 threads are needed: one looks for new input, one runs the network, "
                "and one is Scipion's own."
            )
        try:
            none = self.usesGpu() and not self.gpus()
        except ValueError:
            none = True
        if none:
            errors.append("The list of GPUs is not one: give numbers, or do not use the GPU.")
        return errors + self._validateInputs()

    def _validateInputs(self):
        errors, coordinates = [], self.getCoords()
        if self.micsSource.get() == OTHER and self.inputMicrographs.get() is None:
            errors.append("Choose the other micrographs.")
        if coordinates is None:
            return errors
        if not coordinates.getBoxSize():
            errors.append(
                "The coordinates have no box size; without it the scale of particles is not known."
            )
        micrographs = (coordinates.getMicrographs(), self.getInputMicrographs())
        if any(one is not None and not one.getSamplingRate() for one in micrographs):
            errors.append("A set of micrographs has no sampling rate.")
        return errors

    def _warnings(self):
        warnings, threshold = [], self.threshold.get()
        if 0 <= threshold < 0.5:
            warnings.append(
                "A threshold of %g removes only what is almost certainly bad; 0.75 to 0.9 is "
                "recommended." % threshold
            )
        elif threshold > 0.95:
            warnings.append("A threshold of %g removes many good coordinates." % threshold)
        return warnings

    def _summary(self):
        if self.getOutput() is None:
            return ["There is no output yet."]
        numbers = self.numbers()
        lines = [
            "%d coordinates on %d micrographs were scored: %d are kept, %d rejected (threshold %g)."
            % (
                numbers.coordinates,
                numbers.micrographs,
                numbers.kept,
                numbers.coordinates - numbers.kept,
                self.threshold.get(),
            )
        ]
        for kind, count in numbers.rejected.items():
            lines.append("   %s: %d" % (kind.replace("_", " "), count))
        if numbers.inverted:
            lines.append("%d micrographs were bright on dark, and inverted." % numbers.inverted)
        lines += _listed("micrographs are suspect, look at them", numbers.suspect)
        lines += _listed("micrographs failed (not in the output)", numbers.failed)
        missing = self.missing()
        lines += _listed("micrographs are missing (not in the output)", missing)
        if numbers.device:
            lines.append("The network ran on %s." % numbers.device)
            if self.usesGpu() and numbers.device.startswith("cpu"):
                lines.append("A GPU was asked for; micscreen found none that it can use.")
        return lines

    def _methods(self):
        if self.getOutput() is None:
            return ["There is no output yet."]
        numbers = self.numbers()
        text = (
            "%d picked coordinates on %d micrographs were scored with micscreen [micscreen], which "
            "follows the approach of MicrographCleaner [sanchezgarcia2020]"
        ) % (numbers.coordinates, numbers.micrographs)
        if self.threshold.get() < 0:
            return [text + "; none was removed."]
        return [
            text + "; %d with a goodness below %g, in or near support film, contamination, "
            "crystalline ice, aggregates or damage, were removed."
            % (numbers.coordinates - numbers.kept, self.threshold.get())
        ]

    def _citations(self):
        return ["micscreen", "sanchezgarcia2020"]


def _listed(what, rows, most=5):
    """Return a line with a number, and the first few of what it counts."""
    if not rows:
        return []
    lines = ["%d %s:" % (len(rows), what)]
    lines += ["   %s: %s" % tuple(row) for row in rows[:most]]
    if len(rows) > most:
        lines.append("   and %d more" % (len(rows) - most))
    return lines
