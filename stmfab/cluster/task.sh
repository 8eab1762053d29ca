#!/bin/sh
# One task of a job array, under Slurm, SGE, PBS or LSF: part K of N of a store. After all of them, the last job: --finish.
#
#   task.sh RECIPE STORE [OPTION...]            stmfab generate RECIPE STORE OPTION... --part K/N
#   task.sh --finish RECIPE STORE [OPTION...]   make what is still missing, hold every byte against its receipt
#
# K and N come from the batch system: Slurm and PBS count tasks from 0, SGE and LSF from 1. From the environment:
#   TASKS   N: needed under PBS, which does not tell it, and where only some tasks of an array are submitted again
#   JOBS    workers of a task, if not one for each core that the batch system gave it
#   STMFAB  the command to run, if not stmfab; it may have several words
set -eu

refuse() {
    echo "task.sh: $1" >&2
    exit 2
}

whole_number() { # VALUE NAME
    case $1 in
        0) ;;
        '' | 0* | *[!0-9]*) refuse "$2 is '$1', not a whole number" ;;
    esac
}

index_name() { # print the name of the one variable that holds this task's index
    [ "${SGE_TASK_ID-}" != undefined ] || SGE_TASK_ID= # SGE's word in a job that is no array
    [ "${LSB_JOBINDEX-}" != 0 ] || LSB_JOBINDEX=       # LSF's
    set --
    for name in SLURM_ARRAY_TASK_ID SGE_TASK_ID PBS_ARRAY_INDEX PBS_ARRAYID LSB_JOBINDEX; do
        eval "[ -z \"\${$name-}\" ]" || set -- "$@" "$name"
    done
    [ $# -gt 0 ] || refuse "no task of a job array: SLURM_ARRAY_TASK_ID, SGE_TASK_ID, PBS_ARRAY_INDEX, LSB_JOBINDEX are not set"
    [ $# -eq 1 ] || refuse "more than one batch system: $* are set"
    echo "$1"
}

part() { # INDEX_NAME; print K/N
    first=0 tasks='' gap=''
    case $1 in
        SLURM_*) tasks=${SLURM_ARRAY_TASK_COUNT-} ;; # of those submitted: a gap makes an index too large
        SGE_*) first=1 tasks=${SGE_TASK_LAST-} gap=${SGE_TASK_FIRST:-1}:${SGE_TASK_STEPSIZE:-1} ;;
        LSB_*) first=1 tasks=${LSB_JOBINDEX_END-} gap=1:${LSB_JOBINDEX_STEP:-1} ;;
    esac
    [ -z "${TASKS-}" ] || tasks=$TASKS gap=''
    index=$(printenv "$1")
    whole_number "$index" "$1"
    [ -n "$tasks" ] || refuse "$1 is $index, but of how many? set TASKS"
    whole_number "$tasks" "the number of tasks"
    [ "$tasks" -gt 0 ] || refuse "the number of tasks is 0"
    if [ "${gap:-1:1}" != 1:1 ] || [ "$index" -lt "$first" ] || [ "$index" -ge $((first + tasks)) ]; then
        refuse "$1 is $index: submit $tasks tasks from $first without gaps, or set TASKS to the number of parts"
    fi
    echo "$((index - first))/$tasks"
}

workers() { # print how many
    for name in JOBS SLURM_CPUS_PER_TASK SLURM_CPUS_ON_NODE NSLOTS NCPUS PBS_NUM_PPN LSB_DJOB_NUMPROC; do
        eval "value=\${$name-}"
        if [ -n "$value" ]; then
            whole_number "$value" "$name"
            echo "$value"
            return
        fi
    done
    echo "task.sh: the batch system does not tell how many cores there are: one worker; set JOBS for more" >&2
    echo 1
}

# shellcheck disable=SC2086 # STMFAB may have several words
program() { # exec: a signal to this process is a signal to stmfab
    exec ${STMFAB:-stmfab} "$@"
}

# Run stmfab; where it was told to leave, ask Slurm to start this task again. Its own RequeueExit=75 does that too, but
# the task counts as failed for a moment, in which Slurm may cancel the job that waits for its success.
under_slurm() {
    program "$@" &
    child=$!
    trap 'kill -TERM "$child" || :' TERM
    code=0
    wait "$child" || code=$?
    while kill -0 "$child" 2>/dev/null; do # it was the signal that ended the waiting
        code=0
        wait "$child" || code=$?
    done
    trap - TERM
    case $code in
        75 | 143) requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID" ;; # 143: it had not begun
    esac
    exit $code
}

requeue() { # TASK: three times, for a controller that is too busy to answer
    for attempt in 1 2 3; do
        if state=$(squeue --noheader --jobs="$1" --format=%T); then
            [ "$state" = RUNNING ] || return 0 # it was cancelled
            if scontrol requeue "$1"; then
                sleep 60 # Slurm ends it
                return 0
            fi
        fi
        sleep 3
    done
    echo "task.sh: Slurm has not requeued task $1: what it left over is for make resume" >&2
}

usage="usage: task.sh [--finish] RECIPE STORE [OPTION...]"
if [ "${1-}" = --finish ]; then
    shift
    [ $# -ge 2 ] || refuse "$usage"
    jobs=$(workers)
    (program generate "$@" -j "$jobs")
    program inspect "$2" --verify full
fi
[ $# -ge 2 ] || refuse "$usage"
name=$(index_name)
part=$(part "$name")
jobs=$(workers)
set -- generate "$@" --part "$part" -j "$jobs" --requeue-on-term
case $name in
    SLURM_*) under_slurm "$@" ;;
    *) program "$@" ;;
esac
