#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: verify, sanitise, record, time, compare with PyTorch. Writes JSON and a table into the folder named on the command line.
# Every step is attempted; what failed is said at the end, and in the exit code.
#
#   run.sh RESULTS [verify|sanitize|record|bench|pytorch ...]       default: all of them
#
# DEVICE=ptx-sim rehearses verify and record, and the table, where there is no GPU; CASES='tiny_2d tiny_k3' leaves out the others.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:?where do the results go?}
shift
device=${DEVICE:-cuda}
if [ "$device" = cuda ]; then all='verify sanitize record bench pytorch'; else all='verify record'; fi
steps=${*:-$all}
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mnx=$here/mnx
failed=()
say() { printf '== %s\n' "$*"; }
fill() { # bundle formula: the bundle with its weights
  "$mnx" refit "$1" --formula "$2" -o "$work/$(basename "$1")" --quiet && echo "$work/$(basename "$1")"
}
case_of() { basename "$1" .mnxa | sed 's/^verify-//; s/-\(f32\|bf16\)$//'; }

"$mnx" devices --json >"$out/devices.json" || failed+=("devices")
"$mnx" devices
cp "$here/commit" "$out/commit"

for step in $steps; do
  say "$step"
  case $step in
    verify)
      : >"$out/verify.jsonl"
      for hollow in "$here"/bundles/verify-*.mnxa; do
        name=$(basename "$hollow" .mnxa)
        case " ${CASES:-$(case_of "$hollow")} " in *" $(case_of "$hollow") "*) ;; *) continue ;; esac
        full=$(fill "$hollow" "$(case_of "$hollow")") || { failed+=("$name: refit"); continue; }
        if "$mnx" verify "$full" --device "$device" --json >"$work/one.json" 2>"$work/err"; then echo "ok   $name"; else
          echo "FAIL $name: $(tail -n 1 "$work/err")"
          failed+=("$name: verify")
        fi
        printf '{"name":"%s","report":%s}\n' "$name" "$(tr -d '\n' <"$work/one.json" | grep . || echo null)" >>"$out/verify.jsonl"
        rm -f "$full"
      done
      ;;
    sanitize)
      command -v compute-sanitizer >/dev/null || { say "no compute-sanitizer here"; failed+=("compute-sanitizer: not installed"); continue; }
      for case in tiny_k3 tiny_2d tiny_grn tiny_layernorm; do
        full=$(fill "$here/bundles/verify-$case-bf16.mnxa" "$case") || { failed+=("$case: refit"); continue; }
        for tool in memcheck racecheck initcheck synccheck; do
          if compute-sanitizer --tool $tool --error-exitcode 9 "$mnx" verify "$full" --device "$device" >"$out/sanitizer-$case-$tool.txt" 2>&1; then echo "ok   $case $tool"; else
            echo "FAIL $case $tool: $(grep -m 1 '=========' "$out/sanitizer-$case-$tool.txt")"
            failed+=("$case: $tool")
          fi
        done
      done
      ;;
    record)
      # Inputs and outputs of every launch of one small network: what the PTX interpreter is held against ever after.
      full=$(fill "$here/bundles/verify-tiny_2d-bf16.mnxa" tiny_2d) &&
        "$mnx" record "$full" --device "$device" -o "$out/tiny_2d-bf16.safetensors" || failed+=("record")
      ;;
    bench)
      for hollow in "$here"/bundles/bench-*.mnxa; do
        name=$(basename "$hollow" .mnxa)
        full=$(fill "$hollow" bench) || { failed+=("$name: refit"); continue; }
        "$mnx" bench "$full" --device "$device" --runs 50 --per-dispatch --check --json "$out/$name.json" || failed+=("$name: bench")
        rm -f "$full"
      done
      ;;
    pytorch)
      if python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
        PYTHONPATH=$here/monai:${PYTHONPATH:-} python3 "$here/pytorch_baseline.py" --size 128 --batch 1 --modes eager,cl3d,graph --json "$out/pytorch.json" || failed+=("pytorch")
      else
        say "no PyTorch with CUDA here: no comparison"
        failed+=("pytorch: not installed")
      fi
      ;;
    *) failed+=("unknown step $step") ;;
  esac
done

{ python3 "$here/table.py" "$out" "$here/bundles" >"$out/gpu.md" && cat "$out/gpu.md"; } || failed+=("table")
if [ ${#failed[@]} -gt 0 ]; then
  printf 'FAILED: %s\n' "${failed[@]}"
  exit 1
fi
