"""All attacks."""

from tests.sandbox.attacks.files import FILES
from tests.sandbox.attacks.forgeries import FORGERIES
from tests.sandbox.attacks.leaks import LEAKS
from tests.sandbox.attacks.outside import OUTSIDE
from tests.sandbox.attacks.resources import RESOURCES

ATTACKS = [*RESOURCES, *FILES, *OUTSIDE, *FORGERIES, *LEAKS]
