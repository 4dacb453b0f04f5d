"""Array in, array out: linear algebra, solvers, distributions of test statistics."""
