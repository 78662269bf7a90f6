"""Eq. 16 and the two poolings at its ends."""

import numpy as np
import pytest
import torch

from cuhs.network.pooling import GAP, GMP, GeM, pooling


@pytest.fixture
def x() -> np.ndarray:
    """Values in [-0.5, 1): some below GeM's ε, and small enough for a high power."""
    return np.random.default_rng(0).uniform(-0.5, 1, (2, 3, 4, 5))


def by_loops(x: np.ndarray, reduce: object) -> np.ndarray:
    return np.array([[reduce(channel.ravel()) for channel in sample] for sample in x])


@pytest.mark.parametrize(("pool", "reduce"), [(GAP(), np.mean), (GMP(), np.max)])
def test_average_and_maximum(x: np.ndarray, pool: torch.nn.Module, reduce: object) -> None:
    np.testing.assert_allclose(pool(torch.tensor(x)), by_loops(x, reduce), rtol=1e-6)


@pytest.mark.parametrize("theta", [1.0, 2.0, 3.0, 4.5])
def test_gem_is_equation_16(x: np.ndarray, theta: float) -> None:
    def gem(values: np.ndarray) -> float:
        total = 0.0
        for value in values:
            total += max(value, 1e-6) ** theta
        return (total / len(values)) ** (1 / theta)

    np.testing.assert_allclose(GeM(theta)(torch.tensor(x)).detach(), by_loops(x, gem), rtol=1e-6)


def test_gem_runs_from_the_mean_to_the_maximum(x: np.ndarray) -> None:
    clamped = np.maximum(x, 1e-6)
    first = GeM(1.0)(torch.tensor(x)).detach()
    np.testing.assert_allclose(first, by_loops(clamped, np.mean), rtol=1e-6)
    # (1/20)^(1/θ) is what the maximum alone would give.
    high = GeM(300.0)(torch.tensor(x)).detach().numpy() / by_loops(x, np.max)
    assert (high <= 1.0001).all() and (high >= 0.05 ** (1 / 300) - 1e-4).all()
    between = GeM(3.0)(torch.tensor(x)).detach()
    assert (between > first).all() and (between.numpy() < by_loops(x, np.max)).all()


def test_gems_exponent_learns(x: np.ndarray) -> None:
    pool = GeM(3.0)
    pool(torch.tensor(x)).sum().backward()

    def total(theta: float) -> float:
        return float(((np.maximum(x, 1e-6) ** theta).mean((2, 3)) ** (1 / theta)).sum())

    slope = (total(3.001) - total(2.999)) / 0.002
    assert slope > 0
    assert pool.theta.grad.item() == pytest.approx(slope, rel=1e-3)


def test_gem_has_finite_gradients_on_an_empty_map() -> None:
    x = torch.zeros(1, 2, 3, 3, requires_grad=True)
    pool = GeM()
    pool(x).sum().backward()
    assert x.grad.isfinite().all() and pool.theta.grad.isfinite()


def test_gem_cubes_large_half_precision_values_without_overflow() -> None:
    np.testing.assert_allclose(GeM()(torch.full((1, 1, 2, 2), 100.0).half()).detach(), [[100.0]], rtol=1e-4)


def test_poolings_by_name() -> None:
    assert [type(pooling(name)) for name in ("gap", "gmp", "gem")] == [GAP, GMP, GeM]


@pytest.mark.parametrize(("theta", "counts_as"), [(-2.0, 1.0), (0.0, 1.0), (0.5, 1.0), (1000.0, 300.0)])
def test_theta_beyond_its_bounds_counts_as_the_bound(x: np.ndarray, theta: float, counts_as: float) -> None:
    images = torch.tensor(x)
    torch.testing.assert_close(GeM(theta)(images), GeM(counts_as)(images))


def test_large_values_and_a_large_theta_do_not_overflow() -> None:
    x = torch.full((1, 1, 2, 2), 1e6)
    x[..., 0, 0] = 2e6
    pool = GeM(100.0)
    pooled = pool(x)
    assert pooled.item() == pytest.approx(2e6 * 0.25 ** (1 / 100), rel=1e-4)
    pooled.backward()
    assert pool.theta.grad.isfinite()


def test_the_gradient_is_that_of_eq_16() -> None:
    x = torch.rand(2, 3, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(GeM(3.0).double(), x)
