"""The covariance of the variables: the inverse of a normal matrix, scaled so that units do not matter."""

from __future__ import annotations

import numpy as np
from scipy import linalg
from scipy.linalg import get_lapack_funcs

__all__ = ["inverse_of"]


def inverse_of(normal: np.ndarray) -> np.ndarray:
    """N⁻¹, well scaled; directions that nothing determines get no variance."""
    scale = 1 / np.sqrt(np.maximum(np.diag(normal), 1e-300))
    scaled = normal * scale[:, None] * scale
    try:
        c, lower = linalg.cho_factor(scaled, lower=True, check_finite=False)
        inverse, info = get_lapack_funcs(("potri",), (scaled,))[0](c, lower=lower)
        if info:
            raise linalg.LinAlgError
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
    except linalg.LinAlgError:
        inverse = linalg.pinvh(scaled, rtol=1e-9)
    return inverse * scale[:, None] * scale
