"""Run the attacks as whoever starts this, with no more than the standard library, and print what went wrong."""

import json

from lightning_marlhf.sandbox.levels import candidates
from lightning_marlhf.sandbox.verdicts import ProgramVerdict, SandboxError
from tests.sandbox.arena import Cage, arena
from tests.sandbox.attacks.every import ATTACKS

_GOOD_EVERY = 10  # attacks; as root, a good program follows each


def main() -> None:
    problems, levels, reasons = [], [], []
    with arena() as targets:
        for level in candidates():
            if level.name not in "AB":
                continue
            try:
                cage = Cage(level)
            except SandboxError as error:
                reasons.append(str(error))
                continue
            # Waiting for time limits once is enough.
            attacks = [each for each in ATTACKS if not levels or ProgramVerdict.TIME_LIMIT not in each.right]
            levels.append(level.name)
            with cage:
                for count, attack in enumerate(attacks, 1):
                    found = targets.assault(cage, attack, and_next=count % _GOOD_EVERY == 0)
                    problems += [(level.name, attack.name, each) for each in found]
    print(json.dumps({"levels": levels, "reasons": reasons, "attacks": len(ATTACKS), "problems": problems}))


if __name__ == "__main__":
    main()
