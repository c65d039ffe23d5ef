#!/bin/sh
# Runs each libFuzzer target of a build directory for some seconds: tools/fuzz.sh BUILD SECONDS [TARGET...]
# New inputs go to a scratch corpus (first on the command line: libFuzzer writes there), never into the seeds.
set -eu
build=$1 seconds=$2
shift 2
failed=
ran=0
for exe in "$build"/fuzz/fuzz_*; do
    [ -f "$exe" ] && [ -x "$exe" ] || continue
    name=${exe##*/fuzz_}
    case " ${*:-$name} " in *" $name "*) ;; *) continue ;; esac
    scratch=$build/corpus/$name
    found=$build/found/$name
    mkdir -p "$scratch" "$found"
    ran=$((ran + 1))
    echo "fuzz $name, $seconds s"
    if ! ASAN_OPTIONS=abort_on_error=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
        "$exe" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 \
        -artifact_prefix="$found/" "$scratch" "fuzz/corpus/$name" >"$build/fuzz-$name.log" 2>&1; then
        failed="$failed $name"
        tail -n 40 "$build/fuzz-$name.log"
        echo "input kept in $found; commit it as fuzz/corpus/$name/<name of the bug>"
    fi
    grep -E 'stat::(number_of_executed_units|average_exec_per_sec)' "$build/fuzz-$name.log" || true
done
[ "$ran" -gt 0 ] || { echo "fuzz: no target in $build/fuzz" >&2; exit 1; }
[ -z "$failed" ] || { echo "fuzz: failed:$failed" >&2; exit 1; }
echo "fuzz: $ran targets, nothing found"
