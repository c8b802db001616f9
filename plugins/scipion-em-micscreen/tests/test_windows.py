# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows as users see them, on a display: the form, the viewer's form, pwem's coordinates."""

import os
import time

import pytest
from helpers import fed, launched, log_of, protocol_of
from PIL import ImageGrab
from pwem import Domain

from scipion_micscreen.viewers import MicscreenViewer

pytestmark = pytest.mark.skipif(
    not os.environ.get("DISPLAY"), reason="no display: Debian's xvfb gives one"
)


@pytest.fixture
def run(project, simulated):
    """A finished run at threshold 0.8."""
    done = launched(project, protocol_of(project, fed(project, simulated), threshold=0.8))
    assert done.isFinished(), log_of(done)
    return done


def texts(widget):
    """Return all texts below a widget."""
    found = []
    for child in widget.winfo_children():
        if "text" in (child.keys() or ()):
            found.append(str(child.cget("text")))
        found += texts(child)
    return found


def grabbed(name):
    """Take a picture of the display, keep it where MICSCREEN_PICTURES says, return its colours."""
    picture = ImageGrab.grab(xdisplay=os.environ["DISPLAY"])
    folder = os.environ.get("MICSCREEN_PICTURES")
    if folder:
        picture.crop(picture.getbbox()).save(os.path.join(folder, name))
    return len(picture.convert("L").getcolors())


def test_windows(project, run):
    """The form shows the parameters under the names that users know, the viewer's form its buttons,
    and pwem's coordinate viewer the coordinates above the threshold."""
    import tkinter
    from tkinter import Tk

    import pyworkflow.gui.project  # noqa: F401  (its form cannot be imported first)
    from pyworkflow.gui.form import FormWindow

    root = Tk()
    root.withdraw()
    seen = {}

    def look(window, name):
        window.deiconify()
        window.geometry("+0+0")
        window.lift()
        window.update()
        time.sleep(1)
        window.update()
        seen[name] = (texts(window), grabbed(name))
        window.destroy()

    form = FormWindow("Protocol Run: deep micrograph cleaner", run, lambda *_: None, None)
    form.root.after(1500, look, form.root, "scipion-form.png")
    form.root.wait_window()
    words = " ".join(seen["scipion-form.png"][0])
    for label in ("Input coordinates", "Micrographs source", "Threshold", "Batch size"):
        assert label in words

    Domain.getViewers()  # gives the viewer its package, as the application does
    viewer = MicscreenViewer(project=project)
    viewer.setProtocol(run)
    buttons = {"visualizeDict": viewer._getVisualizeDict(), "visualizeMode": True}
    opened = FormWindow("Protocol viewer", viewer, viewer._viewAll, None, **buttons)
    opened.root.after(1500, look, opened.root, "scipion-viewer.png")
    opened.root.wait_window()
    words = " ".join(seen["scipion-viewer.png"][0])
    for label in ("Histogram of scores", "Register them", "Thumbnails", "in the browser"):
        assert label in words

    (view,) = viewer._showCoordinates()
    view.root = root

    def close():
        (window,) = [one for one in root.winfo_children() if isinstance(one, tkinter.Toplevel)]
        look(window, "scipion-coordinates.png")
        root.quit()

    root.after(6000, close)
    view.show()
    root.destroy()
    assert seen["scipion-coordinates.png"][1] > 50  # a picture in grey is there
