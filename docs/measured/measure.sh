#!/bin/sh
# Makes the results that docs/measured/claims.yml reads, and the page from them: `docs/measured/measure.sh HOME DATA`.
# HOME has the bases `tiny` (embedded) and `smollm2` (a folder or GGUF of SmolLM2-135M-Instruct); DATA holds
# gsm8k-train.jsonl and banking77-train.csv. Hours on two cores; a comparison that was cut short goes on where it stopped.
set -eu
export OMP_NUM_THREADS=1 # on one thread a latency is processor time
here=$(dirname "$0")
home=$1
data=$2
estimate() { # NAME MEMORY KEY=VALUE …
  name=$1
  shift
  registry estimate "$here/llama-65b.yml" --model-config "$here/llama-65b.json" --output json "$@" >"$here/estimate-$name.json"
}
registry estimate "$here/llama-65b.yml" --model-config "$here/llama-7b.json" --output json --vram 24GB \
  method=lora lora.r=8 >"$here/estimate-7b-lora.json"
estimate 65b-full --vram 780GB method=full
estimate 65b-lora --vram 48GB method=lora lora.r=64
estimate 65b-qlora --vram 48GB method=qlora lora.r=64
estimate 65b-bottleneck --vram 45GB method=bottleneck
estimate 65b-prompt --vram 12GB method=prompt_tuning
estimate 65b-3060 --vram 12GiB --ram 64GiB method=qlora lora.r=64

# the sweeps of all methods; of a new one run the first two with --methods NAME alone: the others keep what was measured of them
sweeps=$(mktemp -d)
trap 'rm -rf "$sweeps"' EXIT INT TERM
registry compare "$here/sweep-embedded.yml" --home "$home" --methods all --sweep learning_rate prompt_tuning.seeds=1 >"$sweeps/1.json"
most=full,lora,qlora,ia3,prompt_tuning,bottleneck,lora_pro,hybrid,loha,oft,vera
registry compare "$here/sweep-smollm2.yml" --home "$home" --methods $most --sweep learning_rate=1e-5,1e-4,1e-3,1e-2,1e-1 \
  prompt_tuning.seeds=1 "data.train.path=$data/gsm8k-train.jsonl" >"$sweeps/2.json"
registry compare "$here/sweep-smollm2.yml" --home "$home" --methods prefix_tuning --sweep learning_rate=1e-5,1e-4,1e-3,1e-2,1e-1,1 \
  "data.train.path=$data/gsm8k-train.jsonl" >"$sweeps/3.json"
(cd "$here/../.." && python -m docs.learning_rates "$sweeps/1.json" "$sweeps/2.json" "$sweeps/3.json")

# the best rates of the sweep on SmolLM2; of each method one seed an arm, so that all report on the same held-out rows
rates="--learning-rate full=1e-4 --learning-rate qlora=1e-3 --learning-rate ia3=1e-2 --learning-rate bottleneck=1e-3"
rates="$rates --learning-rate lora=1e-3 --learning-rate prompt_tuning=1e-2 --learning-rate lora_pro=1e-3 --learning-rate hybrid=1e-3"
rates="$rates --learning-rate prefix_tuning=1e-1"
gsm8k() { # OPTION …
  # shellcheck disable=SC2086
  registry compare "$here/compare-gsm8k.yml" --home "$home" $rates --output json prompt_tuning.seeds=1 \
    "data.train.path=$data/gsm8k-train.jsonl" "$@"
}
gsm8k --methods all --seeds 3 --no-latency >/dev/null
gsm8k --methods all --seeds 3 >"$here/compare-gsm8k.json"
for tokens in 10 64; do
  gsm8k --methods prompt_tuning "name=prompt$tokens" "evaluation={bias: [], quality: [loss]}" \
    "prompt_tuning.num_virtual_tokens=$tokens" >"$here/compare-prompt$tokens.json"
done
python "$here/sample.py" "$data/banking77-train.csv" 66 >"$sweeps/banking77-sample.csv"  # 152 rows, every intent
# shellcheck disable=SC2086
registry compare "$here/compare-banking77.yml" --home "$home" --methods all $rates \
  --no-latency --output json prompt_tuning.seeds=1 "data.train.path=$sweeps/banking77-sample.csv" >"$here/compare-banking77.json"
(cd "$here/../.." && python -m docs.measured.banking77 rows "$data/banking77-train.csv") >"$sweeps/banking77.csv"
registry compare "$here/compare-intents.yml" --home "$home" --methods lora,lora_pro,bottleneck,ia3,prompt_tuning --seeds 5 \
  --learning-rate lora=1e-2 --learning-rate lora_pro=1e-2 --learning-rate bottleneck=3e-2 --learning-rate ia3=3e-1 \
  --learning-rate prompt_tuning=3e-1 --no-latency --output json prompt_tuning.seeds=1 "data.train.path=$sweeps/banking77.csv" \
  >"$here/compare-intents.json"
# training against stereotypes: mitigation.py; accuracy over seeds: banking77.py
(cd "$here/../.." && python -m docs.claims) >"$here/../explanation/claims.md"
