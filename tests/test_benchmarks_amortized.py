"""The benchmarks of amortized inference say what is so: at tiny sizes, without a word about speed."""

import importlib
import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxlatent as jl

ROOT = Path(__file__).resolve().parents[1]
SMALL = jl.AmortizedVI(particles=4, guide=jl.guides.Amortized(hidden=(8,)), batch_size=32, se="none")


@pytest.fixture(scope="module")
def bench():
    """A function that imports benchmarks.<name>."""
    sys.path.insert(0, str(ROOT))
    yield lambda name: importlib.import_module(f"benchmarks.{name}")
    sys.path.remove(str(ROOT))


@pytest.fixture(scope="module")
def tiny(bench):
    return bench("amortized_sets").load("tiny")


@pytest.fixture(scope="module")
def exact(tiny):
    return tiny.model.fit(tiny.data, jl.MarginalML(se="none"))


def test_the_evaluator_agrees_with_quadrature(bench, tiny, exact):
    """Within four of its own Monte Carlo errors and the error of the grid."""
    evaluator = bench("evaluator")
    found = evaluator.log_likelihood(tiny.model, tiny.data, exact._fitted.free, 1000)
    assert found.samples == 1000 and 0 < found.error < 0.2
    assert abs(found.value - exact.log_likelihood) < 4 * found.error + 0.01
    worse = evaluator.log_likelihood(tiny.model, tiny.data, exact._fitted.free * 0.8, 1000)
    assert worse.value < found.value - 10 * found.error
    with pytest.raises(ValueError, match=r"Expected 17 free parameters; got shape \(3,\)"):
        evaluator.log_likelihood(tiny.model, tiny.data, np.zeros(3), 1000)


def test_samples_are_as_many_as_affordable(bench):
    affordable = bench("evaluator").affordable
    assert affordable(300, 8) == 5000
    assert affordable(10_000, 50) == 2000
    assert affordable(10**9, 50) == 100


def test_matrices_become_the_free_vector(bench, exact):
    free_vector = bench("evaluator").free_vector
    fitted = exact._fitted
    matrices = {name: a[0] for name, a in fitted.params.items()}
    np.testing.assert_array_equal(free_vector(fitted.table, matrices), fitted.free)
    with pytest.raises(ValueError, match="finite value for each free cell; 8 have none"):
        free_vector(fitted.table, {name: a for name, a in matrices.items() if name != "intercepts"})


def test_the_loss_by_hand_is_the_pair(bench, tiny):
    """Mean loss and gradient over many keys are the same within Monte Carlo errors, coordinate by coordinate."""
    task = bench("overhead").task(tiny.model, tiny.data, SMALL)
    rows = np.arange(SMALL.batch_size, dtype=np.int32)
    batch = jax.tree.map(lambda a: a[rows], task.arrays)

    @jax.jit
    def both(key):
        def of(loss):
            return jax.value_and_grad(loss, 1)(task.guide, task.params, batch, rows, key)

        return of(task.pair.loss), of(task.written.loss)

    found = jax.lax.map(both, jax.random.split(jax.random.key(0), 1000))
    pair, written = (np.concatenate([np.reshape(a, (1000, -1)) for a in jax.tree.leaves(f)], 1) for f in found)
    error = np.sqrt((pair.var(0) + written.var(0)) / 1000)
    there = error > 1e-9
    z = (pair.mean(0) - written.mean(0))[there] / error[there]
    assert there.sum() > 100
    np.testing.assert_allclose(pair.mean(0)[~there], written.mean(0)[~there], atol=1e-6)
    assert np.abs(z).max() < 5


def test_overhead_takes_the_same_steps(bench, tiny, exact):
    """Both losses see the same rows and come near minus log p per person (a batch's mean varies by some 0.03)."""
    overhead = bench("overhead")
    found = overhead.overhead(overhead.task(tiny.model, tiny.data, SMALL), 100, 1)
    assert found.pair > 0 and found.written > 0 and found.ratio == pytest.approx(found.pair / found.written)
    assert found.losses[0] == pytest.approx(found.losses[1], abs=0.05)
    assert found.losses[0] == pytest.approx(-exact.log_likelihood / 300, abs=0.3)


def test_guides_at_the_same_parameters(bench):
    """A trained guide's bound is below log p; the free one is at least the amortized one."""
    table = bench("guide_table")
    at, exact = table.held("tiny")
    rows = table.guide_rows(at, exact, ("free", "amortized"), ("full",), 150, 500)
    assert table.misses(rows) == []
    for row in rows:
        assert row.error > 0 and -4 * row.error < row.gap < 0.02
    text = table.as_markdown("tiny", at, exact, rows, 150)
    assert "300 persons, 2 factor(s)" in text and len([x for x in text.splitlines() if x.startswith("|")]) == 4
    wrong = [rows[0], rows[1]._replace(bound=exact.log_p + 1, gap=-1.0)]
    assert len(table.misses(wrong)) == 2


def test_the_table_goes_to_its_place(bench, monkeypatch, capsys, tmp_path):
    amortized, harness = bench("amortized"), bench("harness")
    work = lambda options: amortized.fitted(options, "tiny", "marginal", aim=100.0)  # noqa: E731
    monkeypatch.setattr(amortized, "ROWS", (harness.Benchmark("tiny", "two factors", 100.0, work),))
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n<!-- begin rows -->\nold\n<!-- end rows -->\n\nThe end.\n", encoding="utf-8")
    assert amortized.main(["--check", "--repeat", "1", "--markdown", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Title") and text.endswith("The end.\n") and "old" not in text
    assert "python -m benchmarks.amortized --check --repeat 1\n" in text and str(tmp_path) not in text
    assert "samples a person" in text and "x the aim" in text and "100 s met" in text
    assert "log-likelihood -158" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        amortized.main(["--only", "nothing"])
    assert stop.value.code == 2


def test_rows_say_which_engine(bench):
    amortized, sets = bench("amortized"), bench("amortized_sets")
    names = [row.name for row in (*amortized.ROWS, *amortized.LARGE)]
    assert len(names) == len(set(names)) and {"m2pl", "grm_se", "bfi_training", "overhead", "stream"} <= set(names)
    assert sets.engine_of("amortized") == jl.AmortizedVI(se="none")
    with pytest.raises(ValueError, match="Expected an engine among amortized"):
        sets.engine_of("nothing")
    with pytest.raises(ValueError, match="name of a benchmark set"):
        sets.load("nothing")


def test_a_cold_run_says_what_it_took(bench, capsys):
    assert bench("amortized_cold").main(["tiny", "marginal"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["all"] == pytest.approx(found["import"] + found["load"] + found["fit"])


def test_pages(bench, tmp_path):
    put, path = bench("pages").put, tmp_path / "page.md"
    put(path, "a", "whole")
    assert path.read_text() == "whole"
    path.write_text("x <!-- begin a --> 1 <!-- end a --> y <!-- begin b --><!-- end b -->")
    put(path, "b", "2")
    put(path, "a", "3")
    assert path.read_text().split() == "x <!-- begin a --> 3 <!-- end a --> y <!-- begin b --> 2 <!-- end b -->".split()


def test_files_are_drawn_from_the_model(bench, tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    import pandas as pd

    streaming = bench("streaming")
    monkeypatch.setattr(streaming, "PORTION", 3000)
    assert streaming.write(tmp_path, 5000, 10, 1) > 0
    assert len(list(tmp_path.glob("*.parquet"))) == 2
    y = pd.read_parquet(tmp_path).to_numpy()
    assert y.shape == (5000, 10) and y.dtype == np.int8
    q, slopes, intercepts = streaming.truth(10)
    x = np.random.default_rng(0).standard_normal(100_000)
    for k in range(4):
        expected = (1 / (1 + np.exp(-(slopes[:, None] * x + intercepts[:, [k]])))).mean(1)
        np.testing.assert_allclose((y > k).mean(0), expected, atol=5 * 0.5 / np.sqrt(5000))
    within, between = np.corrcoef(y.T)[q @ q.T == 1], np.corrcoef(y.T)[q @ q.T == 0]
    assert within.min() > between.max() > 0


@pytest.mark.study
def test_streaming_in_a_process_of_its_own(bench):
    found = bench("streaming").study(4000, 10, 1, 3)
    assert len(found["epochs"]) == 3 and found["peak"] > found["before"] > 0 and found["rmse"] < 0.5


OTHER = """
import sys, numpy as np
with np.load(sys.argv[1]) as found:
    y = found["y"]
if y.shape[1] != 8:
    raise ValueError("eight items, please")
np.savez(sys.argv[2], seconds=2.5, y=y, **dict(np.load({path!r})))
"""


def test_another_program_is_scored_by_our_evaluator(bench, exact, tmp_path, monkeypatch):
    """Parameters that a script writes, one factor turned around, give our log-likelihood; its failure is told."""
    peers = bench("peers_irt")
    params = {name: a[0] for name, a in exact._fitted.params.items()}
    turn = np.array([1.0, -1.0])
    path = tmp_path / "found.npz"
    np.savez(path, loadings=params["loadings"] * turn, intercepts=params["intercepts"],
             factor_cov=params["factor_cov"] * turn * turn[:, None])  # fmt: skip
    monkeypatch.setattr(peers, "SCRIPTS", tmp_path)
    (tmp_path / "girth_fit.py").write_text(OTHER.format(path=str(path)))
    other, own = peers.girth_rows(sys.executable, ["tiny"])
    assert (other.program, other.seconds, own.program) == ("girth, MML", 2.5, "MarginalML")
    assert other.found == own.found and other.rmse == pytest.approx(own.rmse)
    assert "| tiny | girth, MML | 2.5 s |" in peers.as_markdown([other, own])
    few = tmp_path / "few.npz"
    np.savez(few, y=np.zeros((5, 3)))
    with pytest.raises(RuntimeError, match="eight items, please"):
        peers.outside(sys.executable, "girth_fit.py", str(few))
    with pytest.raises(SystemExit):
        peers.main([])


def test_picture(bench, tmp_path):
    pytest.importorskip("matplotlib")
    picture = bench("amortized_picture")
    found = [picture.Place("a", "1", 0.1, 1.0), picture.Place("a", "2", 0.5, 0.2), picture.Place("b", "", 1.0, 0.05)]
    picture.draw(found, "set", tmp_path / "p.svg")
    assert (tmp_path / "p.svg").stat().st_size > 1000
    with pytest.raises(ValueError, match="maximum in benchmarks/maxima; got 'tiny'"):
        picture.places("tiny", 1, [("a", "", jl.MarginalML(se="none"))])


def test_bias_of_stored_fits(bench, tmp_path, capsys):
    """Estimates shifted away from zero by a known amount have that bias; what is stored is not fitted again."""
    bias = bench("amortized_bias")
    design = bias.Design.of(10, 2, 1)
    assert (design.expected[design.kinds == "factor correlations"] == 0.3).all() and len(design.kinds) == 51
    sign, rng = np.sign(design.expected), np.random.default_rng(0)
    shifts = {bias.POLISHED: 0.01, bias.TRAINED: 0.02, bias.OTHER: 0.05}
    noise = {k: rng.normal(0, 1e-3, 51) for k in range(3)}
    found = [
        bias.Run(program, 500, 5, k, [float(v) for v in design.expected + sign * (shift + noise[k])])
        for program, shift in shifts.items()
        for k in range(3)
    ]
    rows = bias.bias_rows(design, [*found, bias.Run(bias.OTHER, 500, 5, 3, None)])
    assert len(rows) == 9 and {row.failed for row in rows if row.program == bias.OTHER} == {1}
    for row in rows:
        assert row.bias == pytest.approx(shifts[row.program], abs=5e-3) and row.fits == 3
        assert row.rmse == pytest.approx(shifts[row.program], abs=5e-3) and 0 < row.error < 2e-3
    assert bias.misses(rows) == []
    turned = [row._replace(bias=0.2) if row.program == bias.POLISHED else row for row in rows]
    assert [text.split(":")[0] for text in bias.misses(turned)] == [
        "N = 500, R = 5, intercepts", "N = 500, R = 5, factor correlations"]  # fmt: skip
    store, page = tmp_path / "fits.jsonl", tmp_path / "page.md"
    store.write_text("".join(json.dumps(run._asdict()) + "\n" for run in found))
    given = ["--store", str(store), "--items", "10", "--factors", "2", "--samples", "5", "--replications", "3"]
    assert bias.main([*given, "--persons", "--check", "--markdown", str(page)]) == 0
    assert "| 500 | 5 | AmortizedVI | intercepts | +0.0" in page.read_text()
    assert "J = 10, D = 2" in capsys.readouterr().out
    done = {run.place for run in found if run.program != bias.OTHER}
    assert list(bias.runs(design, done, [500], [5], 3, 1, None)) == []


def test_an_epoch_of_files_is_linear_by_processor_seconds(bench, monkeypatch):
    """Made-up measurements: wall times don't decide, the first epoch (it compiles) is left out."""
    streaming, options = bench("streaming"), bench("harness").Options()

    def study(rows, items, seed, epochs):
        busy = [50.0] + [2e-5 * rows * (1 if rows < 1000 else 1.1)] * 2
        each = {"rows": rows, "items": items, "scan": 1.0, "epochs": [90.0, 3.0, 4.0], "busy": busy, "all": 200.0}
        return each | {"before": 10**8, "peak": 3 * 10**8, "log_likelihood": -1.0, "rmse": 0.01, "files": 5_000_000}

    monkeypatch.setattr(streaming, "study", study)
    found = streaming.measure_streaming(options, 2000, 10, 3)
    assert (found.timing.median, found.timing.least, found.timing.first) == (3.5, 3.0, 90.0)
    said = next(fact for fact in found.facts if "processor seconds" in fact.text)
    assert said.ok and said.text.startswith("22.0 processor seconds a million persons and epoch, 1.10 x those with 500")
    monkeypatch.setattr(streaming, "LINEAR", 1.05)
    found = streaming.measure_streaming(options, 2000, 10, 3)
    assert [fact.ok for fact in found.facts].count(False) == 1
