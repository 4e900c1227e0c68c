"""Random cases of the lemmas about Gaussian processes: ReLU networks of one hidden layer on a disc, d = 2, and their
limit as N -> oo, with its features from the arc-cosine kernel of a grid of points. For images the layer is a
convolution of four pixels with zeros beyond."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from advmf.special import profile_norm, profile_radius
from advmf.theory.lemma import Case

DRAWS, WIDTH, GRID = 3000, 160, 20
"""Random draws behind a simulated side, hidden units, and points on the border of a ball in two dimensions."""


@dataclass(frozen=True)
class _Ball:
    """A ball ‖η‖_p <= eps around an input of two coordinates, by points on its border and within, zero first; and a
    network x -> P_out φ(W P_in x + b) of slopes u, v and deviations sigma_w, sigma_b."""

    x: np.ndarray
    eta: np.ndarray
    p: float
    eps: float
    u: float
    v: float
    sigma_w: float
    sigma_b: float

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> _Ball:
        p, eps, angle = (
            float(rng.choice([1.0, 2.0, np.inf])),
            rng.uniform(0.05, 0.6),
            np.arange(GRID) * 2 * np.pi / GRID,
        )
        border = np.stack((np.cos(angle), np.sin(angle)), 1)
        border *= eps / np.linalg.norm(border, p, axis=1, keepdims=True)
        eta = np.concatenate((np.zeros((1, 2)), border, border / 2))
        x = rng.standard_normal(2)
        return cls(x / np.linalg.norm(x) * 2**0.5, eta, p, eps, *rng.uniform(-1, 1, 2), *rng.uniform(0.5, 1.5, 2))

    @property
    def scale(self) -> float:
        """ω, which is d times both eigenvalues of Σ at all inputs."""
        return (self.u**2 + self.v**2) / 2 * self.sigma_w**2

    @property
    def points(self) -> np.ndarray:
        return self.x + self.eta

    def features(self) -> np.ndarray:
        """D(η) for the points, as rows: a root of the covariance of f(x + η) - f(x)."""
        return _root(self.kernel(self.sigma_w**2 * self.points @ self.points.T / 2 + self.sigma_b**2))

    def kernel(self, moved: np.ndarray) -> np.ndarray:
        """E φ(a)φ(b) of Gaussians with these covariances."""
        root = np.sqrt(np.outer(np.diag(moved), np.diag(moved)))
        c = np.clip(moved / root, -1, 1)
        kappa = (np.sqrt(1 - c**2) + (np.pi - np.arccos(c)) * c) / np.pi
        found: np.ndarray = root * ((self.u - self.v) ** 2 / 2 * kappa + self.u * self.v * c)
        return found

    def networks(self, rng: np.random.Generator, K: int) -> np.ndarray:
        """f(x + η) - f(x) of sampled networks, (DRAWS, K, points)."""
        found = []
        for _ in range(8):
            P_in = rng.standard_normal((DRAWS // 8, WIDTH, 2)) / 2**0.5
            # Rows of W P_in are Gaussian, with the covariance of the columns of P_in.
            root = np.linalg.cholesky(P_in.transpose(0, 2, 1) @ P_in / WIDTH)
            z = self.sigma_w * rng.standard_normal(P_in.shape) @ root.transpose(0, 2, 1) @ self.points.T
            z += self.sigma_b * rng.standard_normal((*P_in.shape[:2], 1))
            hidden = np.where(z >= 0, self.u * z, self.v * z)
            P_out = rng.standard_normal((len(P_in), K, WIDTH)) / WIDTH**0.5
            found.append(P_out @ (hidden - hidden[..., :1]))
        return np.concatenate(found)


@dataclass(frozen=True)
class _Pixels(_Ball):
    """The same for images of four pixels, and a convolution of three taps with zeros beyond the edges."""

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> _Pixels:
        p, eps = float(rng.choice([1.0, 2.0, np.inf])), rng.uniform(0.05, 1.5)
        border = rng.standard_normal((GRID, PIXELS)) * rng.choice([0.0, 1.0], (GRID, PIXELS), p=(0.4, 0.6))
        border = np.concatenate((border, np.eye(PIXELS)[[0, 0, -1]], np.ones((1, PIXELS))))
        size = np.linalg.norm(border, p, axis=1, keepdims=True)
        border *= eps / np.where(size > 0, size, 1)
        eta = np.concatenate((np.zeros((1, PIXELS)), border, border / 2))
        return cls(rng.standard_normal(PIXELS), eta, p, eps, *rng.uniform(-1, 1, 2), *rng.uniform(0.5, 1.5, 2))

    @property
    def code(self) -> tuple[float, ...]:
        return (1, 1, PIXELS, 1, 1, 1, self.scale, 1, 3, 1, -1, 0)

    def features(self) -> np.ndarray:
        met = [self.points[:, max(a - 1, 0) : a + 2] for a in range(PIXELS)]
        kernels = [self.kernel(self.sigma_w**2 * each @ each.T / 3 + self.sigma_b**2) for each in met]
        return _root(np.mean(kernels, axis=0))


PIXELS = 4


def _root(kernel: np.ndarray) -> np.ndarray:
    """The features of a kernel, less those of its first point, as rows."""
    values, vectors = np.linalg.eigh(kernel - kernel[:1] - kernel[:, :1] + kernel[0, 0])
    found: np.ndarray = vectors * np.sqrt(np.maximum(values, 0))
    return found


def _conjugate(p: float) -> float:
    return {1.0: np.inf, 2.0: 2.0, np.inf: 1.0}[p]


def _case(sample: np.ndarray, right: np.ndarray | float) -> Case:
    """A simulated left side and a right side, which may be simulated too."""
    other = np.atleast_1d(right)
    spread = sample.var() / len(sample) + (other.var() / len(other) if len(other) > 1 else 0.0)
    return Case(float(sample.mean()), float(other.mean()), float(spread**0.5))


def _output(rng: np.random.Generator) -> tuple[int, float]:
    return int(rng.integers(1, 5)), float(rng.choice([1.0, 2.0, np.inf]))


def _losses(D: np.ndarray, K: int, q: float, rng: np.random.Generator) -> np.ndarray:
    """max over the rows of D of ‖G D‖_q for random G."""
    G = rng.standard_normal((DRAWS, K, D.shape[1]))
    found: np.ndarray = np.linalg.norm(G @ D.T, q, axis=1).max(1)
    return found


def uniform_integrability_case(rng: np.random.Generator) -> Case:
    """Compare the loss of sampled networks with that of the process."""
    ball, (K, q) = _Ball.drawn(rng), _output(rng)
    sampled = np.linalg.norm(ball.networks(rng, K), q, axis=1).max(1)
    return _case(sampled, _losses(ball.features(), K, q, rng))


def chevet_of_sets_case(rng: np.random.Generator) -> Case:
    """Compare both sides on a random set of a few vectors and zero, of any size and shape."""
    K, q = _output(rng)
    D = rng.standard_normal((int(rng.integers(1, 9)), int(rng.integers(1, 6)))) * rng.exponential(1, (1, 1))
    D = np.concatenate((D, np.zeros((1, D.shape[1]))))
    width = (rng.standard_normal((DRAWS, D.shape[1])) @ D.T).max(1)
    norm = np.linalg.norm(rng.standard_normal((DRAWS, K)), q, axis=1)
    right = K ** max(0.0, 1 / q - 1 / 2) * width + np.linalg.norm(D, axis=1).max() * norm
    return _case(_losses(D, K, q, rng), right)


def domination_case(rng: np.random.Generator) -> Case:
    """The largest feature on the ball."""
    ball = _Ball.drawn(rng)
    inner = 2 ** max(0.0, 1 / 2 - 1 / ball.p)
    return Case(float(np.linalg.norm(ball.features(), axis=1).max()), ball.eps * float(np.sqrt(ball.scale / 2)) * inner)


def sudakov_fernique_case(rng: np.random.Generator) -> Case:
    """Compare maxima over the points of the grid with those over the whole ball."""
    ball = _Ball.drawn(rng)
    D = ball.features()
    g = np.linalg.norm(rng.standard_normal((DRAWS, 2)), _conjugate(ball.p), axis=1)
    return _case((rng.standard_normal((DRAWS, D.shape[1])) @ D.T).max(1), ball.eps * np.sqrt(ball.scale / 2) * g)


def pixel_domination_case(rng: np.random.Generator) -> Case:
    """The largest feature of images in the ball."""
    ball = _Pixels.drawn(rng)
    right = ball.eps * float(profile_radius(ball.p, *ball.code)) / PIXELS**0.5
    return Case(float(np.linalg.norm(ball.features(), axis=1).max()), right)


def pixel_sudakov_fernique_case(rng: np.random.Generator) -> Case:
    """Compare maxima over points of the ball with those over all of it."""
    ball = _Pixels.drawn(rng)
    D = ball.features()
    right = ball.eps * float(profile_norm(_conjugate(ball.p), *ball.code)) / PIXELS**0.5
    return _case((rng.standard_normal((DRAWS, D.shape[1])) @ D.T).max(1), right)
