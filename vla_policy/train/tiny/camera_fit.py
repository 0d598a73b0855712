"""A camera fitted to points in space and their locations in its images."""

from __future__ import annotations

import numpy as np

from vla_policy.types import Array


def projection(xyz: Array, uv: Array) -> Array:
    """float64[3, 4] that maps points float64[n, 3] to image locations float64[n, 2], by least squares (normalised DLT)."""
    from_xyz, from_uv = _normalising(xyz), _normalising(uv)
    x, u = _homogeneous(xyz) @ from_xyz.T, _homogeneous(uv) @ from_uv.T
    zero = np.zeros_like(x)
    rows = np.concatenate(
        (
            np.concatenate((x, zero, -u[:, :1] * x), 1),
            np.concatenate((zero, x, -u[:, 1:2] * x), 1),
        )
    )
    fitted = np.linalg.svd(rows, full_matrices=False)[2][-1].reshape(3, 4)
    camera = np.linalg.inv(from_uv) @ fitted @ from_xyz
    # In front of the camera the third is positive.
    found: Array = camera * np.sign(camera[2] @ _homogeneous(xyz).mean(0))
    return found


def projected(camera: Array, xyz: Array) -> tuple[Array, Array]:
    """float64[n, 2] locations, and bool[n] whether they are in the image."""
    x = _homogeneous(xyz) @ camera.T
    depth = np.where(np.abs(x[:, 2:]) < 1e-9, 1e-9, x[:, 2:])
    uv = x[:, :2] / depth
    seen = (x[:, 2] > 0) & ((uv > 0) & (uv < 1)).all(1)
    return uv, seen


def _homogeneous(points: Array) -> Array:
    return np.concatenate((points, np.ones((len(points), 1))), 1)


def _normalising(points: Array) -> Array:
    """float64[d + 1, d + 1]: moves the mean of points float64[n, d] to 0 and scales their spread to 1."""
    middle, spread = points.mean(0), points.std(0).mean()
    matrix = np.diag([*(np.full(points.shape[1], 1.0 / spread)), 1.0])
    matrix[:-1, -1] = -middle / spread
    return matrix
