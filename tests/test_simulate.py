"""The simulator: repeatable, and its truth agrees with its pictures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micscreen.errors import UsageError
from micscreen.simulate import (
    KINDS,
    Recipe,
    detector,
    optics,
    overlay,
    picks_on_bad,
    simulate_micrograph,
    simulate_scene,
    specimen,
)
from micscreen.simulate.contaminants import PAINTERS
from micscreen.simulate.layers import ICE, Layers, Thing
from micscreen.simulate.scene import visibility
from micscreen.simulate.specimen import scatter

SMALL = Recipe(shape=(96, 112))
CLEAN = Recipe(shape=(128, 128), contaminants=(), processed_share=0, artefacts=False)


def test_a_seed_decides_everything() -> None:
    """The same seed gives the same scene, another seed another one."""
    first, again, other = (simulate_scene(seed, SMALL) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.classes, again.classes)
    np.testing.assert_array_equal(first.x, again.x)
    assert not np.array_equal(first.image, other.image)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**9))
def test_every_scene_is_whole(seed: int) -> None:
    """Any seed gives finite pixels, known labels, particles in the frame and a box in range."""
    scene = simulate_scene(seed, SMALL)
    assert scene.image.shape == scene.classes.shape == SMALL.shape
    assert scene.image.dtype == np.float32
    assert np.isfinite(scene.image).all()
    assert scene.image.std() > 0
    assert set(np.unique(scene.classes)) <= {0, 1, 2, 3, 4, 5, 255}
    assert SMALL.box_low <= scene.box_size <= SMALL.box_high
    assert ((scene.x >= 0) & (scene.x < 112) & (scene.y >= 0) & (scene.y < 96)).all()
    row = np.minimum(np.rint(scene.y).astype(int), 95)
    column = np.minimum(np.rint(scene.x).astype(int), 111)
    np.testing.assert_array_equal(scene.particle_bad, scene.classes[row, column] != 0)


def test_clean_scenes_have_nothing_bad() -> None:
    """With no contaminants asked for, every pixel is good."""
    assert all(simulate_scene(seed, CLEAN).classes.max() == 0 for seed in range(10))


def test_particles_are_dark() -> None:
    """Under defocus the average particle is darker than its surroundings."""
    recipe = Recipe(shape=(160, 160), contaminants=(), processed_share=0, crowding=0.4)
    darker = 0
    for seed in range(12):
        scene = simulate_scene(seed, recipe)
        flat = scene.image - cv2.GaussianBlur(scene.image, (0, 0), 25)
        smooth = cv2.GaussianBlur(flat, (0, 0), scene.box_size / 6)
        at = smooth[scene.y.astype(int), scene.x.astype(int)]
        darker += at.mean() < smooth.mean()
    assert darker >= 10


@pytest.mark.parametrize("name", sorted(PAINTERS))
def test_every_contaminant_gets_into_the_truth(name: str) -> None:
    """Each painter leaves something that can be seen, and so is labelled, in most scenes."""
    recipe = Recipe(shape=(160, 160), contaminants=(name,), processed_share=0, artefacts=False)
    scenes = [simulate_scene(seed, recipe) for seed in range(12)]
    labelled = [scene for scene in scenes if (scene.classes > 0).any()]
    assert len(labelled) >= 6


def test_what_cannot_be_seen_is_not_in_the_truth() -> None:
    """A thing without contrast has no visibility, one of three sigmas has plenty."""
    rng = np.random.default_rng(0)
    image = rng.standard_normal((120, 120)).astype(np.float32)
    mask = np.zeros((24, 24), bool)
    mask[4:20, 4:20] = True
    thing = Thing(ICE, (slice(40, 64), slice(40, 64)), mask)
    background = np.ones(image.shape, bool)
    background[40:64, 40:64] = ~mask
    assert visibility(image, background, thing, 1.0) < 0.6
    image[44:60, 44:60] -= 3.0
    assert visibility(image, background, thing, 1.0) > 1.0


def test_film_is_painted_on_its_own_pixels() -> None:
    """A film darkens and weakens particles on its own side only."""
    rng = np.random.default_rng(3)
    layers = Layers.blank((200, 200), optics.Optics(), 16.0)
    PAINTERS["film"](rng, layers)
    (film,) = layers.things
    assert 0 < film.mask.mean() < 1
    assert (layers.particles[~film.mask] > 0.5).all()


@pytest.mark.parametrize("side", [0, 1, 2, 3])
def test_borders_are_left_out_of_the_truth(side: int) -> None:
    """What motion correction overwrites is labelled 255, whichever side it is on."""
    image = np.random.default_rng(0).standard_normal((64, 80)).astype(np.float32)
    before, classes = image.copy(), np.zeros(image.shape, np.uint8)
    detector.border(np.random.default_rng(side), image, classes)
    changed = image != before
    assert changed.any()
    assert (classes[changed] == 255).all()
    assert set(np.unique(classes)) == {0, 255}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.2, 2.2))
def test_fields_are_standardised(seed: int, power: float) -> None:
    """Clouds of any power have zero mean and unit spread, for odd sizes too."""
    field = optics.clouds(np.random.default_rng(seed), (61, 84), power)
    assert field.shape == (61, 84)
    assert abs(float(field.mean())) < 1e-3
    assert float(field.std()) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("family", specimen.FAMILIES)
def test_every_family_of_particles_stays_in_its_diameter(family: str) -> None:
    """Nine tenths of a projection's mass lie within 1.3 diameters."""
    species = specimen.draw_species(np.random.default_rng(1), 12.0, 6, family)
    n, size, _ = species.views.shape
    assert n == 6
    y, x = np.mgrid[:size, :size] - size // 2
    inside = np.hypot(x, y) <= 1.3 * 6.0
    assert (species.views[:, inside].sum() / species.views.sum()) > 0.9


def test_stamped_particles_lie_where_they_were_put() -> None:
    """The centre of mass of a stamped particle is the point that was asked for."""
    rng = np.random.default_rng(2)
    species = specimen.draw_species(rng, 10.0, 4, "sphere")
    canvas = np.zeros((60, 70), np.float32)
    specimen.stamp(rng, canvas, species, np.array([[41.0, 22.0]]))
    y, x = np.mgrid[:60, :70]
    assert (canvas * x).sum() / canvas.sum() == pytest.approx(41, abs=1.5)
    assert (canvas * y).sum() / canvas.sum() == pytest.approx(22, abs=1.5)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_demo_micrographs_are_what_they_say(kind: str) -> None:
    """Each kind has its class of bad region, or none; image, labels and picks have full size."""
    scene = simulate_micrograph(kind, (600, 700), box_size=60.0, seed=4)
    labels = {"film": 1, "crystalline": 3} | dict.fromkeys(("ice", "discs", "beads", "fibres"), 2)
    labels |= dict.fromkeys(("aggregate", "clumps", "network"), 4)
    labels |= dict.fromkeys(("vacuum", "crack", "beam", "drifted"), 5)
    assert scene.image.shape == scene.classes.shape == (600, 700)
    assert scene.image.dtype == np.float32
    assert scene.box_size == 60.0
    bad = set(np.unique(scene.classes)) - {0, 255}
    if kind != "mixed":
        assert bad == ({labels[kind]} if kind in labels else set())
    if kind in labels:
        assert (scene.classes > 0).mean() > 0.005
    again = simulate_micrograph(kind, (600, 700), box_size=60.0, seed=4)
    np.testing.assert_array_equal(scene.image, again.image)


def test_full_size_noise_averages_to_that_of_a_training_scene() -> None:
    """Neighbouring pixels at full size are dominated by white noise, as in raw micrographs."""
    scene = simulate_micrograph("clean", (800, 800), box_size=200.0, seed=1)
    step = (scene.image[:, 1:] - scene.image[:, :-1]).std()
    averaged = cv2.resize(scene.image, (80, 80), interpolation=cv2.INTER_AREA)
    assert step > 5 * averaged.std() / np.sqrt(2)


def test_an_unknown_kind_is_said() -> None:
    """An unknown kind of micrograph raises a UsageError that names the known ones."""
    with pytest.raises(UsageError, match="crystalline"):
        simulate_micrograph("carbon")


def test_false_picks_lie_on_bad_regions() -> None:
    """Picks on bad lie on pixels of classes 1 to 5, as many as asked; a clean scene has none."""
    scene = simulate_micrograph("film", (400, 400), box_size=40.0, seed=2)
    x, y = picks_on_bad(scene, 50, seed=0)
    labels = scene.classes[np.rint(y).astype(int).clip(0, 399), np.rint(x).astype(int).clip(0, 399)]
    assert len(x) == 50
    assert ((labels > 0) & (labels < 255)).mean() > 0.95
    assert len(picks_on_bad(simulate_scene(0, CLEAN), 50, seed=0)[0]) == 0


def test_clumps_are_made_of_the_fields_own_particles_and_are_bad() -> None:
    """Where particles lie jammed the truth says aggregate, and the picture is as busy or busier."""
    recipe = Recipe(contaminants=("clumps",), crowding=0.2, processed_share=0.0, artefacts=False)
    found = 0
    for seed in range(12):
        scene = simulate_scene(seed, recipe)
        clump = scene.classes == 4
        if clump.sum() < 300:
            continue
        found += 1
        fine = scene.image - cv2.GaussianBlur(scene.image, (0, 0), 6.0)
        assert set(np.unique(scene.classes)) <= {0, 4, 255}
        assert fine[clump].std() > 0.95 * fine[scene.classes == 0].std()
    assert found >= 5


def test_lattices_lie_within_the_picture_and_fill_it() -> None:
    """A lattice, turned and broken as it may be, has particles, all of them inside the picture."""
    for seed in range(8):
        points = scatter(np.random.default_rng(seed), (200, 200), 16.0, "lattice")
        assert len(points) > 20
        assert ((points >= 0) & (points < 200)).all()


def test_contaminants_on_a_real_picture_are_in_its_truth() -> None:
    """What was painted and can be seen is bad, what was bad or ignored stays so, and the rest of
    the picture and both inputs stay as they were.
    """
    rng = np.random.default_rng(3)
    image = rng.normal(100, 7, (200, 220)).astype(np.float32)
    classes = np.zeros(image.shape, np.uint8)
    classes[:20], classes[-5:] = 3, 255
    before = image.copy(), classes.copy()
    painted, truth = overlay(rng, image, classes, 16.0, ("ice",))
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(classes, before[1])
    ice = truth == ICE
    assert ice.sum() > 50
    assert painted[ice].mean() < image[ice].mean() - 3
    np.testing.assert_array_equal(truth[:20], 3)
    np.testing.assert_array_equal(truth[-5:], 255)
    untouched = cv2.erode((truth == 0).astype(np.uint8), np.ones((41, 41))) > 0
    assert np.abs(painted - image)[untouched].max() < 1.0
