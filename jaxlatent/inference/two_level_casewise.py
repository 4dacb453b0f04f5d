"""The two-level Gaussian log-likelihood of rows with missing cells, its gradient, and posterior moments, on the host.

Of a cluster with values z of its own variables and rows y_i of persons, with S_i the rows that are observed,

    u | z ~ N(m, C),  e_i = y_i - mu - m,  P_i = S_i' (S_i Sigma_W S_i')^-1 S_i,  A = sum_i P_i,  b = sum_i P_i e_i
    G = (I + C A)^-1 C = cov(u | y, z),    G b = E(u | y, z) - m
    log p(y | z) = -1/2 [sum_i log|S_i Sigma_W S_i'| + e_i' P_i e_i + n_i log 2 pi + log|I + C A| - b' G b]

With V the covariance matrix of all that is observed in the cluster, Z what u contributes to it, h = Z' V^-1 (y - mean)
and H = Z' V^-1 Z, the derivatives are 1/2 (h h' - H) by Sigma_B, h by the means and, with q_i = P_i (e_i - G b),
1/2 sum_i (q_i q_i' - P_i + P_i G P_i) by Sigma_W. All are of size p, whatever the size of clusters. Second derivatives
are differences of these.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxlatent.data.cluster_cases import ClusterCases

LOG_2_PI = float(np.log(2 * np.pi))


class ClusterParts(NamedTuple):
    """By cluster value, h [cluster, p], H and G [cluster, p, p]; by pattern P; by person q = P_i (e_i - G b)."""

    value: np.ndarray
    h: np.ndarray
    big_h: np.ndarray
    g: np.ndarray
    p: np.ndarray
    q: np.ndarray


def cluster_parts(
    cases: ClusterCases, mean: np.ndarray, within: np.ndarray, between: np.ndarray, *, checked: bool = True
) -> ClusterParts:
    """Everything of every cluster at a mean [p] and the covariances of both levels [p, p].

    checked: value is nan where a covariance matrix is not positive definite. Raises np.linalg.LinAlgError.
    """
    d, eye = len(mean), np.eye(len(mean))
    seen = cases.seen
    both = seen[:, :, None] & seen[:, None, :]
    padded = np.where(both, within, eye * ~seen[:, :, None])
    root = np.linalg.cholesky(padded)
    precision = np.where(both, np.linalg.inv(padded), 0.0)
    log_det = 2 * np.log(np.diagonal(root, axis1=1, axis2=2)).sum(1)
    m, c, shift, z_value, turn, inner = _given_z(cases, mean, between)
    e = cases.y - mean - m[cases.codes]
    v = np.matmul(e[:, None], precision[cases.pattern])[:, 0]
    a = (cases.counts @ precision.reshape(len(seen), -1)).reshape(-1, d, d)
    b = np.add.reduceat(v, cases.first, axis=0)
    ca = eye + c @ a
    g = np.linalg.solve(ca, c)
    g = (g + g.mT) / 2
    gb = np.matmul(g, b[:, :, None])[:, :, 0]
    sign, log_ca = np.linalg.slogdet(ca)
    square = np.add.reduceat((v * e).sum(1), cases.first)
    constant = cases.counts @ (log_det + seen.sum(1) * LOG_2_PI)
    value = z_value - (constant + square + log_ca - (b * gb).sum(1)) / 2
    if checked and ((sign <= 0).any() or np.linalg.eigvals(ca).real.min() <= 0):
        value = np.full_like(value, np.nan)
    q = v - np.matmul(gb[cases.codes][:, None], precision[cases.pattern])[:, 0]
    h_y = b - np.matmul(a, gb[:, :, None])[:, :, 0]
    big_y = a - a @ g @ a
    h = np.matmul(turn, h_y[:, :, None])[:, :, 0] + shift
    return ClusterParts(value, h, turn @ big_y @ turn.mT + inner, g, precision, q)


def _given_z(cases: ClusterCases, mean: np.ndarray, between: np.ndarray) -> tuple[np.ndarray, ...]:
    """By cluster E(u | z) - mean [p] and cov(u | z), E_z Q (z - mean), log p(z), I - E_z B' and E_z Q E_z'.

    Q is the inverse of z's covariance matrix, B = Sigma_Bz Q.
    """
    d, n = len(mean), len(cases.z)
    m, shift, value = np.zeros((n, d)), np.zeros((n, d)), np.zeros(n)
    c, turn, inner = (np.empty((n, d, d)) for _ in range(3))
    for k, seen in enumerate(cases.z_seen):
        here, at = cases.z_pattern == k, np.flatnonzero(seen)
        c[here], turn[here], inner[here] = between, np.eye(d), 0.0
        if not len(at):
            continue
        root = np.linalg.cholesky(between[np.ix_(at, at)])
        q = np.linalg.inv(between[np.ix_(at, at)])
        slope = between[:, at] @ q
        e = cases.z[here][:, at] - mean[at]
        m[here], c[here] = e @ slope.T, between - slope @ between[at]
        whole, spread = np.zeros((d, d)), np.eye(d)
        whole[np.ix_(at, at)] = q
        spread[at] -= slope.T
        inner[here], turn[here] = whole, spread
        shift[np.ix_(here, at)] = e @ q
        value[here] = -((e @ q * e).sum(1) + len(at) * LOG_2_PI) / 2 - np.log(np.diag(root)).sum()
    return m, c, shift, value, turn, inner


def pulls(cases: ClusterCases, found: ClusterParts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """-2 d / d Sigma_W, -2 d / d Sigma_B [p, p] and d / d mean [p] of the log-likelihood of all."""
    d = found.h.shape[1]
    number = cases.counts.sum(0)
    by_pattern = (cases.counts.T @ found.g.reshape(len(found.g), -1)).reshape(-1, d, d)
    rest = np.einsum("k,kij->ij", number, found.p) - (found.p @ by_pattern @ found.p).sum(0)
    return rest - found.q.T @ found.q, found.big_h.sum(0) - found.h.T @ found.h, found.h.sum(0)


def within_pulls(cases: ClusterCases, found: ClusterParts) -> np.ndarray:
    """d / d Sigma_W of every cluster's log-likelihood [cluster, p, p]."""
    d = found.h.shape[1]
    squares = np.add.reduceat(found.q[:, :, None] * found.q[:, None, :], cases.first, axis=0)
    a = (cases.counts @ found.p.reshape(len(found.p), -1)).reshape(-1, d, d)
    spread = np.zeros_like(a)
    for k, precision in enumerate(found.p):
        here = cases.counts[:, k] > 0
        spread[here] += cases.counts[here, k, None, None] * (precision @ found.g[here] @ precision)
    return (squares - a + spread) / 2
