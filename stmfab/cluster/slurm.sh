#!/bin/sh
# Make a store by a Slurm job array; the same command again makes what any accident left over.
#
#   slurm.sh array RECIPE STORE [OPTION...]   submit TASKS tasks, and a last job that finalises and verifies the store
#   slurm.sh status STORE                     its jobs in the queue, and what of it is made
#
# OPTIONs are those of stmfab generate. From the environment, besides those of task.sh:
#   TASKS   the number of tasks
#   JOBS    cores of a task, and its workers
#   SBATCH  options of sbatch for all jobs, for example "--partition=short --time=04:00:00"
set -eu

NO_PART=999999999/1000000000 # of any store: generate checks and makes nothing
EXIT_INCOMPLETE=3

refuse() {
    echo "slurm.sh: $1" >&2
    exit 2
}

program() {
    # shellcheck disable=SC2086 # STMFAB may have several words
    ${STMFAB:-stmfab} "$@"
}

name_of() { # STORE; print the name of its jobs, of no other store's
    folder=$(cd "$(dirname "$1")" && pwd)
    file=$(basename "$1")
    sum=$(printf %s "$folder/$file" | cksum | cut -d ' ' -f 1)
    printf 'stmfab-%s-%s' "$(printf %s "${file%.zarr}" | tr -c 'A-Za-z0-9._-' _)" "$sum"
}

queue() { # NAME FORMAT; print this user's jobs of a store
    squeue --user="$(id -un)" --name="$1,$1-finish" --format="$2"
}

check() { # RECIPE STORE [OPTION...]: refuse here and now what every task would refuse
    recipe=$1 place=$2
    shift 2
    [ -e "$place" ] || place=$scratch/store.zarr # the store is for a task to create: it records the machine
    program generate "$recipe" "$place" "$@" --part "$NO_PART" -j 1 >/dev/null
}

state() { # STORE [OPTION...]; print whether it is complete, and its faults; return the exit code of inspect
    code=0
    program inspect "$@" >"$scratch/state" || code=$?
    sed '/^$/,$d' "$scratch/state"
    return $code
}

array() { # RECIPE STORE [OPTION...]
    recipe=$1 store=${2%/}
    shift 2
    set -- "$recipe" "$store" "$@"
    case ${TASKS-} in '' | 0* | *[!0-9]*) refuse "TASKS is '${TASKS-}', not a number of tasks" ;; esac
    command -v sbatch >/dev/null || refuse "no sbatch here: this is no machine that submits to Slurm"
    check "$@"
    if [ -e "$store" ]; then
        code=0
        state "$store" --verify quick || code=$?
        [ $code -ne 0 ] || echo "nothing is submitted: the store is complete"
        [ $code -eq $EXIT_INCOMPLETE ] || exit $code
    fi
    submit "$@"
}

submit() { # RECIPE STORE [OPTION...]
    name=$(name_of "$2")
    logs=$2.log
    before=$(queue "$name" %F | sed 1d | sort -un | paste -sd : -)
    [ -z "$before" ] || echo "jobs $before of this store are in the queue: the new ones wait for their end"
    [ -d "$logs" ] || mkdir "$logs"
    task=$(cd "$(dirname "$0")" && pwd)/task.sh

    # The user's options win over our preferences before them, not over what makes the thing work behind them.
    # shellcheck disable=SC2086 # SBATCH has many words
    array=$(sbatch --parsable --requeue --signal=B:TERM@60 ${JOBS:+"--cpus-per-task=$JOBS"} ${SBATCH-} \
        --ntasks=1 --open-mode=append --output="$logs/%A_%a.log" --job-name="$name" --array="0-$((TASKS - 1))" \
        ${before:+"--dependency=afterany:$before"} "$task" "$@") || exit 2
    array=${array%%;*} # the cluster's name may follow
    # shellcheck disable=SC2086
    finish=$(sbatch --parsable ${JOBS:+"--cpus-per-task=$JOBS"} ${SBATCH-} \
        --ntasks=1 --open-mode=append --output="$logs/%j_finish.log" --job-name="$name-finish" \
        --dependency="afterok:$array" --kill-on-invalid-dep=yes "$task" --finish "$@") || {
        scancel "$array"
        exit 2
    }
    echo "submitted: job array $array of $TASKS tasks, then job ${finish%%;*} to finalise and verify; logs in $logs"
}

status() { # STORE
    if command -v squeue >/dev/null; then
        name=$(name_of "$1")
        queue "$name" '%.20i %.10T %.12M  %R'
        if [ ! -e "$1" ] && [ -n "$(queue "$name" %i | sed 1d)" ]; then
            echo "$1: not there yet: the first task creates it"
            return
        fi
    fi
    state "$1"
}

usage="usage: TASKS=n slurm.sh array RECIPE STORE [OPTION...], or: slurm.sh status STORE"
case ${1-} in
    array) [ -n "${2-}" ] && [ -n "${3-}" ] || refuse "$usage" ;;
    status) [ -n "${2-}" ] && [ $# -eq 2 ] || refuse "$usage" ;;
    *) refuse "$usage" ;;
esac
export TASKS JOBS STMFAB
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
"$@"
