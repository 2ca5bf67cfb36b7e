"""Names of containers: their grammar, and made-up ones for those who give none."""

import random
import re
from collections.abc import Container as Holds

from onggi.errors import Conflict, InvalidParameter

_NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+", re.ASCII)

_ADJECTIVES_TEXT = (
    "agile airy alert amber ample ardent autumn balmy bold brave breezy bright brisk bubbly calm candid careful cheery "
    "chirpy clear clever cosy crisp curious dapper daring dashing deft devoted eager earnest easy elated elegant "
    "fair fearless fluent fond frank fresh friendly frosty gentle genial gifted glad gleaming golden graceful grand "
    "hardy hearty helpful honest hopeful humble ideal jaunty jolly jovial joyful just keen kind lively loyal lucid "
    "lucky mellow merry mighty mild modest neat nimble noble patient peaceful placid plucky polite prompt proud quick "
    "quiet quirky radiant ready rosy serene sharp sincere sleek smart snug sober solid spry stately steady sturdy "
    "sunny supple swift tender thrifty tidy tranquil trusty upbeat valiant vivid warm wise witty zealous zesty"
)
# Potters, engineers, scientists, explorers: people whose names read well behind an adjective.
_SURNAMES_TEXT = (
    "abel agnesi amundsen anning archimedes aryabhata avicenna babbage bardeen bell bernoulli bessel bohr boole bose "
    "brahe brunel carson cauchy cavendish cerf clarke conway copernicus cori crick curie dalton darwin davy dijkstra "
    "dirac earhart edison einstein engelbart eratosthenes euclid euler faraday fermat fermi feynman fibonacci floyd "
    "fourier franklin fresnel fuller galileo galois gauss germain gibbs goddard goodall gutenberg halley hamilton "
    "harvey heisenberg hero herschel hilbert hippocrates hodgkin hoare hopper hubble humboldt huygens hypatia jang "
    "joliot joule kelvin kepler khayyam khwarizmi kirchhoff knuth kovalevskaya lagrange lamarr laplace lavoisier leach "
    "leibniz lister lorentz lovelace marconi maxwell mccarthy meitner mendel mercator merian mitchell montgolfier "
    "morse nansen napier newton nobel noether ohm oersted palissy pascal pasteur pauli penrose planck poincare "
    "ptolemy pythagoras ramanujan rhee ride ritchie roentgen rutherford sejong shannon snow somerville stokes tesla "
    "thales torvalds turing vinci volta wallace watt wedgwood wegener weil wiener wright wu yi yukawa zeppelin zuse"
)

_ADJECTIVES, _SURNAMES = _ADJECTIVES_TEXT.split(), _SURNAMES_TEXT.split()


class NameInUse(Conflict):
    def __init__(self, name: str, holder: str, *, when: str = "") -> None:
        super().__init__(
            f'{when}Conflict. The container name "/{name}" is already in use by container "{holder}". '
            "You have to remove (or rename) that container to be able to reuse that name."
        )


def check(name: str) -> str:
    """The name without a leading "/". Raises InvalidParameter with Docker's sentence."""
    if not _NAME.fullmatch(name):
        raise InvalidParameter(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    return name.removeprefix("/")


def generate(taken: Holds[str]) -> str:
    """A free name such as `merry_hopper`; with a digit behind it when luck was bad."""
    for attempt in range(100):
        name = f"{random.choice(_ADJECTIVES)}_{random.choice(_SURNAMES)}"
        if attempt > 5:
            name += str(random.randrange(10 ** (attempt // 6)))
        if name not in taken:
            return name
    raise Conflict("could not make up a free name for the container; give one with --name")
