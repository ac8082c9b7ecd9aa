"""Changed views of photos: what training sees beside the photos themselves."""

from __future__ import annotations

import numpy as np

from pcmnet.features import mirror, random_crops

SIDE = 64


def ramp() -> np.ndarray:
    """Red grows to the right, green downwards."""
    line = np.linspace(0, 255, SIDE).astype(np.uint8)
    red, green = np.meshgrid(line, line)
    return np.stack([red, green, np.zeros_like(red)], -1)


def test_a_mirrored_photo_runs_from_right_to_left():
    assert mirror(ramp(), 0)[0, :, 0].tolist() == ramp()[0, ::-1, 0].tolist()


def test_crops_keep_the_share_they_promise_and_differ_by_photo_and_seed():
    crop, shares, mirrored = random_crops(1, 0.6), [], 0
    for row in range(200):
        pixels = crop(ramp(), row)
        assert pixels.shape == ramp().shape
        red, green = pixels[..., 0].astype(float), pixels[..., 1].astype(float)
        mirrored += red[0, 0] > red[0, -1]
        # The ends of a ramp tell which part of it is there.
        shares.append(np.ptp(red) * np.ptp(green) / 255**2)
    assert 0.57 < min(shares) < 0.68 and max(shares) > 0.92
    assert 70 < mirrored < 130
    assert np.array_equal(crop(ramp(), 3), random_crops(1, 0.6)(ramp(), 3))
    assert not np.array_equal(crop(ramp(), 3), crop(ramp(), 4))
    assert not np.array_equal(crop(ramp(), 3), random_crops(2, 0.6)(ramp(), 3))
