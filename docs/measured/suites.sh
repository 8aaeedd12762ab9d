#!/bin/sh
# Makes suites-smollm2.jsonl, every suite before and after one LoRA run: `docs/measured/suites.sh HOME DATA BASE`.
# HOME is new; BASE is a folder or GGUF of SmolLM2-135M-Instruct; DATA holds tasks/gsm8k-train.jsonl and bias/ with the files of
# each suite as their authors publish them. To run it is to accept their licences: read them first. About an hour on two cores.
set -eu
here=$(dirname "$0")
home=$1
data=$2
base=$3
registry init --home "$home" --unencrypted --no-example
registry base add "$base" --name smollm2 --home "$home"
registry train "$here/suites-lora.yml" --home "$home" --no-mirror "data.train.path=$data/tasks/gsm8k-train.jsonl"

evaluate() { # SUITE OPTION …
  suite=$1
  shift
  registry evaluate suites-lora:1 --home "$home" --suite "$suite" "$@"
}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT INT TERM
python "$here/prompts.py" >"$scratch/prompts.jsonl"
evaluate house --half test
evaluate counterfactual --suite completion_contrast --data "$scratch/prompts.jsonl"
for suite in crows_pairs winogender bbq stereoset winobias winobias_preference esbbq gg-bbq gest; do
  registry suites add "$suite" "$data/bias" --accept-licence --home "$home"
done
evaluate crows_pairs --half test
evaluate winogender --limit 360
evaluate bbq --limit 480
evaluate stereoset --limit 600
evaluate winobias --limit 400
evaluate winobias_preference --limit 400
evaluate gest --limit 60
evaluate gg-bbq --limit 60
evaluate esbbq --limit 60
python "$here/suites.py" "$home" suites-lora:1 >"$here/suites-smollm2.jsonl"
