"""Contrast transfer and random fields, on rasters at model scale."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Optics:
    """A radially symmetric contrast transfer function, as seen at model scale.

    The phase contrast transfer is ``sin(pi (f / first_zero)^2 + amplitude)``, the leading
    (defocus) term of the usual CTF (Rohou & Grigorieff 2015), damped by a Gaussian envelope.

    Parameters
    ----------
    first_zero
        Frequency of about the first zero, cycles/px; beyond 0.5 it lies outside the raster.
    amplitude
        Amplitude contrast as a phase, radians.
    envelope
        Standard deviation of the Gaussian envelope, cycles/px.
    """

    first_zero: float = 0.4
    amplitude: float = 0.1
    envelope: float = 0.4

    def transfer(self, shape: tuple[int, int]) -> Image:
        """Return the transfer on the half grid of `numpy.fft.rfft2`, shape (h, w // 2 + 1)."""
        f2 = frequencies(shape) ** 2
        phase = math.pi * f2 / self.first_zero**2 + self.amplitude
        damped = np.sin(phase) * np.exp(-f2 / (2.0 * self.envelope**2))
        return np.asarray(damped, dtype=np.float32)


def physical_optics(
    defocus: float, voltage: float, pixel_size: float, amplitude: float, b_factor: float
) -> Optics:
    """Return the optics of a microscope at model scale.

    Parameters
    ----------
    defocus
        Underfocus, µm.
    voltage
        Acceleration voltage, kV.
    pixel_size
        Å/px at model scale.
    amplitude
        Amplitude contrast as a phase, radians; π/2 with a phase plate.
    b_factor
        Of the envelope exp(-B f² / 4), Å².
    """
    volts = 1e3 * voltage
    wavelength = 12.2643 / math.sqrt(volts + 0.978466e-6 * volts**2)  # Å, relativistic
    first_zero = pixel_size / math.sqrt(wavelength * 1e4 * defocus)
    return Optics(first_zero, amplitude, pixel_size / math.sqrt(b_factor / 2.0))


def draw_optics(rng: np.random.Generator) -> Optics:
    """Draw the optics of a real set: 0.3 to 5 µm, 200 or 300 kV, now and then a phase plate.

    Boxes have about 100 to 500 Å, so that a pixel at model scale has 5 to 26 Å.
    """
    plate = rng.random() < 0.05
    return physical_optics(
        defocus=log_uniform(rng, 0.3, 5.0),
        voltage=300.0 if rng.random() < 0.7 else 200.0,
        pixel_size=log_uniform(rng, 5.0, 26.0),
        amplitude=float(rng.uniform(0.9, 1.6) if plate else rng.uniform(0.05, 0.25)),
        b_factor=log_uniform(rng, 100.0, 4000.0),
    )


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform between those of low and high."""
    return float(math.exp(rng.uniform(math.log(low), math.log(high))))


def frequencies(shape: tuple[int, int]) -> Image:
    """Return |f| in cycles/px on the half grid of `numpy.fft.rfft2`, shape (h, w // 2 + 1)."""
    fy = np.fft.fftfreq(shape[0]).astype(np.float32)[:, None]
    fx = np.fft.rfftfreq(shape[1]).astype(np.float32)[None, :]
    return np.asarray(np.hypot(fy, fx), dtype=np.float32)


def filtered(image: Image, transfer: Image) -> Image:
    """Multiply the spectrum of an image (h, w) by a real transfer (h, w // 2 + 1)."""
    spectrum = np.fft.rfft2(image) * transfer
    return np.asarray(np.fft.irfft2(spectrum, s=image.shape), dtype=np.float32)


def white(rng: np.random.Generator, shape: tuple[int, int]) -> Image:
    """White Gaussian noise of unit standard deviation, shape (h, w)."""
    return rng.standard_normal(shape, dtype=np.float32)


def clouds(
    rng: np.random.Generator, shape: tuple[int, int], power: float, finest: float = 0.0
) -> Image:
    """Noise whose amplitude falls as f**-power, zero mean and unit standard deviation.

    Parameters
    ----------
    rng, shape
        Source of chance; (h, w).
    power
        Fall of the amplitude spectrum; 0 is white, 2 is smooth clouds.
    finest
        If not 0, details below about this size in px are smoothed away.
    """
    f = frequencies(shape)
    f[0, 0] = 1.0
    transfer = f**-power
    transfer[0, 0] = 0.0
    if finest > 0.0:
        transfer = transfer * np.exp(-2.0 * (math.pi * 0.35 * finest * f) ** 2)
    field = filtered(white(rng, shape), transfer.astype(np.float32))
    return standardised(field)


def band(rng: np.random.Generator, shape: tuple[int, int], size: float) -> Image:
    """Noise of one dominant length in px, zero mean and unit standard deviation."""
    f = frequencies(shape) * np.float32(size)
    transfer = f**2 * np.exp(-(f**2) * 2.0)
    return standardised(filtered(white(rng, shape), transfer.astype(np.float32)))


def standardised(field: Image) -> Image:
    """Shift and scale a field to zero mean and unit standard deviation."""
    spread = float(field.std())
    return np.asarray((field - field.mean()) / max(spread, 1e-12), dtype=np.float32)
