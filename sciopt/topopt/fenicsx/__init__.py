"""Structures on FEniCSx meshes: any geometry, PETSc solvers, MPI."""
