"""Gold hopping on Al(100): an ordinary ASE script whose optimizers come from sciopt."""

from ase.build import add_adsorbate, fcc100
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.mep import NEB, NEBTools

from sciopt.ase import LBFGS, PreconditionedLBFGS

calculator = EMT()
ends = []
for site in (0.0, 0.5):
    atoms = fcc100("Al", size=(2, 2, 3))
    add_adsorbate(atoms, "Au", 1.7, "hollow")
    atoms.center(axis=2, vacuum=4.0)
    atoms.set_constraint(FixAtoms(mask=atoms.get_tags() > 1))
    atoms[-1].x += site * atoms.cell[0, 0]
    atoms.calc = calculator
    PreconditionedLBFGS(atoms, logfile=None).run(fmax=0.01)
    ends.append(atoms)

images = [ends[0], *(ends[0].copy() for _ in range(5)), ends[1]]
for image in images:
    image.calc = calculator  # one for all: every image is still calculated once per step
band = NEB(images, climb=True, method="improvedtangent", allow_shared_calculator=True)
band.interpolate()
optimizer = LBFGS(band, trajectory="path.traj")
optimizer.run(fmax=0.02)
barrier, reaction_energy = NEBTools(images).get_barrier(fit=False)
print(f"barrier {barrier:.3f} eV; {optimizer.reason}")
