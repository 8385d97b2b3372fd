"""A node that creates a toy job or joins it: `python -m tests.helpers.nfs_toy_node SHARE CHAINS LENGTH SLOW`."""

import sys
from pathlib import Path

from shared.shared_dir import open_share
from shared.supervisor import Supervisor
from tests.helpers import toy_plan as toy

if __name__ == "__main__":
    toy.log_to_stdout()
    share = open_share(Path(sys.argv[1]))
    toy.create(share, chains=int(sys.argv[2]), length=int(sys.argv[3]), slow=float(sys.argv[4]))
    sys.exit(Supervisor(share, "tests.helpers.toy_plan:ToyPlan", "toy").run())
