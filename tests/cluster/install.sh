#!/usr/bin/env bash
# Install Slurm and munge from Debian's packages where they are absent, and start nothing of them.
# Where that cannot be, say why in one line and exit with 1.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin

here() { command -v munged && command -v slurmctld && command -v slurmd && command -v sbatch; } >/dev/null

cannot() {
    echo "no Slurm on this machine, and it cannot be installed: $1" >&2
    exit 1
}

! here || exit 0
[ "$(id -u)" = 0 ] || cannot "not root"
command -v apt-get >/dev/null || cannot "no apt-get"

policy=/usr/sbin/policy-rc.d # asked before a package starts its service
if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' >$policy # 101: do not
    chmod +x $policy
fi
log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update && apt-get install --yes --no-install-recommends munge slurmctld slurmd slurm-client; } &>"$log"; then
    cannot "apt-get failed, see $log"
fi
rm "$log"
here || cannot "the packages hold other programs than expected"
