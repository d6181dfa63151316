#!/bin/sh
# Starts a run by torchrun: on this node's GPUs, or, started on each of several nodes, on all of them.
#   experiments/hardware/torchrun.sh --config RUN.yaml --config experiments/hardware/8x80gb.yaml
#   NODES=4 NODE_RANK=0 HEAD=node0 experiments/hardware/torchrun.sh --config RUN.yaml \
#     --config experiments/hardware/4x8x80gb.yaml            (NODE_RANK 0 to 3, one for each node)
# The overlay's devices and num_nodes have to be GPUS (8) and NODES (1). --ckpt_path last resumes a run.
# All nodes need the folder of the run and the models; HEAD is the first node, PORT one of its free ports (29500).
set -eu
if [ "$#" -eq 0 ]; then
  sed -n '2,8s/^# \{0,1\}//p' "$0"
  exit 2
fi
if [ "${NODES:-1}" -eq 1 ]; then
  where=--standalone
else
  where="--node-rank=${NODE_RANK:?say which node this is, from 0} --master-addr=${HEAD:?name the first node}"
  where="$where --master-port=${PORT:-29500}"
fi
# shellcheck disable=SC2086  # several words
exec "${PYTHON:-python}" -m torch.distributed.run $where --nnodes="${NODES:-1}" --nproc-per-node="${GPUS:-8}" \
  -m lightning_marlhf fit "$@"
