#!/bin/bash
# One training run over several machines of a Slurm cluster:
#   sbatch --nodes 2 recipes/accelerate_configs/slurm.sh recipes/vlcs.py --data.dir VLCS --output /shared/vlcs
# For many runs, use one Slurm job per run instead: egat-hub sweep ... --executor slurm
#SBATCH --job-name egat-hub
#SBATCH --ntasks-per-node 1
#SBATCH --gpus-per-node 4
#SBATCH --cpus-per-task 32
#SBATCH --time 24:00:00
set -euo pipefail

export GPUS=${SLURM_GPUS_ON_NODE:-4}
export FIRST=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export PORT=$((20000 + SLURM_JOB_ID % 20000))

srun bash -c 'accelerate launch --config_file recipes/accelerate_configs/several_machines.yaml \
    --num_machines "$SLURM_NNODES" --num_processes $((SLURM_NNODES * GPUS)) --machine_rank "$SLURM_NODEID" \
    --main_process_ip "$FIRST" --main_process_port "$PORT" "$@"' launch "$@"
