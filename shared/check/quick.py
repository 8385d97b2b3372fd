"""The part of the check that every node makes when it joins: a hundred system calls, no waiting."""

import secrets

from shared.check.alone import QUICK, Ground
from shared.check.findings import Finding, Verdict, failed
from shared.errors import ShareError
from shared.ownership import remove_private
from shared.share import Share
from shared.system import FULL, PASSING


def check_quickly(share: Share) -> None:
    """ShareError, one line with its cure, where the directory breaks a rule that claims or results rest on.

    A full disk and a server that stumbles are not judged: nodes wait for those to pass.
    """
    ground = Ground(share.system, share.layout.private / f"check.{secrets.token_hex(8)}", share.hard_links)
    try:
        share.system.make_dirs(ground.root)
        for probe in QUICK:
            _refuse_if_unfit(share, probe(ground))
    except OSError as error:
        _refuse_if_unfit(share, failed(error))
    finally:
        remove_private(share, ground.root.name)


def _refuse_if_unfit(share: Share, finding: Finding) -> None:
    if finding.verdict is Verdict.UNFIT and finding.error not in FULL | PASSING:
        root = share.layout.root
        raise ShareError(f"{root}: {finding.what}: {finding.figure}; {finding.cure}; bin/check-share {root} tells more")
