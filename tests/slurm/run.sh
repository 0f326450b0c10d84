#!/usr/bin/env bash
# The job files of examples/jobs on a real slurmctld and slurmd: an array of shards and what merges them come to the bytes of
# a sweep in one piece. Everything stands in a directory of its own, listens on loopback, and is stopped at the end.
#
#   tests/slurm/run.sh target/debug/iso
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
iso=$(realpath "${1:?the binary, as target/debug/iso}")
PATH=$(dirname "$iso"):$PATH:/usr/sbin:/sbin
for program in munged slurmctld slurmd sbatch scontrol; do
  command -v "$program" >/dev/null || { echo "skipped: there is no $program (Debian: slurm-wlm, munge)"; exit 0; }
done
if [ "$(id -u)" != 0 ]; then
  echo "skipped: slurmd starts jobs of others, and wants to be root"
  exit 0
fi

dir=$(mktemp -d)
chmod 755 "$dir"
started=()
stop() {
  local status=$?
  for ((at = ${#started[@]} - 1; at >= 0; at--)); do kill "${started[at]}" 2>/dev/null || true; done
  wait 2>/dev/null || true
  if ((status)); then tail -n 20 "$dir"/*.log "$dir"/work/*.log 2>/dev/null || true; fi
  rm -rf "$dir"
}
trap stop EXIT

# Within the deadline, or the test has failed.
until_true() {
  local what=$1 deadline=$((SECONDS + 20))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || { echo "failed: $what, after 20 s"; exit 1; }
    sleep 0.1
  done
}

# Who may speak to whom: a key that nobody else has.
mkdir -m 700 "$dir/munge"
dd if=/dev/urandom of="$dir/munge/key" bs=128 count=1 status=none
chmod 400 "$dir/munge/key"
mkdir -m 755 "$dir/socket"
munged --foreground --force --key-file "$dir/munge/key" --socket "$dir/socket/munge" --pid-file "$dir/munge/pid" \
  --log-file "$dir/munge/log" --seed-file "$dir/munge/seed" >"$dir/munged.log" 2>&1 &
started+=($!)
until_true "munged listens" test -S "$dir/socket/munge"

# Ports that are free now, of those from which the system takes none for connections that others start.
read -r controller node < <(python3 -c '
import random, socket
taken = []
for port in random.sample(range(20000, 32000), 200):
    one = socket.socket()
    try:
        one.bind(("0.0.0.0", port))
    except OSError:
        continue
    taken.append(one)
print(*(one.getsockname()[1] for one in taken[:2]))')
mkdir "$dir/state" "$dir/spool" "$dir/work"
export SLURM_CONF=$dir/slurm.conf
cat >"$SLURM_CONF" <<CONF
ClusterName=iso
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$controller
SlurmdPort=$node
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/socket/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
SchedulerParameters=sched_min_interval=100000,batch_sched_delay=0
MinJobAge=300
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=2048 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
slurmctld -D -f "$SLURM_CONF" >"$dir/slurmctld.log" 2>&1 &
started+=($!)
slurmd -D -f "$SLURM_CONF" >"$dir/slurmd.log" 2>&1 &
started+=($!)
is_idle() { sinfo -h -o %T 2>/dev/null | grep -qx idle; }
until_true "the node is idle" is_idle

cd "$dir/work"
cat >plan.toml <<'PLAN'
study = "cache"
[set]
workload = "zipf:0.9:1000"
requests = 20000
seeds = 2
[sweep]
size = ["1%", "5%", "20%"]
policy = ["lru", "fifo", "sieve"]
[plot]
x = "size"
y = "edge_miss_ratio"
by = "policy"
PLAN
export PLAN=plan.toml SHARDS=shards OUT=rows.csv
array=$(sbatch --parsable --array=1-4 "$root/examples/jobs/slurm-array.sh")
merge=$(sbatch --parsable --dependency="afterok:$array" "$root/examples/jobs/slurm-merge.sh")
has_ended() { scontrol show job "$merge" | grep -qE 'JobState=(COMPLETED|FAILED|CANCELLED|TIMEOUT)'; }
until_true "the rows are merged" has_ended
scontrol show job "$merge" | grep -q JobState=COMPLETED || { scontrol show job; exit 1; }

"$iso" study run plan.toml --out whole.csv >/dev/null
cmp rows.csv whole.csv
test -s rows.svg
echo "ok: an array of four shards under $(slurmctld -V) comes to the rows of one sweep"
