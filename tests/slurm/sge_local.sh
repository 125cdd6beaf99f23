#!/usr/bin/env bash
# Throwaway single-host Grid Engine, without systemd and with every file under one folder.
#
#   sge_local.sh up DIR         start a qmaster and an execd with the queue `main.q` (4 slots)
#   sge_local.sh env DIR        print the 'export' lines a client shell needs
#   sge_local.sh down DIR       stop everything that 'up' started (DIR is kept for its logs)
#
# Needs root, and Debian's gridengine-master, gridengine-exec and gridengine-client.
set -euo pipefail

LIB=${SGE_LOCAL_LIB:-/usr/lib/gridengine}
SHARE=${SGE_LOCAL_SHARE:-/usr/share/gridengine}
PORT=${SGE_LOCAL_PORT:-16444}     # qmaster; execd listens on PORT+1
SLOTS=${SGE_LOCAL_SLOTS:-4}
WAIT=${SGE_LOCAL_WAIT:-30}

die() { echo "sge-local: $*" >&2; exit 1; }

[ $# -ge 2 ] || { sed -n '2,8p' "$0" >&2; exit 2; }
verb=$1; mkdir -p "$2"; dir=$(cd "$2" && pwd)
host=localhost   # the name of 127.0.0.1 for Grid Engine, whatever the machine is called
arch=$("$SHARE/util/arch")
export SGE_ROOT=$dir/root SGE_CELL=default SGE_ARCH=$arch SGE_QMASTER_PORT=$PORT SGE_EXECD_PORT=$((PORT + 1)) SGE_ENABLE_COREDUMP=0

running() { [ -r "/proc/$1/stat" ] && ! grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null; }

stop_pid() {  # pid file
  [ -s "$1" ] || return 0
  local p i; p=$(cat "$1")
  if running "$p"; then
    kill -TERM "$p" 2>/dev/null || true
    for ((i = 0; i < 50; i++)); do running "$p" || return 0; sleep 0.1; done
    kill -KILL "$p" 2>/dev/null || true
  fi
}

tree() {  # pid: everything below it, and it
  local c
  for c in $(cat "/proc/$1/task/$1/children" 2>/dev/null); do tree "$c"; done
  echo "$1"
}

shepherds() {  # those whose working directory is under DIR
  local p
  for p in /proc/[0-9]*; do
    [ "$(cat "$p/comm" 2>/dev/null)" = sge_shepherd ] || continue
    case $(readlink "$p/cwd") in "$dir"/*) echo "${p#/proc/}" ;; esac
  done
}

create() {
  local common=$SGE_ROOT/$SGE_CELL/common
  mkdir -p "$common" "$dir"/{spooldb,qmaster/job_scripts,execd,run,log} "$SGE_ROOT"/{bin,lib,utilbin}
  for d in bin lib utilbin; do ln -sfn "$LIB" "$SGE_ROOT/$d/$arch"; done
  ln -sfn "$SHARE/util" "$SGE_ROOT/util"
  echo "$host" > "$common/act_qmaster"
  # Without this a client is refused: the address 127.0.0.1 has another name than the machine.
  echo "localhost $(hostname) $(hostname -s)" | awk '{ for (i = 1; i <= NF; i++) if (!seen[$i]++) printf "%s ", $i; print "" }' \
    > "$common/host_aliases"
  cat > "$common/bootstrap" <<EOF
admin_user              none
default_domain          none
ignore_fqdn             true
spooling_method         berkeleydb
spooling_lib            libspoolb
spooling_params         $dir/spooldb
binary_path             $LIB
qmaster_spool_dir       $dir/qmaster
security_mode           none
listener_threads        2
worker_threads          2
scheduler_threads       1
EOF
  sed -e "s|^execd_spool_dir.*|execd_spool_dir $dir/execd|" -e 's|^min_\([ug]\)id.*|min_\1id 0|' \
    -e 's|^load_report_time.*|load_report_time 00:00:02|' -e 's|^mailer.*|mailer /bin/true|' \
    -e 's|flush_time=[0-9:]*|flush_time=00:00:01|' -e 's/^login_shells.*/login_shells none/' \
    "$SHARE/default-configuration" > "$dir/configuration"
  "$LIB/spoolinit" berkeleydb libspoolb "$dir/spooldb" init
  "$LIB/spooldefaults" configuration "$dir/configuration"
  "$LIB/spooldefaults" complexes "$SHARE/util/resources/centry"
  "$LIB/spooldefaults" usersets "$SHARE/util/resources/usersets"
  "$LIB/spooldefaults" managers "$(id -un)"
}

retry() {  # seconds, command: until it succeeds
  local i
  for ((i = 0; i < $1 * 5; i++)); do
    if "${@:2}" > "$dir/log/retry.out" 2>&1; then return 0; fi
    sleep 0.2
  done
  cat "$dir/log/retry.out" >&2
  return 1
}

case $verb in
  up)
    [ "$(id -u)" = 0 ] || die "needs root"
    for b in "$LIB/sge_qmaster" "$LIB/sge_execd" "$LIB/qsub"; do [ -x "$b" ] || die "$b is missing"; done
    create > "$dir/create.out" 2>&1 || { cat "$dir/create.out" >&2; die "no cell"; }
    SGE_MASTER_PIDFILE=$dir/run/qmaster.pid "$LIB/sge_qmaster" > "$dir/log/qmaster.out" 2>&1
    retry "$WAIT" "$LIB/qconf" -sh || die "qmaster does not answer"
    "$LIB/qconf" -ah "$host" > /dev/null 2>&1 || true
    "$LIB/qconf" -as "$host" > /dev/null
    # Scheduling runs at once, not every 15 s.
    "$LIB/qconf" -ssconf | sed -e 's|^schedule_interval.*|schedule_interval 0:0:1|' \
      -e 's|^flush_submit_sec.*|flush_submit_sec 1|' -e 's|^flush_finish_sec.*|flush_finish_sec 1|' > "$dir/sconf"
    "$LIB/qconf" -Msconf "$dir/sconf" > /dev/null
    "$LIB/sge_execd" > "$dir/log/execd.out" 2>&1
    retry "$WAIT" "$LIB/qconf" -se "$host" || die "execd does not answer"
    EDITOR=true "$LIB/qconf" -ahgrp @allhosts > /dev/null 2>&1 || true
    cat > "$dir/queue" <<EOF
qname                 main.q
hostlist              $host
seq_no                0
load_thresholds       NONE
suspend_thresholds    NONE
nsuspend              1
suspend_interval      00:05:00
priority              0
min_cpu_interval      00:05:00
processors            UNDEFINED
qtype                 BATCH INTERACTIVE
ckpt_list             NONE
pe_list               NONE
rerun                 FALSE
slots                 $SLOTS
tmpdir                $dir/run
shell                 /bin/bash
prolog                NONE
epilog                NONE
shell_start_mode      posix_compliant
starter_method        NONE
suspend_method        NONE
resume_method         NONE
terminate_method      NONE
notify                00:00:60
owner_list            NONE
user_lists            NONE
xuser_lists           NONE
subordinate_list      NONE
complex_values        NONE
projects              NONE
xprojects             NONE
calendar              NONE
initial_state         default
s_rt                  INFINITY
h_rt                  INFINITY
s_cpu                 INFINITY
h_cpu                 INFINITY
s_fsize               INFINITY
h_fsize               INFINITY
s_data                INFINITY
h_data                INFINITY
s_stack               INFINITY
h_stack               INFINITY
s_core                INFINITY
h_core                INFINITY
s_rss                 INFINITY
h_rss                 INFINITY
s_vmem                INFINITY
h_vmem                INFINITY
EOF
    "$LIB/qconf" -Aq "$dir/queue" > /dev/null
    echo "sge-local: up: $("$LIB/qstat" -f -q main.q | sed -n 3p)" >&2 ;;
  env)
    echo "export SGE_ROOT='$SGE_ROOT' SGE_CELL=default SGE_ARCH='$arch' SGE_QMASTER_PORT=$PORT SGE_EXECD_PORT=$((PORT + 1))" ;;
  down)
    timeout 10 "$LIB/qdel" -f -u '*' > /dev/null 2>&1 || true
    for s in $(shepherds); do for p in $(tree "$s"); do kill -KILL "$p" 2>/dev/null || true; done; done
    stop_pid "$dir/execd/$host/execd.pid"; stop_pid "$dir/execd/execd.pid"
    stop_pid "$dir/run/qmaster.pid"; stop_pid "$dir/qmaster/qmaster.pid"
    echo "sge-local: down: $dir" >&2 ;;
  *) die "no such verb: $verb" ;;
esac
