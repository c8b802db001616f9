# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be looked at in a run: scores, coordinates at any threshold, thumbnails, the job."""

import glob
import os
import subprocess

import matplotlib.pyplot as plt
import pyworkflow.protocol.params as params
from pwem.viewers import EmPlotter, EmProtocolViewer
from pwem.viewers.viewer_coordinates import CoordinateView
from pyworkflow.viewer import DESKTOP_TKINTER, CommandView

from .. import Plugin
from ..manual import goodnessOf, registerManual, thresholded
from ..protocols import MicscreenProtDeepMicrographScreen

COLUMNS, ROWS = 3, 2
"""Thumbnails on a page."""

RECOMMENDED = 0.8


class MicscreenViewer(EmProtocolViewer):
    """Scores, coordinates at a threshold of choice, thumbnails, and the job in the browser."""

    _label = "viewer deep micrograph cleaner"
    _targets = [MicscreenProtDeepMicrographScreen]
    _environments = [DESKTOP_TKINTER]

    def _defineParams(self, form):
        given = self.protocol.threshold.get()
        pages = max(1, -(-len(self.thumbnails()) // (COLUMNS * ROWS)))
        form.addSection(label="Visualization")
        group = form.addGroup("Scores")
        group.addParam(
            "bins",
            params.IntParam,
            default=50,
            label="Bins of the histogram",
        )
        group.addParam(
            "showHistogram",
            params.LabelParam,
            label="Histogram of scores",
            help="Of all scored coordinates, whatever the threshold. Good ones are near 1.",
        )
        group = form.addGroup("Coordinates")
        group.addParam(
            "viewThreshold",
            params.FloatParam,
            default=given if given >= 0 else RECOMMENDED,
            label="Threshold",
            help="Between 0 and 1; 0.75 to 0.9 is recommended, higher removes more. It may be "
            "lower than that of the run: the coordinates come from its input.",
        )
        group.addParam(
            "showCoordinates",
            params.LabelParam,
            label="Coordinates above the threshold",
            help="In Scipion's coordinate viewer. To keep them, register them here: an output made "
            "in that viewer has no scores.",
        )
        group.addParam(
            "registerCoordinates",
            params.LabelParam,
            label="Register them as a new output",
            help="Adds outputCoordinates_Manual_ and the threshold in three digits to the run, "
            "with the scores.",
        )
        group = form.addGroup("Micrographs")
        group.addParam(
            "page",
            params.IntParam,
            default=1,
            label="Page",
            help="Of %d." % pages,
        )
        group.addParam(
            "showThumbnails",
            params.LabelParam,
            label="Thumbnails with mask and coordinates",
            help="Bad regions are coloured by class; coordinates that are kept are circles, "
            "rejected ones crosses, at the threshold of the run.",
        )
        group.addParam(
            "openJob",
            params.LabelParam,
            label="Open the run in the browser",
            help="Starts 'micscreen view': every micrograph with its mask, a slider for the "
            "threshold, galleries by class. Its server ends with Ctrl-C, or with Scipion.",
        )

    def _getVisualizeDict(self):
        return {
            "showHistogram": self._showHistogram,
            "showCoordinates": self._showCoordinates,
            "registerCoordinates": self._registerCoordinates,
            "showThumbnails": self._showThumbnails,
            "openJob": self._openJob,
        }

    def _validate(self):
        if not 0 <= self.viewThreshold.get() <= 1:
            return ["The threshold is between 0 and 1."]
        return []

    def thumbnails(self):
        """Return the paths of the run's thumbnails."""
        return sorted(glob.glob(os.path.join(self.protocol.jobFolder(), "thumbnails", "*.png")))

    # --------------------------- views --------------------------------------
    def _showHistogram(self, paramName=None):
        goodness = goodnessOf(self.protocol)
        if not len(goodness):
            return self._nothing("No coordinate has a score yet.")
        plotter = EmPlotter(windowTitle="Goodness of coordinates")
        axes = plotter.createSubPlot(
            "%d coordinates" % len(goodness), "Goodness (1 is good)", "Coordinates"
        )
        axes.hist(goodness, bins=max(1, self.bins.get()), range=(0, 1), color="#3b6ea5")
        threshold = self.viewThreshold.get()
        below = int((goodness < threshold).sum())
        axes.axvline(threshold, color="#b03a2e", linestyle="--")
        axes.set_title("%d coordinates, %d below %g" % (len(goodness), below, threshold))
        axes.set_yscale("log")
        return [plotter]

    def _showCoordinates(self, paramName=None):
        path = self.protocol._getTmpPath("coordinates_viewed.sqlite")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        found = thresholded(self.protocol, self.viewThreshold.get(), path)
        if not found.getSize():
            return self._nothing("No coordinate reaches this threshold.")
        return [CoordinateView(self.getTkRoot(), found, self.protocol)]

    def _registerCoordinates(self, paramName=None):
        name = registerManual(self.protocol, self.viewThreshold.get())
        count = getattr(self.protocol, name).getSize()
        text = "%s has %d coordinates, with their scores." % (name, count)
        if self.formWindow is not None:
            self.showInfo(text)
        return []

    def _showThumbnails(self, paramName=None):
        paths, size = self.thumbnails(), COLUMNS * ROWS
        if not paths:
            return self._nothing("This run made no thumbnails.")
        first = min(max(self.page.get() - 1, 0) * size, (len(paths) - 1) // size * size)
        page = paths[first : first + size]
        rows = -(-len(page) // COLUMNS)
        plotter = EmPlotter(
            windowTitle="Thumbnails %d to %d of %d" % (first + 1, first + len(page), len(paths)),
            figsize=(4 * COLUMNS, 4.5 * rows),
        )
        plotter.figure.clear()
        plotter.figure.subplots_adjust(0.01, 0.01, 0.99, 0.95, wspace=0.03, hspace=0.1)
        for place, path in enumerate(page, 1):
            axes = plotter.figure.add_subplot(rows, COLUMNS, place)
            axes.set_title(os.path.basename(path)[: -len(".png")].split("_", 3)[-1])
            axes.imshow(plt.imread(path), interpolation="antialiased")
            axes.set_axis_off()
        return [plotter]

    def _openJob(self, paramName=None):
        job = os.path.abspath(self.protocol.jobFolder())
        if not os.path.isdir(job):
            return self._nothing("micscreen has not begun yet.")
        return [JobView(job)]

    def _nothing(self, text):
        if self.formWindow is not None:
            self.showInfo(text)
        return []


class JobView(CommandView):
    """`micscreen view` on a job, in a process that goes on while Scipion does."""

    def __init__(self, job, options=()):
        command = " ".join([Plugin.getProgram(), "view", '"%s"' % job, *options])
        CommandView.__init__(self, command)
        self.process = None

    def show(self):
        self.process = subprocess.Popen(self._cmd, shell=True, env=Plugin.getEnviron())
